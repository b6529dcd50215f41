"""Tags as people write them in FiftyOne, read as decisions and written as tags; nothing here needs FiftyOne."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from labeling.core.errors import InputError
from labeling.core.store_decisions import DECISIONS, Decided

Notes = tuple[str, ...]
"""The remarks that one decision carries; of ``duplicate-of`` the sha256 of the other image."""

JOINED = "; "
"""Between the remarks of one decision in labels.db."""

_WORD = re.compile(r"\s*(?P<word>[^:]*?)\s*(?::(?P<note>.*))?", re.DOTALL)
_DUPLICATE_OF = re.compile(r"\s*duplicate[\s_-]*of\b\s*:?(?P<note>.*)", re.DOTALL | re.IGNORECASE)
_OF_IMAGES = ("duplicate-of", "split-test", "gold")
_AGAINST = (("ok", "relabel"), ("ok", "drop"), ("drop", "relabel"))
_SWEEPING_SHARE = 0.5
_SWEEPING_IMAGES = 20


class Problem(NamedTuple):
    """Tags that could not be understood: the name of their image, "" where labels.db knows none, and what is wrong."""

    image: str
    what: str

    def __str__(self) -> str:
        return f"{self.image}: {self.what}" if self.image else self.what


@dataclass(frozen=True, slots=True)
class Understood:
    """What the tags of one image, or of one label, say.

    Attributes:
        decisions: each decision with its remarks.
        unclear: decisions that the tags name but do not settle; whatever is known of them stays as it is.
        refused: the tags that could not be read, as they are.
        problems: for people, one clause each.
    """

    decisions: Mapping[str, Notes] = field(default_factory=dict)
    unclear: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


def understand(tags: Iterable[str], original: Callable[[str], str], *, on_label: bool = False) -> Understood:
    """Read the tags of one image or of one label.

    Case, spaces and the kind of dash do not matter. A tag that is no decision is a free note; one that is nearly a
    decision is neither until somebody mends it.

    Args:
        tags: in any order.
        original: returns the sha256 of the image that a name stands for, "" being no name; raises InputError.
        on_label: the tags are on a label.
    """
    found: dict[str, list[str]] = {}
    unclear, refused, problems = set[str](), set[str](), list[str]()
    for tag in sorted(set(tags)):
        word, note = parse(tag)
        try:
            if on_label and word in _OF_IMAGES:
                raise InputError("says something about an image: tag the image, not the label")
            notes = (original(note),) if word == "duplicate-of" else remarks(note)
        except InputError as error:
            unclear.add(word)
            refused.add(tag)
            problems.append(f"tag {tag!r}: {error}")
            continue
        if word == "note" and not notes:
            refused.add(tag)
            problems.append(f"tag {tag!r}: says nothing: write what there is to note, or remove it")
            continue
        if word == "note" and (near := _near_miss(tag)):
            refused.add(tag)
            problems.append(f"tag {tag!r}: did you mean {near!r}? write 'note: {tag.strip()}' if it is a note")
            continue
        found.setdefault(word, []).extend(notes)
    decisions = {word: tuple(dict.fromkeys(notes)) for word, notes in found.items()}
    for words, why in _contradictions(decisions):
        unclear.update(words)
        problems.append(why)
    settled = {word: notes for word, notes in decisions.items() if word not in unclear}
    return Understood(settled, frozenset(unclear), frozenset(refused), tuple(problems))


def parse(tag: str) -> tuple[str, str]:
    """Return the decision that a tag names, and what stands behind it; ``note`` and the whole tag for any other."""
    plain = tag.replace("\N{FULLWIDTH COLON}", ":")
    if duplicate := _DUPLICATE_OF.fullmatch(plain):
        return "duplicate-of", duplicate["note"].strip()
    found = _WORD.fullmatch(plain)
    word = re.sub(r"[\s_-]+", "-", found["word"].lower()) if found else ""
    if found is None or word not in DECISIONS or (word == "note" and found["note"] is None):
        return "note", tag.strip()
    return word, (found["note"] or "").strip()


def remarks(note: str) -> Notes:
    """Return the single remarks in the note of a decision."""
    return tuple(part.strip() for part in note.split(JOINED.strip()) if part.strip())


def tags_of(decision: str, note: str, name_of: Callable[[str], str]) -> tuple[str, ...]:
    """Return the tags that say a decision; none for one that nobody knows.

    Args:
        decision: see ``Decided``.
        note: see ``Decided``.
        name_of: returns the name by which people know an image, by sha256.
    """
    if decision not in DECISIONS:
        return ()
    if decision == "note":
        return tuple(
            part if parse(part) == ("note", part) and not _near_miss(part) else f"note: {part}"
            for part in remarks(note)
        )
    behind = name_of(note) if decision == "duplicate-of" else JOINED.join(remarks(note))
    return (f"{decision}: {behind}" if behind else decision,)


def merged(
    before: Mapping[str, Notes],
    now: Mapping[str, Notes],
    stored: Mapping[str, Notes],
    unclear: Collection[str] = (),
) -> tuple[dict[str, Notes], set[str]]:
    """Return which decisions to write, with all their remarks, and which to take back.

    What others wrote into labels.db meanwhile stays: only remarks that stood before and do not any more are taken
    away. Applying the same again changes nothing.

    Args:
        before: what the tags said when they were last in step with labels.db.
        now: what they say.
        stored: what labels.db says.
        unclear: decisions to leave alone.
    """
    added: dict[str, Notes] = {}
    removed = set[str]()
    for word in sorted({*before, *now} - set(unclear)):
        if word in before and word in now and set(before[word]) == set(now[word]):
            continue
        kept = now.get(word, ())
        if word != "duplicate-of" or word not in now:
            there = [one for one in stored.get(word, ()) if one in kept or one not in before.get(word, ())]
            kept = (*there, *(one for one in kept if one not in there))
        if word in now or kept:
            if stored.get(word) is None or set(stored[word]) != set(kept):
                added[word] = kept
        elif word in stored:
            removed.add(word)
    return added, removed


def sweeping(added: Iterable[Decided], stored: Sequence[Decided], images: int) -> dict[str, int]:
    """Return the decisions that would newly cover most of the images, as a missed click does, and how many each.

    Notes do not count, nor does ``ok`` on labels: people may well look at every label.

    Args:
        added: what is to be written.
        stored: what stands already.
        images: so many there are.
    """
    known = {(one.decision, one.sha256) for one in stored}
    covered: dict[str, set[str]] = {}
    for one in added:
        counts = one.decision != "note" and not (one.decision == "ok" and one.annotation_id)
        if counts and (one.decision, one.sha256) not in known:
            covered.setdefault(one.decision, set()).add(one.sha256)
    most = max(_SWEEPING_IMAGES, _SWEEPING_SHARE * images)
    return {decision: len(some) for decision, some in covered.items() if len(some) > most}


def _near_miss(tag: str) -> str | None:
    """Return the decision that a tag nearly names; None for one that says ``note`` itself, or nothing of the kind."""
    found = _WORD.fullmatch(tag.replace("\N{FULLWIDTH COLON}", ":"))
    near = get_close_matches(found["word"].lower(), DECISIONS, n=1, cutoff=0.7) if found else []
    return near[0] if near and near[0] != "note" else None


def _contradictions(decisions: Mapping[str, Notes]) -> Iterable[tuple[set[str], str]]:
    for one, other in _AGAINST:
        if one in decisions and other in decisions:
            yield {one, other}, f"tags {one!r} and {other!r}: contradict each other: remove one of them"
    if len(decisions.get("duplicate-of", ())) > 1:
        yield {"duplicate-of"}, "tags 'duplicate-of': name more than one image: keep one of them"

"""Tags as people write them in FiftyOne, read as decisions and written as tags; nothing here needs FiftyOne."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from labeling.core.errors import InputError
from labeling.core.store_decisions import DECISIONS

Notes = tuple[str, ...]
"""The remarks that one decision carries; of ``duplicate-of`` the sha256 of the other image."""

JOINED = "; "
"""Between the remarks of one decision in labels.db."""

_WORD = re.compile(r"\s*(?P<word>[^:]*?)\s*(?::(?P<note>.*))?", re.DOTALL)
_DUPLICATE_OF = re.compile(r"\s*duplicate[\s_-]*of\b\s*:?(?P<note>.*)", re.DOTALL | re.IGNORECASE)
_OF_IMAGES = ("duplicate-of", "split-test")
_AGAINST_OK = ("relabel", "drop")


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
    decision is taken as a note and remarked on.

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
        problems += _remark(tag, word)
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
        return tuple(part if parse(part) == ("note", part) else f"note: {part}" for part in remarks(note))
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


def _remark(tag: str, word: str) -> list[str]:
    found = _WORD.fullmatch(tag)
    near = get_close_matches(found["word"].lower(), DECISIONS, n=1, cutoff=0.7) if found and word == "note" else []
    return [f"tag {tag!r}: was taken as a note: did you mean {near[0]!r}?"] if near and near[0] != "note" else []


def _contradictions(decisions: Mapping[str, Notes]) -> Iterable[tuple[set[str], str]]:
    against = [word for word in _AGAINST_OK if word in decisions]
    if "ok" in decisions and against:
        yield {"ok", *against}, f"tags 'ok' and {against[0]!r}: contradict each other: remove one of them"
    if len(decisions.get("duplicate-of", ())) > 1:
        yield {"duplicate-of"}, "tags 'duplicate-of': name more than one image: keep one of them"

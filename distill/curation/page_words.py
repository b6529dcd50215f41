"""The words of the report: findings in, headline, tiles and plain sentences out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from labeling.report_words import counted

from .doubts import KINDS

if TYPE_CHECKING:
    from .coverage import Coverage, Gap
    from .findings import Findings

PROBABLE = 0.5
"""From this suspicion on a label is one to look at first."""

_READY = ("ready", "enough to start")
_MOST_NAMES = 8


def headline(found: Findings) -> str:
    """Return the one sentence that sums the findings up."""
    if not found.balance.images:
        return "Nothing is labelled yet."
    first = sum(one.suspicion >= PROBABLE for one in found.suspects)
    if not first:
        return "Nothing speaks loudly against the labels."
    return f"{counted(first, 'label')} to look at first."


def tiles(found: Findings) -> list[dict[str, str]]:
    """Return the figures at the top, each with what it counts and the section that says more."""
    balance = found.balance
    ready = sum(one.verdict in _READY for one in balance.classes)
    rows = [
        (f"{balance.images:,}", "images with labels", "balance"),
        (f"{balance.boxes:,}", "boxes", "balance"),
        (f"{balance.reviewed_images:,}", "images reviewed by people", "coverage"),
        (f"{sum(one.suspicion >= PROBABLE for one in found.suspects):,}", "labels to look at first", "labels"),
        (f"{repeats(found):,}", "images that repeat another", "duplicates"),
        (f"{ready} of {len(balance.classes)}", "classes with enough to start", "balance"),
    ]
    if found.coverage is not None and found.coverage.waiting and found.coverage.reviewed:
        rows.append((f"{found.coverage.covered_share:.0%}", "of the waiting images are of known kinds", "coverage"))
    return [{"value": value, "label": label, "section": section} for value, label, section in rows]


def remarks(found: Findings) -> list[dict[str, str]]:
    """Say in plain words what deserves a look, the most telling first, each with its section."""
    said = []
    first = Counter(one.kind for one in found.suspects if one.suspicion >= PROBABLE)
    if first:
        parts = ", ".join(f"{first[kind]:,} {kind}" for kind in KINDS if first[kind])
        said.append((f"Look at these labels first: {parts}.", "labels"))
    repeated = repeats(found)
    if repeated:
        be = "repeats" if repeated == 1 else "repeat"
        said.append(
            (f"{counted(repeated, 'image')} {be} another one: one of each is enough for training.", "duplicates")
        )
    series = [group for group in found.duplicates.groups if group.kind == "sequence"]
    if series:
        images, of = sum(len(group.members) for group in series), "one" if len(series) == 1 else f"{len(series):,}"
        said.append((f"{images:,} images come from {of} series of shots: no split may cut a series.", "duplicates"))
    thin = [one.name for one in found.balance.classes if one.verdict not in _READY]
    if thin and found.balance.images:
        names = ", ".join(thin[:_MOST_NAMES]) + (f" and {len(thin) - _MOST_NAMES} more" if thin[_MOST_NAMES:] else "")
        said.append((f"Too few images of: {names}.", "balance"))
    said += [(sentence(remark), "balance") for remark in found.balance.remarks]
    if found.coverage is not None and found.coverage.waiting and not found.coverage.reviewed:
        said.append(("Nobody has reviewed anything yet.", "coverage"))
    elif found.coverage is not None and found.coverage.gaps:
        waiting = sum(gap.size for gap in found.coverage.gaps)
        kinds = counted(len(found.coverage.gaps), "kind")
        said.append((f"People have hardly seen {kinds} of images, {waiting:,} in all.", "coverage"))
    return [{"text": text, "section": section} for text, section in said]


def repeats(found: Findings) -> int:
    """Return how many images show nearly what one that is rather kept shows."""
    return len({pair.second for pair in found.duplicates.pairs})


def coverage(found: Coverage) -> str:
    """Say how well the reviewed images stand for those that wait."""
    if not found.waiting:
        return "Every image was reviewed: none waits."
    if not found.reviewed:
        return (
            f"Nobody has reviewed anything yet. {counted(found.waiting, 'image')} "
            f"{'waits' if found.waiting == 1 else 'wait'}; these are the kinds among them."
        )
    look = "waits looks" if found.waiting == 1 else "wait look"
    left_out = f" {found.without:,} without features are left out." if found.without else ""
    return (
        f"{found.covered_share:.0%} of {counted(found.waiting, 'image')} that {look} like one of the "
        f"{found.reviewed:,} that people reviewed.{left_out}"
    )


def gap(one: Gap) -> str:
    """Say how large a kind of images is, how much of it people have seen, and how far it is from what they have."""
    waiting = f"{counted(one.size, 'image')} {'waits' if one.size == 1 else 'wait'}"
    if one.distance is None:
        return waiting
    reviewed = f"{one.reviewed:,} reviewed" if one.reviewed else "none reviewed"
    return f"{waiting}, {reviewed}; {one.distance:.1f} times the usual distance from what was reviewed"


def sentence(text: str) -> str:
    """Return a clause as a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")

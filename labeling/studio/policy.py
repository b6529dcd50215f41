"""Whose answer counts where several people looked at one image; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from ..core import masks
from ..core.errors import InputError
from ..core.geometry import iou
from ..core.matching import match
from ..core.store_studio import Answer
from .answers import by_time

if TYPE_CHECKING:
    from .convert import Drawn

MIN_IOU = 0.5
"""From which two people mean the same object."""

Place = tuple[int, int]
"""Number of the person, number of the object among theirs."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How answers of several people become one.

    Attributes:
        kind: ``latest``, the answer that was submitted or changed last; ``consensus``, what more than half of those
            who submitted agree on; ``annotator``, what one person said.
        mail: of that person.
    """

    kind: Literal["latest", "consensus", "annotator"]
    mail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.mail}" if self.mail else self.kind


def parse(text: str) -> Policy:
    """Read ``latest``, ``consensus`` or ``annotator:MAIL``. Raises InputError."""
    kind, _, mail = text.strip().partition(":")
    if kind == "annotator" and mail.strip():
        return Policy("annotator", mail.strip())
    if mail or kind not in ("latest", "consensus"):
        raise InputError(f"--policy: expected latest, consensus or annotator:MAIL, got {text!r}")
    return Policy("latest" if kind == "latest" else "consensus")


def counted(policy: Policy, answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers that count, the newest first; one per person.

    A skip counts only where nobody submitted: who could label the image knows more than who could not. A draft never
    counts.

    Args:
        policy: ``latest`` and ``annotator`` leave at most one answer, ``consensus`` one of each person.
        answers: of one task.
    """
    spoken = [answer for answer in answers if answer.kind != "draft"]
    if policy.kind == "annotator":
        spoken = [answer for answer in spoken if answer.annotator.casefold() == policy.mail.casefold()]
    submitted = [answer for answer in spoken if answer.kind == "submitted"]
    newest: dict[str, Answer] = {}
    for answer in sorted(submitted or spoken, key=by_time, reverse=True):
        newest.setdefault(answer.annotator, answer)
    several = policy.kind == "consensus" and submitted
    return list(newest.values())[: None if several else 1]


def agreed(drawn: Mapping[str, Sequence[Drawn]]) -> tuple[list[Drawn], list[str]]:
    """Return what more than half of the people drew, and what they are split about.

    Objects of two people are the same where their boxes are matched with an IoU of at least ``MIN_IOU``; the closest
    pairs are joined first. An object has the class of most of those who drew it, and the geometry of the one that is
    closest to all the others (among equals of the person who comes first), so an object that most people left
    untouched stays exactly as it was pushed.

    Args:
        drawn: objects by person; the order of people decides only between equal geometries.

    Returns:
        Objects in the order in which they were drawn, and one sentence for each object that exactly half of the people
        drew or whose class is undecided.
    """
    people = list(drawn.values())
    kept: list[Drawn] = []
    splits: list[str] = []
    for group in _groups(people):
        members = [people[person][number] for person, number in group]
        ranked = sorted(Counter(member.class_name for member in members).items(), key=lambda row: (-row[1], row[0]))
        middle = _medoid(members)
        where = f"near ({middle.box_xyxy[0]:.0f}, {middle.box_xyxy[1]:.0f})"
        if 2 * len(group) == len(people):
            splits.append(f"{len(group)} of {len(people)} people drew {ranked[0][0]!r} {where}")
        elif 2 * len(group) > len(people):
            if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
                said = " or ".join(repr(name) for name, votes in ranked if votes == ranked[0][1])
                splits.append(f"people are split about the class {where}: {said}")
            kept.append(replace(middle, class_name=ranked[0][0]))
    return kept, splits


def _groups(people: Sequence[Sequence[Drawn]]) -> list[list[Place]]:
    """Return the objects of all people in groups that mean one object, at most one of each person."""
    groups = {(person, number): [(person, number)] for person, own in enumerate(people) for number in range(len(own))}
    for _, one, other in sorted(pair for a, b in combinations(range(len(people)), 2) for pair in _pairs(people, a, b)):
        first, second = groups[one], groups[other]
        if not {person for person, _ in first} & {person for person, _ in second}:
            joined = sorted(first + second)
            groups.update(dict.fromkeys(joined, joined))
    return [group for place, group in groups.items() if place == group[0]]


def _pairs(people: Sequence[Sequence[Drawn]], a: int, b: int) -> list[tuple[float, Place, Place]]:
    ones, others = people[a], people[b]
    same = [[one.class_name == other.class_name for other in others] for one in ones]
    boxes = [[drawn.box_xyxy for drawn in own] for own in (ones, others)]
    if not all(boxes):
        return []
    return [(-shared, (a, i), (b, j)) for i, j, shared in match(*boxes, min_iou=MIN_IOU, prefer=same)]


def _medoid(members: Sequence[Drawn]) -> Drawn:
    """Return the member that shares most with all the others."""
    return max(members, key=lambda one: sum(_shared(one, other) for other in members))


def _shared(one: Drawn, other: Drawn) -> float:
    if one.rle is not None and other.rle is not None:
        return masks.iou(one.rle, other.rle)
    return float(iou([one.box_xyxy], [other.box_xyxy])[0, 0])

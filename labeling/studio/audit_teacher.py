"""How right the teacher was: claims, objects and changes, counted one image at a time.

A claim is right where its class stood and its box shares at least ``MIN_IOU`` with the one that people left. On
pre-labelled images the pairs come from the ids of regions, on blind ones from their overlap; both are counted by this
one rule, so they can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..core.geometry import iou
from ..core.matching import Counts, interval
from .compare import Change

MIN_IOU = 0.5
"""From which a box of the teacher is where the object is."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole with its Wilson interval of 95 %; no value where there is no whole."""

    part: int
    whole: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The teacher on one class, or on all.

    Attributes:
        precision: of its claims, how many are right.
        recall: of the objects that people left, how many it had right.
        kept: claims that nobody touched; with the next three they are all claims.
        moved: claims of the right class with another shape, however far it went.
        relabelled: claims that became another class.
        deleted: claims that people took away.
        added: objects that people drew where there was no claim.
        moved_iou: median IoU of the moved ones, before and after; None without.
    """

    precision: Share
    recall: Share
    kept: int
    moved: int
    relabelled: int
    deleted: int
    added: int
    moved_iou: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """The teacher on some images.

    Attributes:
        images: how many.
        overall: over all classes.
        classes: by name.
        confusion: how often people changed a class, as (from, to, how often), the most frequent first.
    """

    images: int
    overall: ClassRow
    classes: Mapping[str, ClassRow]
    confusion: tuple[tuple[str, str, int], ...]


class Tally:
    """What became of the teacher's claims so far."""

    def __init__(self) -> None:
        self._images = 0
        self._claimed: Counter[str] = Counter()
        self._there: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._confusion: Counter[tuple[str, str]] = Counter()
        self._moved: dict[str, list[float]] = {}

    def add(self, changes: Sequence[Change]) -> None:
        """Take in one image."""
        self._images += 1
        for change in changes:
            claim, left = change.pushed, change.drawn
            name = claim.class_name if claim is not None else left.class_name if left is not None else ""
            self._kinds[name, change.kind] += 1
            self._right[name] += is_right(change)
            if claim is not None:
                self._claimed[claim.class_name] += 1
            if left is not None:
                self._there[left.class_name] += 1
            if claim is not None and left is not None and change.kind == "relabelled":
                self._confusion[claim.class_name, left.class_name] += 1
            if change.kind == "moved":
                self._moved.setdefault(name, []).append(change.iou)

    def group(self, class_names: Sequence[str]) -> Group:
        """Return the measures; names that are missing among those given follow them in order."""
        names = list(dict.fromkeys([*class_names, *sorted(self._claimed.keys() | self._there.keys())]))
        confusion = sorted(self._confusion.items(), key=lambda row: (-row[1], row[0]))
        return Group(
            self._images,
            self._row(names),
            {name: self._row([name]) for name in names},
            tuple((old, new, n) for (old, new), n in confusion),
        )

    def _row(self, names: Collection[str]) -> ClassRow:
        right, claimed, there = (
            sum(counter[name] for name in names) for counter in (self._right, self._claimed, self._there)
        )
        counts = Counts(right, claimed - right, there - right)
        moved = [value for name in names for value in self._moved.get(name, ())]

        def number(kind: str) -> int:
            return sum(self._kinds[name, kind] for name in names)

        return ClassRow(
            _share(right, claimed, counts.precision),
            _share(right, there, counts.recall),
            number("kept"),
            number("moved"),
            number("relabelled"),
            number("deleted"),
            number("added"),
            median(moved) if moved else None,
        )


def is_right(change: Change) -> bool:
    """Say whether the teacher's claim was of the right class and in the right place."""
    if change.kind == "kept":
        return True
    if change.kind != "moved" or change.pushed is None or change.drawn is None:
        return False
    return bool(iou([change.pushed.box_xyxy], [change.drawn.box_xyxy])[0, 0] >= MIN_IOU)


def _share(part: int, whole: int, value: float | None) -> Share:
    low, high = interval(part, whole) or (None, None)
    return Share(part, whole, value, low, high)

"""The disagreements that are worth a look: the worst of each kind, in turn."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

from ..core.geometry import area
from .compare import Change

Kind = Literal["deleted", "added", "relabelled", "moved"]

KINDS: tuple[Kind, ...] = ("deleted", "added", "relabelled", "moved")
FAR = 0.9
"""Shapes that share more than this were moved too little to be shown."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One object about which the teacher and people differ.

    Attributes:
        sha256: the image.
        change: what happened to it.
        blind: the person did not see the teacher's label; the two were matched by overlap.
        weight: how bad it is among its kind, in [0, 1]: the score of what was deleted or relabelled, the share of the
            image of what was added, how little the shapes share of what was moved.
    """

    sha256: str
    change: Change
    blind: bool
    weight: float

    @property
    def kind(self) -> Kind:
        """What people did."""
        return next(kind for kind in KINDS if kind == self.change.kind)

    @property
    def class_name(self) -> str:
        """The teacher's class, or the one that people added."""
        said = self.change.pushed or self.change.drawn
        return said.class_name if said is not None else ""

    @property
    def became(self) -> str | None:
        """The class after relabelling."""
        return self.change.drawn.class_name if self.kind == "relabelled" and self.change.drawn is not None else None

    @property
    def score(self) -> float | None:
        """The teacher's score, where it made a claim and gave one."""
        return self.change.pushed.provenance.score if self.change.pushed is not None else None


class Worst:
    """The worst so far; as many of each kind are kept as there may be in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heaps: dict[str, list[tuple[float, int, Disagreement]]] = {kind: [] for kind in KINDS}
        self._seen = 0

    def add(self, sha256: str, size_wh: tuple[int, int], blind: bool, changes: Sequence[Change]) -> None:
        """Take in one image."""
        for change in changes:
            if change.kind == "kept" or (change.kind == "moved" and change.iou > FAR):
                continue
            self._seen += 1
            weight = _weight(change, size_wh)
            # Of two that weigh the same, the first one stays.
            heap, entry = self._heaps[change.kind], (weight, -self._seen, Disagreement(sha256, change, blind, weight))
            (heapq.heappush if len(heap) < self._most else heapq.heappushpop)(heap, entry)

    def ordered(self) -> tuple[Disagreement, ...]:
        """Return the worst of each kind in turn, then the second worst, and so on."""
        ranked = [[one for _, _, one in sorted(heap, key=lambda e: (-e[0], -e[1]))] for heap in self._heaps.values()]
        turns = chain.from_iterable(zip_longest(*ranked))
        return tuple(one for one in turns if one is not None)[: self._most]


def _weight(change: Change, size_wh: tuple[int, int]) -> float:
    if change.kind == "moved":
        return 1.0 - change.iou
    if change.kind == "added" and change.drawn is not None:
        return min(1.0, float(area([change.drawn.box_xyxy])[0]) / (size_wh[0] * size_wh[1]))
    return (change.pushed.provenance.score if change.pushed is not None else None) or 0.0

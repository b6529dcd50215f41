"""How early a ranked list shows what was planted: the share found by the share of the list that is looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from plant_errors import Planted

from distill.curation.doubts import KINDS
from labeling.core.records import Annotation

Numbers = npt.NDArray[np.float64]

BUDGETS: Numbers = np.arange(1, 101) / 100
"""Shares of the list that are looked at."""

ALL = "all"
"""Every kind together."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a ranked list: a doubted label, or a claim that nobody labelled."""

    label: Annotation | None
    claim: Annotation | None


@dataclass(frozen=True, slots=True)
class Found:
    """How one list did.

    Attributes:
        rows: length of the list.
        curves: (100,) share of the planted errors found by BUDGETS, by kind and for all.
        counts: planted errors, likewise.
        by_boxes: share of all that is found in as many rows as a fifth of the boxes; None where nobody ranked.
    """

    rows: int
    curves: dict[str, Numbers]
    counts: dict[str, int]
    by_boxes: float | None = None

    def at(self, budget: float, kind: str = ALL) -> float:
        """Return the share that is found when so much of the list is looked at."""
        return float(self.curves[kind][round(budget * 100) - 1])


def ranked(rows: Sequence[Row], planted: Sequence[Planted], boxes: int) -> Found:
    """Return how early a list, best first, shows each planted error; what no row shows is never found."""
    first = np.array([min(shown, default=len(rows)) for shown in showing(rows, planted)])

    def early(ranks: Numbers) -> Numbers:
        return np.asarray((ranks[:, None] < np.rint(BUDGETS * len(rows))).mean(axis=0))

    strict = float((first < round(0.2 * boxes)).mean())
    return Found(len(rows), _by_kind(planted, first, early), _counts(planted), strict)


def at_random(rows: Sequence[Row], planted: Sequence[Planted]) -> Found:
    """Return what a shuffled list shows on average; an error that two rows show has two chances."""
    chances = np.array([len(shown) for shown in showing(rows, planted)], dtype=np.float64)

    def early(chance: Numbers) -> Numbers:
        return np.asarray((1 - (1 - BUDGETS) ** chance[:, None]).mean(axis=0))

    return Found(len(rows), _by_kind(planted, chances, early), _counts(planted))


def oracle(rows: Sequence[Row], planted: Sequence[Planted], boxes: int) -> Found:
    """Return what the best possible order of the same rows shows, all kinds in turn."""
    shown = [rows_of[0] for rows_of in showing(rows, planted) if rows_of]
    chosen = list(dict.fromkeys(np.random.default_rng(0).permutation(shown).tolist()))
    best = [*chosen, *sorted(set(range(len(rows))) - set(chosen))]
    return ranked([rows[row] for row in best], planted, boxes)


def showing(rows: Sequence[Row], planted: Sequence[Planted]) -> list[list[int]]:
    """Return the positions of the rows that show each planted error, ascending."""
    of_label: dict[str, list[int]] = defaultdict(list)
    of_image: dict[str, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        if row.label is not None:
            of_label[row.label.id].append(position)
        elif row.claim is not None:
            of_image[row.claim.sha256].append(position)
    answers = []
    for error in planted:
        near = sorted({position for shown in error.after for position in of_label[shown.id]})
        if not error.after:
            near = [at for at in of_image[error.sha256] if error.shown_by(None, rows[at].claim)]
        answers.append(near)
    return answers


def mean(some: Sequence[Found]) -> dict[str, Numbers]:
    """Return the curves over all plantings, each planted error counting once."""
    curves = {}
    for kind in (*KINDS, ALL):
        having = [one for one in some if kind in one.curves]
        if having:
            weights = [one.counts[kind] for one in having]
            curves[kind] = np.average([one.curves[kind] for one in having], axis=0, weights=weights)
    return curves


def _by_kind(
    planted: Sequence[Planted], values: Iterable[float], early: Callable[[Numbers], Numbers]
) -> dict[str, Numbers]:
    of_each, kinds = np.asarray(list(values), dtype=np.float64), np.array([error.kind for error in planted])
    return {kind: early(of_each[kinds == kind]) for kind in KINDS if (kinds == kind).any()} | {ALL: early(of_each)}


def _counts(planted: Sequence[Planted]) -> dict[str, int]:
    each = [error.kind for error in planted]
    return {kind: each.count(kind) for kind in KINDS if kind in each} | {ALL: len(planted)}

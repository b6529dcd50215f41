"""What a score is worth: the recall that a wanted precision leaves, and whether 0.8 means right 8 times in 10."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labeling.core.matching import interval

from .resampling import Bounds
from .table import Flags, Numbers, Table

BINS = 10
CALIBRATED_FROM = 0.05
"""Objects of a lower score are left out of calibration: they outnumber all others and are nearly always wrong."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Found objects whose scores are close.

    Attributes:
        low, high: the scores, high excluded but for the last bin.
        n: how many.
        score: mean of their scores; None without any.
        precision: share that is right at IoU 0.5; None without any.
        precision_interval: Wilson (1927).
    """

    low: float
    high: float
    n: int
    score: float | None
    precision: float | None
    precision_interval: Bounds | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores and precision agree.

    Attributes:
        score_from: smallest score that counts.
        n: found objects that count.
        error: expected calibration error, the mean of |score - precision| over bins weighed by n (Naeini et al., 2015;
            for detection Küppers et al., 2020); None where nothing counts.
        bias: mean score minus precision; above 0 the scores promise too much. None where nothing counts.
        bins: of equal width, ascending.
    """

    score_from: float
    n: int
    error: float | None
    bias: float | None
    bins: tuple[Bin, ...]


def calibration(table: Table, *, score_from: float = CALIBRATED_FROM) -> Calibration:
    """Return how often found objects of each score are right at IoU 0.5, all classes together."""
    counted = table.score >= score_from
    score, right = table.score[counted], table.right[0, counted]
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, BINS - 1)
    bins = tuple(_bin(float(edges[k]), float(edges[k + 1]), score[place == k], right[place == k]) for k in range(BINS))
    gaps = [
        one.n * abs(one.score - one.precision) for one in bins if one.score is not None and one.precision is not None
    ]
    return Calibration(
        score_from,
        len(score),
        float(sum(gaps) / len(score)) if len(score) else None,
        float(score.mean() - right.mean()) if len(score) else None,
        bins,
    )


def recall_at_precision(table: Table, class_id: int, least: float) -> tuple[float, float | None] | None:
    """Return the highest recall that a score threshold reaches with at least a precision, and that score.

    Precision as it is, at IoU 0.5, not interpolated.

    Returns:
        0 and None where no threshold is so precise; None where the class has no object.
    """
    there = int((table.truth_class == class_id).sum())
    if not there:
        return None
    rows = table.class_id == class_id
    score, right = table.score[rows], table.right[0, rows]
    found = np.cumsum(right)
    precise = last_of_equal(score) & (found >= least * np.arange(1, len(score) + 1)) & (found > 0)
    if not precise.any():
        return 0.0, None
    place = int(np.flatnonzero(precise)[found[precise].argmax()])
    return float(found[place] / there), float(score[place])


def last_of_equal(score: Numbers) -> Flags:
    """Return which of falling scores, (d,), a threshold can end at: equal ones come and go together."""
    return np.asarray(np.append(score[1:] != score[:-1], True)[: len(score)], dtype=np.bool_)


def _bin(low: float, high: float, score: Numbers, right: Flags) -> Bin:
    n = len(score)
    if not n:
        return Bin(low, high, 0, None, None, None)
    return Bin(low, high, n, float(score.mean()), float(right.mean()), interval(int(right.sum()), n))

"""How measures spread and how two sets of them differ, with bootstrap intervals of 95 %."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.matching import Numbers

ENOUGH = 5
"""Fewer measures of either kind have no interval."""

_RESAMPLES = 1000
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of ``n`` measures; None without measures."""

    n: int
    median: float | None
    q1: float | None
    q3: float | None


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean of ``n`` measures; None without measures."""

    n: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first set less the second; no value where one is empty, no interval with fewer than ``ENOUGH`` of either."""

    value: float | None
    low: float | None
    high: float | None


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles; one value far out, such as a tab that was left open, moves none of them."""
    if not values:
        return Spread(0, None, None, None)
    q1, median, q3 = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75]).tolist()
    return Spread(len(values), median, q1, q3)


def mean(values: Sequence[float]) -> Mean:
    """Return the mean."""
    return Mean(len(values), float(np.mean(values)) if values else None)


def difference_of_medians(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return median less median with the percentile interval (Efron 1979) of 1,000 resamples; equal every time."""
    return _difference(first, second, np.median)


def difference_of_means(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return mean less mean with an interval as that of the medians."""
    return _difference(first, second, np.mean)


def _difference(first: Sequence[float], second: Sequence[float], statistic: Callable[..., Any]) -> Difference:
    if not first or not second:
        return Difference(None, None, None)
    value = float(statistic(first) - statistic(second))
    if min(len(first), len(second)) < ENOUGH:
        return Difference(value, None, None)
    random = np.random.default_rng(0)
    resampled = _resampled(first, statistic, random) - _resampled(second, statistic, random)
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
    return Difference(value, low, high)


def _resampled(values: Sequence[float], statistic: Callable[..., Any], random: np.random.Generator) -> Numbers:
    each = np.asarray(values, dtype=np.float64)
    size = max(1, _CELLS // len(each))
    chunks = [min(size, _RESAMPLES - done) for done in range(0, _RESAMPLES, size)]
    draws = [statistic(each[random.integers(len(each), size=(chunk, len(each)))], axis=1) for chunk in chunks]
    return np.concatenate(draws)

"""Which statistics of which windows are further from the reference than chance explains, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bins import NUMERIC, STATISTICS, Counts, Numbers
from .reference import Reference
from .resampling import Chance, chance, indices
from .windows import Window

LEAST = 0.1
"""An index below this is told as no drift, however sure: the usual border of a small change."""

RATES = (0.002, 0.2)
"""Chances of a false alarm that can be kept; a smaller one needs more draws than are made."""


@dataclass(frozen=True, slots=True)
class Share:
    """A class: its share of all objects before and now."""

    name: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Drift:
    """One statistic that has changed.

    Attributes:
        statistic: of STATISTICS.
        since: unix seconds where the first window begins that shows it.
        windows: so many show it.
        still: whether the last window does.
        index: of the window that stands out most, less what chance alone comes to.
        chance: that logs without drift show any statistic so far out in any window.
        before, now: mean of the reference and of that window; None for classes, and where there is no object.
        classes: whose share of the objects changed most.
    """

    statistic: str
    since: float
    windows: int
    still: bool
    index: float
    chance: float
    before: float | None
    now: float | None
    classes: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What windows say against a reference.

    Attributes:
        drifts: what has changed, the surest first.
        rows: per window, by statistic, the index less what chance alone comes to.
        limits: by statistic, the smallest such index that raises an alarm.
        drifted: per window, whether any statistic raises an alarm.
    """

    drifts: tuple[Drift, ...]
    rows: tuple[dict[str, float], ...]
    limits: dict[str, float]
    drifted: tuple[bool, ...]


def judge(
    reference: Reference,
    windows: Sequence[Window],
    false_alarms: float,
    *,
    least: float = LEAST,
    seed: int = 0,
    odds: Chance | None = None,
) -> Verdict:
    """Compare windows of one length with the reference.

    Args:
        reference: with enough blocks.
        windows: at least one.
        false_alarms: chance that without any drift one of the windows raises an alarm by one of the statistics.
        least: smallest index that is called drift.
        seed: of the draws.
        odds: of these windows, where they are known already.
    """
    rate = 1 - (1 - false_alarms) ** (1 / len(windows))
    odds = odds or chance(reference, windows[0].frames, rate, seed)
    found = indices(reference.total, np.stack([window.counts for window in windows]), reference.bins.places)
    heights, over = odds.standardised(found), np.maximum(found - odds.expected, 0)
    limit = odds.limit(rate)
    alarmed = (heights > limit) & (over >= least)
    drifts = []
    for place, name in enumerate(STATISTICS):
        where = np.flatnonzero(alarmed[:, place])
        if not len(where):
            continue
        worst = int(where[heights[where, place].argmax()])
        one = odds.chance_of(heights[worst, place])
        before, now = _means(reference, windows[worst], name)
        drifts.append(
            Drift(
                name,
                windows[where[0]].since,
                len(where),
                bool(where[-1] == len(windows) - 1),
                float(over[worst, place]),
                float(1 - (1 - one) ** len(windows)),
                before,
                now,
                shares(reference, windows[worst]) if name == "classes" else (),
            )
        )
    smallest = np.maximum(least, np.maximum(odds.centre + limit * odds.spread, 0) ** 2 - odds.expected)
    return Verdict(
        tuple(sorted(drifts, key=lambda one: (one.chance, -one.index))),
        tuple(dict(zip(STATISTICS, map(float, row), strict=True)) for row in over),
        dict(zip(STATISTICS, map(float, smallest), strict=True)),
        tuple(bool(row.any()) for row in alarmed),
    )


def _means(reference: Reference, window: Window, name: str) -> tuple[float | None, float | None]:
    if name not in NUMERIC:
        return None, None
    place = NUMERIC.index(name)
    both = float(reference.means[place]), float(window.means[place])
    return None if np.isnan(both[0]) else both[0], None if np.isnan(both[1]) else both[1]


def shares(reference: Reference, window: Window, most: int = 3) -> tuple[Share, ...]:
    """Return the classes whose share of the objects says most about the difference."""
    before, now = _portions(reference.classes), _portions(window.classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.nan_to_num((now - before) * np.log((now + 1e-6) / (before + 1e-6)))
    order = [int(k) for k in np.argsort(-weight, kind="stable")[:most] if weight[k] > 0]
    return tuple(Share(reference.names[k], float(before[k]), float(now[k])) for k in order)


def _portions(counts: Counts) -> Numbers:
    return np.asarray(counts / max(int(counts.sum()), 1))

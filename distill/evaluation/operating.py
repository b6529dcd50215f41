"""From which score a found object should count, by what a miss and a false alarm cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from labeling.core.errors import InputError

from ..objects import Objects
from .resampling import Bounds, bounds, draws
from .scores import last_of_equal
from .table import Numbers, Table, matched

ENOUGH_OBJECTS = 50
"""A class with fewer objects has no threshold of its own."""

_GRID = 201
_CELLS = 1_000_000
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """Where the costs are lowest, on the images that it was chosen on.

    Attributes:
        score: from which found objects count, one for all classes. Above 1 where nothing found is worth its cost.
        score_interval: 95 %, images drawn again; None with fewer than two images.
        by_class: the same for each class, by name; the score for all where a class has too few objects for its own.
        own: classes that have their own.
        cost_miss: of an object that is not found.
        cost_false: of a found object that is wrong.
        misses, false_alarms: at the score for all.
        cost: of both together, per image; None without images.
        images, objects: that it was chosen on.
        scores: (201,) from 0 to 1.
        costs: (201,) per image, if found objects counted from each of the scores.
        recalls: (201,) share of the objects that are found; NaN without objects.
        precisions: (201,) share of what counts that is right; NaN where nothing counts.
    """

    score: float
    score_interval: Bounds | None
    by_class: Mapping[str, float]
    own: tuple[str, ...]
    cost_miss: float
    cost_false: float
    misses: int
    false_alarms: int
    cost: float | None
    images: int
    objects: int
    scores: Numbers
    costs: Numbers
    recalls: Numbers
    precisions: Numbers


def choose_threshold(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    names: Sequence[str],
    *,
    cost_miss: float = 1.0,
    cost_false: float = 1.0,
    masks: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> OperatingPoint:
    """Choose the score at which misses and false alarms together cost least.

    Every cut between two scores is tried. Costs are equal between two neighbouring scores, and the threshold is put in
    the middle; where several such stretches cost the same, in the widest.

    Args:
        truth: what is there; one per image. Use val: what the threshold was chosen on looks better than it is.
        found: what somebody says of the same images, in the same order, down to low scores.
        names: the classes.
        cost_miss: of an object that no found object of its class answers at IoU 0.5; above 0.
        cost_false: of a found object that answers none; above 0.
        masks: compare masks instead of boxes.
        resamples: how often the images are drawn again for the interval.
        seed: of the draws.

    Raises:
        InputError: a cost is not above 0, or the two do not speak of the same images.
    """
    for name, cost in (("miss", cost_miss), ("false alarm", cost_false)):
        if not 0 < cost < inf:
            raise InputError(f"the cost of a {name} is {cost}: expected a number above 0, such as 1")
    table = matched(truth, found, len(names), masks=masks, most=None)
    right = table.right[0]
    steps = np.where(right, -cost_miss, cost_false)
    score = _cheapest(table.score, steps)
    enough = np.bincount(table.truth_class, minlength=len(names)) >= ENOUGH_OBJECTS
    own = {
        name: _cheapest(table.score[table.class_id == k], steps[table.class_id == k])
        for k, name in enumerate(names)
        if enough[k]
    }
    counted = table.score >= score
    misses = len(table.truth_class) - int((counted & right).sum())
    false_alarms = int((counted & ~right).sum())
    scores, hits, claims = _curve(table)
    objects = len(table.truth_class)
    with np.errstate(invalid="ignore", divide="ignore"):
        costs = (cost_miss * (objects - hits) + cost_false * (claims - hits)) / np.float64(table.images)
        recalls, precisions = hits / np.float64(objects), hits / claims
    return OperatingPoint(
        score=score,
        score_interval=_interval(table, steps, resamples, seed),
        by_class={name: own.get(name, score) for name in names},
        own=tuple(own),
        cost_miss=cost_miss,
        cost_false=cost_false,
        misses=misses,
        false_alarms=false_alarms,
        cost=(cost_miss * misses + cost_false * false_alarms) / table.images if table.images else None,
        images=table.images,
        objects=objects,
        scores=scores,
        costs=costs,
        recalls=recalls,
        precisions=precisions,
    )


def _cheapest(score: Numbers, steps: Numbers) -> float:
    """Return the middle of the widest stretch of scores in which the cost is the lowest.

    Args:
        score: (d,) falling.
        steps: (d,) what counting each found object adds to the cost.
    """
    ends = last_of_equal(score)
    return float(_middles(score[ends], np.cumsum(steps)[ends][None, :])[0])


def _middles(score: Numbers, costs: Numbers) -> Numbers:
    """Return (r,) the middle of the widest cheapest stretch of each row of costs.

    Args:
        score: (k,) falling, all different.
        costs: (r, k) beyond that of counting nothing, if found objects count down to each of the scores.
    """
    # A threshold above edges[j + 1] and up to edges[j] counts the first j scores.
    edges = np.concatenate([[1.0], score, [0.0]])
    every = np.concatenate([np.zeros((len(costs), 1)), costs], axis=1)
    cheap = every <= every.min(axis=1, keepdims=True) + _EQUAL
    # Neighbouring stretches are one: the width since the last one that costs more.
    total = np.cumsum(np.where(cheap, edges[:-1] - edges[1:], 0.0), axis=1)
    width = total - np.maximum.accumulate(np.where(cheap, 0.0, total), axis=1)
    last = np.where(cheap, width, -1.0).argmax(axis=1)
    low = edges[last + 1]
    # Where a found object has the score 1, only a threshold above 1 leaves it out.
    middle: Numbers = np.maximum(low + width[np.arange(len(costs)), last] / 2, np.nextafter(low, 2))
    return middle


def _interval(table: Table, steps: Numbers, resamples: int, seed: int) -> Bounds | None:
    if table.images < 2:
        return None
    ends = last_of_equal(table.score)
    at_once = max(1, _CELLS // max(len(table.score), table.images))
    middles = [
        _middles(table.score[ends], np.cumsum(weights[:, table.image] * steps, axis=1)[:, ends])
        for weights in draws(table.images, resamples, seed, at_once)
    ]
    return bounds(np.concatenate(middles), table.images)


def _curve(table: Table) -> tuple[Numbers, Numbers, Numbers]:
    """Return scores from 0 to 1, and how many found objects that reach each are right, and how many reach it."""
    scores = np.linspace(0, 1, _GRID, dtype=np.float64)
    claims = np.searchsorted(-table.score, -scores, side="right")
    hits = np.append(0, np.cumsum(table.right[0]))[claims]
    return scores, hits.astype(np.float64), claims.astype(np.float64)

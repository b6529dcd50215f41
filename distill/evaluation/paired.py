"""Whether one says more than the other: the difference of two on the same images, drawn again together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..objects import Objects
from .resampling import average_precisions, bounds, mean_of, resampled
from .table import LEVELS, Numbers, matched

Metric = Literal["ap50", "ap50_95"]

_EQUAL = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second.

    Attributes:
        difference: of the metric; None where nothing is true in any image.
        low, high: interval of 95 %; None with fewer than two images.
        share_above_zero: of the resamples, those where the first is better; equal ones count half.
        images: that were drawn again.
    """

    difference: float | None
    low: float | None
    high: float | None
    share_above_zero: float | None
    images: int


def paired_difference(
    truth: Sequence[Objects],
    first: Sequence[Objects],
    second: Sequence[Objects],
    names: Sequence[str],
    *,
    metric: Metric = "ap50",
    masks: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Difference:
    """Compare two that looked at the same images, by the paired bootstrap (Efron and Tibshirani, 1993).

    In each resample both are measured on the same drawn images, so what makes an image hard falls out.

    Args:
        truth: what is there; one per image.
        first, second: what the two say of the same images, in the same order.
        names: the classes.
        metric: mean over the classes at IoU 0.5, or also over IoU 0.5 to 0.95.
        masks: compare masks instead of boxes.
        resamples: how often the images are drawn again.
        seed: of the draws.

    Raises:
        InputError: they do not speak of the same images.
    """
    levels = LEVELS[:1] if metric == "ap50" else LEVELS
    points: list[float] = []
    draws: list[Numbers] = []
    for said in (first, second):
        table = matched(truth, said, len(names), masks=masks)
        points.append(float(mean_of(average_precisions(table, np.ones((1, len(truth))), levels))[0]))
        draws.append(mean_of(resampled(table, levels=levels, resamples=resamples, seed=seed)))
    apart = draws[0] - draws[1]
    known = apart[np.isfinite(apart)]
    low, high = bounds(apart, len(truth)) or (None, None)
    return Difference(
        points[0] - points[1] if np.isfinite(points).all() else None,
        low,
        high,
        float((known > _EQUAL).mean() + (np.abs(known) <= _EQUAL).mean() / 2) if low is not None else None,
        len(truth),
    )

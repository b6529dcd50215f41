"""The threshold per class that costs least on some images, steadied where there are few objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .calibration_claims import Aim, Claims, Numbers

ENOUGH = 10
"""With so many objects a class leans on its own threshold and the common one alike; with more, on its own."""

_DRAWS = 40


def choose_thresholds(
    found: Claims,
    rows: npt.NDArray[np.int64],
    aim: Aim,
    today: Sequence[float],
    *,
    own: bool = True,
    seed: int = 0,
) -> tuple[float, ...]:
    """Return one threshold per class, chosen on some images of the gold set.

    The cheapest threshold of a sample jumps about, so it is taken on 40 draws of the images with replacement and their
    median counts (bagging, Breiman, 1996). A class with n objects gets n / (n + 10) of its own threshold and the rest
    of the common one, the cheapest single threshold for all classes together. A class without objects keeps today's.

    Args:
        found: all boxes of the gold set.
        rows: positions of the images that choose.
        aim: what counts as cheap.
        today: thresholds in force.
        own: False gives every class the common threshold.
        seed: of the draws.
    """
    images, classes = found.objects.shape
    random = np.random.default_rng(seed)
    weights = np.zeros((_DRAWS, images))
    weights[:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), _DRAWS)
    seen = np.zeros(images, dtype=bool)
    seen[rows] = True
    here = seen[found.image]
    # Classes without objects would only add false alarms that no threshold of theirs answers for.
    there = np.asarray(found.objects[rows].any(axis=0))
    common = _cheapest(found, here & there[found.class_id], found.objects[:, there].sum(axis=1), weights, aim)
    chosen = list(today)
    for class_id in range(classes):
        objects = found.objects[rows, class_id].sum()
        if objects == 0:
            continue
        best = common
        if own:
            alone = _cheapest(found, here & (found.class_id == class_id), found.objects[:, class_id], weights, aim)
            best = (objects * alone + ENOUGH * common) / (objects + ENOUGH)
        chosen[class_id] = round(float(best), 4)
    return tuple(chosen)


def _cheapest(found: Claims, of: npt.NDArray[np.bool_], objects: Numbers, weights: Numbers, aim: Aim) -> float:
    """Return the median over the draws of the cheapest threshold, each in the middle between two scores."""
    score, image, hit = found.score[of], found.image[of], found.hit[of]
    # After k boxes, where the next one has a lower score; none is a choice, too.
    ends = np.flatnonzero(np.append(score[:-1] > score[1:], True)) + 1 if len(score) else np.zeros(0, dtype=int)
    each = weights[:, image]
    hits = np.cumsum(each * hit, axis=1)[:, ends - 1]
    said = np.cumsum(each, axis=1)[:, ends - 1]
    nothing = np.zeros((len(weights), 1))
    hits, said = np.hstack([nothing, hits]), np.hstack([nothing, said])
    loss = aim.loss(hits, said - hits, np.broadcast_to((weights @ objects)[:, None], hits.shape))
    borders = np.concatenate([[1.0], score[ends - 1], [0.0]])
    middles = (borders[:-1] + borders[1:]) / 2
    if len(score):
        middles[-1] = max(middles[-1], score[-1] * 0.999)  # nothing was seen below the lowest score
    return float(np.median(middles[loss.argmin(axis=1)]))

"""The most alike pictures of which one is in one part of a split and one in another."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..curation.alignment import Thumbnails, alike
from ..curation.near_pairs import Pairs, outlines

_MOST = 10_000
"""So many pairs with the most alike outlines are looked at, besides the nearest of each picture."""

_LEAST = 0.35
"""Cosine of outlines; below it two pictures showed different things wherever that was measured."""

_VALUES_AT_ONCE = 4_000_000


def nearest_across(thumbnails: Thumbnails, homes: npt.NDArray[np.int64]) -> tuple[Pairs, npt.NDArray[np.float32]]:
    """Return pairs of rows with different homes, (m, 2), the smaller row first, and how alike they are, (m,).

    All pairs are compared by their outlines, in blocks; memory grows with the pictures and not with their square. The
    nearest picture elsewhere of each one, and the most alike pairs of all, are then laid over each other, see
    ``alignment.alike``. The most alike pair comes first. Flat pictures are like nothing.

    Args:
        thumbnails: (n, 48, 48).
        homes: (n,) what part a picture is in, as a number.
    """
    shapes = outlines(thumbnails)
    shown = np.flatnonzero(shapes.any(axis=1))
    shown = shown[np.argsort(homes[shown], kind="stable")]
    shapes, homes = shapes[shown], homes[shown]
    begins = [0, *(np.flatnonzero(np.diff(homes)) + 1).tolist(), len(homes)]
    if len(begins) < 3:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.float32)
    nearest, least = list[Pairs](), _LEAST
    best: Pairs = np.zeros((0, 2), dtype=np.int64)
    values: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    step = max(_VALUES_AT_ONCE // len(shapes), 1)
    for begin, end in pairwise(begins):
        for start in range(begin, end, step):
            rows = np.arange(start, min(start + step, end))
            block = shapes[rows] @ shapes.T
            block[:, begin:end] = -2
            nearest.append(np.stack([rows, block.argmax(axis=1)], axis=1))
            # Pairs with homes before this one were seen from there.
            first, second = np.nonzero(block[:, end:] >= least)
            best = np.concatenate([best, np.stack([first + start, second + end], axis=1)])
            values = np.concatenate([values, block[first, second + end]])
            if len(best) > _MOST:
                kept = np.argpartition(-values, _MOST - 1)[:_MOST]
                best, values = best[kept], values[kept]
                least = float(values.min())
    pairs = np.unique(np.sort(shown[np.concatenate([*nearest, best])], axis=1), axis=0)
    similarity = alike(thumbnails, pairs)
    order = np.argsort(-similarity, kind="stable")
    return pairs[order], similarity[order]

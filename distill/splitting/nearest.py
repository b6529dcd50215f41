"""The most alike pictures of which one is in one part of a split and one in another, also mirrored or turned."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..curation.alignment import Thumbnails, alike
from ..curation.near_pairs import Pairs, outlines

_MOST = 10_000
"""So many pairs with the most alike outlines are looked at, besides the nearest of each picture."""

_LEAST = 0.35
"""Cosine of outlines; below it two pictures showed different things wherever that was measured."""

_LEAST_TURNED = 0.6
"""The same for a mirrored or turned picture; copies of a whole picture stay above it."""

_VALUES_AT_ONCE = 4_000_000

_Grid = npt.NDArray[Any]


def _ways() -> list[Callable[[_Grid], _Grid]]:
    """Return the seven ways to mirror or turn pictures, (n, side, side), besides none at all."""
    turned = [lambda grid, times=times: np.rot90(grid, times, axes=(1, 2)) for times in range(4)]
    return [*turned[1:], *(lambda grid, turn=turn: turn(grid[:, :, ::-1]) for turn in turned)]


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


def turned_across(thumbnails: Thumbnails, homes: npt.NDArray[np.int64]) -> tuple[Pairs, npt.NDArray[np.float32]]:
    """Return pairs with different homes, (m, 2), of which one may be the other mirrored or turned, and how alike, (m,).

    Turned means by 90, 180 or 270 degrees, before or after a mirror. As ``nearest_across``, but of each way only pairs
    whose outlines agree well are laid over each other; a pair has the similarity of its best way. The most alike pair
    comes first.

    Args:
        thumbnails: (n, 48, 48).
        homes: (n,) a number; pictures of one home are not compared.
    """
    shapes = outlines(thumbnails)
    side = round(shapes.shape[1] ** 0.5)
    found: dict[tuple[int, int], float] = {}
    for way in _ways():
        turned = np.ascontiguousarray(way(shapes.reshape(-1, side, side))).reshape(shapes.shape)
        pairs = _outlined(shapes, turned, homes)
        count = len(pairs)
        both = np.concatenate([thumbnails[pairs[:, 0]], way(thumbnails[pairs[:, 1]])])
        similarity = alike(both, np.stack([np.arange(count), np.arange(count) + count], axis=1))
        for (first, second), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
            found[first, second] = max(value, found.get((first, second), 0.0))
    best = sorted(found, key=lambda pair: (-found[pair], pair))
    values = np.array([found[pair] for pair in best], dtype=np.float32)
    return np.array(best, dtype=np.int64).reshape(-1, 2), values


def _outlined(shapes: npt.NDArray[np.float32], turned: npt.NDArray[np.float32], homes: npt.NDArray[np.int64]) -> Pairs:
    """Return the pairs with different homes whose outlines agree best once the second is turned, smaller row first."""
    best: Pairs = np.zeros((0, 2), dtype=np.int64)
    values: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    step = max(_VALUES_AT_ONCE // max(len(shapes), 1), 1)
    for start in range(0, len(shapes), step):
        block = shapes[start : start + step] @ turned[start:].T
        first, second = np.nonzero(block >= _LEAST_TURNED)
        kept = (second > first) & (homes[first + start] != homes[second + start])
        first, second = first[kept], second[kept]
        best = np.concatenate([best, np.stack([first, second], axis=1) + start])
        values = np.concatenate([values, block[first, second]])
        if len(best) > _MOST:
            most = np.argpartition(-values, _MOST - 1)[:_MOST]
            best, values = best[most], values[most]
    return best

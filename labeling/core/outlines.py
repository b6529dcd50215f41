"""Outlines of masks from their vertical runs: exact corners, one polygon per 4-connected part, holes as rings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

Positions = npt.NDArray[np.int64]

_RIGHT, _DOWN, _LEFT, _UP = range(4)


def trace(column: Positions, start: Positions, end: Positions) -> list[shapely.Polygon]:
    """Return the parts of a mask, the largest first.

    Every border between a set and an unset pixel is walked with the set pixel on the right hand, so outer rings run
    clockwise on the screen and holes the other way round. Where two parts touch at a corner only, the walk turns right
    and they stay two. A part that touches itself at a corner has one ring that passes there twice.

    Args:
        column: (n,) of each vertical run of set pixels, ascending.
        start: (n,) its first row.
        end: (n,) the row after its last.
    """
    if len(column) == 0:
        return []
    rings = _rings(*_borders(column, start, end))
    areas = np.array([_area(ring) for ring in rings])
    outer = [ring for ring, area in zip(rings, areas, strict=True) if area > 0]
    holes = [ring for ring, area in zip(rings, areas, strict=True) if area < 0]
    parts = [shapely.Polygon(ring) for ring in outer]
    if holes:
        parts = _with_holes(parts, areas[areas > 0], holes)
    return [parts[place] for place in np.argsort([-part.area for part in parts], kind="stable")]


def _borders(column: Positions, start: Positions, end: Positions) -> tuple[Positions, Positions, Positions, Positions]:
    """Return x, y, direction and length of every straight piece of border, in no order."""
    stride = int(end.max()) + 1
    # Up and down between each column and the one before it: the stretches where one of the two alone is set.
    here, there = column * stride, (column + 1) * stride
    keys = np.concatenate([here + start, here + end, there + start, there + end])
    one = np.ones(len(column), dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    state = np.cumsum(np.concatenate([one, -one, -one, one])[order])[:-1]
    lengths = np.diff(keys)
    alone = np.flatnonzero((state != 0) & (lengths > 0))
    x, y = np.divmod(keys[alone], stride)
    up, lengths = state[alone] > 0, lengths[alone]
    return (
        np.concatenate([column, column + 1, x]),
        np.concatenate([start, end, y + np.where(up, lengths, 0)]),
        np.concatenate([_RIGHT * one, _LEFT * one, np.where(up, _UP, _DOWN)]),
        np.concatenate([one, one, lengths]),
    )


def _rings(x: Positions, y: Positions, direction: Positions, length: Positions) -> list[npt.NDArray[np.float64]]:
    """Link the pieces of border to closed rings and return the corners of each, (k, 2)."""
    stride = int(y.max()) + 1
    order = np.argsort(x * stride + y, kind="stable")
    x, y, direction, length = x[order], y[order], direction[order], length[order]
    begins = x * stride + y
    ends = (x + np.array([1, 0, -1, 0])[direction] * length) * stride
    ends += y + np.array([0, 1, 0, -1])[direction] * length
    following = np.searchsorted(begins, ends)
    # Two pieces begin where two pixels touch at a corner; turning right stays with the same pixel.
    twice = np.flatnonzero(begins[np.minimum(following + 1, len(begins) - 1)] == ends)
    twice = twice[following[twice] + 1 < len(begins)]
    following[twice] += direction[following[twice]] != (direction[twice] + 1) % 4
    corner = np.empty(len(x), dtype=np.bool_)
    corner[following] = direction[following] != direction
    points = np.stack([x, y], axis=1).astype(np.float64)
    return [points[loop[corner[loop]]] for loop in _loops(following)]


def _loops(following: Positions) -> list[Positions]:
    """Return the cycles of a permutation."""
    after = following.tolist()
    loops = []
    for first in range(len(after)):
        place, loop = first, []
        while after[place] >= 0:
            loop.append(place)
            after[place], place = -1, after[place]
        if loop:
            loops.append(np.array(loop))
    return loops


def _with_holes(
    parts: list[shapely.Polygon], areas: npt.NDArray[np.float64], holes: list[npt.NDArray[np.float64]]
) -> list[shapely.Polygon]:
    """Give each hole to the smallest part around it; a part inside a hole is smaller, and not around it."""
    # Half a pixel to the right of the first piece of a hole's border is the middle of a pixel of its part.
    steps = np.array([np.sign(hole[1] - hole[0]) for hole in holes])
    firsts = np.array([hole[0] for hole in holes])
    inside = shapely.points(firsts + (steps + np.stack([-steps[:, 1], steps[:, 0]], axis=1)) / 2)
    hole, part = shapely.STRtree(parts).query(inside, predicate="within")
    smallest = np.lexsort((areas[part], hole))
    owned: dict[int, list[npt.NDArray[np.float64]]] = {}
    seen = -1
    for pair in smallest:
        if hole[pair] != seen:
            seen = hole[pair]
            owned.setdefault(int(part[pair]), []).append(holes[seen])
    return [shapely.Polygon(outer.exterior, owned.get(number)) for number, outer in enumerate(parts)]


def _area(ring: npt.NDArray[np.float64]) -> float:
    """Return the area; positive where the ring runs clockwise with y pointing down."""
    x, y = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2

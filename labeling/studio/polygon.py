"""The plainest polygon that says a mask, for people who drag its corners; None where a brush says it better."""

from __future__ import annotations

import math

import numpy as np
import shapely

from ..core import geometry, masks
from ..core.geometry import Points
from ..core.outlines import Positions, trace
from ..core.records import Rle

MIN_POLYGON_IOU = 0.99
"""A mask that no polygon holds as well as this is pushed as a brush."""

_FINEST_PX, _COARSEST_PX = 0.5, 8.0
_STEPS = 4
_THINNEST_PX = 2
_MOST_CORNERS = 1000
"""Beyond it a brush is the lighter one to look at."""

_DIGITS = 6
"""Of a percentage; a millionth of a picture's side is far below a pixel."""


def outline_percent(rle: Rle) -> Points | None:
    """Return the plainest outline that holds a mask, (k, 2) percent of its picture; None where a brush says it better.

    That is where the mask has holes or several parts, is a speck or a line, or is so jagged that no outline of a
    thousand corners comes within ``MIN_POLYGON_IOU`` of it. The same mask always gets the same outline: `pull` finds
    out by it whether anybody touched the region.
    """
    column, start, end = masks.column_runs(rle)
    if not len(column) or min(np.ptp(column) + 1, end.max() - start.min()) < _THINNEST_PX:
        return None
    if _parts_less_holes(column, start, end, rle["size"][0]) != 1:
        return None
    parts = trace(column, start, end)
    if len(parts) != 1 or parts[0].interiors or not parts[0].is_valid:
        return None
    best = None
    # The largest tolerance that holds, searched for by halves; where even the finest fails, the steps stay in.
    finest, coarsest = _FINEST_PX, _COARSEST_PX
    for _ in range(_STEPS):
        tolerance = math.sqrt(finest * coarsest)
        if (found := _percent_if_it_holds(parts[0].simplify(tolerance, preserve_topology=False), rle)) is None:
            coarsest = tolerance
        else:
            best, finest = found, tolerance
    for tolerance in (_FINEST_PX, 0.0) if best is None else ():
        if (best := _percent_if_it_holds(parts[0].simplify(tolerance, preserve_topology=False), rle)) is not None:
            break
    return best


def _percent_if_it_holds(shape: shapely.Geometry, rle: Rle) -> Points | None:
    """Return the corners where they, read back, hold the mask."""
    if not isinstance(shape, shapely.Polygon) or shape.is_empty or not shape.is_valid:
        return None
    size_wh = (rle["size"][1], rle["size"][0])
    percent: Points = (100 * geometry.to_fractions(shapely.get_coordinates(shape)[:-1], size_wh)).round(_DIGITS)
    if not 3 <= len(percent) <= _MOST_CORNERS:
        return None
    again = masks.polygons_to_rle([geometry.from_fractions(percent / 100, size_wh)], (size_wh[1], size_wh[0]))
    return percent if masks.iou(rle, again) >= MIN_POLYGON_IOU else None


def _parts_less_holes(column: Positions, start: Positions, end: Positions, height: int) -> int:
    """Return the number of 4-connected parts of a mask less that of its holes: its runs less where two of them meet."""
    stride = height + 1
    following = (column + 1) * stride
    begun = np.searchsorted(column * stride + start, following + end, side="left")
    over = np.searchsorted(column * stride + end, following + start, side="right")
    return len(column) - int((begun - over).sum())

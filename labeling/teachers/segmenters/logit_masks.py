"""Low-resolution mask logits to run lengths of the full frame, for the cost of the outline instead of the area.

Upsampling (bilinear, ``align_corners=False``) blends two cells along each axis. Along x it is done for every column of
pixels, but only at the rows of the grid. Between two such rows a column changes evenly, so it can change sign only
where its two ends differ, and where that happens is a division. Rounding follows torch's kernel for the CPU, which
fuses the first product with the sum: its pixels next to 0 are decided as it decides them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...core.masks import Positions, encode_edges, odd_ones
from ...core.records import Rle

ISLAND_SHARE = 0.01
"""Parts of a mask below this share of its area are specks of the upsampled logits, not the object."""

_DOUBT = 1e-6
"""Share of the largest logit, some steps of a float32, within which rounding may decide the sign of a blend."""

_HUGE = 1e30


Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Axis:
    """How the pixels of one axis blend its cells.

    Attributes:
        cells: number of cells.
        size: number of pixels.
        first: (size,) the cell before each pixel's centre.
        second: (size,) the cell after it, or the same one at the end.
        weight: (size,) float32 weight of the second cell; the other one has the rest.
        source: (size + 2,) first + weight of each pixel, ascending, between minus and plus infinity.
        begins: (cells + 1,) the first pixel of each first cell, and ``size``.
    """

    cells: int
    size: int
    first: Positions
    second: Positions
    weight: npt.NDArray[np.float32]
    source: npt.NDArray[np.float64]
    begins: Positions


def axis(cells: int, size: int) -> Axis:
    """Return the taps as torch computes them: in float32, with the multiplication and subtraction rounded once."""
    scale = np.float64(np.float32(cells) / np.float32(size))
    centres = (np.arange(size) + 0.5).astype(np.float32).astype(np.float64)
    source = np.maximum((centres * scale - 0.5).astype(np.float32), np.float32(0))
    first = np.minimum(source.astype(np.int64), cells - 1)
    weight = np.clip(source - first.astype(np.float32), 0, 1).astype(np.float32)
    return Axis(
        cells,
        size,
        first,
        np.minimum(first + 1, cells - 1),
        weight,
        np.concatenate([[-np.inf], first + weight.astype(np.float64), [np.inf]]),
        np.searchsorted(first, np.arange(cells + 1)),
    )


def encode_logits(logits: npt.NDArray[np.float32], y_axis: Axis, x_axis: Axis, *, islands: bool) -> Rle | None:
    """Return the pixels above 0 of one upsampled mask, or None where there are none.

    Args:
        logits: (rows, columns) that cover the image edge to edge.
        y_axis: rows to the height of the image.
        x_axis: columns to its width.
        islands: keep 8-connected parts below ``ISLAND_SHARE`` of the area too.
    """
    columns, starts, ends = _column_runs(logits, y_axis, x_axis)
    if not islands and len(columns):
        kept = _without_islands(columns, starts, ends, y_axis.size)
        columns, starts, ends = columns[kept], starts[kept], ends[kept]
    if len(columns) == 0:
        return None
    top = columns * y_axis.size
    edges = np.stack([top + starts, top + ends], axis=1).ravel()
    # A run that ends at the foot of a column goes on at the head of the next.
    return encode_edges(odd_ones(edges), (y_axis.size, x_axis.size))


def _column_runs(logits: npt.NDArray[np.float32], y_axis: Axis, x_axis: Axis) -> tuple[Positions, Positions, Positions]:
    """Return column, first row and row after the last of every vertical run of pixels above 0, column by column."""
    above = logits > 0
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if len(rows) == 0:
        return rows, rows, rows
    # One more cell on each side: what blends with a cell above 0.
    top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, y_axis.cells)
    west, east = max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, x_axis.cells)
    left, right = int(x_axis.begins[west]), int(x_axis.begins[int(columns[-1]) + 1])
    cells = np.ascontiguousarray(logits[top:bottom, west:east].T)
    largest = np.abs(cells).max()
    if not np.isfinite(largest):
        largest = _HUGE
        np.nan_to_num(cells, copy=False, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)
    doubt = _DOUBT * float(largest)
    first, second, weight = x_axis.first[left:right] - west, x_axis.second[left:right] - west, x_axis.weight[left:right]

    def exactly(column: Positions, row: Positions) -> Values:
        one, other = cells[first[column], row], cells[second[column], row]
        return _blend(one, other, weight[column]).astype(np.float32)

    blended = cells[first]
    blended *= 1 - weight[:, None]
    beyond = cells[second]
    beyond *= weight[:, None]
    blended += beyond
    column, row = np.nonzero(np.abs(blended) <= doubt)
    blended[column, row] = exactly(column, row)

    # Between rows of unset cells, so that runs which touch the border end there.
    inside = np.zeros((right - left, bottom - top + 2), dtype=np.bool_)
    np.greater(blended, 0, out=inside[:, 1:-1])
    column, place = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), bottom - top + 1)
    # A mask that is cut off by the border begins or ends with the image.
    row = np.where(place == 0, 0, y_axis.size)
    inner = (place > 0) & (place < bottom - top)
    at, before = column[inner], place[inner] - 1
    crossing, gap = _crossings(blended[at, before], blended[at, before + 1], top + before, y_axis)
    close = np.flatnonzero(gap <= 2 * doubt)
    if len(close):
        at, before = at[close], before[close]
        crossing[close] = _search(exactly(at, before), exactly(at, before + 1), top + before, y_axis)
    row[inner] = crossing
    # Where pixels are coarser than cells, a value can cross 0 twice between two of them.
    stride = y_axis.size + 1
    column, row = np.divmod(odd_ones(column * stride + row), stride)
    return column[::2] + left, row[::2], row[1::2]


def _crossings(
    before: Values, after: Values, cells: Positions, y_axis: Axis
) -> tuple[Positions, npt.NDArray[np.float64]]:
    """Return the first row of pixels after each change of sign, and how near to 0 the values on its two sides are.

    Args:
        before: (n,) values at the row of cells before the change.
        after: (n,) values at the next row of cells.
        cells: (n,) the row of cells before the change.
        y_axis: of the rows.
    """
    step = before.astype(np.float64) - after
    zero = cells + before / step
    row = np.clip(((zero + 0.5) * (y_axis.size / y_axis.cells) + 0.5).astype(np.int64), 0, y_axis.size)
    # Rounding may have put it one off: the centre after the change is the first that lies behind it.
    row += y_axis.source[row + 1] < zero
    row -= y_axis.source[row] >= zero
    return row, np.minimum(y_axis.source[row + 1] - zero, zero - y_axis.source[row]) * np.abs(step)


def _search(before: Values, after: Values, cells: Positions, y_axis: Axis) -> Positions:
    """Return the rows of ``_crossings`` by looking at pixels: a blend rises or falls with its weight, rounded too."""
    low, high = y_axis.begins[cells], y_axis.begins[cells + 1]
    above = before > 0
    while (low < high).any():
        middle = np.minimum((low + high) // 2, y_axis.size - 1)
        same = ((_blend(before, after, y_axis.weight[middle]) > 0) == above) & (low < high)
        low, high = np.where(same, middle + 1, low), np.where(same, high, np.maximum(middle, low))
    return low


def _blend(one: Values, other: Values, weight: Values) -> npt.NDArray[np.float64]:
    """Return ``one * (1 - weight) + other * weight``, the second product rounded to float32, the first one not."""
    blended = one.astype(np.float64)
    blended *= 1 - weight
    blended += other * weight
    return blended


def _without_islands(columns: Positions, starts: Positions, ends: Positions, height: int) -> npt.NDArray[np.bool_]:
    """Say which runs belong to an 8-connected part with at least ``ISLAND_SHARE`` of the area."""
    stride = height + 1
    first, last = columns * stride + starts, columns * stride + ends
    # Runs of the next column that touch: they end no earlier than this one starts and start no later than it ends.
    low = np.searchsorted(last, first + stride)
    high = np.searchsorted(first, last + stride, side="right")
    touching = high - low
    if np.count_nonzero(touching == 0) == 1:  # from every run a way leads on to the same last one
        return np.ones(len(columns), dtype=np.bool_)
    run = np.repeat(np.arange(len(columns)), touching)
    neighbour = np.arange(len(run)) + np.repeat(low - (np.cumsum(touching) - touching), touching)
    links = coo_array((np.ones(len(run), dtype=np.bool_), (run, neighbour)), shape=(len(columns), len(columns)))
    _, part = connected_components(links, directed=False)
    areas = np.bincount(part, weights=ends - starts)
    kept: npt.NDArray[np.bool_] = (areas >= ISLAND_SHARE * areas.sum())[part]
    return kept

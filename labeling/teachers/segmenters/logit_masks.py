"""Low-resolution mask logits to run lengths of the full frame, for the cost of the outline instead of the area.

Upsampling (bilinear, ``align_corners=False``) blends two cells along x and then two of the results along y. What is
blended from cells of one sign has that sign, so only where neighbours differ is anything computed: along x for the
pixels between two such cells, along y where the sign changes, which is found by one division. Rounding follows torch's
kernel for the CPU, which rounds the second product of a blend and fuses the first one with the sum: pixels next to 0
come out as it decides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...core.masks import Positions, encode_edges, odd_ones
from ...core.records import Rle

ISLAND_SHARE = 0.01
"""Parts of a mask below this share of its area are specks of the upsampled logits, not the object."""

_CLOSE = 1e-6
"""Nearer to a change of sign than this, in cells, rounding decides about a pixel; some steps of a float32."""

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


@lru_cache(maxsize=8)  # photos of one camera have one size
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
    if not np.isfinite(cells).all():
        np.nan_to_num(cells, copy=False, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)
    first, second, weight = x_axis.first[left:right] - west, x_axis.second[left:right] - west, x_axis.weight[left:right]

    set_cells = cells > 0
    # Between rows of unset cells, so that runs which touch the border end there.
    inside = np.zeros((right - left, bottom - top + 2), dtype=np.bool_)
    inside[:, 1:-1] = set_cells[first]
    cell, row = np.nonzero(set_cells[1:] != set_cells[:-1])
    column, pair = _spread(x_axis.begins[cell + west] - left, x_axis.begins[cell + west + 1] - left)
    cell, row = cell[pair], row[pair]
    inside[column, row + 1] = _blend(cells[cell, row], cells[cell + 1, row], weight[column]) > 0

    column, place = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), bottom - top + 1)
    # A mask that is cut off by the border begins or ends with the image.
    row = np.where(place == 0, 0, y_axis.size)
    inner = (place > 0) & (place < bottom - top)
    at, above = column[inner], place[inner] - 1
    one, other, share = first[at], second[at], weight[at]
    before = _blend(cells[one, above], cells[other, above], share).astype(np.float32)
    after = _blend(cells[one, above + 1], cells[other, above + 1], share).astype(np.float32)
    row[inner] = _crossings(before, after, top + above, y_axis)
    # Where pixels are coarser than cells, a value can cross 0 twice between two of them.
    stride = y_axis.size + 1
    column, row = np.divmod(odd_ones(column * stride + row), stride)
    return column[::2] + left, row[::2], row[1::2]


def _spread(begins: Positions, ends: Positions) -> tuple[Positions, Positions]:
    """Return every whole number from a begin to before its end, and the place of the pair that it is from."""
    lengths = ends - begins
    pair = np.repeat(np.arange(len(lengths)), lengths)
    return np.arange(len(pair)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths), pair


def _crossings(before: Values, after: Values, cells: Positions, y_axis: Axis) -> Positions:
    """Return the first row of pixels after each change of sign.

    Args:
        before: (n,) values at the row of cells before the change.
        after: (n,) values at the next row of cells.
        cells: (n,) the row of cells before the change.
        y_axis: of the rows.
    """
    start = before.astype(np.float64)
    zero = cells + start / (start - after)
    row = np.clip(((zero + 0.5) * (y_axis.size / y_axis.cells) + 0.5).astype(np.int64), 0, y_axis.size)
    # Rounding may have put it one off: the centre after the change is the first that lies behind it.
    row += y_axis.source[row + 1] < zero
    row -= y_axis.source[row] >= zero
    close = np.flatnonzero(np.minimum(y_axis.source[row + 1] - zero, zero - y_axis.source[row]) <= _CLOSE)
    if len(close):
        row[close] = _search(before[close], after[close], cells[close], y_axis)
    return row


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
    neighbour, run = _spread(low, high)
    links = coo_array((np.ones(len(run), dtype=np.bool_), (run, neighbour)), shape=(len(columns), len(columns)))
    _, part = connected_components(links, directed=False)
    areas = np.bincount(part, weights=ends - starts)
    kept: npt.NDArray[np.bool_] = (areas >= ISLAND_SHARE * areas.sum())[part]
    return kept

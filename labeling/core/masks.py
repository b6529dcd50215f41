"""Masks: arrays, COCO run-length encodings and polygons, and how well one stands for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from pycocotools import mask as coco

from .errors import InputError
from .outlines import trace
from .records import Rle

Polygon = npt.NDArray[np.float64]
"""(k, 2) float64 corners, x then y, in pixels; the outline of pixel (row r, column c) is (c, r) to (c + 1, r + 1)."""

Positions = npt.NDArray[np.int64]
"""(n,) int64."""

_SIMPLIFY_PX = 0.75
"""Takes the steps off a slanted outline: in a diagonal staircase every second corner is 0.71 px off the line."""

_SMOOTHED_IOU = 0.99
"""An outline that would lose more by smoothing stays exact, which in the end is every small one."""


def encode(mask: npt.NDArray[np.bool_]) -> Rle:
    """Encode a (height, width) bool mask; any memory order. Raises ValueError for another shape or an empty array."""
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"expected a mask of shape (height, width), got {mask.shape}")
    return _as_text(coco.encode(np.asfortranarray(mask, dtype=np.uint8)))


def encode_edges(edges: Positions, size_hw: tuple[int, int]) -> Rle:
    """Encode a mask given by the places where it changes, counted down the columns.

    Args:
        edges: strictly ascending, the first set pixel, the first one after it that is not set, and so on; the last may
            be the number of pixels or be left out.
        size_hw: height and width of the image in pixels.
    """
    height, width = size_hw
    total = height * width
    if len(edges) == 0 or edges[-1] != total:
        edges = np.append(edges, total)
    return {"size": [height, width], "counts": _text_of(np.diff(edges, prepend=0))}


def decode(rle: Rle) -> npt.NDArray[np.bool_]:
    """Return the (height, width) bool mask. Raises InputError for a malformed encoding."""
    counts = run_lengths(rle)
    height, width = rle["size"]
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T


def area(rle: Rle) -> int:
    """Return the number of pixels in the mask. Raises InputError for a malformed encoding."""
    return int(run_lengths(rle)[1::2].sum())


def box(rle: Rle) -> tuple[float, float, float, float] | None:
    """Return x0, y0, x1, y1 of the smallest box that holds the mask, half-open; None where the mask is empty."""
    column, start, end = column_runs(rle)
    if len(column) == 0:
        return None
    return float(column[0]), float(start.min()), float(column[-1] + 1), float(end.max())


def edges(rle: Rle) -> Positions:
    """Return the places where the mask changes, counted down the columns, strictly ascending; see ``encode_edges``.

    Raises InputError for a malformed encoding.
    """
    counts = run_lengths(rle)
    return odd_ones(np.cumsum(counts)[:-1])


def column_runs(rle: Rle) -> tuple[Positions, Positions, Positions]:
    """Return every vertical run of set pixels, column by column: its column, first row, and row after the last.

    Raises InputError for a malformed encoding.
    """
    counts = run_lengths(rle)
    height = rle["size"][0]
    edges = np.cumsum(counts)
    ends = edges[1::2]
    starts = edges[0::2][: len(ends)]
    first = starts // height
    pieces = np.where(ends > starts, (ends - 1) // height - first + 1, 0)
    run = np.repeat(np.arange(len(pieces)), pieces)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    top = column * height
    return column, np.maximum(starts[run] - top, 0), np.minimum(ends[run] - top, height)


def placed(rle: Rle, box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int]) -> Rle:
    """Return a mask stretched over a part of a larger image, as a mask of that image; it is never decoded.

    A pixel belongs to the mask where its centre does. Where the part is as large as the mask, the pixels are the same.

    Args:
        rle: the mask of the part.
        box_xyxy: where the part lies, in pixels; what is outside the image is cut off.
        size_hw: height and width of the image in pixels.

    Raises:
        InputError: a malformed encoding.
    """
    x0, y0, x1, y1 = box_xyxy
    (rows, columns), (height, width) = rle["size"], size_hw
    column, start, end = column_runs(rle)
    left, right = (_first_centre(x0 + (column + step) * ((x1 - x0) / columns), width) for step in (0, 1))
    top, bottom = (_first_centre(y0 + row * ((y1 - y0) / rows), height) for row in (start, end))
    copies = np.where(bottom > top, right - left, 0)
    run = np.repeat(np.arange(len(copies)), copies)
    head = (left[run] + np.arange(len(run)) - np.repeat(np.cumsum(copies) - copies, copies)) * height
    return encode_edges(odd_ones(np.sort(np.concatenate([head + top[run], head + bottom[run]]))), size_hw)


def _first_centre(places: npt.NDArray[np.floating], size: int) -> Positions:
    """Return the first pixel of each place whose centre does not lie before it."""
    return np.clip(np.ceil(np.round(places - 0.5, 6)), 0, size).astype(np.int64)


def corners(rle: Rle) -> Polygon:
    """Return the corners of every vertical run of the mask, (k, 2) and unordered: the mask's hull is theirs."""
    column, start, end = column_runs(rle)
    x = np.concatenate([column, column + 1])
    return np.stack([np.tile(x, 2), np.concatenate([start, start, end, end])], axis=1).astype(np.float64)


def iou(one: Rle, other: Rle) -> float:
    """Return intersection over union of two masks of one image; 0 where both are empty."""
    run_lengths(one), run_lengths(other)
    return float(coco.iou([one], [other], [0])[0, 0])


def rle_to_polygons(rle: Rle) -> tuple[list[Polygon], float]:
    """Return the outline of a mask, and how well it stands for the mask.

    One polygon per 4-connected part, the largest first. Steps are smoothed where that costs little. A hole is cut free
    from its outline: the ring runs to the hole, around it and back along the same line, so the hole is kept.

    Returns:
        polygons: rings of at least three corners, without the first one repeated; none for an empty mask.
        iou: IoU between the mask and the polygons drawn again by pycocotools, holes counted; 1.0 for an empty mask.
    """
    parts = trace(*column_runs(rle))
    if not parts:
        return [], 1.0
    for shapes in ([_smoothed(part) for part in parts], parts):
        polygons = [_ring(shape) for shape in shapes]
        quality = iou(rle, polygons_to_rle(polygons, (rle["size"][0], rle["size"][1])))
        if quality >= _SMOOTHED_IOU:
            break
    return polygons, quality


def polygons_to_rle(polygons: Sequence[npt.NDArray[np.floating]], size_hw: tuple[int, int]) -> Rle:
    """Draw the union of polygons as pycocotools draws it.

    Args:
        polygons: each (k, 2) pixels, k >= 3; none is an empty mask.
        size_hw: height and width of the image in pixels.

    Raises:
        InputError: fewer than three corners, NaN, infinity, or a corner further outside than the image is large.
    """
    height, width = size_hw
    reach = max(height, width)
    for number, polygon in enumerate(polygons):
        if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
            raise InputError(f"polygon {number}: expected at least three corners (k, 2), got shape {polygon.shape}")
        # Not finite fails this comparison too. pycocotools allocates by the length of an outline.
        if not ((polygon >= -reach) & (polygon <= 2 * reach)).all():
            raise InputError(
                f"polygon {number}: expected corners near the {width} x {height} image, got {_short(polygon.tolist())}"
            )
    if not polygons:
        return encode(np.zeros(size_hw, dtype=np.bool_))
    drawn = coco.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
    return _as_text(coco.merge(drawn))


def _smoothed(part: shapely.Polygon) -> shapely.Polygon:
    simple = part.simplify(_SIMPLIFY_PX)
    return simple if abs(simple.area - part.area) <= (1 - _SMOOTHED_IOU) * part.area else part


def _ring(part: shapely.Polygon) -> Polygon:
    """Return the outline of a polygon as one ring that takes in its holes."""
    ring = _corners(part.exterior)
    if not part.interiors:
        return ring
    tree = shapely.STRtree(shapely.points(ring))
    loops: dict[int, list[Polygon]] = {}
    for interior in part.interiors:
        hole = _corners(interior)
        if interior.is_ccw == part.exterior.is_ccw:
            hole = hole[::-1]
        (corners, anchors), gaps = tree.query_nearest(shapely.points(hole), return_distance=True, all_matches=False)
        nearest = int(np.argmin(gaps))
        corner, anchor = int(corners[nearest]), int(anchors[nearest])
        loop = np.concatenate([hole[corner:], hole[: corner + 1], ring[anchor : anchor + 1]])
        loops.setdefault(anchor, []).append(loop)
    pieces = []
    for anchor, corner_xy in enumerate(ring):
        pieces += [corner_xy[None], *loops.get(anchor, [])]
    return np.concatenate(pieces)


def _corners(ring: shapely.LinearRing) -> Polygon:
    return np.asarray(ring.coords, dtype=np.float64)[:-1]


def run_lengths(rle: Rle) -> Positions:
    """Return the lengths of the runs down the columns, zeros first. Raises InputError for a malformed encoding.

    pycocotools reads uninitialised memory where the runs are too short, so every encoding passes here first. The text
    holds groups of 5 bits, low ones first, bit 5 = "more follows", offset 48; from the fourth run on the difference to
    the run before the last is stored (pycocotools, common/maskApi.c, rleToString).
    """
    try:
        height, width = rle["size"]
        digits = np.frombuffer(rle["counts"].encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        expected = "{'size': [height, width], 'counts': text}"
        raise InputError(f"expected a mask as {expected}, got {_short(rle)}") from error
    ends = np.flatnonzero(digits < 32)
    lengths = np.diff(ends, prepend=-1)
    valid = len(digits) > 0 and digits.min() >= 0 and digits.max() < 64 and digits[-1] < 32 and lengths.max() <= 7
    if valid:
        firsts = ends - lengths + 1
        places = np.arange(len(digits)) - np.repeat(firsts, lengths)
        counts = np.add.reduceat((digits & 31) << (5 * places), firsts)
        counts -= np.where(digits[ends] & 16, np.int64(1) << (5 * lengths), 0)
        counts[1::2] = np.cumsum(counts[1::2])
        counts[2::2] = np.cumsum(counts[2::2])
        valid = bool(counts.min() >= 0) and min(height, width) > 0 and int(counts.sum()) == height * width
    if not valid:
        raise InputError(f"the runs of a mask do not fill its image of {width} x {height} px: {_short(rle)}")
    return counts


def odd_ones(ascending: Positions) -> Positions:
    """Return the values that stand an odd number of times: an edge that stands twice is none."""
    differ = ascending[1:] != ascending[:-1]
    if differ.all():
        return ascending
    firsts = np.flatnonzero(np.concatenate([[True], differ]))
    odd: Positions = ascending[firsts[np.diff(firsts, append=len(ascending)) % 2 == 1]]
    return odd


def _text_of(counts: Positions) -> str:
    """Return run lengths as text, the way that ``run_lengths`` reads it."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    size = values ^ (values >> 63)  # -1 needs as many digits as 0
    digits = np.ones(len(values), dtype=np.int64)
    most, bound = int(size.max()), 16  # n digits hold a sign and what fits 5 n - 1 bits
    while bound <= most:
        digits += size >= bound
        bound <<= 5
    shown = np.empty((len(values), int(digits.max())), dtype=np.uint8)
    for place in range(shown.shape[1]):
        shown[:, place] = (values & 31) + np.where(digits > place + 1, 80, 48)
        values >>= 5
    return shown[np.arange(shown.shape[1]) < digits[:, None]].tobytes().decode("ascii")


def _as_text(encoded: dict[str, object]) -> Rle:
    size, counts = encoded["size"], encoded["counts"]
    assert isinstance(size, list)
    assert isinstance(counts, bytes)
    return {"size": [int(size[0]), int(size[1])], "counts": counts.decode("ascii")}


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."

"""What a detector saw in overlapping looks at one image, as one list in which each object stands once.

The rule, for boxes in pixels of the image and inside what their look shows:

1. A box of a coarser level that is clearly smaller than what the level before showed whole is dropped.
2. A box that ends at an edge where its look cuts through the image is a part, any other one is whole.
3. A part goes where a whole box of its class covers most of it and is not far less certain: that is the object.
4. Parts of one class and level are one object where, within what both looks show, they agree. Their hull is the box,
   and what else is known comes from the most certain part.
5. Whole boxes of one object in several looks are left to non-maximum suppression, like boxes of one look.

Objects beside each other stay apart: their parts do not agree where both looks show them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely
from pycocotools import mask as coco
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..core import masks
from ..core.geometry import area
from ..core.records import Rle
from .tiles import Look

if TYPE_CHECKING:
    import supervision as sv

Boxes = npt.NDArray[np.float64]
"""(n, 4) xyxy."""

_EDGE_SHARE = 0.01
"""Detectors are off by about this share of what they see, so a box this near to an edge of its look ends there."""

_CLEARLY = 0.75
_COVERED = 0.6
_CREDIBLE = 0.5
_AGREE_IOU = 0.5

CUT, COARSE = "part_of_an_object_at_the_edge_of_a_tile", "seen_more_closely_in_a_smaller_tile"
"""Reasons why a box was dropped."""


def joined(
    seen: Sequence[tuple[Look, sv.Detections]], size_wh: tuple[int, int], counted: float
) -> tuple[sv.Detections, Counter[str]]:
    """Return what was seen in the looks at one image, and how many boxes were dropped by reason.

    Args:
        seen: what a detector said about each look, in pixels of what the look shows.
        size_wh: width and height of the image in pixels.
        counted: score from which on a box that is dropped is counted.
    """
    found, look = _together(seen, size_wh)
    frames = np.array([one.xyxy for one, _ in seen])
    levels, finer = np.array([(one.level, one.finer_px) for one, _ in seen]).T
    inner = np.array([one.inner for one, _ in seen])

    boxes, scores, classes = found.xyxy.astype(np.float64), found.confidence, found.class_id
    slack = _slack(frames)
    part = ends_at_a_cut(boxes, frames[look], inner[look])
    coarse = is_coarse(boxes, finer[look])

    whole_rows, part_rows = np.flatnonzero(~part & ~coarse), np.flatnonzero(part & ~coarse)
    grown = boxes + slack[look, None] * (-1, -1, 1, 1)  # a coarse look draws edges coarsely
    of, by = _meeting(boxes[part_rows], grown[whole_rows])
    of, by = part_rows[of], whole_rows[by]
    explains = (classes[of] == classes[by]) & (scores[by] >= _CREDIBLE * scores[of])
    explains &= _shared(boxes[of], grown[by]) >= _COVERED * area(boxes[of])
    cut = np.zeros(len(found), dtype=bool)
    cut[of[explains]] = True

    rows = part_rows[~cut[part_rows]]
    one, other = _meeting(boxes[rows], boxes[rows])
    one, other = rows[one], rows[other]
    same = (one < other) & (classes[one] == classes[other]) & (look[one] != look[other])
    same &= levels[look[one]] == levels[look[other]]
    one, other = one[same], other[same]
    agree = _agreement(boxes[one], boxes[other], frames[look[one]], frames[look[other]]) >= _AGREE_IOU
    for members in _groups(one[agree], other[agree], len(found)):
        best = members[int(np.argmax(scores[members]))]  # the first of equals
        found.xyxy[best] = [*boxes[members, :2].min(axis=0), *boxes[members, 2:].max(axis=0)]
        if "rle" in found.data:
            found.data["rle"][best] = _union([rle for rle in found.data["rle"][members] if rle is not None])
        cut[members[members != best]] = True

    certain = scores >= counted
    dropped = Counter({CUT: int((cut & certain).sum()), COARSE: int((coarse & certain).sum())})
    return found[~cut & ~coarse], +dropped


def ends_at_a_cut(boxes: Boxes, frames: npt.ArrayLike, inner: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which boxes end at an edge where their look, which shows ``frames``, cuts through the image."""
    around = np.asarray(frames, dtype=np.float64).reshape(-1, 4)
    near = np.abs(boxes - around) <= _slack(around)[:, None]
    cut: npt.NDArray[np.bool_] = (near & np.asarray(inner)).any(axis=1)
    return cut


def is_coarse(boxes: Boxes, finer_px: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which boxes are clearly smaller than what the level before their look's showed whole."""
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=-np.inf)
    coarse: npt.NDArray[np.bool_] = longer < _CLEARLY * np.asarray(finer_px)
    return coarse


def _slack(frames: Boxes) -> npt.NDArray[np.float64]:
    """Return how far off a detector may be in each look."""
    slack: npt.NDArray[np.float64] = _EDGE_SHARE * (frames[:, 2:] - frames[:, :2]).max(axis=1)
    return slack


def _together(
    seen: Sequence[tuple[Look, sv.Detections]], size_wh: tuple[int, int]
) -> tuple[sv.Detections, npt.NDArray[np.int64]]:
    """Return all boxes in pixels of the image, inside what their look shows, and the number of each one's look."""
    import supervision as sv

    parts = [(number, look, one) for number, (look, one) in enumerate(seen) if len(one)]
    if not parts:
        return seen[0][1], np.zeros(0, dtype=np.int64)
    boxes = []
    for _, look, one in parts:
        x0, y0, x1, y1 = look.xyxy
        moved = one.xyxy.astype(np.float64) * (look.scale_xy * 2) + (x0, y0, x0, y0)
        boxes.append(np.clip(moved, (x0, y0, x0, y0), (x1, y1, x1, y1)))
    found = sv.Detections(
        xyxy=np.concatenate(boxes).astype(np.float32),
        confidence=np.concatenate([one.confidence for _, _, one in parts]),
        class_id=np.concatenate([one.class_id for _, _, one in parts]),
        data={key: np.concatenate([one.data[key] for _, _, one in parts]) for key in parts[0][2].data},
    )
    numbers = np.repeat([number for number, _, _ in parts], [len(one) for _, _, one in parts])
    if "rle" in found.data:
        size_hw = size_wh[::-1]
        for row, rle in enumerate(found.data["rle"]):
            if rle is not None:
                found.data["rle"][row] = masks.placed(rle, _frame(rle, seen[numbers[row]][0]), size_hw)
    return found, numbers


def _frame(rle: Rle, look: Look) -> tuple[float, float, float, float]:
    """Return where a mask of a look lies in the image, with what the look was padded by."""
    (rows, columns), (x0, y0, _, _) = rle["size"], look.xyxy
    return x0, y0, x0 + columns * look.scale_xy[0], y0 + rows * look.scale_xy[1]


def _meeting(boxes: Boxes, others: Boxes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of a box and another one that meet."""
    if not len(boxes) or not len(others):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    first, second = shapely.STRtree(shapely.box(*others.T)).query(shapely.box(*boxes.T))
    return first, second


def _shared(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Return the area that the boxes of each pair share."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    shared: npt.NDArray[np.float64] = np.maximum(high - low, 0).prod(axis=1)
    return shared


def _agreement(boxes: Boxes, others: Boxes, frames: Boxes, other_frames: Boxes) -> npt.NDArray[np.float64]:
    """Return the IoU of the boxes of each pair within what both frames show."""
    low = np.maximum(frames[:, :2], other_frames[:, :2])
    high = np.minimum(frames[:, 2:], other_frames[:, 2:])
    low, high = np.tile(low, 2), np.tile(np.maximum(low, high), 2)
    boxes, others = np.clip(boxes, low, high), np.clip(others, low, high)
    shared = _shared(boxes, others)
    united = area(boxes) + area(others) - shared
    return np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)


def _groups(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64], count: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows, ascending, of each group that pairs hold together."""
    links = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    _, group = connected_components(links, directed=False)
    rows = np.unique(np.concatenate([one, other]))
    rows = rows[np.argsort(group[rows], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(group[rows])) + 1) if len(rows) else []


def _union(rles: Sequence[Rle]) -> Rle | None:
    if not rles:
        return None
    united = coco.merge(list(rles))
    return {"size": [int(side) for side in united["size"]], "counts": united["counts"].decode("ascii")}

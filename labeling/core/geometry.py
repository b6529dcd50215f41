"""Boxes as arrays: every change between absolute, clipped and normalised coordinates, and IoU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]
"""(n, 4) float64; unless a name says otherwise x0, y0, x1, y1 in absolute pixels of the upright image, half-open."""


def clip_boxes(boxes_xyxy: npt.ArrayLike, size_wh: tuple[int, int]) -> Boxes:
    """Return the part of each box inside the image; a box outside it ends up without area on the border.

    Args:
        boxes_xyxy: (n, 4) pixels, finite.
        size_wh: width and height of the image in pixels.
    """
    width, height = size_wh
    return np.clip(_boxes(boxes_xyxy), 0.0, np.array([width, height, width, height], dtype=np.float64))


def area(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return (n,) areas in square pixels; a box turned inside out has none."""
    sides = np.maximum(_boxes(boxes_xyxy)[:, 2:] - _boxes(boxes_xyxy)[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def iou(boxes_xyxy: npt.ArrayLike, others_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the (n, m) intersection over union of every pair; 0 where neither box has an area."""
    boxes, others = _boxes(boxes_xyxy), _boxes(others_xyxy)
    upper_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(lower_right - upper_left, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    union = area(boxes)[:, None] + area(others)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def xyxy_to_xywh(boxes_xyxy: npt.ArrayLike) -> Boxes:
    """Return COCO's form: left, top, width, height in pixels, (n, 4)."""
    boxes = _boxes(boxes_xyxy)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xyxy_to_cxcywhn(boxes_xyxy: npt.ArrayLike, size_wh: tuple[int, int]) -> Boxes:
    """Return YOLO's form: centre x, centre y, width, height as fractions of the image, (n, 4); nothing is clipped."""
    boxes = _boxes(boxes_xyxy)
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([centre, sides], axis=1) / np.array([*size_wh, *size_wh], dtype=np.float64)


def _boxes(values: npt.ArrayLike) -> Boxes:
    return np.asarray(values, dtype=np.float64).reshape(-1, 4)

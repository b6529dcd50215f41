"""Boxes and rotated rectangles: every change between absolute, clipped, normalised and percent coordinates, and IoU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

Boxes = npt.NDArray[np.float64]
"""(n, 4) float64; unless a name says otherwise x0, y0, x1, y1 in absolute pixels of the upright image, half-open."""

Points = npt.NDArray[np.float64]
"""(k, 2) float64, x then y, in absolute pixels of the upright image unless a name says otherwise."""


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


def corners_of_box(box_xyxy: npt.ArrayLike) -> Points:
    """Return the four corners of one box, clockwise from the upper left, (4, 2)."""
    x0, y0, x1, y1 = _boxes(box_xyxy)[0]
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def box_around(points: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 of the smallest box that holds all points, (k, 2), k >= 1."""
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    (x0, y0), (x1, y1) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    return x0, y0, x1, y1


def minimum_rectangle(points: npt.ArrayLike) -> Points:
    """Return the four corners, in order around it, of the rectangle with the smallest area around all points.

    Args:
        points: (k, 2), k >= 1. Points on one line, or a single one, have a rectangle without area.
    """
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    with np.errstate(invalid="ignore"):  # of points that are nearly on one line
        ring: Points = shapely.get_coordinates(shapely.oriented_envelope(shapely.multipoints(xy)))
    if not np.isfinite(ring).all():
        return corners_of_box(box_around(xy))
    return ring[:4] if len(ring) == 5 else ring[[0, 0, -1, -1]]


def rotated_to_corners(x: float, y: float, width: float, height: float, degrees: float) -> Points:
    """Return the four corners of a rectangle that was turned clockwise about its upper left corner, (4, 2).

    This is how Label Studio says a rotated rectangle, once its percentages are pixels: percentages of the two sides
    are not of one length, so a rotation cannot be worked out in them.

    Args:
        x: of the corner that the rectangle turns about, in pixels; it is the first of the corners returned.
        y: of that corner.
        width: length in pixels of the side from the first to the second corner.
        height: length of the side from the first to the last corner.
        degrees: clockwise on the screen, where y points down.
    """
    turn = np.deg2rad(degrees)
    along = width * np.array([np.cos(turn), np.sin(turn)])
    down = height * np.array([-np.sin(turn), np.cos(turn)])
    first = np.array([x, y])
    return np.stack([first, first + along, first + along + down, first + down])


def corners_to_rotated(corners: npt.ArrayLike) -> tuple[float, float, float, float, float]:
    """Return x, y, width, height and degrees in [0, 360) of a rectangle; the inverse of ``rotated_to_corners``.

    Args:
        corners: (4, 2) pixels, in order around the rectangle, either way. What is no rectangle is taken for the one
            with the smallest area around it.
    """
    ring: Points = np.asarray(corners, dtype=np.float64).reshape(4, 2)
    sides = np.roll(ring, -1, axis=0) - ring
    # Opposite sides of a rectangle cancel out, and neighbours are at right angles.
    slack = 1e-6 * (1 + np.abs(sides).max() ** 2)
    if np.abs(sides[0] + sides[2]).max() > slack or abs(sides[0] @ sides[1]) > slack:
        ring = minimum_rectangle(ring)
    along, down = ring[1] - ring[0], ring[3] - ring[0]
    if along[0] * down[1] - along[1] * down[0] < 0:
        along, down = down, along
    degrees = np.rad2deg(np.arctan2(*along[::-1]) if along.any() else np.arctan2(-down[0], down[1]))
    x, y = ring[0].tolist()
    turn = float(degrees) % 360.0 % 360.0  # the first leaves 360 of what is next to nothing below 0
    return x, y, float(np.hypot(*along)), float(np.hypot(*down)), turn


def to_fractions(points: npt.ArrayLike, size_wh: tuple[int, int]) -> Points:
    """Return points in pixels, (k, 2), as fractions of the image; nothing is clipped."""
    return np.asarray(points, dtype=np.float64).reshape(-1, 2) / np.array(size_wh, dtype=np.float64)


def from_fractions(points: npt.ArrayLike, size_wh: tuple[int, int]) -> Points:
    """Return points that are fractions of the image, (k, 2), in pixels."""
    return np.asarray(points, dtype=np.float64).reshape(-1, 2) * np.array(size_wh, dtype=np.float64)


def box_to_percent(
    box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return x, y, width and height of one box in percent of the image, clipped to it.

    For boxes one at a time, where building arrays would take longer than all else.
    """
    (width, height), (x0, y0, x1, y1) = size_wh, box_xyxy
    x0, x1 = (min(max(x, 0.0), width) for x in (x0, x1))
    y0, y1 = (min(max(y, 0.0), height) for y in (y0, y1))
    return 100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width, 100 * (y1 - y0) / height


def _boxes(values: npt.ArrayLike) -> Boxes:
    return np.asarray(values, dtype=np.float64).reshape(-1, 4)

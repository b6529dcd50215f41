"""Lines of YOLO label files for rotated rectangles: pure functions, no files.

A line is ``id x1 y1 x2 y2 x3 y3 x4 y4``: four corners in order around the rectangle, as fractions of the upright image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import shapely

from ..core import geometry, masks
from ..core.errors import InputError
from ..core.geometry import Points
from .items import Corners, Item
from .together import read_each

UPRIGHT_PX = 0.5
"""Four corners that are no further off from those of the box around them are that box."""


def line(class_id: int, item: Item, size_wh: tuple[int, int]) -> str | None:
    """Return the line of one object, or None where nothing of it lies inside the image.

    The rectangle is the one of ``corners``; else the smallest one around the mask; else the box, clipped. A rotated
    rectangle may reach over the border as it does in aerial tiles, because its angle would be lost by clipping; where
    trainers would refuse it (its middle is outside, or it is larger than the image), it is the smallest one around the
    part that can be seen, turned or upright.

    Args:
        class_id: position in the list of classes.
        item: the object.
        size_wh: width and height of the image in pixels.
    """
    corners = _rectangle(item, size_wh)
    if corners is None:
        return None
    fractions = geometry.to_fractions(corners, size_wh).round(8)
    if not np.ptp(fractions, axis=0).min() > 0:
        return None
    return f"{class_id} " + " ".join(f"{value:.8f}" for value in fractions.ravel())


def corners_in(line: str, size_wh: tuple[int, int]) -> Points:
    """Return the four corners that a line says, (4, 2) absolute pixels."""
    return geometry.from_fractions([float(field) for field in line.split()[1:]], size_wh)


def read_lines(text: str, where: str, class_names: Sequence[str], size_wh: tuple[int, int]) -> list[Item]:
    """Return the objects of one label file; ``box_xyxy`` is the box around the four corners.

    A rectangle that is upright (see UPRIGHT_PX) is its box, without corners.

    Args:
        text: of the file; blank lines are left out.
        where: name of the file for messages.
        class_names: by position.
        size_wh: width and height of the image in pixels.

    Raises:
        InputError: a line that is not an id and eight finite numbers, or an id without a class.
    """
    return read_each(text, where, lambda fields, place: _read_line(fields, place, class_names, size_wh))


def _rectangle(item: Item, size_wh: tuple[int, int]) -> Points | None:
    if item.corners is not None:
        corners: Points = np.array(item.corners, dtype=np.float64)
    elif item.rle is not None and masks.area(item.rle):
        corners = geometry.minimum_rectangle(masks.corners(item.rle))
    else:
        clipped = geometry.clip_boxes([item.box_xyxy], size_wh)
        return geometry.corners_of_box(clipped) if geometry.area(clipped)[0] > 0 else None
    seen = shapely.intersection(shapely.convex_hull(shapely.multipoints(corners)), shapely.box(0, 0, *size_wh))
    if not shapely.area(seen) > 0:
        return None
    if _is_read(corners, size_wh):
        return corners
    # What is known of a mask is smaller than the rectangle around it.
    known = item.rle if item.corners is None else None
    # Rounded, as shapely takes a point 1e-220 px off the border for one that makes the rectangle a line.
    visible = shapely.get_coordinates(seen).round(9) if known is None else masks.corners(known)
    corners = geometry.minimum_rectangle(visible)
    return corners if _is_read(corners, size_wh) else geometry.corners_of_box(geometry.box_around(visible))


def _is_read(corners: Points, size_wh: tuple[int, int]) -> bool:
    """Say whether trainers take the rectangle: the centre and the sides of the box around it are fractions up to 1."""
    box = geometry.xyxy_to_cxcywhn(geometry.box_around(corners), size_wh)
    return bool(((box >= 0) & (box <= 1)).all())


def _read_line(fields: list[str], where: str, class_names: Sequence[str], size_wh: tuple[int, int]) -> Item:
    try:
        class_id, numbers = float(fields[0]), np.array([float(field) for field in fields[1:]])
    except ValueError:
        class_id, numbers = float("nan"), np.zeros(0)
    if len(numbers) != 8 or not (np.abs(numbers) < 1e6).all():
        raise InputError(
            f"{where}: expected a class id and the four corners of a rotated rectangle (9 numbers), "
            f"got {' '.join(fields)[:80]!r}"
        )
    if class_id not in range(len(class_names)):
        raise InputError(f"{where}: class id {fields[0]!r} is not one of the {len(class_names)} classes, 0 to n - 1")
    points = geometry.from_fractions(numbers, size_wh)
    box = geometry.box_around(points)
    corners = None if _is_box(points, box) else cast(Corners, tuple((x, y) for x, y in points.tolist()))
    return Item(class_names[int(class_id)], box, corners=corners)


def _is_box(points: Points, box_xyxy: Sequence[float]) -> bool:
    """Say whether four corners, in either direction and from any start, are those of the box around them."""
    box = geometry.corners_of_box(box_xyxy)
    ways = (np.roll(way, start, axis=0) for way in (points, points[::-1]) for start in range(4))
    return any(np.abs(way - box).max() <= UPRIGHT_PX for way in ways)

"""The lines of one image in each YOLO dialect, with a count of what a line could not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..core import geometry
from . import yolo, yolo_obb, yolo_read
from .class_ids import ClassIds
from .counting import count_box, count_mask, is_apart
from .items import Item, LabelledImage
from .written import Written

LinesOf = Callable[[LabelledImage, ClassIds, Written], list[str]]
"""Returns the lines of one image, without line ends, and counts objects and losses."""

ReadLines = Callable[[str, str, Sequence[str], tuple[int, int]], list[Item]]


def box_lines(image: LabelledImage, classes: ClassIds, done: Written) -> list[str]:
    """Return a box per object."""

    def line(class_id: int, item: Item, size_wh: tuple[int, int]) -> str | None:
        text = yolo.box_line(class_id, item.box_xyxy, size_wh)
        if text is not None:
            count_box(done, item, size_wh, _read_back(yolo_read.read_lines, text, size_wh).box_xyxy)
            done.losses["masks"] += item.rle is not None
            done.losses["turned"] += item.corners is not None
        return text

    return list(_lines(image, classes, done, line))


def segment_lines(image: LabelledImage, classes: ClassIds, done: Written) -> list[str]:
    """Return a polygon per object; an object without a mask is a rectangle."""

    def line(class_id: int, item: Item, size_wh: tuple[int, int]) -> str | None:
        if yolo.box_line(class_id, item.box_xyxy, size_wh) is None:
            return None
        shape = item.rle and yolo.segment(item.rle)
        corners = yolo.box_polygon(item.box_xyxy) if item.corners is None else np.array(item.corners)
        polygon = shape.polygon if shape else yolo.inner_polygon(corners, size_wh)
        text = None if polygon is None else yolo.segment_line(class_id, polygon, size_wh)
        if text is not None:
            back = _read_back(yolo_read.read_lines, text, size_wh)
            count_box(done, item, size_wh, back.box_xyxy)
            count_mask(done, item, back)
            done.losses["bridged"] += bool(shape and shape.parts > 1)
            done.losses["to_masks"] += item.corners is not None
            done.losses["rectangles"] += not shape and item.corners is None
        return text

    return list(_lines(image, classes, done, line))


def rotated_lines(image: LabelledImage, classes: ClassIds, done: Written) -> list[str]:
    """Return a rotated rectangle per object: its own, else the smallest around its mask, else its box."""

    def line(class_id: int, item: Item, size_wh: tuple[int, int]) -> str | None:
        text = yolo_obb.line(class_id, item, size_wh)
        if text is None:
            return None
        back = yolo_obb.corners_in(text, size_wh)
        if item.corners is not None:
            done.losses["masks"] += item.rle is not None
            done.losses["clipped"] += is_apart(item.corners, back)
        elif item.rle is not None:
            done.losses["made_turned"] += 1
        else:
            count_box(done, item, size_wh, geometry.box_around(back))
        return text

    return list(_lines(image, classes, done, line))


def mixed_lines(image: LabelledImage, classes: ClassIds, done: Written) -> list[str]:
    """Return polygons for an image with a mask, boxes for one without: trainers refuse a file that has both."""
    masked = any(item.rle is not None or item.corners is not None for item in image.objects)
    return (segment_lines if masked else box_lines)(image, classes, done)


def _lines(
    image: LabelledImage,
    classes: ClassIds,
    done: Written,
    line: Callable[[int, Item, tuple[int, int]], str | None],
) -> Iterator[str]:
    assert image.size_wh is not None, "what is written has a size"
    for item in image.objects:
        if item.crowd:
            done.losses["crowd"] += 1
            continue
        text = line(classes.of(item.class_name), item, image.size_wh)
        if text is None:
            done.losses["outside"] += 1
            continue
        done.objects[item.class_name] += 1
        done.losses["scores"] += item.score is not None
        yield text


def _read_back(read_lines: ReadLines, text: str, size_wh: tuple[int, int]) -> Item:
    """Return the object that a reader takes from a line, whatever its class."""
    (back,) = read_lines("0 " + text.partition(" ")[2], "line", ["any"], size_wh)
    return back

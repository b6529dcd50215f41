"""The lines of one image in each YOLO dialect, with a count of what a line could not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from . import yolo, yolo_obb
from .class_ids import ClassIds
from .items import Item, LabelledImage
from .written import COARSE_IOU, Written

LinesOf = Callable[[LabelledImage, ClassIds, Written], list[str]]
"""Returns the lines of one image, without line ends, and counts objects and losses."""


def box_lines(image: LabelledImage, classes: ClassIds, done: Written) -> list[str]:
    """Return a box per object."""

    def line(class_id: int, item: Item, size_wh: tuple[int, int]) -> str | None:
        text = yolo.box_line(class_id, item.box_xyxy, size_wh)
        if text is not None:
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
        if shape:
            done.losses["bridged"] += shape.parts > 1
            done.losses["coarse"] += shape.iou < COARSE_IOU
            return yolo.segment_line(class_id, shape.polygon, size_wh)
        if item.corners is not None:
            return yolo.segment_line(class_id, np.array(item.corners), size_wh)
        done.losses["rectangles"] += 1
        return yolo.segment_line(class_id, yolo.box_polygon(item.box_xyxy), size_wh)

    return list(_lines(image, classes, done, line))


def rotated_lines(image: LabelledImage, classes: ClassIds, done: Written) -> list[str]:
    """Return a rotated rectangle per object: its own, else the smallest around its mask, else its box."""

    def line(class_id: int, item: Item, size_wh: tuple[int, int]) -> str | None:
        text = yolo_obb.line(class_id, item, size_wh)
        if text is not None:
            done.losses["made_turned"] += item.rle is not None and item.corners is None
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
        yield text

"""COCO instances as plain dictionaries: pure functions, no files.

Boxes are ``[x, y, width, height]`` in absolute pixels of the upright image. ``iscrowd`` is 1 only where a label stands
for a group that nobody counted; a mask with holes or several parts is no crowd.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import shapely

from ..core import geometry, masks
from ..core.records import Rle
from .items import Item, LabelledImage

POLYGON_IOU = 0.99
"""A mask is written as a polygon when one polygon gives it back at this IoU; else as run lengths."""


def categories(ids: Iterable[tuple[str, int]], groups: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return one category per class, in the order given; ``groups`` says the supercategories that are known."""
    groups = groups or {}
    return [{"id": number, "name": name, "supercategory": groups.get(name, "")} for name, number in ids]


def image_entry(image_id: int, name: str, image: LabelledImage) -> dict[str, Any]:
    """Return one element of ``images``; width and height in pixels of the upright image.

    ``sha256`` is that of the picture; ``reviewed`` is there, and false, where a machine alone has seen the image, which
    an image without objects could not say otherwise.
    """
    assert image.size_wh is not None, "what is written has a size"
    entry: dict[str, Any] = {"id": image_id, "file_name": name, "width": image.size_wh[0], "height": image.size_wh[1]}
    if image.sha256 is not None:
        entry["sha256"] = image.sha256
    return entry if image.reviewed else {**entry, "reviewed": False}


def annotation_entry(item: Item, annotation_id: int, image_id: int, category_id: int) -> dict[str, Any]:
    """Return one element of ``annotations``.

    ``score`` is there for machine labels only. Without a mask ``area`` is that of the box and there is no
    ``segmentation``. ``source``, ``prompt`` and ``model`` say who made the label; readers of COCO ignore them.
    """
    box = geometry.xyxy_to_xywh([item.box_xyxy])[0].tolist()
    entry: dict[str, Any] = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": int(item.crowd),
    }
    if item.rle is not None:
        entry["area"] = float(masks.area(item.rle))
        entry["segmentation"] = run_lengths(item.rle) if item.crowd else segmentation(item.rle)
    elif item.corners is not None:
        entry["area"] = float(shapely.Polygon(item.corners).area)
        entry["segmentation"] = [[float(value) for corner in item.corners for value in corner]]
    made = item.made
    extras = {
        "source": item.source if made is None else made.source,
        "score": item.score,
        "prompt": made and made.prompt,
        "model": made and made.model,
    }
    return entry | {key: value for key, value in extras.items() if value is not None}


def segmentation(rle: Rle) -> list[list[float]] | dict[str, Any]:
    """Return a COCO ``segmentation``: ``[[x, y, …]]`` where one polygon says it all, else compressed run lengths."""
    polygons, iou = masks.rle_to_polygons(rle)
    # A polygon with a hole visits points twice; not every reader fills that as pycocotools does.
    if len(polygons) == 1 and iou >= POLYGON_IOU and len(np.unique(polygons[0], axis=0)) == len(polygons[0]):
        return [[float(value) for value in polygons[0].ravel()]]
    return run_lengths(rle)


def run_lengths(rle: Rle) -> dict[str, Any]:
    """Return the same object as at rest: ``{"size": [height, width], "counts": text}``."""
    return {"size": list(rle["size"]), "counts": rle["counts"]}


def document(head: dict[str, Any], images: Iterable[str], annotations: Iterable[str]) -> Iterator[str]:
    """Yield the text of a COCO file piece by piece, so that memory does not grow with the number of images.

    Args:
        head: everything but ``images`` and ``annotations``.
        images: entries as JSON text; consumed before ``annotations``.
        annotations: likewise.
    """
    yield "{" + as_json(head)[1:-1] + ',\n"images": ['
    yield from _elements(images)
    yield '],\n"annotations": ['
    yield from _elements(annotations)
    yield "]}\n"


def as_json(value: Any) -> str:
    """Return JSON on one line; NaN and infinity raise ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _elements(entries: Iterable[str]) -> Iterator[str]:
    separator = "\n"
    for entry in entries:
        yield separator + entry
        separator = ",\n"

"""COCO instances as plain dictionaries: pure functions, no files.

Boxes are ``[x, y, width, height]`` in absolute pixels of the upright image, ids count from 1, and
``iscrowd`` is 0 for every object, masks with holes or several parts included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core import geometry, masks
from ..core.records import Annotation, Rle

POLYGON_IOU = 0.99
"""A mask is written as a polygon when one polygon gives it back at this IoU; else as run lengths."""


def categories(class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one category per class, in the order of the ontology, with ids from 1."""
    return [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(class_names, start=1)]


def image_entry(image_id: int, file_name: str, size_wh: tuple[int, int], sha256: str) -> dict[str, Any]:
    """Return one element of ``images``; width and height in pixels of the upright image."""
    return {"id": image_id, "file_name": file_name, "width": size_wh[0], "height": size_wh[1], "sha256": sha256}


def annotation_entry(annotation: Annotation, annotation_id: int, image_id: int, category_id: int) -> dict[str, Any]:
    """Return one element of ``annotations``.

    ``score`` is there for machine labels only. Without a mask ``area`` is that of the box and there is no
    ``segmentation``. ``source``, ``prompt`` and ``model`` say who made the label; readers of COCO ignore them.
    """
    box = geometry.xyxy_to_xywh([annotation.box_xyxy])[0].tolist()
    made = annotation.provenance
    entry: dict[str, Any] = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
        "source": made.source,
    }
    if annotation.rle is not None:
        entry["area"] = float(masks.area(annotation.rle))
        entry["segmentation"] = segmentation(annotation.rle)
    extras = {"score": made.score, "prompt": made.prompt, "model": made.model}
    return entry | {key: value for key, value in extras.items() if value is not None}


def segmentation(rle: Rle) -> list[list[float]] | dict[str, Any]:
    """Return a COCO ``segmentation``: ``[[x, y, …]]`` where one polygon says it all, else compressed run lengths.

    Run lengths are the same object as at rest: ``{"size": [height, width], "counts": text}``.
    """
    polygons, iou = masks.rle_to_polygons(rle)
    # A polygon with a hole visits points twice; not every reader fills that as pycocotools does.
    if len(polygons) == 1 and iou >= POLYGON_IOU and len(np.unique(polygons[0], axis=0)) == len(polygons[0]):
        return [[float(value) for value in polygons[0].ravel()]]
    return {"size": list(rle["size"]), "counts": rle["counts"]}


def document(
    head: dict[str, Any], images: Iterable[dict[str, Any]], annotations: Iterable[dict[str, Any]]
) -> Iterator[str]:
    """Yield the text of a COCO file piece by piece, so that memory does not grow with the number of images.

    Args:
        head: everything but ``images`` and ``annotations``.
        images: consumed before ``annotations``.
        annotations: see ``annotation_entry``.
    """
    yield "{" + _json(head)[1:-1] + ',\n"images": ['
    yield from _elements(images)
    yield '],\n"annotations": ['
    yield from _elements(annotations)
    yield "]}\n"


def _elements(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    separator = "\n"
    for entry in entries:
        yield separator + _json(entry)
        separator = ",\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

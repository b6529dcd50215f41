"""What people changed: regions that came back against the labels that were pushed, by region id; pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..core import geometry, masks
from ..core.records import Annotation, Provenance, Rle
from .convert import Drawn
from .polygon import MIN_POLYGON_IOU, outline_percent

_SAME_PERCENT = 1e-3
_SAME_PX = 0.01
"""Editors calculate in pixels of the screen: what comes back untouched differs by less than both together."""

_NEVER_SAME_IOU = MIN_POLYGON_IOU - 0.01
"""A polygon that holds its mask less than this cannot be the one that was pushed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one object.

    Attributes:
        kind: kept as pushed, moved (any change of its shape), relabelled (moved or not), added, or deleted.
        pushed: the label as it was pushed; None where it was added.
        drawn: the object as people left it; None where it was deleted.
        iou: overlap of both shapes, 1 where nothing was touched, 0 for added and deleted.
    """

    kind: Literal["kept", "moved", "relabelled", "added", "deleted"]
    pushed: Annotation | None
    drawn: Drawn | None
    iou: float


def compare(pushed: Sequence[Annotation], drawn: Sequence[Drawn], size_wh: tuple[int, int]) -> list[Change]:
    """Return one change per object: those that were pushed in their order, then the added ones.

    A second region with the id of a pushed one counts as added.
    """
    left: dict[str, Drawn] = {}
    added: list[Drawn] = []
    known = {annotation.id for annotation in pushed}
    for one in drawn:
        if one.region_id in known and one.region_id not in left:
            left[one.region_id] = one
        else:
            added.append(one)
    changes = [_change(annotation, left.get(annotation.id), size_wh) for annotation in pushed]
    return changes + [Change("added", None, one, 0.0) for one in added]


def to_annotations(changes: Sequence[Change], sha256: str, annotator: str) -> list[Annotation]:
    """Return what people said about one image: everything that was not deleted.

    A shape that nobody touched keeps exactly the box and the mask that were pushed, even where the region on the
    server could only come close to them.
    """
    return [
        _annotation(change, change.drawn, sha256, annotator, place)
        for place, change in enumerate(changes)
        if change.drawn is not None
    ]


def _change(pushed: Annotation, drawn: Drawn | None, size_wh: tuple[int, int]) -> Change:
    if drawn is None:
        return Change("deleted", pushed, None, 0.0)
    iou = _overlap(pushed, drawn, size_wh)
    if drawn.class_name != pushed.class_name:
        return Change("relabelled", pushed, drawn, iou)
    return Change("kept" if iou == 1.0 else "moved", pushed, drawn, iou)


def _overlap(pushed: Annotation, drawn: Drawn, size_wh: tuple[int, int]) -> float:
    """Return the IoU of two shapes: 1 where nothing was touched, and below 1 for any other."""
    if pushed.rle is None or drawn.rle is None:
        (box,) = geometry.clip_boxes([pushed.box_xyxy], size_wh)
        untouched = pushed.rle is None and drawn.kind == "rectangle" and drawn.corners is None
        if untouched and _same(box.reshape(2, 2), np.reshape(drawn.box_xyxy, (2, 2)), size_wh):
            return 1.0
        return min(float(geometry.iou([box], [drawn.box_xyxy])[0, 0]), 1 - 1e-9)
    if drawn.rle == pushed.rle:
        return 1.0
    found = masks.iou(pushed.rle, drawn.rle)
    # Only what lies this close is worth the outline that was pushed, which takes longer than all the rest.
    if found >= _NEVER_SAME_IOU and drawn.outline is not None and _is_its_outline(pushed.rle, drawn.outline, size_wh):
        return 1.0
    return min(found, 1 - 1e-9)


def _is_its_outline(rle: Rle, outline: tuple[tuple[float, float], ...], size_wh: tuple[int, int]) -> bool:
    percent = outline_percent(rle)
    return percent is not None and _same(geometry.from_fractions(percent / 100, size_wh), np.array(outline), size_wh)


def _same(points: geometry.Points, others: geometry.Points, size_wh: tuple[int, int]) -> bool:
    """Say whether points are the same but for the noise of an editor; both (k, 2) pixels."""
    slack = _SAME_PX + np.array(size_wh) * (_SAME_PERCENT / 100)
    return points.shape == others.shape and bool((np.abs(points - others) <= slack).all())


def _annotation(change: Change, drawn: Drawn, sha256: str, annotator: str, place: int) -> Annotation:
    made = Provenance("human", annotator=annotator, parent_id=None if change.pushed is None else change.pushed.id)
    box, rle = drawn.box_xyxy, drawn.rle
    if change.pushed is not None and change.iou == 1.0:
        box, rle = change.pushed.box_xyxy, change.pushed.rle
    one = Annotation("", sha256, drawn.class_name, box, made, rle)
    # No time in the id: the same answer always gets the same one.
    shape = [[round(edge, 2) for edge in box], rle and rle["counts"]]
    content = [sha256, "human", annotator, one.class_name, *shape, made.parent_id, place]
    return replace(one, id=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32])

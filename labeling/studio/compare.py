"""What people changed: regions that came back against the labels that were pushed, by region id; pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..core import geometry, masks
from ..core.records import Annotation, Provenance
from .convert import Drawn, read, regions

_SAME_PX = 0.01
_SAME_IOU = 0.9999


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
    iou = 1.0 if _untouched(pushed, drawn, size_wh) else _overlap(pushed, drawn)
    if drawn.class_name != pushed.class_name:
        return Change("relabelled", pushed, drawn, iou)
    return Change("kept" if iou == 1.0 else "moved", pushed, drawn, iou)


def _untouched(pushed: Annotation, drawn: Drawn, size_wh: tuple[int, int]) -> bool:
    (as_sent,), _ = read([regions(pushed, size_wh)], size_wh)
    if as_sent.kind != drawn.kind or drawn.corners is not None:
        return False
    if as_sent.rle is None or drawn.rle is None:
        return all(abs(a - b) <= _SAME_PX for a, b in zip(as_sent.box_xyxy, drawn.box_xyxy, strict=True))
    return as_sent.rle == drawn.rle or masks.iou(as_sent.rle, drawn.rle) >= _SAME_IOU


def _overlap(pushed: Annotation, drawn: Drawn) -> float:
    """Return the IoU of two shapes that are not the same, below 1 even where they cover the same pixels."""
    if pushed.rle is not None and drawn.rle is not None:
        found = masks.iou(pushed.rle, drawn.rle)
    else:
        found = float(geometry.iou([pushed.box_xyxy], [drawn.box_xyxy])[0, 0])
    return min(found, 1 - 1e-9)


def _annotation(change: Change, drawn: Drawn, sha256: str, annotator: str, place: int) -> Annotation:
    made = Provenance("human", annotator=annotator, parent_id=None if change.pushed is None else change.pushed.id)
    box, rle = drawn.box_xyxy, drawn.rle
    if change.pushed is not None and change.iou == 1.0:
        box, rle = change.pushed.box_xyxy, change.pushed.rle
    one = Annotation("", sha256, drawn.class_name, box, made, rle)
    # No time in the id: the same answer always gets the same one.
    content = [sha256, "human", annotator, one.class_name, [round(edge, 2) for edge in box], made.parent_id, place]
    return replace(one, id=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32])

"""Filters between a detector and the labels: each one says what it dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.geometry import area, clip_boxes
from .filter_settings import FilterSettings

if TYPE_CHECKING:
    import supervision as sv

#: Remark on a box that covers nearly the whole image: often a detector's answer to "the scene", so people should look.
FULL_IMAGE = "full_image"

#: Faint boxes kept of one image: more say that the teacher sees nothing clearly.
MOST_FAINT = 50

#: A faint box that overlaps a kept one of its class, or a better faint one, by more is another look at the same object.
SAME_OBJECT_IOU = 0.3

#: So many boxes of one kind are compared in one matrix, which takes 200 MB; 30,000 would take 45 GB.
_MATRIX = 2000

Drops = Counter[tuple[str, str]]
"""How many boxes were dropped, by (reason, class name)."""


def apply(
    detections: sv.Detections,
    size_wh: tuple[int, int],
    names: Sequence[str],
    scores: Sequence[float],
    settings: FilterSettings,
) -> tuple[sv.Detections, Drops]:
    """Return the detections worth keeping, best first, and what was dropped.

    In this order: boxes with NaN or infinite numbers (``not_finite``), boxes turned inside out (``inverted``), scores
    below the class's own (``score``); then boxes are clipped to the image; boxes without area inside the image
    (``outside``), boxes below the smallest area (``min_area``), and what non-maximum suppression finds twice, across
    the prompts of a class (``nms``). The prompt of the box that stays is the one that won. Boxes that cover nearly the
    whole image are flagged in ``data["flags"]``, not dropped.

    Args:
        detections: ``confidence``, ``class_id`` and ``data["prompt"]`` set; rows of ``data`` stay aligned.
        size_wh: width and height of the image in pixels.
        names: class names in the order of the ontology.
        scores: smallest score kept, one per class.
        settings: see FilterSettings.
    """
    drops: Drops = Counter()

    def keep(rows: npt.NDArray[np.bool_], reason: str) -> sv.Detections:
        drops.update((reason, names[class_id]) for class_id in detections.class_id[~rows])
        return detections[rows]

    detections = keep(np.isfinite(detections.xyxy).all(axis=1) & np.isfinite(detections.confidence), "not_finite")
    # Equal confidences keep the detector's order, so the same boxes give the same labels.
    detections = detections[np.argsort(-detections.confidence, kind="stable")]
    x0, y0, x1, y1 = detections.xyxy.T
    detections = keep((x1 >= x0) & (y1 >= y0), "inverted")
    detections = keep(detections.confidence >= np.asarray(scores, dtype=np.float32)[detections.class_id], "score")

    width, height = size_wh
    detections.xyxy = clip_boxes(detections.xyxy, size_wh).astype(np.float32)
    detections = keep(area(detections.xyxy) > 0, "outside")
    detections = keep(area(detections.xyxy) >= settings.min_area_px, "min_area")
    detections = keep(_first_of_its_kind(detections, settings), "nms")

    full = area(detections.xyxy) >= settings.full_image_share * width * height
    flags = np.empty(len(detections), dtype=object)
    for row, is_full in enumerate(full):
        flags[row] = (FULL_IMAGE,) if is_full else ()
    detections.data["flags"] = flags
    return detections, drops


def faint(
    detections: sv.Detections,
    kept: sv.Detections,
    size_wh: tuple[int, int],
    scores: Sequence[float],
    settings: FilterSettings,
) -> sv.Detections:
    """Return what a detector saw with a score below its class's own, but not far below, best first.

    At most 50 boxes, with nothing in ``data``. They pass the filters of ``apply``; besides, one is left out where it
    looks at an object that was kept, and where it covers nearly the whole image: it would hide all of it.

    Args:
        detections: everything down to ``settings.faint_share`` of the scores.
        kept: what ``apply`` returned of them.
        size_wh: width and height of the image in pixels.
        scores: smallest score kept, one per class.
        settings: see FilterSettings.
    """
    import supervision as sv

    lowest = np.asarray(scores, dtype=np.float32)[detections.class_id]
    near = (detections.confidence < lowest) & (detections.confidence >= settings.faint_share * lowest)
    x0, y0, x1, y1 = detections.xyxy.T
    with np.errstate(invalid="ignore"):
        near &= np.isfinite(detections.xyxy).all(axis=1) & (x1 >= x0) & (y1 >= y0)
    rows = np.flatnonzero(near)
    rows = rows[np.argsort(-detections.confidence[rows], kind="stable")]
    boxes = clip_boxes(detections.xyxy[rows], size_wh).astype(np.float32)
    covered, width_height = area(boxes), size_wh[0] * size_wh[1]
    sound = (covered > 0) & (covered >= settings.min_area_px) & (covered < settings.full_image_share * width_height)
    rows, boxes = rows[sound], boxes[sound]
    # Those that were kept come first: nothing faint can suppress them.
    together = sv.Detections(
        xyxy=np.concatenate([kept.xyxy, boxes]),
        confidence=np.concatenate([kept.confidence, detections.confidence[rows]]),
        class_id=np.concatenate([kept.class_id, detections.class_id[rows]]),
    )
    first = _first_of_its_kind(together, replace(settings, nms_iou=min(settings.nms_iou, SAME_OBJECT_IOU)))
    first[: len(kept)] = False
    return together[np.flatnonzero(first)[:MOST_FAINT]]


def _first_of_its_kind(detections: sv.Detections, settings: FilterSettings) -> npt.NDArray[np.bool_]:
    """Say which rows survive non-maximum suppression; the rows come best first."""
    from supervision import box_non_max_suppression

    kept = np.zeros(len(detections), dtype=bool)
    groups = np.zeros(len(detections)) if settings.class_agnostic_nms else detections.class_id
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        # Ranks in place of scores: equal scores would be suppressed in an order that depends on the sort.
        ranks = np.arange(len(rows), 0, -1, dtype=np.float32)
        if len(rows) <= _MATRIX:
            kept[rows] = box_non_max_suppression(np.column_stack([detections.xyxy[rows], ranks]), settings.nms_iou)
        else:
            kept[rows[_without_matrix(detections.xyxy[rows], ranks, settings.nms_iou)]] = True
    return kept


def _without_matrix(
    boxes: npt.NDArray[np.float32], ranks: npt.NDArray[np.float32], nms_iou: float
) -> npt.NDArray[np.int64]:
    """Return the rows that survive; slower to import than supervision's, but in memory that grows with the boxes."""
    import torch
    from torchvision.ops import nms

    survivors: npt.NDArray[np.int64] = nms(torch.from_numpy(boxes), torch.from_numpy(ranks), nms_iou).numpy()
    return survivors

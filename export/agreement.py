"""Which objects of one session are which of another in one image, and how alike the pairs of many images are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from labeling.core import masks
from labeling.core.matching import match

from .runtime import Objects

MIN_IOU = 0.5
"""Boxes that overlap less are not the same box."""


@dataclass(frozen=True, slots=True)
class Alone:
    """An object that only one of the two sees.

    Attributes:
        frame: its image.
        class_id: position in the classes.
        score: in [0, 1].
        margin: by how much the score is above the threshold.
        reference: the reference sees it, the other does not.
    """

    frame: str
    class_id: int
    score: float
    margin: float
    reference: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the pairs are; what no pair shows is None.

    Attributes:
        matched: pairs of boxes of the same class.
        min_iou, median_iou: of their boxes.
        max_score, median_score: of the absolute differences of their scores.
        min_mask_iou, median_mask_iou: of their masks, empty pairs left out.
        alone: objects that only one of the two sees.
    """

    matched: int
    min_iou: float | None
    median_iou: float | None
    max_score: float | None
    median_score: float | None
    min_mask_iou: float | None
    median_mask_iou: float | None
    alone: int


@dataclass(frozen=True, slots=True)
class Pair:
    """The same object, seen by both.

    Attributes:
        class_id: position in the classes.
        iou: of the boxes.
        score: absolute difference of the scores.
        mask_iou: None where there are no masks or both are empty.
    """

    class_id: int
    iou: float
    score: float
    mask_iou: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One image.

    Attributes:
        pairs: boxes of the same class.
        alone: objects that only one of the two sees.
        crossed: pairs among those whose boxes are the same and whose classes are not.
        counts: objects that the reference and the other see.
    """

    pairs: tuple[Pair, ...]
    alone: tuple[Alone, ...]
    crossed: int
    counts: tuple[int, int]

    @property
    def badness(self) -> tuple[float, float]:
        """Return what the worst image has most of: objects that one sees, then differences of boxes and scores."""
        far = max((max(1 - pair.iou, pair.score) for pair in self.pairs), default=0.0)
        return max((one.margin for one in self.alone), default=0.0), far


def compared(name: str, reference: Objects, other: Objects, thresholds: Sequence[float]) -> Seen:
    """Pair the objects of one image within their class by the largest total IoU; boxes without an area are no objects.

    Args:
        name: of the image.
        reference, other: what the two sessions see.
        thresholds: of each class.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    there = [_with_area(found) for found in (reference, other)]
    pairs: list[tuple[int, int, float]] = []
    for class_id in np.union1d(reference.class_ids, other.class_ids).tolist():
        ours, theirs = (
            rows[found.class_ids[rows] == class_id] for rows, found in zip(there, (reference, other), strict=True)
        )
        matched = match(reference.boxes_xyxy[ours], other.boxes_xyxy[theirs], min_iou=MIN_IOU)
        pairs += [(int(ours[i]), int(theirs[j]), iou) for i, j, iou in matched]
    lone = [np.setdiff1d(rows, [pair[side] for pair in pairs]).astype(int) for side, rows in enumerate(there)]
    crossed = match(reference.boxes_xyxy[lone[0]], other.boxes_xyxy[lone[1]], min_iou=MIN_IOU)
    alone = [
        Alone(name, int(found.class_ids[row]), float(found.scores[row]), _margin(found, row, thresholds), side == 0)
        for side, found in enumerate((reference, other))
        for row in lone[side].tolist()
    ]
    return Seen(
        tuple(_pair(reference, other, *pair) for pair in pairs),
        tuple(alone),
        len(crossed),
        (len(there[0]), len(there[1])),
    )


def _with_area(found: Objects) -> npt.NDArray[np.int64]:
    return np.flatnonzero((found.boxes_xyxy[:, 2:] > found.boxes_xyxy[:, :2]).all(axis=1))


def _margin(found: Objects, row: int, thresholds: Sequence[float]) -> float:
    return float(found.scores[row]) - thresholds[int(found.class_ids[row])]


def _pair(reference: Objects, other: Objects, i: int, j: int, iou: float) -> Pair:
    shared = None
    if reference.masks is not None and other.masks is not None:
        one, two = reference.masks[i], other.masks[j]
        shared = masks.iou(masks.encode(one), masks.encode(two)) if one.any() or two.any() else None
    return Pair(int(reference.class_ids[i]), iou, abs(float(reference.scores[i]) - float(other.scores[j])), shared)


def agreement(pairs: Sequence[Pair], alone: int) -> Agreement:
    """Return how alike pairs are, beside the number of objects that have no pair."""
    ious, scores = [pair.iou for pair in pairs], [pair.score for pair in pairs]
    shared = [pair.mask_iou for pair in pairs if pair.mask_iou is not None]
    return Agreement(
        len(pairs), _of(np.min, ious), _of(np.median, ious), _of(np.max, scores), _of(np.median, scores),
        _of(np.min, shared), _of(np.median, shared), alone,
    )  # fmt: skip


def _of(statistic: Any, values: Sequence[float]) -> float | None:
    return float(statistic(values)) if values else None

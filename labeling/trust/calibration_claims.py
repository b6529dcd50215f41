"""Raw boxes against what people said: which are right, and what every threshold would miss and claim in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.geometry import iou
from .gold import GoldImage
from .opinions import Opinion, kept

Numbers = npt.NDArray[np.float64]

MIN_IOU = 0.5
"""A box that overlaps an object of its class by less has not found it."""

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a threshold is chosen for.

    Attributes:
        miss: cost of an object that is not found.
        false_alarm: cost of a box where there is nothing.
        precision: least precision in (0, 1); given, as much as possible is found under it, and costs play no part.
    """

    miss: float = 1.0
    false_alarm: float = 1.0
    precision: float | None = None

    def loss(self, hits: Numbers, false: Numbers, objects: Numbers) -> Numbers:
        """Return what counts that were summed over images cost; arrays of one shape.

        Under a least precision P: the misses, and for each false alarm beyond hits (1 - P) / P as many as the hits
        that would make up for it, P / (1 - P).
        """
        if self.precision is None:
            return self.miss * (objects - hits) + self.false_alarm * false
        rate = (1 - self.precision) / self.precision
        return (objects - hits) + np.maximum(false - hits * rate, 0) / rate


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """All boxes of a detector after NMS, the surest first, and whether each is right.

    Attributes:
        image: (n,) positions in the gold set.
        class_id: (n,) positions in the ontology.
        score: (n,) in [0, 1], falling.
        hit: (n,) whether the box has found an object that no surer box of its class has found.
        objects: (images, classes) how many objects there are.
    """

    image: npt.NDArray[np.int64]
    class_id: npt.NDArray[np.int64]
    score: Numbers
    hit: npt.NDArray[np.bool_]
    objects: Numbers

    def counts(self, thresholds: Sequence[float] | Numbers, rows: npt.NDArray[np.int64]) -> Numbers:
        """Return hits, false alarms and objects, (len(rows), classes, 3), of images at thresholds per class."""
        said = self.score >= np.asarray(thresholds, dtype=np.float64)[self.class_id]
        table = np.zeros((*self.objects.shape, 3))
        np.add.at(table[..., 0], (self.image[said & self.hit], self.class_id[said & self.hit]), 1)
        np.add.at(table[..., 1], (self.image[said & ~self.hit], self.class_id[said & ~self.hit]), 1)
        table[..., 2] = self.objects
        return np.asarray(table[rows])


def claims(
    gold: Sequence[GoldImage],
    opinions: Sequence[Opinion],
    classes: int,
    nms_iou: float,
    *,
    class_agnostic: bool = False,
    min_area_px: float = 4.0,
    thresholds: Sequence[float] | None = None,
) -> Claims:
    """Compare raw boxes with what people said; both per image, in one order.

    Boxes take objects of their class greedily, the surest first, each the one that it overlaps most (as COCO does), so
    whether a box is right does not depend on the threshold, and one pass over the boxes prices all thresholds. Under
    NMS across classes that holds only nearly; ``thresholds`` then says which boxes take part.
    """
    objects = np.zeros((len(gold), classes))
    images, ids, scores, hits = [], [], [], []
    for number, (people, opinion) in enumerate(zip(gold, opinions, strict=True)):
        np.add.at(objects[number], people.class_ids, 1)
        said = kept(opinion, thresholds or [0.0] * classes, nms_iou, class_agnostic, min_area_px)
        images.append(np.full(len(said.scores), number))
        ids.append(said.class_ids)
        scores.append(said.scores)
        hits.append(_hits(people, said))
    score = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-score, kind="stable")
    return Claims(
        np.concatenate(images)[order], np.concatenate(ids)[order], score[order], np.concatenate(hits)[order], objects
    )


def average_precision(found: Claims, weights: Numbers) -> Numbers:
    """Return AP50, mean over the classes that have objects, (draws,); NaN where none has.

    The COCO mean of the best precision at 101 recalls, IoU 0.5.

    Args:
        found: see ``claims``.
        weights: (draws, images) how often each image counts.
    """
    there = weights @ found.objects
    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    for class_id in np.flatnonzero(found.objects.any(axis=0)):
        of = found.class_id == class_id
        each = weights[:, found.image[of]]
        hits, said = np.cumsum(each * found.hit[of], axis=1), np.cumsum(each, axis=1)
        precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for draw, objects in enumerate(there[:, class_id]):
            if objects > 0:
                at = np.searchsorted(hits[draw] / objects, _RECALLS - 1e-12)
                reached = at < best.shape[1]
                total[draw] += best[draw, at[reached]].sum() / len(_RECALLS)
                classes[draw] += 1
    return np.where(classes > 0, total / np.maximum(classes, 1), np.nan)


def _hits(people: GoldImage, said: Opinion) -> npt.NDArray[np.bool_]:
    hit = np.zeros(len(said.scores), dtype=bool)
    shared = iou(said.boxes_xyxy, people.boxes_xyxy)
    shared[said.class_ids[:, None] != people.class_ids[None, :]] = 0
    free = np.ones(len(people.class_ids), dtype=bool)
    for row in np.argsort(-said.scores, kind="stable") if shared.size else ():
        best = int(np.where(free, shared[row], -1).argmax())
        if free[best] and shared[row, best] >= MIN_IOU:
            hit[row], free[best] = True, False
    return hit

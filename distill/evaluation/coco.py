"""Average precision and recall of COCO, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labeling.core.errors import MissingExtraError
from labeling.core.geometry import area, xyxy_to_xywh
from labeling.core.masks import area as mask_area

from ..objects import Objects
from .table import MOST_FOUND, masks_of

Size = Literal["all", "small", "medium", "large"]
_SIZES: tuple[Size, ...] = ("all", "small", "medium", "large")


@dataclass(frozen=True, slots=True, eq=False)
class CocoNumbers:
    """What the evaluator says; -1 where a class has no object of that size.

    Attributes:
        precision: (10, 101, classes, 4) by IoU, recall, class and size (all, small, medium, large), interpolated.
        recall: (10, classes, 4) the highest, with 100 objects per class and image.
        scores: (10, 101, classes, 4) the score at which each recall is reached; 0 where it is not.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]

    def ap(self, *, level: int | None = None, class_id: int | None = None, size: Size = "all") -> float | None:
        """Return the mean precision; None where there is no object.

        Args:
            level: 0 for IoU 0.5, 5 for 0.75; None for the mean of all ten.
            class_id: of one class; None for the mean of those that have objects.
            size: of the objects.
        """
        of_size = self.precision[..., _SIZES.index(size)]
        of_level = of_size if level is None else of_size[[level]]
        return _mean(of_level if class_id is None else of_level[..., [class_id]])

    def ar(self, *, class_id: int | None = None, size: Size = "all") -> float | None:
        """Return the mean of the recall over the ten levels; None where there is no object."""
        of_size = self.recall[..., _SIZES.index(size)]
        return _mean(of_size if class_id is None else of_size[:, [class_id]])


def coco_numbers(
    truth: Sequence[Objects], found: Sequence[Objects], classes: int, *, masks: bool = False
) -> CocoNumbers:
    """Return the numbers of COCO; see ``table.matched`` for the arguments.

    Raises:
        MissingExtraError: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtraError("faster-coco-eval", "student") from error
    run = COCOeval_faster(
        COCO(_file(truth, classes, masks)), COCO(_file(found, classes, masks)), "segm" if masks else "bbox"
    )
    run.params.maxDets = [MOST_FOUND]
    # It sorts ids but keeps those without an object, so position k is class k.
    run.params.catIds = list(range(1, classes + 1))
    run.evaluate()
    run.accumulate()
    shape = (10, 101, classes, len(_SIZES))
    if not truth:
        nothing = np.full(shape, -1.0)
        return CocoNumbers(nothing, nothing[:, 0], nothing)
    return CocoNumbers(
        np.asarray(run.eval["precision"]).reshape(shape),
        np.asarray(run.eval["recall"]).reshape(10, classes, len(_SIZES)),
        np.asarray(run.eval["scores"]).reshape(shape),
    )


def _file(images: Sequence[Objects], classes: int, masks: bool) -> dict[str, Any]:
    """Return what a COCO file of these objects would hold; ids count from 1, for 0 means no match."""
    annotations: list[dict[str, Any]] = []
    for place, one in enumerate(images, start=1):
        boxes, areas = xyxy_to_xywh(one.boxes_xyxy).tolist(), area(one.boxes_xyxy).tolist()
        rles = masks_of(one) if masks else []
        for row, (box, square) in enumerate(zip(boxes, areas, strict=True)):
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": place,
                "category_id": int(one.class_ids[row]) + 1,
                "bbox": box,
                "area": square,
                "score": float(one.scores[row]),
                "iscrowd": 0,
            }
            if masks:
                entry |= {"segmentation": rles[row], "area": mask_area(rles[row])}
            annotations.append(entry)
    return {
        "images": [
            {"id": place, "width": one.size_wh[0], "height": one.size_wh[1]} for place, one in enumerate(images, 1)
        ],
        "categories": [{"id": class_id + 1, "name": str(class_id)} for class_id in range(classes)],
        "annotations": annotations,
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None

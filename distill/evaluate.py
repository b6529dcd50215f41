"""How good a student, or anybody, is on images whose truth is known: the numbers of COCO, and what lies behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeling.core.errors import InputError

from .curation.photo_facts import PhotoFacts
from .evaluation.at_threshold import AtThreshold, at_threshold
from .evaluation.coco import CocoNumbers, coco_numbers
from .evaluation.latency import Latency, measure_latency
from .evaluation.operating import OperatingPoint, choose_threshold
from .evaluation.plain import to_json
from .evaluation.resampling import Bounds, bounds, mean_of, resampled
from .evaluation.scores import Calibration, calibration, recall_at_precision
from .evaluation.slices import SizeEvaluation, SliceEvaluation, by_kind, by_size
from .evaluation.table import Numbers, Table, matched
from .objects import Objects

__all__ = [
    "AtThreshold",
    "ClassEvaluation",
    "Evaluation",
    "Latency",
    "OperatingPoint",
    "SizeEvaluation",
    "SliceEvaluation",
    "at_threshold",
    "choose_threshold",
    "evaluate",
    "measure_latency",
    "to_json",
]

PRECISION = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class ClassEvaluation:
    """One class; what was not measured because nothing of it is there is None.

    Attributes:
        name: of the class.
        images: that hold it.
        objects: that are there.
        found: objects that were said to be one, of any score.
        ap50, ap75, ap50_95: average precision at IoU 0.5, 0.75, and as a mean over 0.5 to 0.95.
        ar100: highest recall, as a mean over IoU 0.5 to 0.95, with at most 100 objects in an image.
        ap50_interval, ap50_95_interval: 95 %, images drawn again.
        recall_at_precision: highest recall at IoU 0.5 that leaves the precision that was asked for; 0 where no score
            is so precise.
        score_at_precision: from which found objects count there; None where there is no such score.
        precision_curve: (101,) precision at the recalls 0, 0.01 to 1, at IoU 0.5, interpolated as COCO does; None where
            nothing is there.
        score_curve: (101,) the score at each of these recalls, 0 beyond the highest recall; None likewise.
    """

    name: str
    images: int
    objects: int
    found: int
    ap50: float | None
    ap75: float | None
    ap50_95: float | None
    ar100: float | None
    ap50_interval: Bounds | None
    ap50_95_interval: Bounds | None
    recall_at_precision: float | None
    score_at_precision: float | None
    precision_curve: Numbers | None
    score_curve: Numbers | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What holds whatever score is chosen. What was not measured is None, never 0.

    Attributes:
        images: how many.
        objects: that are there.
        found: objects that were said to be there, of any score.
        masks: masks were compared, not boxes.
        without_mask: objects, there and found, whose box stood for their mask; 0 where boxes were compared.
        ap50, ap75, ap50_95, ar100: means over the classes that are there, see ClassEvaluation.
        ap50_interval, ap50_95_interval: 95 %, images drawn again; None with fewer than two images.
        precision: that ``recall_at_precision`` was asked for.
        classes: in the order of the names.
        sizes: small, medium and large.
        slices: by light and sharpness where photos were looked at, and by number of objects.
        calibration: whether scores mean what they say.
    """

    images: int
    objects: int
    found: int
    masks: bool
    without_mask: int
    ap50: float | None
    ap75: float | None
    ap50_95: float | None
    ar100: float | None
    ap50_interval: Bounds | None
    ap50_95_interval: Bounds | None
    precision: float
    classes: tuple[ClassEvaluation, ...]
    sizes: tuple[SizeEvaluation, ...]
    slices: tuple[SliceEvaluation, ...]
    calibration: Calibration


def evaluate(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    names: Sequence[str],
    *,
    masks: bool = False,
    facts: Mapping[str, PhotoFacts] | None = None,
    precision: float = PRECISION,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measure what was found against what is there.

    Args:
        truth: what is there; one per image, of which some may be empty.
        found: what somebody says of the same images, in the same order, down to low scores.
        names: the classes.
        masks: compare masks instead of boxes; the rectangle of its box stands for an object without a mask.
        facts: of photos, by sha256, for slices by light and sharpness.
        precision: at which recall is asked for, in (0, 1].
        resamples: how often the images are drawn again for intervals.
        seed: of the draws.

    Raises:
        InputError: the two do not speak of the same images, or the precision is not in (0, 1].
        MissingExtraError: faster-coco-eval is not installed.
    """
    if not 0 < precision <= 1:
        raise InputError(f"the precision is {precision}: expected a number above 0 and up to 1, such as 0.9")
    table = matched(truth, found, len(names), masks=masks)
    numbers = coco_numbers(truth, found, len(names), masks=masks)
    draws = resampled(table, resamples=resamples, seed=seed)
    return Evaluation(
        images=len(truth),
        objects=len(table.truth_class),
        found=sum(len(one) for one in found),
        masks=masks,
        without_mask=_without_mask(truth) + _without_mask(found) if masks else 0,
        ap50=numbers.ap(level=0),
        ap75=numbers.ap(level=5),
        ap50_95=numbers.ap(),
        ar100=numbers.ar(),
        ap50_interval=bounds(mean_of(draws[:, :1]), len(truth)),
        ap50_95_interval=bounds(mean_of(draws), len(truth)),
        precision=precision,
        classes=tuple(
            _class(name, k, table, numbers, draws[:, :, k], precision, found) for k, name in enumerate(names)
        ),
        sizes=by_size(table, numbers),
        slices=by_kind(table, truth, facts, resamples, seed),
        calibration=calibration(table),
    )


def _class(
    name: str,
    class_id: int,
    table: Table,
    numbers: CocoNumbers,
    draws: Numbers,
    precision: float,
    found: Sequence[Objects],
) -> ClassEvaluation:
    reached = recall_at_precision(table, class_id, precision)
    return ClassEvaluation(
        name=name,
        images=int((table.truths[:, class_id] > 0).sum()),
        objects=int((table.truth_class == class_id).sum()),
        found=sum(int((one.class_ids == class_id).sum()) for one in found),
        ap50=numbers.ap(level=0, class_id=class_id),
        ap75=numbers.ap(level=5, class_id=class_id),
        ap50_95=numbers.ap(class_id=class_id),
        ar100=numbers.ar(class_id=class_id),
        ap50_interval=bounds(draws[:, 0], table.images),
        ap50_95_interval=bounds(draws.mean(axis=1), table.images),
        recall_at_precision=reached[0] if reached else None,
        score_at_precision=reached[1] if reached else None,
        precision_curve=numbers.precision[0, :, class_id, 0] if reached else None,
        score_curve=numbers.scores[0, :, class_id, 0] if reached else None,
    )


def _without_mask(images: Sequence[Objects]) -> int:
    return sum(len(one) if one.rles is None else sum(rle is None for rle in one.rles) for one in images)

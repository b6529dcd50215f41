"""Two sessions of one student on the same images: whether they say the same, and where they differ most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from distill.evaluate import evaluate
from labeling.core.errors import InputError
from labeling.image_files import display

from . import runtime
from .agreement import MIN_IOU, Agreement, Alone, Seen, agreement, compared
from .predictor import objects_of
from .raw_outputs import Apart, RawLimits, apart, beyond
from .runtime import Canvas, Floats, Frame, Model, Session

if TYPE_CHECKING:
    from distill.objects import Objects

EVALUATION_FLOOR = 0.001
_LINE_BGR = ((80, 220, 80), (220, 60, 220))


@dataclass(frozen=True, slots=True)
class Limits:
    """How far two sessions may differ.

    Attributes:
        min_iou: of the worst pair of boxes, in [0, 1].
        median_iou: of the median pair.
        score: largest difference of the scores of a pair.
        median_score: median difference.
        near: an object that only one of the two sees does not count if its score is so near to its threshold.
        alone: largest share of the other objects that only one of the two sees.
        median_mask_iou: of the median pair of masks.
        ap: largest loss of AP50-95 against the truth, in [0, 1].
        raw: of the outputs before they are decoded, objects or not.
    """

    min_iou: float
    median_iou: float
    score: float
    median_score: float
    near: float
    alone: float
    median_mask_iou: float
    ap: float
    raw: RawLimits


FP32 = Limits(
    min_iou=0.99,
    median_iou=0.999,
    score=0.001,
    median_score=1e-4,
    near=0.001,
    alone=0.002,
    median_mask_iou=0.99,
    ap=0.001,
    raw=RawLimits(everywhere=True, score=0.005, box=0.1, mask=0.001),
)
"""The same arithmetic in another order. What is left for objects seen by one is a box at the IoU of NMS itself. Raw
scores of correct exports differ by up to 0.0013 of their size, boxes by 0.02 pixels, masks by 0.00001."""

FP16 = Limits(
    min_iou=MIN_IOU,
    median_iou=0.98,
    score=0.3,
    median_score=0.01,
    near=0.1,
    alone=0.03,
    median_mask_iou=0.97,
    ap=0.005,
    raw=RawLimits(everywhere=False, score=0.25, box=3.0, mask=0.05),
)
"""Weights and features with 11 bits. Where two boxes of one object score the same, NMS may keep the other one, so that
single pairs say little."""


@dataclass(frozen=True, slots=True, eq=False)
class Worst:
    """The image on which the two differ most.

    Attributes:
        name: of the image.
        frame: BGR uint8 (h, w, 3).
        reference, other: what they see in it.
    """

    name: str
    frame: Frame
    reference: runtime.Objects
    other: runtime.Objects


@dataclass(frozen=True, slots=True, eq=False)
class Parity:
    """What a comparison found, at the thresholds of the card.

    Attributes:
        frames: images compared.
        reference, other: objects that each sees.
        all: every pair.
        classes: the same by name of the class, those that somebody sees.
        class_agreement: share of the boxes at the same place that have the same class; None where there is none.
        alone: every object that only one sees.
        ap: AP50-95 of reference and other against the truth; None where no truth was given.
        worst: see Worst; None without an image.
        raw: each output of each image before it is decoded.
        unseen: classes of which neither sees an object.
    """

    frames: int
    reference: int
    other: int
    all: Agreement
    classes: Mapping[str, Agreement]
    class_agreement: float | None
    alone: tuple[Alone, ...]
    ap: tuple[float, float] | None
    worst: Worst | None
    raw: tuple[Apart, ...]
    unseen: tuple[str, ...]

    def faults(self, limits: Limits) -> list[str]:
        """Return what is beyond the limits, one sentence each; empty where the two agree."""
        if not self.all.matched and not self.alone:
            return [f"neither sees an object in {self.frames} images: they show nothing: take images with objects"]
        far = sum(one.margin > limits.near for one in self.alone)
        share = far / max(1, self.reference + self.other)
        found = [
            _below("the worst pair of boxes has an IoU of", self.all.min_iou, limits.min_iou),
            _below("the median pair of boxes has an IoU of", self.all.median_iou, limits.median_iou),
            _above("scores differ by up to", self.all.max_score, limits.score),
            _above("scores differ in the median by", self.all.median_score, limits.median_score),
            _below("the median pair of masks has an IoU of", self.all.median_mask_iou, limits.median_mask_iou),
            _above(f"only one of the two sees {far} objects, a share of", share, limits.alone),
            _above("AP falls by", None if self.ap is None else self.ap[0] - self.ap[1], limits.ap),
        ]
        where = f" (worst image: {self.worst.name})" if self.worst is not None else ""
        return [f"{sentence}{where}" for sentence in found if sentence is not None] + [*beyond(self.raw, limits.raw)]


def compare(
    reference: Session,
    other: Session,
    frames: Iterable[tuple[str, Frame]],
    *,
    truth: Mapping[str, Objects] | None = None,
) -> Parity:
    """Show the same images to two sessions, with the preparation and the decoding of the device.

    Boxes are paired within their class by the largest total IoU, at the thresholds of each card.

    Args:
        reference: what the student says, such as a TorchSession.
        other: what is to be proven.
        frames: (name, BGR uint8 (h, w, 3)); read once.
        truth: by name of the image; those images are also measured, from a score of 0.001 on.

    Raises:
        InputError: the two do not know the same classes and thresholds.
    """
    if (reference.card.names, reference.card.thresholds) != (other.card.names, other.card.thresholds):
        raise InputError("the two models have other classes or thresholds: compare exports of one student")
    first, second = Model(reference), Model(other)
    names, thresholds = reference.card.names, [reference.card.thresholds[name] for name in reference.card.names]
    seen: list[Seen] = []
    raw: list[Apart] = []
    measured: tuple[list[Objects], list[Objects], list[Objects]] = ([], [], [])
    worst, badness = None, (-1.0, -1.0)
    for name, frame in frames:
        known = None if truth is None else truth.get(name)
        ours, theirs = (_looked(model, frame, None if known is None else EVALUATION_FLOOR) for model in (first, second))
        one = compared(name, ours.counted, theirs.counted, thresholds)
        seen.append(one)
        raw += apart(name, (first, second), (ours.outputs, theirs.outputs), ours.canvas)
        if one.badness > badness:
            badness, worst = one.badness, Worst(name, frame, ours.counted, theirs.counted)
        if known is not None and ours.all is not None and theirs.all is not None:
            for kept, what in zip(measured, (known, ours.all, theirs.all), strict=True):
                kept.append(replace(what, sha256=known.sha256))
    return _summed(seen, names, measured, worst, raw)


def worst_picture(parity: Parity, path: Path) -> None:
    """Write the image on which the two differ most as a PNG: the reference's boxes are green, the other's purple.

    Raises:
        InputError: no image was compared, or the file cannot be written.
    """
    if parity.worst is None:
        raise InputError("no image was compared: there is no worst one to show")
    picture = parity.worst.frame.copy()
    thickness = max(1, round(max(picture.shape[:2]) / 400))
    for found, colour, wide in zip(
        (parity.worst.reference, parity.worst.other), _LINE_BGR, (3 * thickness, thickness), strict=True
    ):
        for x0, y0, x1, y1 in found.boxes_xyxy.round().astype(int).tolist():
            cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colour, wide)
    _done, coded = cv2.imencode(".png", picture)
    try:
        path.write_bytes(coded.tobytes())
    except OSError as error:
        raise InputError(f"{display(path)}: cannot be written ({error.strerror})") from error


@dataclass(frozen=True, slots=True)
class _Look:
    canvas: Canvas
    outputs: Sequence[Floats]
    counted: runtime.Objects
    all: Objects | None


def _looked(model: Model, frame: Frame, floor: float | None) -> _Look:
    canvas = model.prepare(frame)
    outputs = model.session.run(canvas.tensor)
    low = None if floor is None else objects_of(model.decode(outputs, canvas, floor), frame.shape[:2])
    return _Look(canvas, outputs, model.decode(outputs, canvas), low)


def _summed(
    seen: Sequence[Seen],
    names: Sequence[str],
    measured: tuple[list[Objects], list[Objects], list[Objects]],
    worst: Worst | None,
    raw: Sequence[Apart],
) -> Parity:
    pairs = [pair for one in seen for pair in one.pairs]
    alone = tuple(lone for one in seen for lone in one.alone)
    lonely = Counter(one.class_id for one in alone)
    by_class = {
        name: agreement([pair for pair in pairs if pair.class_id == row], lonely[row]) for row, name in enumerate(names)
    }
    same_place = len(pairs) + sum(one.crossed for one in seen)
    classes = {name: one for name, one in by_class.items() if one.matched or one.alone}
    return Parity(
        frames=len(seen),
        reference=sum(one.counts[0] for one in seen),
        other=sum(one.counts[1] for one in seen),
        all=agreement(pairs, len(alone)),
        classes=classes,
        class_agreement=len(pairs) / same_place if same_place else None,
        alone=alone,
        ap=_precisions(measured, names),
        worst=worst,
        raw=tuple(raw),
        unseen=tuple(name for name in names if name not in classes),
    )


def _precisions(
    measured: tuple[list[Objects], list[Objects], list[Objects]], names: Sequence[str]
) -> tuple[float, float] | None:
    truth, *said = measured
    if not truth:
        return None
    ours, theirs = (evaluate(truth, found, names, resamples=2).ap50_95 for found in said)
    return None if ours is None or theirs is None else (ours, theirs)


def _below(what: str, value: float | None, limit: float) -> str | None:
    return None if value is None or value >= limit else f"{what} {value:.4f}, expected {limit} or more"


def _above(what: str, value: float | None, limit: float) -> str | None:
    return None if value is None or value <= limit else f"{what} {value:.4f}, expected at most {limit}"

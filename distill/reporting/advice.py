"""What would make a student better: whether more data still helps, and what to label next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labeling.report_words import counted

from ..curation.readiness import NEXT
from .evidence import confused, kind_of, measured
from .words import TARGET, Bounds, Measured, Target, figure, named, short

if TYPE_CHECKING:
    from ..balance import Balance
    from ..evaluate import AtThreshold, Evaluation

TELLING_GAIN = 0.01
"""AP50 that twice the images have to bring before more labelling is worth a sentence: less than a seed moves it."""

ENOUGH_OBJECTS = 50
"""With fewer objects elsewhere, a kind is compared with nothing."""

_TELLING_LESS = 0.05
_MOST_CLASSES = 4
_MOST_STEPS = 8
_MOST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a student reached with so many training images: AP50 and its interval."""

    images: int
    ap50: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Trend:
    """What twice the images would bring, if errors go on to fall as they did.

    Attributes:
        gain: in AP50.
        bounds: of it.
        said: whether more data still helps, in words.
    """

    gain: float | None
    bounds: Bounds | None
    said: str


def trend(points: Sequence[CurvePoint]) -> Trend:
    """Fit 1 - AP50 as a power of the number of images and look one doubling ahead.

    Errors that fall as a power law are what Hestness et al. (2017), "Deep Learning Scaling is Predictable,
    Empirically", found; each point weighs by its interval. Intervals that share their test images are taken for
    independent, which makes the answer more careful than it need be.
    """
    known = sorted({point.images: point for point in points if point.images > 0}.values(), key=lambda one: one.images)
    if len(known) < 3:
        have = len(known) or "none"
        return Trend(None, None, f"Cannot say: three numbers of training images are needed, {have} measured.")
    error = np.clip([1 - one.ap50 for one in known], 1e-3, None)
    spread = np.maximum(np.array([one.high - one.low for one in known]) / (2 * 1.96) / error, 1e-3)
    x, y, weight = np.log([one.images for one in known]), np.log(error), spread**-2
    away = x - np.average(x, weights=weight)
    slope = float(-(weight * away * y).sum() / (weight * away**2).sum())
    unsure = 1.96 / float(np.sqrt((weight * away**2).sum()))
    low, gain, high = (float(error[-1] * (1 - 2**-power)) for power in (slope - unsure, slope, slope + unsure))
    last = known[-1]
    if low > TELLING_GAIN / 2 and gain >= TELLING_GAIN:
        said = (
            f"Yes: with twice the {last.images:,} images, AP50 would go from {last.ap50:.2f} to about "
            f"{last.ap50 + gain:.2f} (+{low:.2f} to +{high:.2f}), if errors go on to fall as they did."
        )
    elif high < 2 * TELLING_GAIN:
        said = (
            f"Hardly: twice the {last.images:,} images would bring about {gain:+.3f} AP50, at most {high:+.3f}. Better "
            "labels, other photos or a larger student may bring more."
        )
    else:
        said = (
            f"Cannot say: twice the {last.images:,} images may bring {low:+.2f} to {high:+.2f} AP50; the images it is "
            "measured on are too few, or the points too close, to tell."
        )
    return Trend(gain, (low, high), said)


def what_next(
    evaluation: Evaluation, at: AtThreshold, balance: Balance | None = None, target: Target = TARGET
) -> list[str]:
    """Return what to label next to make a student better, the most telling first, one sentence each.

    Args:
        evaluation: of the test part, or of val where that was not opened.
        at: what holds there at the threshold.
        balance: what there is to learn from; None leaves out how many images each class has.
        target: see ``Target``.
    """
    classes = measured(evaluation, at)
    steps = [*_by_class(classes, balance, target), *_by_kind(at), *_by_confusion(confused(evaluation, at))][
        :_MOST_STEPS
    ]
    if steps:
        steps.append(
            f"labelstill next {NEXT} names the images that would teach most; labelstill push --limit {NEXT} sends them "
            "to people."
        )
    return steps


def _by_kind(at: AtThreshold) -> Iterator[str]:
    """Yield the kinds of objects and photos that fail: below the others even at the upper end of their interval."""
    for part in sorted((one for one in at.parts if one.objects), key=lambda one: one.recall or 0.0):
        rest = at.overall.objects - part.objects
        if rest < ENOUGH_OBJECTS or part.recall is None or part.recall_interval is None:
            continue
        elsewhere = (at.overall.right - part.found) / rest
        if part.recall_interval[1] < elsewhere and part.recall < elsewhere - _TELLING_LESS:
            recall = figure(part.recall, part.recall_interval)
            yield f"Collect {kind_of(part)} and label them: recall is {recall} there and {elsewhere:.2f} elsewhere."


def _by_confusion(pairs: Sequence[tuple[str, str, int]]) -> Iterator[str]:
    for there, seen, times in [pair for pair in pairs if pair[2] > 1][:_MOST_PAIRS]:
        yield (
            f"Label images with both {short(there)} and {short(seen)}, and write into the guide what tells them apart: "
            f"{times:,} times the one was taken for the other."
        )


def _by_class(classes: Sequence[Measured], balance: Balance | None, target: Target) -> Iterator[str]:
    known = {one.name: one for one in balance.classes} if balance is not None else {}
    low = [one for one in classes if one.recall is not None and one.recall < target.recall]
    for one in sorted(low, key=lambda one: one.recall or 0.0)[:_MOST_CLASSES]:
        there = known.get(one.name)
        said = f"recall is {figure(one.recall or 0.0, one.recall_bounds)}"
        if there is not None and there.wanted_images:
            yield (
                f"Label {counted(there.wanted_images, 'more image')} of {short(one.name)}: {said}, and "
                f"{counted(there.images, 'reviewed image')} {'is' if there.images == 1 else 'are'} few to learn from."
            )
        else:
            yield f"Look at what is missed of {short(one.name)}, then label more images like it: {said}."
    few = [one for one in classes if one.images < target.images]
    if few:
        names = named([f"{short(one.name)} {max(0, target.images - one.images):,}" for one in few])
        yield f"Review more images for the test part, so that the next verdict is sure: {names} more."

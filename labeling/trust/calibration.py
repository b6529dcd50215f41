"""Calibration, nested: the images that choose settings never report what the settings are worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..core.errors import InputError
from .calibration_claims import Claims, Numbers, average_precision
from .calibration_search import Search, Settings, folds
from .calibration_thresholds import ENOUGH
from .gold import LEAST

_RESAMPLES = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure under today's settings and under calibrated ones, on images that chose neither.

    Attributes:
        today, calibrated: the figure; NaN where it is not defined.
        low, high: 95 % interval of calibrated minus today, by paired resampling of images.
    """

    today: float
    calibrated: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What calibration found.

    Attributes:
        today, chosen: settings in force, and those that all gold images choose together.
        images: how many gold images took part.
        counts_today, counts_calibrated: (classes, 3) hits, false alarms and objects, held out.
        loss, f1, ap50: held out. The loss is the cost of misses and false alarms: less is better.
        passes: passes of the detector over the gold images.
    """

    today: Settings
    chosen: Settings
    images: int
    counts_today: Numbers
    counts_calibrated: Numbers
    loss: Difference
    f1: Difference
    ap50: Difference
    passes: int

    @property
    def gain_shown(self) -> bool:
        """Whether the settings differ and cost less, beyond chance."""
        return self.chosen != self.today and self.loss.high < 0

    @property
    def unseen(self) -> tuple[int, ...]:
        """Classes of which the gold set has no object."""
        return tuple(int(number) for number in np.flatnonzero(self.counts_today[:, 2] == 0))

    @property
    def few(self) -> tuple[int, ...]:
        """Classes with so few objects that their threshold leans on the common one."""
        objects = self.counts_today[:, 2]
        return tuple(int(number) for number in np.flatnonzero((objects > 0) & (objects < ENOUGH)))


def calibrated(search: Search) -> Calibration:
    """Choose settings on all gold images, and report what choosing is worth on images that did not choose.

    Each of five outer folds is measured under settings that the other four have chosen, by inner folds of their own.
    The interval resamples images in pairs; it takes the five choices as they are.

    Raises:
        InputError: fewer than 30 images, or no object on any of them.
    """
    images = len(search.gold)
    if images < LEAST:
        raise InputError(f"{images} gold images are too few: review {LEAST - images} more")
    if not any(len(one.class_ids) for one in search.gold):
        raise InputError("no gold image holds an object of the classes: check the classes, or review other images")
    everything = np.arange(images)
    before = search.counts(search.today, everything)
    after, weighed = np.zeros_like(before), []
    for held in folds(search.groups):
        settings = search.choose(np.setdiff1d(everything, held))
        after[held] = search.counts(settings, held)
        weighed.append(_of(search.claims_of(settings), held))
    saved, low, high = search.gain(before, after)
    return Calibration(
        search.today,
        search.choose(everything),
        images,
        before.sum(axis=0),
        after.sum(axis=0),
        Difference(search.loss(before), search.loss(before) - saved, -high, -low),
        _f1(before, after),
        _ap50(search.claims_of(search.today), _together(weighed)),
        search.passes,
    )


def _f1(before: Numbers, after: Numbers) -> Difference:
    def of(sums: Numbers) -> Numbers:
        hits, false, objects = sums[..., 0], sums[..., 1], sums[..., 2]
        return np.asarray(2 * hits / np.maximum(hits + false + objects, 1e-9), dtype=np.float64)

    weights = _weights(len(before))
    both = [weights @ counts.sum(axis=1) for counts in (before, after)]
    return _difference(of(both[0]), of(both[1]))


def _ap50(today: Claims, after: Claims) -> Difference:
    weights = _weights(len(today.objects))
    return _difference(average_precision(today, weights), average_precision(after, weights))


def _weights(images: int) -> Numbers:
    """Return how often each image counts: as it is, and in each resample."""
    drawn = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), _RESAMPLES)
    return np.concatenate([np.ones((1, images)), drawn]).astype(np.float64)


def _difference(today: Numbers, after: Numbers) -> Difference:
    low, high = np.nanquantile((after - today)[1:], (0.025, 0.975))
    return Difference(float(today[0]), float(after[0]), float(low), float(high))


def _of(found: Claims, rows: npt.NDArray[np.int64]) -> Claims:
    of = np.isin(found.image, rows)
    return replace(found, image=found.image[of], class_id=found.class_id[of], score=found.score[of], hit=found.hit[of])


def _together(parts: list[Claims]) -> Claims:
    score = np.concatenate([one.score for one in parts])
    order = np.argsort(-score, kind="stable")
    image, class_id, hit = (
        np.concatenate([getattr(one, name) for one in parts])[order] for name in ("image", "class_id", "hit")
    )
    return Claims(image, class_id, score[order], hit, parts[0].objects)

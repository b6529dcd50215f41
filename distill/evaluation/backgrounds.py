"""False alarms on images in which there is nothing to find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labeling.core.errors import MissingExtraError
from labeling.core.matching import interval

from .resampling import Bounds
from .table import Table


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """False alarms on images in which there is nothing.

    Attributes:
        images: without any object.
        alarms: found objects in them.
        per_image: alarms per image; None without such images.
        per_image_interval: 95 %, exact for a Poisson count (Garwood, 1936).
        alarmed: images with at least one alarm.
        share: of the images that are alarmed; None without such images.
        share_interval: 95 %, Wilson (1927).
    """

    images: int
    alarms: int
    per_image: float | None
    per_image_interval: Bounds | None
    alarmed: int
    share: float | None
    share_interval: Bounds | None


def backgrounds(table: Table) -> Backgrounds:
    """Count what was found where nothing is, in a table of what reaches the threshold."""
    empty = ~table.truths.any(axis=1)
    alarms = np.bincount(table.image, minlength=table.images)[empty]
    images, total, alarmed = int(empty.sum()), int(alarms.sum()), int((alarms > 0).sum())
    if not images:
        return Backgrounds(0, 0, None, None, 0, None, None)
    return Backgrounds(
        images, total, total / images, _poisson(total, images), alarmed, alarmed / images, interval(alarmed, images)
    )


def _poisson(count: int, images: int) -> Bounds:
    try:
        from scipy.stats import chi2
    except ImportError as error:
        raise MissingExtraError("scipy", "teacher") from error
    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low / images, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / images

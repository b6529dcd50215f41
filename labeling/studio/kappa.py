"""Agreement beyond chance between people who said a class, or "no object", about the same units.

Every statistic is a function of sums over images, so its bootstrap over images is a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import MissingExtraError
from ..core.matching import Numbers, bootstrap
from .chance import NO_OBJECT, PLANES, UNSEEN, Labels, chance, count, joined, planes

_LARGEST = 5_000_000
"""Cells of krippendorff's (units, labels, labels) table; beyond, the same value is taken from the sums."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One statistic: its value and interval, or None and the reason why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Measures:
    """How well people agree about everything, or about one class against all the rest.

    Attributes:
        kappa: Cohen's of two people or Fleiss' of a group, at most 1; a box without a partner is "no object" to the
            other person.
        kappa_matched: the same over matched boxes alone.
        alpha: Krippendorff's alpha for names, at most 1, with "no object".
        alpha_matched: the same over matched boxes alone.
        found: specific agreement, in [0, 1]: how often one person has what the other drew. The F measure of two people.
        iou: mean IoU of matched boxes, in [0, 1]; of a class, where both gave it.
    """

    kappa: Estimate
    kappa_matched: Estimate
    alpha: Estimate
    alpha_matched: Estimate
    found: Estimate
    iou: Estimate


@dataclass(frozen=True, slots=True)
class Ratings:
    """What people said about the objects of some images.

    Attributes:
        labels: who said what about each unit; everybody who saw an image has a label for each of its units.
        image: (units,) position of the image of each unit.
        pairs: (k, 3): position of the image, 1 + position of the class (0 where they differ), IoU; matched boxes.
        images: how many images there are, those without units included.
    """

    labels: Labels
    image: npt.NDArray[np.int64]
    pairs: Numbers
    images: int


def measure(
    ratings: Ratings, class_names: Sequence[str], *, cohen: bool, confidence: float, resamples: int, seed: int
) -> tuple[Measures, dict[str, Measures]]:
    """Return the measures of everything, and of each class against the rest.

    Kappa of two people and alpha over all classes are computed by scikit-learn and krippendorff; one class against
    the rest, Fleiss' kappa and all intervals come from the sums.

    Args:
        ratings: what was said.
        class_names: in the order of the labels.
        cohen: whether kappa is Cohen's, of exactly two people, else Fleiss'.
        confidence: of the intervals, in (0, 1).
        resamples: of the bootstrap over images.
        seed: of the bootstrap.

    Raises:
        MissingExtraError: scikit-learn or krippendorff is not installed.
    """
    width = 1 + len(class_names)
    drawn = np.where(ratings.labels == NO_OBJECT, UNSEEN, ratings.labels)
    everything, matched = count(ratings.labels, width), count(drawn, width)
    units = (*planes(ratings.labels, everything, cohen), *planes(drawn, matched, cohen))
    parts = np.stack([*(_per_image(plane, ratings) for plane in units), *_iou_planes(ratings, width)], axis=1)

    def statistic(sums: Numbers) -> Numbers:
        return _values(sums.reshape(len(sums), -1, width), cohen).reshape(len(sums), -1)

    flat = parts.reshape(ratings.images, parts.shape[1] * width)
    value = statistic(flat.sum(axis=0, keepdims=True)).reshape(-1, width)
    bounds = bootstrap(flat, statistic, confidence=confidence, resamples=resamples, seed=seed)
    low, high = (bound.reshape(-1, width) for bound in bounds)
    for row, labels, said in ((0, ratings.labels, everything), (1, drawn, matched)):
        if cohen and np.isfinite(value[row, 0]):
            value[row, 0] = cohen_kappa(labels)
        if np.isfinite(value[row + 2, 0]) and said.size * width <= _LARGEST:
            value[row + 2, 0] = krippendorff_alpha(said)

    reasons = [_reasons(said.sum(axis=0), class_names) for said in (everything, matched)]
    no_iou = ["no two boxes matched", *("no matched box was given this class by both" for _name in class_names)]
    rows = [*(reasons * 2), ["nobody drew an object", *("nobody drew one" for _name in class_names)], no_iou]

    def measures(column: int) -> Measures:
        cells = zip(value[:, column], low[:, column], high[:, column], (row[column] for row in rows), strict=True)
        return Measures(*(_estimate(*cell) for cell in cells))

    return measures(0), {name: measures(column) for column, name in enumerate(class_names, start=1)}


def cohen_kappa(labels: Labels) -> float:
    """Return Cohen's kappa (1960) over the units that both of two people have a label for, by scikit-learn."""
    try:
        from sklearn.metrics import cohen_kappa_score
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "studio") from error
    first, second = labels[(labels != UNSEEN).all(axis=1)].T
    return float(cohen_kappa_score(first, second))


def krippendorff_alpha(said: Labels) -> float:
    """Return Krippendorff's alpha for names from (units, labels) counts of people, by krippendorff."""
    try:
        import krippendorff
    except ImportError as error:
        raise MissingExtraError("krippendorff", "studio") from error
    return float(krippendorff.alpha(value_counts=said[:, said.any(axis=0)], level_of_measurement="nominal"))


def _per_image(plane: Numbers, ratings: Ratings) -> Numbers:
    """Return (images, width): the sums of what the units of each image add, (units, width)."""
    out = np.zeros((ratings.images, plane.shape[1]))
    np.add.at(out, ratings.image, plane)
    return out


def _iou_planes(ratings: Ratings, width: int) -> tuple[Numbers, Numbers]:
    """Return total IoU and number of the matched boxes of each image by class, (images, width) each."""
    total, number = np.zeros((2, ratings.images, width))
    where = ratings.pairs[:, 0].astype(int), ratings.pairs[:, 1].astype(int)
    np.add.at(total, where, ratings.pairs[:, 2])
    np.add.at(number, where, 1)
    return total, number


def _values(sums: Numbers, cohen: bool) -> Numbers:
    """Return (n, 6, width) values in the order of ``Measures`` from (n, planes, width) sums."""
    ordered = sums.swapaxes(0, 1)
    total, number = ordered[2 * PLANES :]
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa, alpha, found = chance(ordered[:PLANES], cohen)
        kappa_matched, alpha_matched, _ = chance(ordered[PLANES : 2 * PLANES], cohen)
        iou = joined(total.sum(axis=-1) / number.sum(axis=-1), total / number)
    return np.stack([kappa, kappa_matched, alpha, alpha_matched, found, iou], axis=1)


def _reasons(said: Labels, class_names: Sequence[str]) -> list[str]:
    """Return why the statistic over all labels, and that of each class, is undefined, if it is."""
    names = ("no object", *class_names)
    used = [name for name, n in zip(names, said, strict=True) if n]
    if not used:
        return ["nothing to compare"] * len(names)
    only = f"everyone always said {used[0]!r}"
    return [only, *(only if used == [name] else "nobody said it here" for name in class_names)]


def _estimate(value: float, low: float, high: float, reason: str) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, reason=reason)
    known = np.isfinite(low) and np.isfinite(high)
    return Estimate(float(value), float(low), float(high)) if known else Estimate(float(value))

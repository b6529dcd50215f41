"""Agreement beyond chance from sums: kappa of Cohen and Fleiss, Krippendorff's alpha, specific agreement.

What a unit adds to the sums does not depend on other units, so sums over any choice of images give every statistic
of that choice at once: of all labels, and of each label against the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.matching import Numbers

Labels = npt.NDArray[np.int64]
"""(units, people): UNSEEN, NO_OBJECT, or 1 + the position of a class."""

UNSEEN = -1
NO_OBJECT = 0

PLANES = 9
"""How many numbers a unit adds for each label."""


def count(labels: Labels, width: int) -> Labels:
    """Return (units, width): how many people gave each label; zeros where fewer than two people have one."""
    said = np.stack([(labels == label).sum(axis=1) for label in range(width)], axis=1)
    return np.asarray(np.where(said.sum(axis=1, keepdims=True) >= 2, said, 0))


def planes(labels: Labels, said: Labels, cohen: bool) -> tuple[Numbers, ...]:
    """Return what each unit adds to the sums, PLANES times (units, width), in the order of ``chance``."""
    people = said.sum(axis=1, keepdims=True)
    others = np.maximum(people - 1, 1)
    same = said * (said - 1)
    units = np.where(np.arange(said.shape[1]) == 0, people > 0, False)
    first = second = np.zeros_like(said, dtype=bool)
    if cohen:
        first, second = ((labels[:, [k]] == np.arange(said.shape[1])) & (people > 0) for k in (0, 1))
    each = (
        said,
        same / others,
        said * (people - said) / (np.maximum(people, 1) * others),
        same,
        said * (people - 1),
        units,
        first & second,
        first,
        second,
    )
    return tuple(np.asarray(plane, dtype=np.float64) for plane in each)


def chance(sums: Numbers, cohen: bool) -> tuple[Numbers, Numbers, Numbers]:
    """Return kappa, alpha and specific agreement, (n, width) each, NaN where undefined.

    The value over all labels stands in the place of "no object"; the others are of one label against the rest.

    Args:
        sums: (PLANES, n, width) of what the units add.
        cohen: whether kappa is Cohen's, of exactly two people, else Fleiss'.
    """
    said, agreeing, differing, same, sought, units, both, first, second = sums
    kappa = _cohen(both, first, second) if cohen else _fleiss(said, differing, units)
    # Specific agreement: Cicchetti and Feinstein (1990); for any number of people, Uebersax (1982).
    found = joined(same[..., 1:].sum(axis=-1) / sought[..., 1:].sum(axis=-1), same / sought)
    return kappa, _alpha(said, agreeing), found


def _cohen(both: Numbers, first: Numbers, second: Numbers) -> Numbers:
    """Cohen (1960): both, first and second are how often a label was given by both, the first, the second."""
    n = first.sum(axis=-1, keepdims=True)
    observed = joined(both.sum(axis=-1), n - first - second + 2 * both) / n
    expected = joined((first * second).sum(axis=-1), first * second + (n - first) * (n - second)) / n**2
    return np.asarray((observed - expected) / (1 - expected))


def _fleiss(said: Numbers, differing: Numbers, units: Numbers) -> Numbers:
    """Fleiss (1971): ``differing`` is the sum over units of the share of pairs of people of whom one said it."""
    share = said / said.sum(axis=-1, keepdims=True)
    observed = 1 - joined(differing.sum(axis=-1), 2 * differing) / units.sum(axis=-1, keepdims=True)
    expected = joined((share**2).sum(axis=-1), share**2 + (1 - share) ** 2)
    return np.asarray((observed - expected) / (1 - expected))


def _alpha(said: Numbers, agreeing: Numbers) -> Numbers:
    """Krippendorff (2011), "Computing Krippendorff's alpha-reliability", nominal: ``agreeing`` is the diagonal."""
    n = said.sum(axis=-1, keepdims=True)
    observed = joined((said - agreeing).sum(axis=-1), said - agreeing)
    expected = joined((said * (n - said)).sum(axis=-1), said * (n - said))
    return np.asarray(1 - (n - 1) * observed / expected)


def joined(overall: Numbers, each: Numbers) -> Numbers:
    """Return the values of each label, that over all labels in the place of "no object"."""
    return np.concatenate([overall[..., None], each[..., 1:]], axis=-1)


def fleiss_kappa(said: npt.ArrayLike) -> float:
    """Return Fleiss' kappa (1971) from (units, labels) counts of people, each unit with two people or more.

    Where units differ in their number of people, in the form of Fleiss, Levin and Paik (2003), chapter 18.
    """
    counts = np.asarray(said, dtype=np.int64)
    sums = np.stack(planes(counts, counts, False), axis=1)
    return float(_fleiss(*sums.sum(axis=0)[[0, 2, 5]])[0])

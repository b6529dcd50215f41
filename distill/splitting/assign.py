"""Groups of images into parts so that every part gets its share of every class: numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def stratify(counts: Counts, shares: Sequence[float], held: Counts, order: Sequence[str]) -> list[int]:
    """Return the part of each group.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011, "On the Stratification of Multi-Label Data"),
    with groups in place of single images: the class with the fewest images that are left is dealt out first, its
    largest group first, each to the part that lacks most of the class. Beyond that paper, where a class has just as
    many groups left as there are parts without any of it, those parts get them; and so do parts without any image.

    Args:
        counts: (groups, columns) so many images of a group hold a class. Every group counts in one of the columns
            before the last, which is the number of its images.
        shares: of all images, that each part is to have; above 0. Between equal parts the first one wins.
        held: (parts, columns) what the parts hold already.
        order: which of two groups of a size comes first.
    """
    wanted = np.outer(shares, counts.sum(axis=0) + held.sum(axis=0)) / sum(shares) - held
    has, left, groups_left = held > 0, counts.sum(axis=0), (counts > 0).sum(axis=0)
    parts = np.full(len(counts), -1, dtype=np.int64)
    while (parts < 0).any():
        column = int(np.where(left[:-1] > 0, left[:-1], left.max() + 1).argmin())
        groups = np.flatnonzero((parts < 0) & (counts[:, column] > 0))
        for group in sorted(groups.tolist(), key=lambda row: (-counts[row, column], order[row])):
            allowed: npt.NDArray[np.bool_] = np.ones(len(shares), dtype=np.bool_)
            for one in (-1, column):
                without = ~has[:, one]
                if without.any() and groups_left[one] <= without.sum():
                    allowed = without
                    break
            choice = max(np.flatnonzero(allowed), key=lambda part: (wanted[part, column], wanted[part, -1], -part))
            parts[group] = choice
            wanted[choice] -= counts[group]
            has[choice] |= counts[group] > 0
            left -= counts[group]
            groups_left -= counts[group] > 0
    return parts.tolist()


def in_order(weights: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return the part of each group so that none comes before an earlier one; every part gets one if there are enough.

    Args:
        weights: images of each group, the oldest group first.
        shares: of the images, the oldest part first.
    """
    ends = np.cumsum(shares) / sum(shares) * sum(weights)
    middles = np.cumsum(weights) - np.asarray(weights) / 2
    borders = [0]
    for part, end in enumerate(ends[:-1].tolist()):
        later = len(shares) - 1 - part
        border = max(int((middles < end).sum()), borders[-1] + 1)
        borders.append(min(border, max(len(weights) - later, borders[-1] + 1), len(weights)))
    return [int(part) - 1 for part in np.searchsorted(borders, np.arange(len(weights)), side="right")]

"""Whether an image that a student learned from and that has left the split since shows what it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeling.core.store import Store

from ..curation.photo_facts import photo_facts
from ..splitting.nearest import nearest_across, turned_across


@dataclass(frozen=True, slots=True)
class Alike:
    """What was found.

    Attributes:
        pairs: the image that it learned from, the measured one, and how alike they are, the most alike first.
        not_compared: images without a thumbnail that it learned from.
    """

    pairs: tuple[tuple[str, str, float], ...] = ()
    not_compared: int = 0

    @property
    def images(self) -> int:
        """How many measured images it has seen in some form."""
        return len({measured for _, measured, _ in self.pairs})


def alike_taught(store: Store, taught: Sequence[str], measured: Sequence[str], threshold: float) -> Alike:
    """Compare images that a student learned from with those it is measured on, as the audit of a split does.

    Args:
        store: labels.db, for thumbnails; those of images that were dropped are there, too.
        taught: sha256 each; none of them is measured.
        measured: sha256 each.
        threshold: pairs at least so alike show the same, see ``Duplicates``.
    """
    if not taught:
        return Alike()
    facts = [list(photo_facts(store, some)) for some in (taught, measured)]
    both = [*facts[0], *facts[1]]
    not_compared = len(taught) - len(facts[0])
    if not facts[0] or not facts[1]:
        return Alike((), not_compared)
    homes = np.repeat(np.arange(2), [len(some) for some in facts])
    thumbnails = np.stack([one.thumbnail for one in both])
    same: dict[tuple[int, int], float] = {}
    for pairs, similarity in (nearest_across(thumbnails, homes), turned_across(thumbnails, homes)):
        for (first, second), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
            if value >= threshold:
                same[first, second] = max(value, same.get((first, second), 0.0))
    best = sorted(same, key=lambda pair: (-same[pair], pair))
    found = tuple((both[first].sha256, both[second].sha256, same[first, second]) for first, second in best)
    return Alike(found, not_compared)

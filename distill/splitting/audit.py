"""The search for leaks of a split: everything is compared anew, whatever the split was made from.

Copies, near duplicates and neighbours are looked for, also mirrored or turned by quarter turns; strong crops are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.video.ledger import FrameLedger

from ..curation.alignment import Thumbnails
from ..curation.duplicates import Duplicates
from ..curation.near_pairs import Pairs
from ..curation.photo_facts import PhotoFacts, photo_facts
from ..split import Split
from .nearest import nearest_across, turned_across
from .timeline import timeline

_Search = Callable[[Thumbnails, npt.NDArray[np.int64]], tuple[Pairs, npt.NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Two images in different parts.

    Attributes:
        first: sha256.
        second: sha256.
        parts: of both: train, val, test, or the number of a fold.
        similarity: in [0, 1], see ``curation.alignment.alike``; None where they were not compared.
    """

    first: str
    second: str
    parts: tuple[str, str]
    similarity: float | None


@dataclass(frozen=True, slots=True)
class LeakAudit:
    """What was found.

    Attributes:
        images: so many were looked up.
        threshold: pairs at least so alike show the same.
        copies_across: pairs that people called duplicates, or whose thumbnails are equal, pixel for pixel.
        groups_across: groups, and frames of one track of a video, that are in more than one part, as sha256.
        pairs_across: pairs at least as alike as the threshold.
        closest: the most alike pair across parts, a leak or not; None where nothing could be compared.
        newer: with a cut by time, images taken after the first one of a later part, because their group or a decision
            holds them; None without such a cut.
        not_compared: images without a thumbnail.
        turned_across: pairs at least as alike as the threshold once one is mirrored or turned by quarter turns.
    """

    images: int
    threshold: float
    copies_across: tuple[Crossing, ...]
    groups_across: tuple[tuple[str, ...], ...]
    pairs_across: tuple[Crossing, ...]
    closest: Crossing | None
    newer: int | None
    not_compared: int
    turned_across: tuple[Crossing, ...] = ()

    @property
    def leaks(self) -> int:
        """How many copies, groups and pairs cross; 0: none of what is looked for was found."""
        return len(self.copies_across) + len(self.groups_across) + len(self.pairs_across) + len(self.turned_across)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return asdict(self) | {"leaks": self.leaks}


def audit(store: Store, split: Split, duplicates: Duplicates) -> LeakAudit:
    """Look for images that are in one part and known from another; with folds, each fold is a part.

    Args:
        store: labels.db, for thumbnails and decisions.
        split: what to look through.
        duplicates: as found now; new photos may have changed them since the split was made.
    """
    homes = _homes(split)
    facts = {one.sha256: one for one in photo_facts(store, sorted(homes))}
    near = {(pair.first, pair.second): pair.similarity for pair in duplicates.pairs}
    found = _compared(facts, homes, nearest_across)
    turned = [one for one in _compared(facts, homes, turned_across) if _reaches(one, duplicates.threshold)]
    closest = found[0] if found else None
    near |= {(one.first, one.second): one.similarity or 0.0 for one in found if _reaches(one, duplicates.threshold)}
    said = [(one.note, one.sha256) for one in DecisionLedger(store).all() if one.decision == "duplicate-of"]
    copies = {*said, *_equal(facts, homes)}
    return LeakAudit(
        images=len(homes),
        threshold=duplicates.threshold,
        copies_across=tuple(_crossings(dict.fromkeys(sorted(copies)), homes)),
        groups_across=tuple(
            members
            for members in (*(group.members for group in duplicates.groups), *FrameLedger(store).groups())
            if len({homes[member] for member in members if member in homes}) > 1
        ),
        pairs_across=tuple(_crossings(near, homes)),
        closest=closest,
        newer=_newer(store, split, facts, duplicates) if split.settings.by_time == "always" else None,
        not_compared=len(homes) - len(facts),
        turned_across=tuple(
            one for one in turned if not near.keys() & {(one.first, one.second), (one.second, one.first)}
        ),
    )


def _homes(split: Split) -> dict[str, str]:
    """Return the part of each image; with folds, an image that only teaches is of the fold that it is left out of."""
    homes = {sha256: str(part) for part in ("train", "val", "test") for sha256 in split.images(part)}
    train = set(split.images("train"))
    for fold in range(split.settings.folds or 0):
        homes |= dict.fromkeys(train.difference(split.images("train", fold)), str(fold))
    return homes


def _reaches(one: Crossing, threshold: float) -> bool:
    return one.similarity is not None and one.similarity >= threshold


def _compared(facts: Mapping[str, PhotoFacts], homes: Mapping[str, str], search: _Search) -> list[Crossing]:
    """Return the most alike pairs across parts, the most alike first."""
    if not facts:
        return []
    images, number = sorted(facts), {home: place for place, home in enumerate(sorted(set(homes.values())))}
    thumbnails = np.stack([facts[sha256].thumbnail for sha256 in images])
    where = np.array([number[homes[sha256]] for sha256 in images], dtype=np.int64)
    pairs, similarity = search(thumbnails, where)
    named = ((images[first], images[second]) for first, second in pairs.tolist())
    return list(_crossings(dict(zip(named, similarity.tolist(), strict=True)), homes))


def _crossings(pairs: Mapping[tuple[str, str], float | None], homes: Mapping[str, str]) -> Iterator[Crossing]:
    for (first, second), similarity in pairs.items():
        if first in homes and second in homes and homes[first] != homes[second]:
            yield Crossing(first, second, (homes[first], homes[second]), similarity)


def _equal(facts: Mapping[str, PhotoFacts], homes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield one pair for each two parts that hold the same thumbnail."""
    seen: dict[bytes, dict[str, str]] = {}
    for sha256, one in facts.items():
        # A thumbnail of one grey says nothing about the photo.
        if one.thumbnail.min() < one.thumbnail.max():
            seen.setdefault(one.thumbnail.tobytes(), {}).setdefault(homes[sha256], sha256)
    for found in seen.values():
        yield from combinations(sorted(found.values()), 2)


def _newer(store: Store, split: Split, facts: Mapping[str, PhotoFacts], duplicates: Duplicates) -> int:
    moments = timeline(store, sorted(split.parts), facts, duplicates).moments
    newer, begin = 0, float("inf")
    for part in ("test", "val", "train"):
        taken = [moments[sha256] for sha256 in split.images(part) if sha256 in moments]
        newer += sum(moment > begin for moment in taken)
        begin = min([begin, *taken])
    return newer

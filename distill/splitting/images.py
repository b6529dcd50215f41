"""Which images a split may use, which classes they hold, and why the others are left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger

from ..curation.scenes import scenes

_WHY_NOT = {"new": "not labelled yet", "skipped": "skipped in review"}
_UNREADABLE = "could not be read"
_DROPPED = "decided to be dropped"
_EMPTY = "not reviewed and without a label: nobody knows whether nothing is there"


@dataclass(frozen=True, slots=True, eq=False)
class Usable:
    """The images that can teach or be measured on.

    Attributes:
        images: n sha256, ascending.
        reviewed: (n,) whether the labels are people's.
        holds: (n, classes + 1) whether an image holds a class, in the order of the ontology; last, whether it holds
            none.
        left_out: how many other images there are, by reason.
    """

    images: tuple[str, ...]
    reviewed: npt.NDArray[np.bool_]
    holds: npt.NDArray[np.bool_]
    left_out: Counter[str]


def usable(store: Store) -> Usable:
    """Read which images have labels; single labels that were decided to be dropped count as none.

    An image that nobody reviewed and that has no label is left out: the teacher may have missed something.
    """
    names = store.class_names()
    column = {name: place for place, name in enumerate(names)}
    ledger = DecisionLedger(store)
    dropped, dropped_labels = ledger.images("drop", whole=True), ledger.dropped_labels()
    images: list[str] = []
    reviewed: list[bool] = []
    held: list[set[int]] = []
    empty = set[str]()
    for scene in scenes(store):
        found = {column[label.class_name] for label in scene.labels if label.id not in dropped_labels}
        if not found and not scene.reviewed:
            empty.add(scene.sha256)
            continue
        images.append(scene.sha256)
        reviewed.append(scene.reviewed)
        held.append(found or {len(names)})
    holds = np.zeros((len(images), len(names) + 1), dtype=np.bool_)
    for row, classes in enumerate(held):
        holds[row, list(classes)] = True
    known = set(images)
    left_out: Counter[str] = Counter()
    for sha256, state in store.rows("SELECT sha256, state FROM v_images"):
        if sha256 in known:
            continue
        if sha256 in dropped:
            left_out[_DROPPED] += 1
        else:
            left_out[_EMPTY if sha256 in empty else _WHY_NOT.get(state, _UNREADABLE)] += 1
    return Usable(tuple(images), np.array(reviewed, dtype=np.bool_), holds, left_out)

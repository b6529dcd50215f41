"""How sure the teacher that labels now is of each image: the lowest score among its labels, read from labels.db."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.errors import StateError
from ..core.standing import MACHINE_STANDS
from ..core.store import Store
from ..core.store_rows import Machine, keys_from_text
from ..queue import set_aside

NEVER = 2.0
"""Above every score: what the lot drew among images of a class or state speaks for no level."""


@dataclass(frozen=True, slots=True)
class Labeller:
    """What labels now: kind of machine, and what its images are done for (prompts, weights, thresholds, filters)."""

    machine: Machine
    done_key: str


@dataclass(frozen=True, slots=True)
class Sureness:
    """One image: the lowest score of its labels, 0 where one has none, how many labels, and how many faint boxes."""

    key: float
    labels: int
    faint: int


def labeller(store: Store) -> Labeller:
    """Return what labelled last; a teacher where it has looked, else a student.

    Raises:
        StateError: nothing was ever labelled here.
    """
    rows = store.rows("SELECT done_key FROM labelled ORDER BY run_id DESC, rowid DESC LIMIT 1")
    if not rows:
        raise StateError(f"{store.path}: no machine has labelled here yet: labelstill label PHOTOS --project DIR")
    keys = keys_from_text(rows[0][0])
    machine: Machine = "teacher" if keys["teacher"] else "student"
    return Labeller(machine, keys[machine])


def sureness(store: Store, by: Labeller) -> dict[str, Sureness]:
    """Return every image with labels that all come from this labeller as it is now, whatever people said since."""
    done = {sha256 for sha256, key in store.done_keys(by.machine).items() if key == by.done_key}
    faint: Mapping[str, int] = dict(store.rows("SELECT sha256, count(*) FROM faint GROUP BY sha256"))
    rows = store.rows(
        "SELECT a.sha256, min(ifnull(a.score, 0)), count(*) FROM annotations a "
        f"WHERE {MACHINE_STANDS} GROUP BY a.sha256 HAVING min(a.source) = ?1 AND max(a.source) = ?1",
        by.machine,
    )
    return {sha256: Sureness(key, labels, faint.get(sha256, 0)) for sha256, key, labels in rows if sha256 in done}


def waiting(store: Store, known: Mapping[str, Sureness]) -> dict[str, Sureness]:
    """Return those of them that nobody was handed yet, whose photo is there and was not set aside."""
    aside = set_aside(store)
    rows = store.rows("SELECT sha256 FROM v_images WHERE state = 'prelabelled'")
    return {sha256: known[sha256] for (sha256,) in rows if sha256 in known and sha256 not in aside}


def surest(store: Store, share: float) -> tuple[float, frozenset[str]]:
    """Return the surest share of the images that wait, at least one: the lowest key among them, and the images.

    Images of the same key are taken together, so that the lot draws among all of them.
    """
    known = waiting(store, sureness(store, labeller(store)))
    keys = sorted((one.key for one in known.values()), reverse=True)
    if not keys:
        return 1.0, frozenset()
    level = keys[max(math.ceil(share * len(keys)), 1) - 1]
    return level, frozenset(sha256 for sha256, one in known.items() if one.key >= level)

"""Everything that curation finds in one project, part by part, and what it could not look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.stored_photos import StoredPhotos

from ..balance import Balance, balance
from .coverage import Coverage, coverage
from .doubts import Doubt, Suspect
from .duplicates import Duplicates, duplicates
from .photo_facts import observe, photo_facts
from .ranking import rank
from .scenes import scenes
from .signals import signals

Progress = Callable[[str], None]
"""Called with what is looked at now."""

Mistaken = Callable[[], Iterable[Doubt]]
"""Says what FiftyOne takes for mistakes."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What curation found.

    Attributes:
        names: the classes, in the order of the ontology.
        images: how many images have labels.
        suspects: every label and every object that may be missing, the most doubtful first.
        duplicates: images that repeat each other.
        balance: what there is of each class, and what to do about it.
        coverage: what the reviewed part misses; None where no image has features.
        notes: what was not looked at, and why.
    """

    names: tuple[str, ...]
    images: int
    suspects: tuple[Suspect, ...]
    duplicates: Duplicates
    balance: Balance
    coverage: Coverage | None
    notes: tuple[str, ...]


def collect(
    store: Store,
    photos: StoredPhotos,
    *,
    mistaken: Mistaken | None = None,
    without: Iterable[str] = (),
    shown: Progress = lambda what: None,
) -> Findings:
    """Look through a project.

    Args:
        store: labels.db; facts about its photos are written into it.
        photos: decode what was never looked at.
        mistaken: see ``Mistaken``; None leaves it out.
        without: sentences about what the caller left out.
        shown: see ``Progress``.

    Raises:
        MissingExtraError: scipy or scikit-learn is not installed.
        StateError: labels.db cannot be written.
    """
    notes = list(without)
    shown("photos")
    observe(store, photos.photo)
    if photos.vanished:
        notes.append(f"{len(photos.vanished)} photos could not be read, the first: {_first(photos.vanished)}")
    names = store.class_names()
    shown("balance")
    facts = {one.sha256: one for one in photo_facts(store)}
    balanced = balance(scenes(store), names, facts)
    shown("labels")
    doubts = chain(signals(store), mistaken() if mistaken is not None else ())
    suspects = rank(scenes(store), doubts, accepted=_accepted(store))
    if not any(scene.claims for scene in scenes(store)):
        notes.append("no second opinion yet: review some photos to find missing objects, or let a student label them")
    shown("duplicates")
    repeated = duplicates(store)
    shown("coverage")
    return Findings(names, balanced.images, tuple(suspects), repeated, balanced, coverage(store), tuple(notes))


def _accepted(store: Store) -> frozenset[tuple[str, str]]:
    decided = DecisionLedger(store).all()
    return frozenset((one.sha256, one.annotation_id) for one in decided if one.decision == "ok")


def _first(vanished: dict[str, str]) -> str:
    name, reason = next(iter(vanished.items()))
    return f"{name}: {reason}"

"""What people said about images that the lot or the gold set chose: which labels of what labels now are right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..core.ontology import Ontology
from ..core.store import Store
from ..core.store_decisions import DecisionLedger
from ..queue import set_aside
from ..studio.audit_read import cases, truth_of
from ..studio.compare import Change
from .gold import GOLD
from .guarantee import Images
from .parts import parts_of
from .sureness import NEVER, Labeller, sureness

MIN_IOU = 0.5
"""From which a box that people moved was right."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One reviewed image that came by lot or is gold, and has labels.

    Attributes:
        sha256: the image.
        key: lowest score of its labels.
        since: lowest level that it speaks for; 0 where it was drawn among all images.
        right: per label its class and whether it is right.
        missed: objects that people added.
        faint: boxes below the threshold that the teacher saw.
        gold: drawn as gold, so among all images.
        anew: labelled again after it was handed over; its labels are judged by overlap.
    """

    sha256: str
    key: float
    since: float
    right: tuple[tuple[str, bool], ...]
    missed: int
    faint: int
    gold: bool = False
    anew: bool = False


@dataclass(slots=True)
class Audits:
    """All audits, and what does not count with its reason.

    Attributes:
        images: those that count.
        empty: reviewed, but without a label: they never skip.
        other: labelled by another teacher, or with other prompts, thresholds or filters.
        parts: drawn among images of a class, state or decision.
        unreviewed: handed over by lot or as gold, and nobody has answered yet.
        skipped: people could not say.
        held: reviewed gold images that do not count before those that were drawn before them are reviewed.
        unsent: labelled gold images that nobody was handed yet.
    """

    images: list[Audited] = field(default_factory=list)
    empty: int = 0
    other: int = 0
    parts: int = 0
    unreviewed: int = 0
    skipped: int = 0
    held: int = 0
    unsent: int = 0

    def table(self, *, no_faint: bool = False) -> Images:
        """Return the audits that count, without images that have faint boxes where these never skip."""
        chosen = [one for one in self.images if not (no_faint and one.faint)]
        return Images(
            np.array([one.key for one in chosen], dtype=np.float64),
            np.array([len(one.right) for one in chosen], dtype=np.int64),
            np.array([sum(not right for _, right in one.right) for one in chosen], dtype=np.int64),
            np.array([one.since for one in chosen], dtype=np.float64),
        )

    def at(self, level: float, *, no_faint: bool = False) -> list[Audited]:
        """Return the audits that would skip at a level and speak for it."""
        passed = [one for one in self.images if one.key >= level >= one.since]
        return [one for one in passed if not (no_faint and one.faint)]


def read_audits(store: Store, ontology: Ontology, by: Labeller, *, min_iou: float = MIN_IOU) -> Audits:
    """Read what people said about every image that came by lot or is gold, be it that they did not see the labels.

    A label is right when it was kept, or moved and still overlaps by ``min_iou``, with its class; deleted and
    relabelled ones are wrong. Gold is drawn whatever the labels, each image with the same chance, so it speaks for all
    images however it was handed over. People may have answered the doubtful ones first, so gold counts in the order of
    the draw, up to the first image without an answer: any first part of a draw is one.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    gold = _read_gold(store)
    found = Audits(unsent=gold.unsent)
    known = sureness(store, by)
    parts = parts_of(store)
    done = store.done_keys(by.machine)
    for case in cases(store, ontology):
        sha256 = case.sha256
        is_gold = sha256 in gold.counting
        if not (case.by_lot or is_gold):
            found.held += sha256 in gold.held and case.truth is not None
            found.unreviewed += sha256 in gold.held and case.status not in ("reviewed", "skipped")
            continue
        if case.truth is None:
            found.skipped += case.status == "skipped"
            found.unreviewed += case.status != "skipped"
            continue
        now = store.annotations_of_images([sha256], "machine")[sha256]
        seen = case.teacher and {one.pushed.id for one in case.truth if one.pushed is not None} == {x.id for x in now}
        if done.get(sha256) != by.done_key or not (seen or is_gold):
            found.other += 1
        elif parts.get(sha256) == NEVER and not is_gold:
            found.held += sha256 in gold.held
            found.parts += sha256 not in gold.held
        elif sha256 not in known:
            found.empty += 1
        else:
            truth = case.truth if seen else truth_of(store, now, case)
            found.images.append(
                Audited(
                    sha256,
                    known[sha256].key,
                    0.0 if is_gold else parts.get(sha256, 0.0),
                    tuple(_judged(change, min_iou) for change in truth if change.pushed is not None),
                    sum(change.kind == "added" for change in truth),
                    known[sha256].faint,
                    gold=is_gold,
                    anew=not seen,
                )
            )
    return found


def by_class(audited: list[Audited]) -> dict[str, tuple[int, int]]:
    """Return labels and wrong ones per class, the most labels first."""
    labels, wrong = Counter[str](), Counter[str]()
    for name, right in (entry for one in audited for entry in one.right):
        labels[name] += 1
        wrong[name] += not right
    return {name: (count, wrong[name]) for name, count in sorted(labels.items(), key=lambda item: (-item[1], item[0]))}


def _judged(change: Change, min_iou: float) -> tuple[str, bool]:
    assert change.pushed is not None
    right = change.kind == "kept" or (change.kind == "moved" and change.iou >= min_iou)
    return change.pushed.class_name, right


@dataclass(frozen=True, slots=True)
class _Gold:
    """The gold set: images before the first without an answer, those from there on, and those nobody was handed."""

    counting: frozenset[str]
    held: frozenset[str]
    unsent: int


def _read_gold(store: Store) -> _Gold:
    aside, states = set_aside(store), store.states()
    drawn = [sha256 for sha256 in DecisionLedger(store).images(GOLD, whole=True) if sha256 not in aside]
    open_ = [place for place, sha256 in enumerate(drawn) if states.get(sha256) in ("prelabelled", "pushed")]
    end = open_[0] if open_ else len(drawn)
    unsent = sum(states.get(sha256) == "prelabelled" for sha256 in drawn)
    return _Gold(frozenset(drawn[:end]), frozenset(drawn[end:]), unsent)

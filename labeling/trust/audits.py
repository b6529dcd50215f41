"""What people said about images that the lot chose: which labels of the teacher that labels now are right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..core.ontology import Ontology
from ..core.store import Store
from ..studio.audit import Case
from ..studio.audit_read import cases
from ..studio.compare import Change
from .guarantee import Images
from .parts import parts_of
from .sureness import NEVER, Labeller, sureness

MIN_IOU = 0.5
"""From which a box that people moved was right."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One reviewed image that came by lot, and has labels.

    Attributes:
        sha256: the image.
        key: lowest score of its labels.
        since: lowest level that it speaks for; 0 where it was drawn among all images.
        right: per label its class and whether it is right.
        missed: objects that people added.
        faint: boxes below the threshold that the teacher saw.
    """

    sha256: str
    key: float
    since: float
    right: tuple[tuple[str, bool], ...]
    missed: int
    faint: int


@dataclass(slots=True)
class Audits:
    """All audits, and what does not count with its reason.

    Attributes:
        images: those that count.
        empty: reviewed, but without a label: they never skip.
        other: labelled by another teacher, or with other prompts, thresholds or filters.
        parts: drawn among images of a class, state or decision.
        unreviewed: chosen by lot, and nobody has answered yet.
        skipped: people could not say.
    """

    images: list[Audited] = field(default_factory=list)
    empty: int = 0
    other: int = 0
    parts: int = 0
    unreviewed: int = 0
    skipped: int = 0

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
    """Read what people said about every image that came by lot, be it that they did not see the labels.

    A label is right when it was kept, or moved and still overlaps by ``min_iou``, with its class; deleted and
    relabelled ones are wrong.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    found = Audits()
    known = sureness(store, by)
    parts = parts_of(store)
    done = store.done_keys(by.machine)
    for case in cases(store, ontology):
        if not case.by_lot:
            continue
        if case.truth is None:
            found.skipped += case.status == "skipped"
            found.unreviewed += case.status != "skipped"
        elif not case.teacher or done.get(case.sha256) != by.done_key or not _pushed_as_is(store, case):
            found.other += 1
        elif parts.get(case.sha256) == NEVER:
            found.parts += 1
        elif case.sha256 not in known:
            found.empty += 1
        else:
            sure = known[case.sha256]
            said = tuple(_judged(change, min_iou) for change in case.truth if change.pushed is not None)
            missed = sum(change.kind == "added" for change in case.truth)
            since = parts.get(case.sha256, 0.0)
            found.images.append(Audited(case.sha256, sure.key, since, said, missed, sure.faint))
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


def _pushed_as_is(store: Store, case: Case) -> bool:
    """Say whether people judged the labels that the machine's are now."""
    pushed = {change.pushed.id for change in case.truth or () if change.pushed is not None}
    now = store.annotations_of_images([case.sha256], "machine", masks=False)[case.sha256]
    return pushed == {label.id for label in now}

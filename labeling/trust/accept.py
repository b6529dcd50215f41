"""Which images may skip review, what more audits would bring, and whether a permission still holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.errors import StateError
from ..core.matching import interval
from ..core.ontology import Ontology
from ..core.store import Store
from .audits import Audits, by_class, read_audits
from .guarantee import Images, Level, descend, fewest, judged, likeness, lower_bound
from .permission import Permission, Terms, covered, read_permission, withdraw
from .reach import More, Reach, foretell, reach
from .sureness import Labeller, Sureness, labeller, sureness, waiting


@dataclass(frozen=True, slots=True)
class Region:
    """Images that may skip review.

    Attributes:
        level: lowest score that all labels of an image have.
        images, labels: how many of those that wait would skip.
        audited: what the audits say about the level.
        bound: precision that the audits show with the confidence asked for.
        classes: labels and wrong ones among the audits, by class.
        missed, objects: objects that people added in audited images that would skip, and all objects there.
        miss_interval: 95 % interval of their share, objects taken as independent; None without an object.
    """

    level: float
    images: int
    labels: int
    audited: Level
    bound: float
    classes: Mapping[str, tuple[int, int]]
    missed: int
    objects: int
    miss_interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Everything that is known about skipping review.

    Attributes:
        by: what labels now.
        terms: what was asked for.
        audits: what people said about images of the lot.
        waiting, waiting_labels: images with labels that wait for people and could skip, and their labels.
        unlabelled: waiting images without labels of this labeller, which never skip.
        region: what may skip; None where the audits show nothing of the kind.
        failed: the first level that the audits do not bear out; None where they bear out all, or bear none.
        fewest: labels that would have to be audited at least, all of them right.
        alike: how alike errors of one image are; see ``guarantee.likeness``.
        more: what more audits would bring; None where it cannot be told.
        reach: how more audits could let something skip, where nothing may yet; None where none could.
    """

    by: Labeller
    terms: Terms
    audits: Audits
    waiting: int
    waiting_labels: int
    unlabelled: int
    region: Region | None
    failed: Level | None
    fewest: int
    alike: float
    more: More | None
    reach: Reach | None

    @property
    def permission(self) -> Permission | None:
        """What would be granted."""
        if self.region is None:
            return None
        return Permission(self.by.machine, self.by.done_key, self.region.level, self.terms)


def acceptance(store: Store, ontology: Ontology, terms: Terms) -> Acceptance:
    """Measure what may skip review.

    Raises:
        StateError: nothing was ever labelled here. MissingExtraError: scipy is not installed.
    """
    by = labeller(store)
    known = sureness(store, by)
    audits = read_audits(store, ontology, by, min_iou=terms.min_iou)
    audited = audits.table(no_faint=terms.no_faint)
    pool = _candidates(store, known, terms)
    images = _images(pool)
    found = descend(audited, images, target=terms.precision, confidence=terms.confidence)
    passed = [one for one in found if one.passed]
    alike = likeness(audited)
    region = _region(audits, audited, images, passed[-1], terms, alike) if passed else None
    states = store.rows("SELECT count(*) FROM v_images WHERE state = 'prelabelled'")
    share = region.images / len(pool) if region is not None and pool else 0.0
    more = foretell(audited, images, terms, share)
    way = None if region else reach(audited, images, terms, least=more.audits if more else 1)
    return Acceptance(
        by=by,
        terms=terms,
        audits=audits,
        waiting=len(pool),
        waiting_labels=int(images.labels.sum()),
        unlabelled=int(states[0][0]) - len(pool),
        region=region,
        failed=next((one for one in found if not one.passed), None),
        fewest=fewest(terms.precision, terms.confidence),
        alike=alike,
        more=more if region or way else None,
        reach=way,
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """A permission against all audits so far.

    Attributes:
        permission: the one that stands, or stood.
        images: those that skip review; empty where it does not hold.
        audited: what the audits say about its level now.
    """

    permission: Permission
    images: frozenset[str]
    audited: Level

    @property
    def holds(self) -> bool:
        """Whether the audits still bear it out."""
        return self.audited.passed

    @property
    def sentence(self) -> str:
        """What to tell where it does not hold."""
        now, terms = self.audited, self.permission.terms
        if now.unlike:
            return (
                "the permission to skip review is withdrawn: the photos that wait are less sure than those that were "
                "audited, which do not speak for them; nothing was sent"
            )
        return (
            f"the permission to skip review is withdrawn: of {now.labels} audited labels in images whose scores all "
            f"reach {self.permission.level:.2f}, {now.wrong} are wrong, which no longer shows a precision of "
            f"{terms.precision:g} with confidence {terms.confidence:g}; nothing was sent"
        )


def check(store: Store, ontology: Ontology, *, dry_run: bool = False) -> Checked:
    """Hold the permission against every audit so far, and withdraw it where it fails.

    Raises:
        StateError: there is no permission, or it is about labels of another teacher or other settings.
    """
    permission = read_permission(store)
    if permission is None:
        raise StateError("no image may skip review yet: labelstill accept --apply grants it, where audits allow")
    by = labeller(store)
    if not permission.is_of(by):
        raise StateError(
            "the permission to skip review is about another teacher, or other prompts, thresholds or filters than "
            "those that label now: labelstill accept shows what audits say about these; labelstill push sends all"
        )
    terms = permission.terms
    audited = read_audits(store, ontology, by, min_iou=terms.min_iou).table(no_faint=terms.no_faint)
    pool = _candidates(store, sureness(store, by), terms)
    some, rest = audited.at(permission.level), _images(pool).at(permission.level)
    level = judged(
        some, rest, permission.level, target=terms.precision, confidence=terms.confidence, alike=likeness(audited)
    )
    if not level.passed and not dry_run:
        withdraw(store)
    return Checked(permission, covered(permission, pool) if level.passed else frozenset(), level)


def _candidates(store: Store, known: Mapping[str, Sureness], terms: Terms) -> dict[str, Sureness]:
    return {sha256: one for sha256, one in waiting(store, known).items() if not (terms.no_faint and one.faint)}


def _images(pool: Mapping[str, Sureness]) -> Images:
    keys = np.array([one.key for one in pool.values()], dtype=np.float64)
    labels = np.array([one.labels for one in pool.values()], dtype=np.int64)
    return Images(keys, labels, np.zeros_like(labels), np.zeros_like(keys))


def _region(audits: Audits, audited: Images, images: Images, level: Level, terms: Terms, alike: float) -> Region:
    skipping, some = images.at(level.level), audits.at(level.level, no_faint=terms.no_faint)
    missed = sum(one.missed for one in some)
    objects = missed + level.labels - level.wrong
    bound = lower_bound(audited.at(level.level), confidence=terms.confidence, alike=alike)
    return Region(
        level=level.level,
        images=len(skipping),
        labels=int(skipping.labels.sum()),
        audited=level,
        bound=bound,
        classes=by_class(some),
        missed=missed,
        objects=objects,
        miss_interval=interval(missed, objects),
    )

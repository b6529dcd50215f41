"""How right the teacher was, and how people worked: every measure of what people made of its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .audit_people import People, Person
from .audit_spread import Difference, Mean, Spread, difference_of_means, difference_of_medians, mean, spread
from .audit_teacher import Group, Tally
from .audit_worst import Disagreement, Worst
from .compare import Change

Status = Literal["reviewed", "skipped", "draft", "attention", "waiting"]

STATUSES: tuple[Status, ...] = ("reviewed", "skipped", "draft", "attention", "waiting")


@dataclass(frozen=True, slots=True)
class Look:
    """What one person said about one image.

    Attributes:
        annotator: mail address or name.
        seconds: how long the image was open; None where nobody measured it.
        skipped: the person said nothing.
        changes: against what was pushed; empty where skipped.
    """

    annotator: str
    seconds: float | None
    skipped: bool = False
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One image that was handed over, and what came back.

    Attributes:
        sha256: the image.
        size_wh: width and height in pixels.
        status: where it stands.
        blind: people did not see the teacher's labels.
        by_lot: chosen by lot and not by need.
        teacher: what was pushed is a teacher's work, be it that it found nothing.
        looks: what each person said.
        truth: what became of the labels in the answer that counts; None unless reviewed.
    """

    sha256: str
    size_wh: tuple[int, int]
    status: Status
    blind: bool = False
    by_lot: bool = False
    teacher: bool = True
    looks: tuple[Look, ...] = ()
    truth: tuple[Change, ...] | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What one kind of image cost, and what people found there.

    Attributes:
        image_seconds: per image and person.
        region_seconds: the same divided by the objects that the person left, where there are any.
        objects: objects per image.
    """

    image_seconds: Spread
    region_seconds: Spread
    objects: Mean


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that is measured.

    Attributes:
        images: how many images stand where.
        prelabelled: the teacher on reviewed images whose labels people saw.
        by_lot: those of them that were chosen by lot: an estimate for the whole project.
        blind: the teacher on images whose labels people did not see; kept and moved say little there.
        not_the_teachers: reviewed images that no teacher labelled; they count as work alone.
        work: what pre-labelled images cost.
        work_blind: what blind ones cost.
        image_seconds: difference of the medians, pre-labelled less blind.
        region_seconds: likewise.
        objects: difference of the means, pre-labelled less blind.
        people: everybody who said something, by name.
        worst: the worst disagreements, the kinds in turn.
    """

    images: Mapping[Status, int]
    prelabelled: Group
    by_lot: Group
    blind: Group
    not_the_teachers: int
    work: Work
    work_blind: Work
    image_seconds: Difference
    region_seconds: Difference
    objects: Difference
    people: tuple[Person, ...]
    worst: tuple[Disagreement, ...]


def audit(cases: Iterable[Case], class_names: Sequence[str], *, worst: int = 24) -> Audit:
    """Measure what people made of the teacher's labels; of the cases only numbers and the worst are kept.

    Args:
        cases: every image that was handed over, once.
        class_names: in the order of the rows.
        worst: how many disagreements to keep.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    images: Counter[Status] = Counter()
    prelabelled, by_lot, blind, people, found = Tally(), Tally(), Tally(), People(), Worst(worst)
    work, work_blind = _Work(), _Work()
    not_the_teachers = 0
    for case in cases:
        images[case.status] += 1
        for look in case.looks:
            judged = case.teacher and not case.blind
            accepted = all(change.kind == "kept" for change in look.changes)
            people.add(look.annotator, look.seconds, skipped=look.skipped, judged=judged, accepted=accepted)
        if case.truth is None:
            continue
        (work_blind if case.blind else work).add(case.looks, case.truth)
        if not case.teacher:
            not_the_teachers += 1
            continue
        (blind if case.blind else prelabelled).add(case.truth)
        if case.by_lot and not case.blind:
            by_lot.add(case.truth)
        found.add(case.sha256, case.size_wh, case.blind, case.truth)
    return Audit(
        images={status: images[status] for status in STATUSES},
        prelabelled=prelabelled.group(class_names),
        by_lot=by_lot.group(class_names),
        blind=blind.group(class_names),
        not_the_teachers=not_the_teachers,
        work=work.so_far(),
        work_blind=work_blind.so_far(),
        image_seconds=difference_of_medians(work.images, work_blind.images),
        region_seconds=difference_of_medians(work.regions, work_blind.regions),
        objects=difference_of_means(work.objects, work_blind.objects),
        people=people.rows(),
        worst=found.ordered(),
    )


@dataclass(slots=True)
class _Work:
    """What images of one kind cost, so far."""

    images: list[float] = field(default_factory=list)
    regions: list[float] = field(default_factory=list)
    objects: list[float] = field(default_factory=list)

    def add(self, looks: Sequence[Look], truth: Sequence[Change]) -> None:
        for look in looks:
            if look.seconds is not None and not look.skipped:
                objects = _objects(look.changes)
                self.images.append(look.seconds)
                self.regions += [look.seconds / objects] if objects else []
        self.objects.append(_objects(truth))

    def so_far(self) -> Work:
        return Work(spread(self.images), spread(self.regions), mean(self.objects))


def _objects(changes: Sequence[Change]) -> int:
    return sum(change.drawn is not None for change in changes)

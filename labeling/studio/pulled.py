"""What a pull has done, and where the review stands afterwards, counted in labels.db."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.geometry import iou
from ..core.matching import match
from ..core.records import Annotation
from ..core.store import Store
from ..core.store_studio import StudioLedger, Target, Task

MIN_IOU = 0.5
"""From which a box of the teacher is where the object is."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that a person has to put right.

    Attributes:
        name: path of the photo, or the number of a task that is not ours.
        reason: what is wrong with it.
        link: address of the task, for people.
    """

    name: str
    reason: str
    link: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Where the images stand that were handed over, each in one place.

    Attributes:
        reviewed: with objects.
        reviewed_empty: people looked and found nothing.
        skipped: people could not say.
        attention: the answer could not be taken.
        unanswered: nobody has submitted an answer that counts.
        withdrawn: people deleted the task before they answered.
        drafts: how many of all these hold a draft that was never submitted.
    """

    reviewed: int
    reviewed_empty: int
    skipped: int
    attention: int
    unanswered: int
    withdrawn: int
    drafts: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one pull did.

    Attributes:
        policy: whose answers counted.
        changed: images whose answers were new or had changed.
        unchanged: tasks that were read and had nothing new.
        reviewed: images that this pull left with objects.
        reviewed_empty: images that this pull left without any.
        skipped: images that people could not say anything about.
        several: images about which several people have submitted an answer.
        taken_back: images that were reviewed before and wait for people again.
        withdrawn: tasks that people have deleted since the last pull.
        totals: over everything that was handed over.
        attention: everything that needs a person, from earlier pulls too.
        foreign: tasks of the project that were never pushed from here, as (number, link).
        set_aside: reviewed images whose files hold other pictures now.
        teacher: per class, how many of the labels that people saw were right, and of how many.
    """

    policy: str
    changed: int
    unchanged: int
    reviewed: int
    reviewed_empty: int
    skipped: int
    several: int
    taken_back: int
    withdrawn: int
    totals: Totals
    attention: tuple[Attention, ...]
    foreign: tuple[tuple[int, str], ...]
    set_aside: int
    teacher: Mapping[str, tuple[int, int]]


def totals(store: Store, target: Target) -> Totals:
    """Count the images of a project on Label Studio by where they stand."""
    spoken = (
        "SELECT 1 FROM studio_answers a WHERE a.target_id = t.target_id AND a.sha256 = t.sha256 AND a.kind <> 'draft'"
    )
    rows = store.rows(
        "SELECT CASE WHEN t.attention IS NOT NULL AND t.state <> 'withdrawn' THEN 'attention' "
        f"WHEN i.state IN ('reviewed', 'reviewed-empty', 'skipped') AND EXISTS ({spoken}) THEN i.state "
        "WHEN t.state = 'withdrawn' THEN 'withdrawn' ELSE 'unanswered' END, count(*) "
        "FROM studio_tasks t JOIN images i ON i.sha256 = t.sha256 WHERE t.target_id = ? GROUP BY 1",
        target.id,
    )
    found = Counter(dict(rows))
    return Totals(
        found["reviewed"],
        found["reviewed-empty"],
        found["skipped"],
        found["attention"],
        found["unanswered"],
        found["withdrawn"],
        len(drafted(store, target)),
    )


def answered_by_several(store: Store, target: Target) -> int:
    """Return how many images have submitted answers of more than one person."""
    sql = (
        "SELECT count(*) FROM (SELECT 1 FROM studio_answers WHERE target_id = ? AND kind = 'submitted' "
        "GROUP BY sha256 HAVING count(DISTINCT annotator) > 1)"
    )
    return int(store.rows(sql, target.id)[0][0])


def drafted(store: Store, target: Target) -> set[str]:
    """Return the images with a draft, by sha256."""
    sql = "SELECT DISTINCT sha256 FROM studio_answers WHERE target_id = ? AND kind = 'draft'"
    return {sha256 for (sha256,) in store.rows(sql, target.id)}


def shown_name(store: Store, sha256: str) -> str:
    """Return the path of an image as shown to people, or the beginning of its hash where no file holds it any more."""
    rows = store.rows("SELECT min(path) FROM files WHERE sha256 = ?", sha256)
    return rows[0][0] or sha256[:12]


def teacher_precision(store: Store, ledger: StudioLedger, target: Target) -> dict[str, tuple[int, int]]:
    """Count how many of the labels that people saw were right, per class, over everything reviewed so far.

    A label is right where its class stood and its box shares at least ``MIN_IOU`` with the one that people left. On
    images that went out blind people saw none; they do not count.

    Returns:
        Per class the right ones and all, in the order of the ontology, classes without a label left out.
    """
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for task in _reviewed(store, ledger, target):
        pushed = [one for one in ledger.pushed(target, task.sha256) if one.provenance.source in ("teacher", "student")]
        seen.update(annotation.class_name for annotation in pushed)
        right.update(pushed[i].class_name for i in _right(pushed, store.annotations_of(task.sha256, "human")))
    return {name: (right[name], seen[name]) for name in store.class_names() if seen[name]}


def _reviewed(store: Store, ledger: StudioLedger, target: Target) -> list[Task]:
    states = store.states()
    spoken = "SELECT DISTINCT sha256 FROM studio_answers WHERE target_id = ? AND kind = 'submitted'"
    answered = {sha256 for (sha256,) in store.rows(spoken, target.id)}
    return [
        task
        for task in ledger.tasks(target)
        if task.sha256 in answered
        and states.get(task.sha256) in ("reviewed", "reviewed-empty")
        and not (task.blind or task.attention)
    ]


def _right(pushed: Sequence[Annotation], left: Sequence[Annotation]) -> list[int]:
    """Return which of the pushed labels people left in their place; those who drew anew are paired by overlap."""
    children = {annotation.provenance.parent_id: annotation for annotation in left}
    if any(annotation.id in children for annotation in pushed):
        pairs = [(i, children[one.id]) for i, one in enumerate(pushed) if one.id in children]
    else:
        same = [[one.class_name == other.class_name for other in left] for one in pushed]
        boxes = [[annotation.box_xyxy for annotation in side] for side in (pushed, left)]
        pairs = [(i, left[j]) for i, j, _ in match(*boxes, min_iou=MIN_IOU, prefer=same)] if all(boxes) else []
    return [i for i, one in pairs if one.class_name == pushed[i].class_name and _in_place(one, pushed[i])]


def _in_place(left: Annotation, pushed: Annotation) -> bool:
    if left.box_xyxy == pushed.box_xyxy:
        return True
    return bool(iou([left.box_xyxy], [pushed.box_xyxy])[0, 0] >= MIN_IOU)

"""The words, rows and cells of an audit, for the terminal, the report and spreadsheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from .audit import Audit, Work
from .audit_people import Person
from .audit_spread import Difference, Spread
from .audit_teacher import ClassRow, Group, Share
from .audit_worst import Disagreement

NOT_MEASURED = "not measured"
ENOUGH_BY_LOT = 20
"""With fewer images by lot no estimate for the whole project is shown."""

TEACHER_COLUMNS = ("precision", "recall", "kept", "moved", "relabelled", "deleted", "added", "IoU moved")
BLIND_COLUMNS = TEACHER_COLUMNS[:2]
PEOPLE_COLUMNS = ("images", "skipped", "seconds", "unchanged")
RULES = (
    "precision: of the teacher's boxes, the share that people left with its class and an IoU of 0.5 or more",
    "recall: of the objects that people left, the share that the teacher had so; in brackets Wilson intervals of 95 %",
)
MOSTLY_DOUBTFUL = (
    "the most doubtful photos come first, so the teacher may be better on the others: see --audit-share of push"
)
MEDIANS = "medians: a tab that was left open counts as one image, not as its hours"

_CELLS_STARTING_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def groups(audit: Audit) -> list[tuple[str, Group, bool]]:
    """Return (title, teacher, whether people saw the labels) of every set of images that says something."""
    shown = [(f"teacher, on {_images(audit.prelabelled.images, 'pre-labelled image')}", audit.prelabelled, True)]
    if audit.by_lot.images >= ENOUGH_BY_LOT:
        lot = _images(audit.by_lot.images, "pre-labelled image")
        shown.append((f"teacher, on the {lot} chosen by lot: an estimate for the whole project", audit.by_lot, True))
    if audit.blind.images:
        blind = _images(audit.blind.images, "blind image")
        shown.append((f"teacher, on {blind}: nobody saw its labels, they are matched by overlap", audit.blind, False))
    return [one for one in shown if one[1].images]


def class_rows(group: Group, seen: bool) -> list[tuple[str, list[str]]]:
    """Return (class, cells) under TEACHER_COLUMNS, or BLIND_COLUMNS for labels that nobody saw; all classes last.

    Classes of which there was neither a claim nor an object have no row.
    """
    named = [(name, row) for name, row in group.classes.items() if row.precision.whole or row.recall.whole]
    named += [("all classes", group.overall)] if len(named) != 1 else []
    return [(name, class_cells(row)[: len(TEACHER_COLUMNS if seen else BLIND_COLUMNS)]) for name, row in named]


def class_cells(row: ClassRow) -> list[str]:
    """Return the texts under TEACHER_COLUMNS."""
    numbers = (row.kept, row.moved, row.relabelled, row.deleted, row.added)
    moved = "" if row.moved_iou is None else f"{row.moved_iou:.2f}"
    return [share(row.precision), share(row.recall), *(f"{number:,}" for number in numbers), moved]


def person_cells(person: Person) -> list[str]:
    """Return the texts under PEOPLE_COLUMNS."""
    accepted = person.share_accepted
    unchanged = NOT_MEASURED if accepted is None else f"{accepted:.0%} of {person.judged:,}"
    return [f"{person.submitted:,}", f"{person.share_skipped:.0%}", _median(person.seconds), unchanged]


def share(of: Share) -> str:
    """Return a share with its interval."""
    return NOT_MEASURED if of.value is None else f"{of.value:.2f} ({of.low:.2f} to {of.high:.2f})"


def standing(audit: Audit) -> str:
    """Return how many images stand where, in one line."""
    said = [f"{_images(audit.images['reviewed'])} reviewed"]
    words = {"skipped": "skipped", "draft": "only begun", "attention": "to be looked at", "waiting": "waiting"}
    said += [f"{number:,} {words[status]}" for status, number in audit.images.items() if status in words and number]
    other = audit.not_the_teachers
    return ", ".join(said) + (f" ({other:,} not labelled by a teacher)" if other else "")


def work_rows(audit: Audit) -> list[tuple[str, str, str, str]]:
    """Return (measure, pre-labelled, blind, difference) of seconds and objects."""

    def seconds(title: str, pick: Callable[[Work], Spread], difference: Difference) -> tuple[str, str, str, str]:
        return title, _spread(pick(audit.work)), _spread(pick(audit.work_blind)), _difference(difference)

    means = [
        NOT_MEASURED if one.mean is None else f"{one.mean:.2f} (n {one.n:,})"
        for one in (audit.work.objects, audit.work_blind.objects)
    ]
    return [
        seconds("seconds per image", lambda work: work.image_seconds, audit.image_seconds),
        seconds("seconds per object", lambda work: work.region_seconds, audit.region_seconds),
        ("objects per image", means[0], means[1], _difference(audit.objects)),
    ]


def remarks(audit: Audit) -> list[str]:
    """Say what deserves a look: who accepts everything, and whether labels change what people find."""
    look = [_flag(person) for person in audit.people if person.accepts_everything]
    gap = audit.objects
    if gap.low is not None and gap.high is not None and not gap.low <= 0 <= gap.high:
        fewer = "fewer" if gap.high < 0 else "more"
        look.append(
            f"People leave {fewer} objects per image where they see the teacher's labels first than where they do not: "
            "the labels sway them, or the two kinds of images differ."
        )
    return look


def worst_line(one: Disagreement) -> str:
    """Say what one disagreement is about, without its image."""
    text = f"{one.kind} {one.class_name}" + (f" to {one.became}" if one.became is not None else "")
    if one.score is not None:
        text += f", score {one.score:.2f}"
    return text + _circumstances(one)


def worst_caption(one: Disagreement) -> str:
    """Say what happened, in a few words below a picture that names the classes."""
    return one.kind + _circumstances(one)


def as_json(audit: Audit, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Return everything as plain values.

    Args:
        audit: what was measured.
        name_of: sha256 -> name of the image.
    """
    people = [
        {**asdict(person), "share_accepted": person.share_accepted, "share_skipped": person.share_skipped}
        for person in audit.people
    ]
    worst = [
        {
            "image": name_of(one.sha256), "sha256": one.sha256, "what": one.kind, "class": one.class_name,
            "became": one.became, "score": one.score, "iou": one.change.iou, "blind": one.blind,
        }
        for one in audit.worst
    ]  # fmt: skip
    return {
        "images": dict(audit.images),
        "teacher": {name: asdict(getattr(audit, name)) for name in ("prelabelled", "by_lot", "blind")},
        "not_the_teachers": audit.not_the_teachers,
        "work": {"prelabelled": asdict(audit.work), "blind": asdict(audit.work_blind)},
        "differences": {name: asdict(getattr(audit, name)) for name in ("image_seconds", "region_seconds", "objects")},
        "annotators": people,
        "remarks": remarks(audit),
        "worst": worst,
    }


def csv_rows(audit: Audit) -> list[list[str]]:
    """Return a header and one row per set of images and class; no cell is taken for a formula."""
    counts = ("kept", "moved", "relabelled", "deleted", "added")
    rows = [["images", "class", "claims", "objects", "right", *_SHARES, *counts, "median_iou_moved"]]
    for title in ("prelabelled", "by_lot", "blind"):
        group: Group = getattr(audit, title)
        named: Mapping[str, ClassRow] = group.classes if group.images else {}
        for name, row in named.items():
            shares = [number for of in (row.precision, row.recall) for number in (of.value, of.low, of.high)]
            whole = (row.precision.whole, row.recall.whole, row.precision.part)
            numbers = [*whole, *shares, *(getattr(row, count) for count in counts), row.moved_iou]
            rows.append([title, plain_cell(name), *("" if one is None else f"{one:.6g}" for one in numbers)])
    return rows


_SHARES = ("precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high")


def plain_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_CELLS_STARTING_A_FORMULA) else text


def _circumstances(one: Disagreement) -> str:
    return (f", IoU {one.change.iou:.2f}" if one.kind == "moved" else "") + (", blind" if one.blind else "")


def _flag(person: Person) -> str:
    changed = person.others_judged - person.others_accepted
    return (
        f"{person.annotator} left all {person.judged:,} pre-labelled images as they were, while others changed "
        f"{changed:,} of {person.others_judged:,}. If both looked equally closely, that would happen {_odds(person)}: "
        "look at some of these images again."
    )


def _odds(person: Person) -> str:
    chance = person.chance or 0.0
    return f"once in {1 / chance:,.0f} times" if chance >= 1e-6 else "less than once in a million times"


def _spread(of: Spread) -> str:
    if of.median is None:
        return NOT_MEASURED
    return f"{of.median:.1f} (half of them {of.q1:.1f} to {of.q3:.1f}, n {of.n:,})"


def _median(of: Spread) -> str:
    return NOT_MEASURED if of.median is None else f"{of.median:.1f}"


def _difference(of: Difference) -> str:
    if of.value is None:
        return NOT_MEASURED
    if of.low is None:
        return f"{of.value:+.2f} (too few for an interval)"
    return f"{of.value:+.2f} (95 % interval {of.low:+.2f} to {of.high:+.2f})"


def _images(number: int, noun: str = "image") -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""What a dataset shows: every image with its labels and remarks, and one hash over all of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger

from .doubts import Suspect
from .originals import Names
from .samples import Looks, Remarks, tags_by_label
from .scenes import Scene, scenes
from .tags import tags_of

if TYPE_CHECKING:
    from .findings import Findings

_Row = TypeVar("_Row")

_FORMAT = 2
"""Another number has every dataset made anew."""

_CHARACTERS = 8

_SEEN = (
    "SELECT sha256, width, height, state FROM images ORDER BY sha256",
    "SELECT id, class_name FROM annotations ORDER BY id",
    "SELECT sha256, annotation_id, decision, note FROM decisions ORDER BY 1, 2, 3",
    "SELECT sha256, brightness, sharpness, camera, taken_at FROM photo_facts ORDER BY sha256",
)


def content(store: Store, findings: Findings) -> str:
    """Return the first hex digits of a hash over everything that a dataset would show, and which photos are gone."""
    digest = hashlib.sha256(f"{_FORMAT}".encode())

    def note(row: object) -> None:
        digest.update(repr(row).encode("utf-8", "backslashreplace") + b"\n")

    for sql in _SEEN:
        note(sql)
        for row in store.rows(sql):
            note(row)
    for path, sha256 in store.rows("SELECT path_bytes, sha256 FROM files ORDER BY path_bytes"):
        note((path, sha256, os.path.isfile(path)))
    for one in findings.suspects:
        note((*_ids(one), one.kind, one.suspicion, one.reasons, one.signals))
    for group in findings.duplicates.groups:
        note((group.kind, group.members))
    for pair in findings.duplicates.pairs:
        note((pair.first, pair.second, round(pair.similarity, 6)))
    for gap in findings.coverage.gaps if findings.coverage else ():
        note(gap.examples)
    note([(one.name, one.verdict) for one in findings.balance.classes])
    note([(one.name, one.rule, one.members) for one in findings.balance.slices])
    return digest.hexdigest()[:_CHARACTERS]


def shown_scenes(store: Store, at_once: int) -> Iterator[list[Scene]]:
    """Yield all images but those that cannot be read, a few at a time; ``scenes`` leaves more out."""
    judged = set[str]()
    for some in _in_lists(scenes(store, masks=True), at_once):
        judged.update(scene.sha256 for scene in some)
        yield some
    rows = store.rows(
        "SELECT sha256, path, ifnull(width, 0), ifnull(height, 0), state FROM v_images "
        "WHERE sha256 IS NOT NULL AND state <> 'quarantined' ORDER BY sha256"
    )
    for others in _in_lists(iter([row for row in rows if row[0] not in judged]), at_once):
        labels = store.annotations_of_images([row[0] for row in others])
        yield [
            Scene(sha256, path, (width, height), state, tuple(labels[sha256]), ())
            for sha256, path, width, height, state in others
        ]


def remarks_of(store: Store, findings: Findings) -> Callable[[str], Remarks]:
    """Return what says everything that findings and labels.db remark on one image, by sha256."""
    suspects: dict[str, dict[str, Suspect]] = {}
    missing: dict[str, list[Suspect]] = {}
    for one in findings.suspects:
        if one.label is not None:
            suspects.setdefault(one.sha256, {})[one.label.id] = one
        else:
            missing.setdefault(one.sha256, []).append(one)
    decided: dict[str, list[Decided]] = {}
    for taken in DecisionLedger(store).all():
        decided.setdefault(taken.sha256, []).append(taken)
    names, looks = Names(store), _looks(store, findings)

    def remarks(sha256: str) -> Remarks:
        about = decided.get(sha256, [])
        tags = tags_by_label(about, [tags_of(one.decision, one.note, names.name_of) for one in about])
        return Remarks(suspects.get(sha256, {}), missing.get(sha256, ()), tags, looks(sha256))

    return remarks


def _looks(store: Store, findings: Findings) -> Callable[[str], Looks]:
    sql = "SELECT sha256, brightness, sharpness, camera, taken_at FROM photo_facts"
    facts = {row[0]: row[1:] for row in store.rows(sql)}
    group_of: dict[str, dict[str, int]] = {"near": {}, "sequence": {}}
    keep = dict[str, bool]()
    for number, group in enumerate(findings.duplicates.groups, 1):
        for place, member in enumerate(group.members):
            group_of[group.kind][member] = number
            if group.kind == "near":
                keep[member] = place == 0
    alike: dict[str, float] = {}
    for pair in findings.duplicates.pairs:
        for member in (pair.first, pair.second):
            alike[member] = max(pair.similarity, alike.get(member, 0.0))
    gaps = enumerate(findings.coverage.gaps if findings.coverage else (), 1)
    gap_of = {example: number for number, gap in gaps for example in gap.examples}

    def looks(sha256: str) -> Looks:
        brightness, sharpness, camera, taken_at = facts.get(sha256, (None, None, None, None))
        return Looks(
            brightness,
            sharpness,
            camera,
            taken_at,
            near_duplicates=group_of["near"].get(sha256),
            keep=keep.get(sha256),
            similarity=alike.get(sha256),
            series=group_of["sequence"].get(sha256),
            gap=gap_of.get(sha256),
        )

    return looks


def _ids(one: Suspect) -> tuple[str, str, str]:
    return one.sha256, one.label.id if one.label else "", one.claim.id if one.claim else ""


def _in_lists(rows: Iterator[_Row], most: int) -> Iterator[list[_Row]]:
    while some := list(islice(rows, most)):
        yield some

"""How often the test part was opened, and for whom: a figure counts for most where nobody had seen it before."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.core.store_rows import to_json
from labeling.studio.processes import birth

from .objects import Objects

CUT_OFF = "the opening before was cut off before it showed a figure"
"""Stands as the reason where an opening without a summary was taken up again."""

_MARK = 12
"""So many hex digits tell the images of one project apart."""

_COLUMNS = "id, student, test, opened_at, reuse, summary"


@dataclass(frozen=True, slots=True)
class Opening:
    """One look at the test part.

    Attributes:
        id: from 1, in the order of time.
        student: sha256 of its weights.
        test: see ``test_hash``.
        opened_at: UTC, ISO 8601.
        reuse: why it was opened again for this student; None for the first time.
        summary: what was found; None until the evaluation has ended.
        students_before: how many other students had been measured on images of this test part by then.
        images: of the test part; 0 where the ledger does not know them.
        shown_before: of these, how many an earlier opening had shown to this student.
    """

    id: int
    student: str
    test: str
    opened_at: str
    reuse: str | None
    summary: Mapping[str, Any] | None
    students_before: int
    images: int = 0
    shown_before: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the figures has to know about this opening, one sentence each."""
        found = []
        if self.reuse == CUT_OFF:
            found.append(f"The test part was opened once before for this student: {CUT_OFF}.")
        elif self.reuse is not None:
            found.append(
                "The test part is reused: this student was measured on it before, so its figures are likely too good. "
                f"The reason given: {self.reuse}"
            )
            if 0 < self.shown_before < self.images:
                found.append(f"{self.shown_before:,} of {self.images:,} test images were shown to it before.")
        if self.students_before:
            some = "one other student was" if self.students_before == 1 else f"{self.students_before} others were"
            found.append(
                f"Before this student {some} measured on the same test part: whoever keeps the best of them chooses on "
                "the test part, and the best figure is likely too good."
            )
        return tuple(found)


class TestLedger:
    """The openings in labels.db. Every method raises as those of ``Store`` do.

    The test part of before is known by its images: with other labels, or with some images more or less, it is no new
    one. An opening counts from the moment it is written, before the student has seen an image. Where the process was
    cut off before it wrote a summary, nobody has seen a figure: the same student may take the opening up again without
    a reason, once, and both stay in the ledger.
    """

    __test__ = False  # no test of pytest

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(
        self, student_sha256: str, test_hash: str, *, images: Iterable[str] = (), reuse: str | None = None
    ) -> Opening:
        """Note that the test part is about to be shown to a student.

        Args:
            student_sha256: of its weights.
            test_hash: see the function of that name; of the whole test part.
            images: of the whole test part, sha256 each.
            reuse: why it is opened again; plays no part where none of its images was ever shown to this student.

        Raises:
            StateError: it was opened for this student before and there is no reason to do it again, or another
                process is at it.
            InputError: the reason is blank.
        """
        if reuse is not None and not reuse.strip():
            raise InputError('the reason to open the test part again is blank: write it, as in --again "why"')
        marks = sorted({sha256[:_MARK] for sha256 in images})
        with self._store.transaction() as db:
            if marks:
                db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (_images_key(test_hash), to_json(marks)))
            before = self._shown(student_sha256, test_hash)
            reason = None
            if before:
                reason = reuse.strip() if reuse is not None else self._taken_up(db, before)
            number = _insert(db, student_sha256, test_hash, reason)
            holder = to_json([os.getpid(), birth(os.getpid())])
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_key(number), holder))
        return next(one for one in self.openings(student_sha256) if one.id == number)

    def close(self, opening: Opening, summary: Mapping[str, Any]) -> None:
        """Write down what was found; a mapping that JSON can hold, without NaN.

        Raises:
            StateError: the opening was closed already, or is not in this labels.db.
        """
        text = to_json(dict(summary))
        with self._store.transaction() as db:
            sql = "UPDATE openings SET summary = ? WHERE id = ? AND summary IS NULL"
            if not db.execute(sql, (text, opening.id)).rowcount:
                raise StateError(f"{self._store.path}: opening {opening.id} of the test part has no place for a result")
            db.execute("DELETE FROM meta WHERE key = ?", (_key(opening.id),))

    def openings(self, student_sha256: str | None = None) -> list[Opening]:
        """Return all openings, or those for one student, the oldest first."""
        rows = self._store.rows(f"SELECT {_COLUMNS} FROM openings ORDER BY id")
        shown = {test: self._marks(test) for test in {row[2] for row in rows}}
        found = []
        for place, (number, student, test, opened_at, reuse, summary) in enumerate(rows):
            if student_sha256 not in (None, student):
                continue
            alike = [row for row in rows[:place] if row[2] == test or not shown[row[2]].isdisjoint(shown[test])]
            seen = frozenset[str]().union(*(shown[row[2]] for row in alike if row[1] == student))
            others = len({row[1] for row in alike} - {student})
            said = json.loads(summary) if summary else None
            known = len(shown[test] & seen)
            found.append(Opening(number, student, test, opened_at, reuse, said, others, len(shown[test]), known))
        return found

    def _shown(self, student: str, test: str) -> list[Any]:
        """Return the openings that have shown an image of this test part to a student, the oldest first."""
        mine = self._marks(test)
        rows = self._store.rows(f"SELECT {_COLUMNS} FROM openings WHERE student = ? ORDER BY id", student)
        return [row for row in rows if row[2] == test or not mine.isdisjoint(self._marks(row[2]))]

    def _marks(self, test: str) -> frozenset[str]:
        """Return the first digits of each image of a test part; none where the ledger does not know them."""
        kept = self._store.recall(_images_key(test))
        return frozenset(json.loads(kept)) if kept else frozenset()

    def _taken_up(self, db: sqlite3.Connection, rows: Sequence[Any]) -> str:
        """Return the reason under which a cut-off opening goes on. Raises StateError where that must not be."""
        for number, *_, opened_at, _reuse, summary in rows:
            if summary is None and (pid := self._holder(db, number)) is not None:
                raise StateError(
                    f"{self._store.path}: process {pid} measures this student on the test part since {opened_at}: "
                    "wait until it has ended"
                )
        if len(rows) == 1 and rows[0][-1] is None:
            return CUT_OFF
        raise StateError(
            f"{self._store.path}: the test part was opened for this student on {rows[0][3]}, a second look is no test "
            'of it any more: labelstill evaluate --again "why" opens it all the same, and the report says so'
        )

    def _holder(self, db: sqlite3.Connection, number: int) -> int | None:
        """Return the other process that has this opening, None where none lives."""
        row = db.execute("SELECT value FROM meta WHERE key = ?", (_key(number),)).fetchone()
        pid, born = json.loads(row[0]) if row else (0, None)
        return pid if born is not None and pid != os.getpid() and birth(pid) == born else None


def test_hash(objects: Sequence[Objects]) -> str:
    """Return a hash of images and their labels, 64 hex digits.

    The order of images and of labels plays no part, and boxes count to a hundredth of a pixel. Masks do not count, so
    that students for boxes and for masks open the same test part.

    Args:
        objects: what people say about the whole test part.
    """
    content = []
    for one in sorted(objects, key=lambda image: image.sha256):
        boxes = np.rint(one.boxes_xyxy * 100).astype(np.int64)
        rows = sorted([int(name), *box] for name, box in zip(one.class_ids, boxes.tolist(), strict=True))
        content.append([one.sha256, rows])
    return hashlib.sha256(to_json(content).encode()).hexdigest()


test_hash.__test__ = False  # type: ignore[attr-defined]  # no test of pytest either


def _insert(db: sqlite3.Connection, student: str, test: str, reuse: str | None) -> int:
    cursor = db.execute(
        "INSERT INTO openings (student, test, opened_at, reuse) VALUES (?, ?, ?, ?)",
        (student, test, datetime.now(UTC).isoformat(timespec="seconds"), reuse),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _key(number: int) -> str:
    return f"opening {number}"


def _images_key(test: str) -> str:
    return f"test-images:{test}"

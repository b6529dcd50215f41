"""How often the test part was opened, and for whom: a figure counts for most where nobody had seen it before."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
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
        students_before: how many other students had been measured on this test part by then.
    """

    id: int
    student: str
    test: str
    opened_at: str
    reuse: str | None
    summary: Mapping[str, Any] | None
    students_before: int

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
        if self.students_before:
            some = "one other student was" if self.students_before == 1 else f"{self.students_before} others were"
            found.append(
                f"Before this student {some} measured on the same test part: whoever keeps the best of them chooses on "
                "the test part, and the best figure is likely too good."
            )
        return tuple(found)


class TestLedger:
    """The openings in labels.db. Every method raises as those of ``Store`` do.

    An opening counts from the moment it is written, before the student has seen an image. Where the process was cut
    off before it wrote a summary, nobody has seen a figure: the same student may take the opening up again without a
    reason, once, and both stay in the ledger.
    """

    __test__ = False  # no test of pytest

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, student_sha256: str, test_hash: str, *, reuse: str | None = None) -> Opening:
        """Note that the test part is about to be shown to a student.

        Args:
            student_sha256: of its weights.
            test_hash: see the function of that name; of the whole test part.
            reuse: why it is opened again; plays no part where it never was.

        Raises:
            StateError: it was opened for this student before and there is no reason to do it again, or another
                process is at it.
            InputError: the reason is blank.
        """
        if reuse is not None and not reuse.strip():
            raise InputError('the reason to open the test part again is blank: write it, as in --again "why"')
        with self._store.transaction() as db:
            # The unique index decides who is first.
            if (first := _insert(db, student_sha256, test_hash, None)) is not None:
                number = first
            else:
                reason = reuse.strip() if reuse is not None else self._taken_up(db, student_sha256, test_hash)
                number = _insert(db, student_sha256, test_hash, reason) or 0
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
        sql = (
            f"SELECT {_COLUMNS}, (SELECT count(DISTINCT b.student) FROM openings b WHERE b.test = o.test "
            "AND b.student <> o.student AND b.id < o.id) FROM openings o WHERE ?1 IS NULL OR student = ?1 ORDER BY id"
        )
        return [
            Opening(number, student, test, opened_at, reuse, json.loads(summary) if summary else None, others)
            for number, student, test, opened_at, reuse, summary, others in self._store.rows(sql, student_sha256)
        ]

    def _taken_up(self, db: sqlite3.Connection, student: str, test: str) -> str:
        """Return the reason under which a cut-off opening goes on. Raises StateError where that must not be."""
        sql = f"SELECT {_COLUMNS} FROM openings WHERE student = ? AND test = ? ORDER BY id"
        rows = db.execute(sql, (student, test)).fetchall()
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


def _insert(db: sqlite3.Connection, student: str, test: str, reuse: str | None) -> int | None:
    cursor = db.execute(
        "INSERT OR IGNORE INTO openings (student, test, opened_at, reuse) VALUES (?, ?, ?, ?)",
        (student, test, datetime.now(UTC).isoformat(timespec="seconds"), reuse),
    )
    return cursor.lastrowid if cursor.rowcount else None


def _key(number: int) -> str:
    return f"opening {number}"

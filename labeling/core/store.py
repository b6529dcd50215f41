"""labels.db: every image, label and run of a project in one SQLite file, one transaction per batch."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .errors import StateError
from .records import REVIEWED_STATES, Annotation, ImageRecord, ImageState
from .standing import SPOKEN, STANDS
from .store_connection import connect, transaction, translated
from .store_rows import (
    ANNOTATION_COLUMNS,
    Feature,
    FileRow,
    FileStamp,
    ImageOutcome,
    Labels,
    Machine,
    Review,
    Run,
    annotation_from_row,
    keys_from_text,
    shown_path,
    to_json,
)
from .store_writes import write_outcome, write_review

if TYPE_CHECKING:
    from .ontology import Ontology

__all__ = ["Feature", "FileRow", "FileStamp", "ImageOutcome", "Labels", "Review", "Run", "Store"]

_WITH_MASKS = ", ".join(f"a.{column}" for column in ANNOTATION_COLUMNS.split(", "))
_OF_ANNOTATION = {True: _WITH_MASKS, False: _WITH_MASKS.replace("a.rle", "NULL")}
_IMAGES_PER_QUERY = 500
_LOOKED_AT = "v.state <> 'quarantined' AND EXISTS (SELECT 1 FROM labelled l WHERE l.sha256 = v.sha256)"
_SHOWN_IN: dict[Labels | None, str] = {
    None: "1",
    "best": "v.state IN ('prelabelled', 'pushed', 'reviewed', 'reviewed-empty')",
    "machine": _LOOKED_AT,
    "human": "v.state IN ('reviewed', 'reviewed-empty')",
    "claims": _LOOKED_AT,
}


class Store:
    """One open labels.db. A context manager; threads may hand it on but not use it at the same time.

    Every method raises StateError (full disk, locked, damaged, data that the tables refuse) or InputError (no
    permission); a transaction that fails leaves the file as it was.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path

    @classmethod
    def open(cls, path: Path, *, create: bool = False, busy_timeout_s: float = 10.0) -> Store:
        """Open the file and bring it to the newest format.

        Args:
            path: the file.
            create: make it where there is none; its folder must exist.
            busy_timeout_s: how long to wait for another process that writes.

        Raises:
            StateError: there is none and ``create`` is false, or it is damaged, locked, newer, or another program's.
            InputError: it cannot be opened for writing.
        """
        if not create and not path.exists():
            raise StateError(f"{path}: no such file: label some photos first (labelstill label PHOTOS --project DIR)")
        return cls(connect(path, busy_timeout_s), path)

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What is known already

    def known_files(self) -> dict[bytes, FileRow]:
        """Return every file that was read or refused, by its path as the file system has it."""
        rows = self.rows("SELECT path_bytes, size, mtime_ns, sha256, status, reason FROM files")
        return {row[0]: FileRow(*row[1:]) for row in rows}

    def done_keys(self, machine: Machine = "teacher") -> dict[str, str]:
        """Return what a machine labelled each image with, by sha256; "" where only the other machine has."""
        rows = self.rows("SELECT sha256, done_key FROM labelled")
        return {sha256: keys_from_text(text)[machine] for sha256, text in rows}

    def states(self) -> dict[str, ImageState]:
        """Return the state of every image that was ever read, by sha256."""
        return dict(self.rows("SELECT sha256, state FROM images"))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return width and height of every image that was decoded, by sha256."""
        rows = self.rows("SELECT sha256, width, height FROM images WHERE width IS NOT NULL AND state <> 'quarantined'")
        return {sha256: (width, height) for sha256, width, height in rows}

    def class_names(self) -> tuple[str, ...]:
        """Return the classes in order."""
        return tuple(name for (name,) in self.rows("SELECT name FROM classes ORDER BY position"))

    # Writing

    def check_classes(self, ontology: Ontology) -> None:
        """Raise StateError unless the classes of labels.db come first, unchanged and in order, in the ontology."""
        known = self.class_names()
        for position, name in enumerate(known):
            if ontology.names[position : position + 1] != (name,):
                came = f"{ontology.names[position]!r}" if position < len(ontology.names) else "nothing"
                raise StateError(
                    f"{self.path}: expected class {name!r} at place {position + 1} of the ontology, got {came}: "
                    f"used classes are not removed, renamed or moved; add new ones at the end, after {known[-1]!r}"
                )

    def write_classes(self, ontology: Ontology) -> None:
        """Take over new classes and the prompts of known ones. Raises like ``check_classes``."""
        self.check_classes(ontology)
        rows = [
            (position, entry.name, to_json(entry.prompts), entry.threshold, entry.guide)
            for position, entry in enumerate(ontology.classes)
        ]
        if rows == self.rows("SELECT position, name, prompts, threshold, guide FROM classes ORDER BY position"):
            return
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO classes (position, name, prompts, threshold, guide) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (position) DO UPDATE SET "
                "prompts = excluded.prompts, threshold = excluded.threshold, guide = excluded.guide",
                rows,
            )

    def commit_batch(self, outcomes: Sequence[ImageOutcome], run_id: int) -> None:
        """Write one batch in one transaction.

        An outcome with a done key replaces the labels of its machine; features, drops and faint boxes of an image are
        the teacher's where it has looked, else the student's. A new image becomes prelabelled; where people have
        reviewed the image, its labels and state stay as they are. An outcome that is quarantined takes the machine
        labels of an image away, unless it was reviewed.
        """
        with self.transaction() as db:
            for outcome in outcomes:
                write_outcome(db, outcome, run_id)

    def record_skipped(self, files: Iterable[tuple[bytes, str]], *, below: tuple[bytes, ...] = ()) -> None:
        """Remember files that are no images, as (path, reason); each counts once, however often it is seen.

        Those whose path begins with one of ``below`` and that are not among ``files`` any more are forgotten.
        """
        known = {path for (path,) in self.rows("SELECT path_bytes FROM skipped_files")}
        seen = dict(files)
        fresh = [(path, shown_path(path), reason) for path, reason in seen.items() if path not in known]
        lost = [(path,) for path in known - seen.keys() if path.startswith(below)]
        if fresh or lost:
            with self.transaction() as db:
                db.executemany("DELETE FROM skipped_files WHERE path_bytes = ?", lost)
                db.executemany("INSERT OR REPLACE INTO skipped_files VALUES (?, ?, ?)", fresh)

    def forget_files(self, paths: Iterable[bytes]) -> None:
        """Forget files that are gone, but for the last one of an image that is not quarantined: it keeps its labels."""
        gone = [(path,) for path in paths]
        if gone:
            with self.transaction() as db:
                db.executemany(
                    "DELETE FROM files WHERE path_bytes = ?1 AND (status = 'quarantined' OR EXISTS "
                    "(SELECT 1 FROM files o WHERE o.sha256 = files.sha256 AND o.path_bytes <> ?1))",
                    gone,
                )

    def set_reviewed(self, sha256: str, annotations: Sequence[Annotation], state: ImageState) -> None:
        """Replace what people said about one image; machine labels stay beside it.

        Args:
            sha256: a known image.
            annotations: source human or imported; none unless ``state`` is reviewed.
            state: reviewed, reviewed-empty or skipped.

        Raises:
            StateError: an unknown image, another state, machine labels, or labels that contradict the state.
        """
        with self.transaction() as db:
            write_review(db, sha256, annotations, state)

    def commit_reviews(self, reviews: Sequence[Review], run_id: int) -> None:
        """Write images and what people said about them, one batch in one transaction. Raises like `set_reviewed`."""
        with self.transaction() as db:
            for review in reviews:
                write_outcome(db, review.outcome, run_id)
                if review.state is not None:
                    write_review(db, review.outcome.sha256 or "", review.annotations, review.state)

    def start_run(self, verb: str, settings: Mapping[str, Any]) -> int:
        """Note that a verb begins to write, with what it was given; return the id of the run."""
        with self.transaction() as db:
            row = (verb, _now(), to_json(dict(settings)))
            cursor = db.execute("INSERT INTO runs (verb, started_at, settings) VALUES (?, ?, ?)", row)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish_run(self, run_id: int, summary: Mapping[str, Any]) -> None:
        """Note that a run ended, and what it did."""
        with self.transaction() as db:
            db.execute(
                "UPDATE runs SET finished_at = ?, summary = ? WHERE id = ?", (_now(), to_json(dict(summary)), run_id)
            )

    def remember(self, key: str, value: str) -> None:
        """Keep a small fact for later runs, such as the batch size that fits this machine."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # Reading

    def recall(self, key: str) -> str | None:
        """Return what was remembered under a key, or None."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return rows[0][0] if rows else None

    def runs(self) -> list[Run]:
        """Return all runs, the oldest first."""
        rows = self.rows("SELECT id, verb, started_at, finished_at, settings, summary FROM runs ORDER BY id")
        return [
            Run(run_id, verb, started, finished, json.loads(settings), json.loads(summary) if summary else None)
            for run_id, verb, started, finished, settings, summary in rows
        ]

    def counts(self) -> dict[str, Any]:
        """Return ``images`` per state, ``annotations`` per class, ``quarantined`` files and ``skipped_files``.

        Images are the rows of the view, annotations those that stand: of people where they have reviewed an image, of
        machines elsewhere. States that no image is in are left out, every class is named. ``quarantined`` is a list
        of ``{"path", "reason"}``, one per file.
        """
        images = self.rows("SELECT state, count(*) FROM v_images GROUP BY state ORDER BY state")
        classes = self.rows(
            "SELECT c.name, count(s.id) FROM classes c LEFT JOIN "
            f"(SELECT a.id, a.class_name FROM v_annotations a JOIN images i USING (sha256) WHERE {STANDS}) s "
            "ON s.class_name = c.name GROUP BY c.position ORDER BY c.position"
        )
        refused = self.rows("SELECT path, reason FROM files WHERE status = 'quarantined' ORDER BY path")
        return {
            "images": dict(images),
            "annotations": dict(classes),
            "quarantined": [{"path": path, "reason": reason} for path, reason in refused],
            "skipped_files": self.rows("SELECT count(*) FROM skipped_files")[0][0],
        }

    def reviews_without_photo(self) -> int:
        """Return how many images people have reviewed whose files all hold other pictures now."""
        missing = "NOT EXISTS (SELECT 1 FROM files f WHERE f.sha256 = i.sha256)"
        reviewed = ", ".join("?" * len(REVIEWED_STATES))
        sql = f"SELECT count(*) FROM images i WHERE state IN ({reviewed}) AND {missing}"
        return int(self.rows(sql, *REVIEWED_STATES)[0][0])

    def drop_counts(self) -> Counter[tuple[str, str]]:
        """Return how many boxes the filters dropped in the labels that stand, by (reason, class name)."""
        rows = self.rows("SELECT reason, class_name, sum(n) FROM drops GROUP BY reason, class_name")
        return Counter({(reason, class_name): n for reason, class_name, n in rows})

    def iter_images(self, labels: Labels | None = None) -> Iterator[ImageRecord]:
        """Yield images by path, one record per image and one per file that could not be read.

        Args:
            labels: only the images that these labels speak about: ``best`` is everything labelled or reviewed,
                ``machine`` and ``claims`` everything that a machine has seen, ``human`` what was reviewed; skipped
                images are in these two only, quarantined ones in none. None is every image.
        """
        with translated(self.path):
            cursor = self._db.execute(
                "SELECT v.sha256, v.width, v.height, v.state, v.reason, v.path, i.notes FROM v_images v "
                f"LEFT JOIN images i ON i.sha256 = v.sha256 WHERE {_SHOWN_IN[labels]} ORDER BY v.path, v.sha256"
            )
            for sha256, width, height, state, reason, path, notes in cursor:
                named = self.rows("SELECT path FROM files WHERE sha256 = ? ORDER BY path", sha256)
                paths = tuple(name for (name,) in named) or (path,)
                yield ImageRecord(sha256, width, height, state, reason, paths, tuple(json.loads(notes or "[]")))

    def files_of(self, sha256: str) -> tuple[Path, ...]:
        """Return where the bytes of an image were found, by shown path; some of the files may be gone by now."""
        rows = self.rows("SELECT path_bytes FROM files WHERE sha256 = ? ORDER BY path, path_bytes", sha256)
        return tuple(Path(os.fsdecode(path)) for (path,) in rows)

    def annotations_of(self, sha256: str, labels: Labels = "best") -> list[Annotation]:
        """Return the labels of one image in the order in which they were made.

        ``best`` is what people said where they reviewed the image, ``machine`` elsewhere, and nothing for a skipped
        image. ``machine`` is what the teacher said, a student where the teacher found nothing or never looked.
        ``claims`` is what machines said besides ``best``.
        """
        return self.annotations_of_images([sha256], labels)[sha256]

    def annotations_of_images(
        self, sha256s: Sequence[str], labels: Labels = "best", *, masks: bool = True
    ) -> dict[str, list[Annotation]]:
        """Return the labels of several images, see ``annotations_of``, or all but their masks; each has an entry."""
        found: dict[str, list[Annotation]] = {sha256: [] for sha256 in sha256s}
        sql = (
            f"SELECT {_OF_ANNOTATION[masks]} FROM annotations a INDEXED BY annotations_by_image "
            f"JOIN images i ON i.sha256 = a.sha256 WHERE a.sha256 IN ({{}}) AND {SPOKEN[labels]} ORDER BY a.rowid"
        )
        for row in self.rows_of(sql, sha256s):
            annotation = annotation_from_row(row)
            found[annotation.sha256].append(annotation)
        return found

    def names_of(self, sha256s: Sequence[str]) -> dict[str, str]:
        """Return the first path of each image as shown to people, or its sha256 where no file holds it."""
        sql = "SELECT sha256, min(path) FROM files WHERE sha256 IN ({}) GROUP BY sha256"
        return {sha256: sha256 for sha256 in sha256s} | dict(self.rows_of(sql, sha256s))

    # For those who have tables or questions of their own

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Commit everything in the block, or nothing of it."""
        return transaction(self._db, self.path)

    def rows(self, sql: str, *values: object) -> list[Any]:
        """Return what a query finds."""
        with translated(self.path):
            return self._db.execute(sql, values).fetchall()

    def rows_of(self, sql: str, sha256s: Sequence[str], *values: object) -> Iterator[Any]:
        """Yield what a query about images finds, so many images at a time as a query can hold.

        The query has {} where the placeholders of the images go, before those of the values.
        """
        for start in range(0, len(sha256s), _IMAGES_PER_QUERY):
            some = sha256s[start : start + _IMAGES_PER_QUERY]
            yield from self.rows(sql.format(", ".join("?" * len(some))), *some, *values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

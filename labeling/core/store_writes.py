"""The rows that the outcome of one image changes in labels.db; each function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from .errors import StateError
from .records import REVIEWED_STATES, Annotation, ImageState
from .store_rows import (
    ANNOTATION_COLUMNS,
    PIXELS,
    ImageOutcome,
    annotation_to_row,
    keys_from_text,
    keys_to_text,
    shown_path,
    to_json,
)

_INSERT_ANNOTATION = (
    f"INSERT INTO annotations ({ANNOTATION_COLUMNS}) VALUES ({', '.join('?' * len(ANNOTATION_COLUMNS.split(',')))})"
)


def write_outcome(db: sqlite3.Connection, outcome: ImageOutcome, run_id: int) -> None:
    """Write one image, its files and, where it was labelled, its labels. See ``Store.commit_batch``."""
    if outcome.sha256 is not None:
        _write_image(db, outcome, outcome.sha256, run_id)
    elif outcome.status != "quarantined":
        raise StateError("an image without sha256 can only be quarantined")
    for file in outcome.files:
        db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                file.path,
                shown_path(file.path),
                file.size,
                file.mtime_ns,
                outcome.sha256,
                outcome.status,
                outcome.reason,
            ),
        )
        db.execute("DELETE FROM skipped_files WHERE path_bytes = ?", (file.path,))


def write_review(db: sqlite3.Connection, sha256: str, annotations: Sequence[Annotation], state: ImageState) -> None:
    """Replace what people said about one image. See ``Store.set_reviewed``."""
    if state not in REVIEWED_STATES:
        raise StateError(f"expected a state of {', '.join(REVIEWED_STATES)}, got {state!r}")
    if bool(annotations) != (state == "reviewed"):
        raise StateError(f"image {sha256}: {len(annotations)} labels do not go with the state {state!r}")
    for annotation in annotations:
        if annotation.sha256 != sha256 or annotation.provenance.source not in ("human", "imported"):
            raise StateError(f"image {sha256}: expected its own human or imported labels, got {annotation}")
    decoded = "sha256 = ? AND width IS NOT NULL"
    if not db.execute(f"UPDATE images SET state = ?, reason = NULL WHERE {decoded}", (state, sha256)).rowcount:
        raise StateError(f"labels.db: image {sha256} is not known or was never decoded: label it first")
    db.execute("UPDATE files SET status = 'ok', reason = NULL WHERE sha256 = ?", (sha256,))
    db.execute("DELETE FROM annotations WHERE sha256 = ? AND source IN ('human', 'imported')", (sha256,))
    insert_annotations(db, annotations)


def withdraw_review(db: sqlite3.Connection, sha256: str) -> None:
    """Take back what people said about one image in Label Studio: it waits for them again."""
    if db.execute("UPDATE images SET state = 'pushed' WHERE sha256 = ? AND state <> 'pushed'", (sha256,)).rowcount:
        db.execute("DELETE FROM annotations WHERE sha256 = ? AND source = 'human'", (sha256,))


def insert_annotations(db: sqlite3.Connection, annotations: Sequence[Annotation]) -> None:
    """Add labels; sqlite3.IntegrityError for an unknown image or class, a box without area, or an id twice."""
    db.executemany(_INSERT_ANNOTATION, [annotation_to_row(annotation) for annotation in annotations])


def _write_image(db: sqlite3.Connection, outcome: ImageOutcome, sha256: str, run_id: int) -> None:
    row = db.execute("SELECT state FROM images WHERE sha256 = ?", (sha256,)).fetchone()
    state = row[0] if row else None
    # Another file of a known image, or one that people have spoken about, changes nothing but the files.
    known = outcome.status == "ok" and outcome.done_key is None and state not in (None, "quarantined")
    if known or state in REVIEWED_STATES:
        return
    if outcome.status == "quarantined":
        state = "quarantined"
    elif outcome.done_key is not None:
        state = "pushed" if state == "pushed" else "prelabelled"
    else:
        state = "new"
    db.execute(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET width = excluded.width, "
        "height = excluded.height, state = excluded.state, reason = excluded.reason, notes = excluded.notes",
        (sha256, outcome.width, outcome.height, state, outcome.reason, to_json(outcome.notes)),
    )
    # Other files with the same bytes share the verdict.
    db.execute("UPDATE files SET status = ?, reason = ? WHERE sha256 = ?", (outcome.status, outcome.reason, sha256))
    if outcome.status == "quarantined":
        _forget_machines(db, sha256)
    if outcome.done_key is not None:
        _replace_labels(db, outcome, sha256, outcome.done_key, run_id)


def _replace_labels(db: sqlite3.Connection, outcome: ImageOutcome, sha256: str, done_key: str, run_id: int) -> None:
    """Replace what one machine said; the other's labels stay beside them."""
    row = db.execute("SELECT done_key FROM labelled WHERE sha256 = ?", (sha256,)).fetchone()
    keys = keys_from_text(row[0] if row else "")
    # Their features go with them.
    db.execute("DELETE FROM annotations WHERE sha256 = ? AND source = ?", (sha256, outcome.machine))
    insert_annotations(db, outcome.annotations)
    if outcome.machine == "teacher" or not keys["teacher"]:
        _forget_findings(db, sha256)
        _insert_findings(db, outcome, sha256)
    keys[outcome.machine] = done_key
    db.execute("INSERT OR REPLACE INTO labelled VALUES (?, ?, ?)", (sha256, keys_to_text(keys), run_id))


def _forget_machines(db: sqlite3.Connection, sha256: str) -> None:
    db.execute("DELETE FROM annotations WHERE sha256 = ? AND source IN ('teacher', 'student')", (sha256,))
    _forget_findings(db, sha256)
    db.execute("DELETE FROM labelled WHERE sha256 = ?", (sha256,))


def _forget_findings(db: sqlite3.Connection, sha256: str) -> None:
    """Forget what was found besides labels: features of the machine that looked last, drops and faint boxes."""
    db.execute(f"DELETE FROM features WHERE sha256 = ? AND model NOT LIKE '{PIXELS}%'", (sha256,))
    db.execute("DELETE FROM drops WHERE sha256 = ?", (sha256,))
    db.execute("DELETE FROM faint WHERE sha256 = ?", (sha256,))


def _insert_findings(db: sqlite3.Connection, outcome: ImageOutcome, sha256: str) -> None:
    db.executemany(
        "INSERT INTO features VALUES (?, ?, ?, ?, ?)",
        [
            (sha256, feature.annotation_id, feature.model, feature.vector.size, feature.vector.astype("<f2").tobytes())
            for feature in outcome.features
        ],
    )
    db.executemany(
        "INSERT INTO drops VALUES (?, ?, ?, ?)",
        [(sha256, reason, class_name, n) for (reason, class_name), n in sorted(outcome.drops.items())],
    )
    db.executemany(
        "INSERT INTO faint VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(sha256, one.class_name, *one.box_xyxy, one.score) for one in outcome.faint],
    )

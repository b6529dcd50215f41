"""The tables and views of labels.db, and the steps from each version of them to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from .errors import StateError

APPLICATION_ID = 0x4C53544C  # "LSTL", so that another program's database is never taken for ours

_TABLES_1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE classes (
        position INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        prompts TEXT NOT NULL,  -- JSON list
        threshold REAL,
        guide TEXT NOT NULL
    )""",
    """CREATE TABLE images (
        sha256 TEXT PRIMARY KEY,
        width INTEGER,
        height INTEGER,
        state TEXT NOT NULL CHECK (state IN
            ('new', 'prelabelled', 'pushed', 'reviewed', 'reviewed-empty', 'skipped', 'quarantined')),
        reason TEXT,
        notes TEXT NOT NULL  -- JSON list
    )""",
    """CREATE TABLE files (
        path_bytes BLOB PRIMARY KEY,  -- as the file system has it; not always valid text
        path TEXT NOT NULL,  -- as shown to people
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT REFERENCES images,  -- NULL where the file could not be read
        status TEXT NOT NULL CHECK (status IN ('ok', 'quarantined')),
        reason TEXT
    )""",
    "CREATE INDEX files_by_image ON files (sha256, path)",
    "CREATE TABLE skipped_files (path_bytes BLOB PRIMARY KEY, path TEXT NOT NULL, reason TEXT NOT NULL)",
    """CREATE TABLE annotations (
        id TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL REFERENCES images,
        class_name TEXT NOT NULL REFERENCES classes (name),
        x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
        rle TEXT,  -- JSON of a COCO run-length encoding
        score REAL CHECK (score BETWEEN 0 AND 1),
        mask_score REAL,
        source TEXT NOT NULL CHECK (source IN ('teacher', 'human', 'student', 'imported')),
        prompt TEXT,
        model TEXT,
        annotator TEXT,
        parent_id TEXT,  -- no foreign key: the corrected machine label may be replaced later
        flags TEXT NOT NULL,  -- JSON list
        CHECK (x0 < x1 AND y0 < y1 AND abs(x0) < 1e9 AND abs(y0) < 1e9 AND abs(x1) < 1e9 AND abs(y1) < 1e9)
    )""",
    "CREATE INDEX annotations_by_image ON annotations (sha256, source)",
    "CREATE INDEX annotations_by_class ON annotations (class_name)",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        verb TEXT NOT NULL,
        started_at TEXT NOT NULL,  -- UTC, ISO 8601
        finished_at TEXT,
        settings TEXT NOT NULL,  -- JSON mapping
        summary TEXT  -- JSON mapping
    )""",
    """CREATE TABLE labelled (
        sha256 TEXT PRIMARY KEY REFERENCES images,
        done_key TEXT NOT NULL,
        run_id INTEGER REFERENCES runs
    )""",
    """CREATE TABLE drops (
        sha256 TEXT NOT NULL REFERENCES images,
        reason TEXT NOT NULL,
        class_name TEXT NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY (sha256, reason, class_name)
    )""",
    """CREATE TABLE features (
        sha256 TEXT NOT NULL REFERENCES images,
        annotation_id TEXT REFERENCES annotations ON DELETE CASCADE,  -- NULL for the whole image
        model TEXT NOT NULL,
        dim INTEGER NOT NULL,
        data BLOB NOT NULL  -- little-endian float16
    )""",
    "CREATE UNIQUE INDEX features_by_image ON features (sha256, ifnull(annotation_id, ''), model)",
    "CREATE INDEX features_by_annotation ON features (annotation_id)",
    """CREATE TABLE hashes (
        path_bytes BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    )""",
    # An image that no file holds any more keeps its labels here but is not shown.
    """CREATE VIEW v_images (sha256, path, width, height, state, reason) AS
        SELECT i.sha256, (SELECT min(path) FROM files f WHERE f.sha256 = i.sha256),
               i.width, i.height, i.state, i.reason
        FROM images i WHERE EXISTS (SELECT 1 FROM files f WHERE f.sha256 = i.sha256)
        UNION ALL
        SELECT NULL, path, NULL, NULL, status, reason FROM files WHERE sha256 IS NULL""",
    """CREATE VIEW v_annotations
        (id, sha256, class_name, x0, y0, x1, y1, rle, score, source, prompt, model, parent_id) AS
        SELECT id, sha256, class_name, x0, y0, x1, y1, rle, score, source, prompt, model, parent_id
        FROM annotations a WHERE EXISTS (SELECT 1 FROM files f WHERE f.sha256 = a.sha256)""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

_TABLES_2 = (
    """CREATE TABLE studio_targets (
        id INTEGER PRIMARY KEY,
        url TEXT NOT NULL,
        project_id INTEGER NOT NULL,
        config TEXT NOT NULL,  -- the labelling configuration as it was last written
        media TEXT NOT NULL CHECK (media IN ('local', 'upload')),
        pulled_until TEXT,  -- newest change of a task that was read, in the server's time
        UNIQUE (url, project_id)
    )""",
    """CREATE TABLE studio_tasks (
        target_id INTEGER NOT NULL REFERENCES studio_targets,
        sha256 TEXT NOT NULL REFERENCES images,
        task_id INTEGER,  -- NULL until the server has named it
        state TEXT NOT NULL CHECK (state IN ('intended', 'sent', 'withdrawn')),
        after_id INTEGER NOT NULL,  -- the highest task id on the server before the intent
        content TEXT NOT NULL,  -- hash of what was pushed
        pushed TEXT NOT NULL,  -- JSON list of annotations, the server's copy is not read back
        model_version TEXT NOT NULL,
        blind INTEGER NOT NULL,  -- 1: pushed without its prediction
        drawn INTEGER NOT NULL,  -- 1: chosen by lot, not by need
        attention TEXT,  -- why nobody's answer could be taken
        taken INTEGER NOT NULL DEFAULT 0,  -- 1: the review of the image came from this task
        PRIMARY KEY (target_id, sha256),
        CHECK (state <> 'sent' OR task_id IS NOT NULL)
    )""",
    "CREATE UNIQUE INDEX studio_tasks_by_id ON studio_tasks (target_id, task_id)",
    """CREATE TABLE studio_answers (
        target_id INTEGER NOT NULL REFERENCES studio_targets,
        kind TEXT NOT NULL CHECK (kind IN ('submitted', 'skipped', 'draft')),
        answer_id INTEGER NOT NULL,  -- drafts have ids of their own
        task_id INTEGER NOT NULL,
        sha256 TEXT NOT NULL REFERENCES images,
        annotator TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        seconds REAL,
        from_prediction INTEGER NOT NULL,  -- 1: the person began with the prediction
        result TEXT NOT NULL,  -- JSON as Label Studio gave it
        PRIMARY KEY (target_id, kind, answer_id)
    )""",
    "CREATE INDEX studio_answers_by_image ON studio_answers (target_id, sha256)",
    """CREATE TABLE decisions (
        sha256 TEXT NOT NULL REFERENCES images,
        decision TEXT NOT NULL,
        note TEXT NOT NULL,
        PRIMARY KEY (sha256, decision)
    )""",
)

_TABLES_3 = (
    """CREATE TABLE decided (
        sha256 TEXT NOT NULL REFERENCES images,
        annotation_id TEXT NOT NULL,  -- '' for the whole image; no foreign key: the label may be replaced later
        decision TEXT NOT NULL,
        note TEXT NOT NULL,
        PRIMARY KEY (sha256, annotation_id, decision)
    )""",
    "INSERT INTO decided SELECT sha256, '', decision, note FROM decisions",
    "DROP TABLE decisions",
    "ALTER TABLE decided RENAME TO decisions",
    # Of the picture alone, so that they outlive its labels.
    """CREATE TABLE photo_facts (
        sha256 TEXT PRIMARY KEY REFERENCES images,
        brightness REAL NOT NULL,  -- mean of the grey values, 0 to 1
        contrast REAL NOT NULL,  -- their standard deviation, 0 to 0.5
        sharpness REAL NOT NULL,  -- variance of the Laplacian of the picture at 512 px
        camera TEXT,  -- make and model
        taken_at TEXT,  -- ISO 8601 without a zone, as cameras write it
        thumbnail BLOB NOT NULL  -- 48 x 48 grey values of the whole picture, uint8
    )""",
)

_TABLES_4 = (
    # What the teacher saw but was not sure enough of to claim; a student is not taught that nothing is there.
    """CREATE TABLE faint (
        sha256 TEXT NOT NULL REFERENCES images,
        class_name TEXT NOT NULL REFERENCES classes (name),
        x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
        score REAL NOT NULL CHECK (score BETWEEN 0 AND 1),
        CHECK (x0 < x1 AND y0 < y1)
    )""",
    "CREATE INDEX faint_by_image ON faint (sha256)",
    """CREATE TABLE splits (
        name TEXT PRIMARY KEY,
        settings TEXT NOT NULL,  -- JSON mapping
        made_at TEXT NOT NULL  -- UTC, ISO 8601; when it was last changed
    )""",
    """CREATE TABLE split_images (
        split TEXT NOT NULL REFERENCES splits,
        sha256 TEXT NOT NULL REFERENCES images,
        part TEXT NOT NULL CHECK (part IN ('train', 'val', 'test')),
        fold INTEGER,  -- from 0, where there are folds
        kin TEXT NOT NULL,  -- sha256 of the first image of its group; its own where it has none
        PRIMARY KEY (split, sha256)
    )""",
    """CREATE TABLE openings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        student TEXT NOT NULL,  -- sha256 of its weights
        test TEXT NOT NULL,  -- hash of the images of the test part and their labels
        opened_at TEXT NOT NULL,  -- UTC, ISO 8601
        reuse TEXT,  -- why it was opened again; NULL for the first time
        summary TEXT  -- JSON mapping; NULL until the evaluation has ended
    )""",
    "CREATE UNIQUE INDEX openings_first ON openings (student, test) WHERE reuse IS NULL",
)

_TABLES_5 = (
    # JSON list of [model, score]: who of an ensemble saw the object.
    "ALTER TABLE annotations ADD COLUMN sources TEXT NOT NULL DEFAULT '[]'",
    """CREATE TABLE frames (
        sha256 TEXT NOT NULL REFERENCES images,
        video TEXT NOT NULL,  -- sha256 of its bytes, or the address of a stream with the number of its recording
        number INTEGER NOT NULL,  -- from 0, as decoded
        seconds REAL NOT NULL,  -- from the beginning of the video
        scene INTEGER NOT NULL,  -- counts the cuts before it
        picked INTEGER NOT NULL,  -- 0: it lies between picked frames, and its labels were propagated from them
        PRIMARY KEY (video, number)
    )""",
    "CREATE INDEX frames_by_image ON frames (sha256)",
    """CREATE TABLE tracks (
        video TEXT NOT NULL,
        track INTEGER NOT NULL,  -- one object that is seen in several frames
        sha256 TEXT NOT NULL REFERENCES images,
        annotation_id TEXT NOT NULL,  -- no foreign key: the label may be replaced later
        PRIMARY KEY (video, track, sha256)
    )""",
    "CREATE INDEX tracks_by_image ON tracks (sha256)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_TABLES_1, _TABLES_2, _TABLES_3, _TABLES_4, _TABLES_5)
"""Step i takes a database from version i to version i + 1; a step that was released never changes."""


def migrate(connection: sqlite3.Connection, name: str, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a database to the newest version, all steps in one transaction.

    Args:
        connection: in autocommit mode.
        name: the file as shown in messages.
        migrations: see MIGRATIONS.

    Raises:
        StateError: the file belongs to another program or to a newer version of this one.
    """
    if _checked_version(connection, name, len(migrations)) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have done the work while this one waited for the lock.
        for step in migrations[_checked_version(connection, name, len(migrations)) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _checked_version(connection: sqlite3.Connection, name: str, newest: int) -> int:
    # One statement sees one state of the file.
    version, application, tables = connection.execute(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id), "
        "(SELECT count(*) FROM sqlite_master)"
    ).fetchone()
    if application != (APPLICATION_ID if version else 0) or (tables and not version):
        raise StateError(
            f"{name}: expected a database of labelstill, this one belongs to another program: move it away, or name "
            "another folder"
        )
    if version > newest:
        raise StateError(f"{name}: has format {version}, this labelstill knows up to {newest}: update labelstill")
    return int(version)

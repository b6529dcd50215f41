"""The ledger of the hand-over to people: what was meant for Label Studio, what arrived there, what came back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from .errors import StateError
from .records import Annotation, Provenance
from .standing import MACHINE_STANDS
from .store import Store
from .store_rows import to_json
from .store_writes import withdraw_review, write_review
from .studio_rows import Answer, AnswerKind, Media, Target, Task, TaskState, Verdict, content_hash, hash_of

__all__ = [
    "Answer",
    "AnswerKind",
    "Media",
    "StudioLedger",
    "Target",
    "Task",
    "TaskState",
    "Verdict",
    "content_hash",
]

_TARGET = "id, url, project_id, config, media, pulled_until"
_TASK = "sha256, task_id, state, after_id, content, model_version, blind, drawn, attention"
_IMAGES_PER_QUERY = 500
_ANNOTATION_FIELDS = tuple(one.name for one in fields(Annotation))
_PROVENANCE_FIELDS = tuple(one.name for one in fields(Provenance))
_PUSHED = "target_id, sha256, task_id, state, after_id, content, pushed, model_version, blind, drawn, attention"
_ANSWER = "kind, answer_id, task_id, sha256, annotator, created_at, updated_at, seconds, from_prediction, result"


class StudioLedger:
    """The tables of the hand-over in an open labels.db. Every method raises as those of ``Store`` do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Where it goes

    def targets(self) -> list[Target]:
        """Return every project that was ever pushed to, the oldest first."""
        rows = self._store.rows(
            "SELECT id, url, project_id, config, media, pulled_until FROM studio_targets ORDER BY id"
        )
        return [Target(*row) for row in rows]

    def save_target(self, url: str, project_id: int, *, config: str, media: Media) -> Target:
        """Add a project, or note its configuration and media anew; return it."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO studio_targets (url, project_id, config, media) VALUES (?, ?, ?, ?) ON CONFLICT "
                "(url, project_id) DO UPDATE SET config = excluded.config, media = excluded.media",
                (url, project_id, config, media),
            )
        return next(one for one in self.targets() if (one.url, one.project_id) == (url, project_id))

    def move_target(self, target: Target, url: str) -> Target:
        """Note that the same server answers under another address now, such as another port."""
        with self._store.transaction() as db:
            db.execute("UPDATE studio_targets SET url = ? WHERE id = ?", (url, target.id))
        return next(one for one in self.targets() if one.id == target.id)

    # What was sent

    def tasks(self, target: Target, state: TaskState | None = None) -> Iterator[Task]:
        """Yield the tasks of a project in the order in which they were intended."""
        chosen = "" if state is None else " AND state = ?"
        values = (target.id,) if state is None else (target.id, state)
        sql = f"SELECT {_TASK} FROM studio_tasks WHERE target_id = ?{chosen} ORDER BY rowid"
        for sha256, task_id, kept, after_id, content, model, blind, drawn, attention in self._store.rows(sql, *values):
            yield Task(sha256, task_id, kept, after_id, content, model, bool(blind), bool(drawn), attention)

    def counts(self, target: Target) -> dict[TaskState, int]:
        """Return how many tasks are in each state; states without tasks are 0."""
        rows = dict(
            self._store.rows("SELECT state, count(*) FROM studio_tasks WHERE target_id = ? GROUP BY state", target.id)
        )
        return {"intended": rows.get("intended", 0), "sent": rows.get("sent", 0), "withdrawn": rows.get("withdrawn", 0)}

    def highest_task_id(self, target: Target) -> int:
        """Return the highest task number that is known, 0 without tasks."""
        sql = "SELECT ifnull(max(task_id), 0) FROM studio_tasks WHERE target_id = ?"
        return int(self._store.rows(sql, target.id)[0][0])

    def newest_sent(self, target: Target) -> tuple[int, str]:
        """Return number and image of the newest task that the server is known to have; (0, "") without any."""
        sql = "SELECT task_id, sha256 FROM studio_tasks WHERE target_id = ? AND state = 'sent'"
        rows = self._store.rows(f"{sql} ORDER BY task_id DESC LIMIT 1", target.id)
        return (rows[0][0], rows[0][1]) if rows else (0, "")

    def task_id(self, target: Target, sha256: str) -> int | None:
        """Return the number of an image's task on the server, None where it is not known."""
        sql = "SELECT task_id FROM studio_tasks WHERE target_id = ? AND sha256 = ?"
        rows = self._store.rows(sql, target.id, sha256)
        return rows[0][0] if rows else None

    def pushed(self, target: Target, sha256: str) -> list[Annotation]:
        """Return the labels of an image as they were pushed; blind ones too, which people did not see."""
        sql = "SELECT pushed FROM studio_tasks WHERE target_id = ? AND sha256 = ?"
        rows = self._store.rows(sql, target.id, sha256)
        return [_annotation(entry) for entry in json.loads(rows[0][0])] if rows else []

    def outdated(self, target: Target) -> list[str]:
        """Return the images that wait for people with other machine labels than those that were pushed."""
        waiting = self._store.rows(
            "SELECT t.sha256, t.content FROM studio_tasks t JOIN images i ON i.sha256 = t.sha256 "
            "WHERE t.target_id = ? AND t.state = 'sent' AND i.state = 'pushed' ORDER BY t.rowid",
            target.id,
        )
        changed = []
        for start in range(0, len(waiting), _IMAGES_PER_QUERY):
            some = dict(waiting[start : start + _IMAGES_PER_QUERY])
            labels: dict[str, list[str]] = {sha256: [] for sha256 in some}
            for sha256, name in self._store.rows(
                f"SELECT sha256, id FROM annotations a WHERE {MACHINE_STANDS} AND sha256 IN "
                f"({', '.join('?' * len(some))}) ORDER BY rowid",
                *some,
            ):
                labels[sha256].append(name)
            changed += [sha256 for sha256, content in some.items() if hash_of(labels[sha256]) != content]
        return changed

    def is_blind(self, target: Target, sha256: str) -> bool:
        """Say whether people are to label an image without help."""
        sql = "SELECT 1 FROM studio_tasks WHERE target_id = ? AND sha256 = ? AND blind AND state <> 'withdrawn'"
        return bool(self._store.rows(sql, target.id, sha256))

    def intend(self, target: Target, tasks: Sequence[tuple[Task, Sequence[Annotation]]]) -> None:
        """Note what is about to be sent, one chunk in one transaction; a task of the same image is replaced."""
        rows = [
            (
                target.id, task.sha256, task.task_id, task.state, task.after_id, task.content,
                to_json([_entry(annotation) for annotation in annotations]),
                task.model_version, int(task.blind), int(task.drawn), task.attention,
            )
            for task, annotations in tasks
        ]  # fmt: skip
        with self._store.transaction() as db:
            db.executemany(f"INSERT OR REPLACE INTO studio_tasks ({_PUSHED}) VALUES ({', '.join('?' * 11)})", rows)

    def confirm(self, target: Target, task_ids: Mapping[str, int]) -> None:
        """Note that the server has these images, by sha256, and that they wait for people now."""
        with self._store.transaction() as db:
            numbered = [(task_id, target.id, sha256) for sha256, task_id in task_ids.items()]
            # A server that was set back to a backup gives numbers a second time; the earlier task is gone.
            db.executemany(
                "UPDATE studio_tasks SET task_id = -rowid WHERE task_id = ? AND target_id = ? AND sha256 <> ?", numbered
            )
            db.executemany(
                "UPDATE studio_tasks SET state = 'sent', task_id = ? WHERE target_id = ? AND sha256 = ?", numbered
            )
            db.executemany(
                "UPDATE images SET state = 'pushed' WHERE sha256 = ? AND state IN ('new', 'prelabelled')",
                [(sha256,) for sha256 in task_ids],
            )

    def forget(self, target: Target, sha256s: Iterable[str]) -> None:
        """Forget intents that are known not to have reached the server."""
        with self._store.transaction() as db:
            db.executemany(
                "DELETE FROM studio_tasks WHERE target_id = ? AND sha256 = ? AND state = 'intended'",
                [(target.id, sha256) for sha256 in sha256s],
            )

    def withdraw(self, target: Target, sha256s: Iterable[str]) -> None:
        """Note that people deleted these tasks. What they had said before stays; what waited is a pre-label again."""
        with self._store.transaction() as db:
            for sha256 in sha256s:
                key = (target.id, sha256)
                db.execute("UPDATE studio_tasks SET state = 'withdrawn' WHERE target_id = ? AND sha256 = ?", key)
                db.execute("UPDATE images SET state = 'prelabelled' WHERE sha256 = ? AND state = 'pushed'", (sha256,))

    # What came back

    def commit_verdicts(self, target: Target, verdicts: Sequence[Verdict]) -> None:
        """Write what people said about a batch of images in one transaction.

        Raises:
            StateError: labels that contradict the state, an unknown image or class.
        """
        with self._store.transaction() as db:
            for verdict in verdicts:
                self._write(db, target, verdict)

    def note_pulled(self, target: Target, until: str) -> None:
        """Remember the newest change that was read."""
        with self._store.transaction() as db:
            db.execute("UPDATE studio_targets SET pulled_until = ? WHERE id = ?", (until, target.id))

    def answers(self, target: Target | None = None, sha256: str | None = None) -> Iterator[Answer]:
        """Yield answers by image and time, of one project or of all, of one image or of all; one image in memory."""
        where: list[tuple[str, object]] = [("target_id = ?", target.id)] if target is not None else []
        where += [("sha256 = ?", sha256)] if sha256 is not None else []
        chosen = " AND ".join(text for text, _ in where) or "1"
        values = [value for _, value in where]
        images = self._store.rows(f"SELECT DISTINCT sha256 FROM studio_answers WHERE {chosen} ORDER BY sha256", *values)
        for (image,) in images:
            sql = f"SELECT {_ANSWER} FROM studio_answers WHERE {chosen} AND sha256 = ? ORDER BY updated_at, answer_id"
            for row in self._store.rows(sql, *values, image):
                kind, answer_id, task_id, image, who, created, updated, seconds, from_prediction, result = row
                times = (created, updated, seconds, bool(from_prediction))
                yield Answer(kind, answer_id, task_id, image, who, *times, json.loads(result))

    def _write(self, db: sqlite3.Connection, target: Target, verdict: Verdict) -> None:
        key = (target.id, verdict.sha256)
        task = "target_id = ? AND sha256 = ?"
        known = db.execute(f"SELECT taken FROM studio_tasks WHERE {task}", key).fetchone()
        if known is None:
            raise StateError(f"image {verdict.sha256}: was never pushed to {target.url}")
        now = (verdict.attention, verdict.state != "pushed", *key)
        db.execute(f"UPDATE studio_tasks SET attention = ?, taken = ? WHERE {task}", now)
        of_task = "FROM studio_answers WHERE target_id = ? AND sha256 = ?"
        before = set(db.execute(f"SELECT kind, answer_id, updated_at {of_task}", key))
        db.execute(f"DELETE {of_task}", key)
        db.executemany(
            f"INSERT INTO studio_answers (target_id, {_ANSWER}) VALUES ({', '.join('?' * 11)})",
            [
                (
                    target.id, one.kind, one.answer_id, one.task_id, one.sha256, one.annotator, one.created_at,
                    one.updated_at, one.seconds, int(one.from_prediction), to_json(one.result),
                )
                for one in verdict.answers
            ],
        )  # fmt: skip
        if verdict.state != "pushed":
            write_review(db, verdict.sha256, verdict.annotations, verdict.state)
            if before != {(one.kind, one.answer_id, one.updated_at) for one in verdict.answers}:
                db.execute("DELETE FROM decisions WHERE sha256 = ? AND decision = 'relabel'", (verdict.sha256,))
        elif known[0]:  # a review that came from elsewhere stands
            self._take_back(db, target, verdict.sha256)

    def _take_back(self, db: sqlite3.Connection, target: Target, sha256: str) -> None:
        """Undo the review of a task. Where people's own labels had been pushed, these stand again."""
        before = self.pushed(target, sha256)
        if before and all(label.provenance.source in ("human", "imported") for label in before):
            write_review(db, sha256, before, "reviewed")
        else:
            withdraw_review(db, sha256)


def _entry(annotation: Annotation) -> dict[str, Any]:
    """Return what ``asdict`` does, which takes longer than all else that a push does here."""
    entry = {name: getattr(annotation, name) for name in _ANNOTATION_FIELDS}
    made = {name: getattr(annotation.provenance, name) for name in _PROVENANCE_FIELDS}
    if not made["sources"]:
        del made["sources"]  # as it was before there were ensembles: what did not change is not sent again
    return {**entry, "provenance": made}


def _annotation(entry: dict[str, Any]) -> Annotation:
    seen_by = tuple((name, score) for name, score in entry["provenance"].get("sources", ()))
    made = Provenance(**{**entry["provenance"], "sources": seen_by})
    box, flags = tuple(entry["box_xyxy"]), tuple(entry["flags"])
    return Annotation(**{**entry, "provenance": made, "box_xyxy": box, "flags": flags})

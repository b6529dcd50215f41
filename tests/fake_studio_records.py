"""What the fake Label Studio remembers: projects, tasks and what people did, shaped as the real one shows it."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter, UserDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from random import Random
from typing import Any, NoReturn
from xml.etree import ElementTree

VERSION = "1.23.2"
MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a body: JSON, a page for people as str, or bytes as they are."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends a request with an error in the words of the real server."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def refuse(status: int, detail: str, errors: object = None, headers: Mapping[str, str] | None = None) -> NoReturn:
    """Raise the refusal that has this detail."""
    body: Row = {"id": str(uuid.uuid4()), "status_code": status, "version": VERSION, "detail": detail, "exc_info": None}
    if errors is not None:
        body["validation_errors"] = errors
    raise Refusal(Reply(status, body, headers or {}))


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        def number(text: str) -> NoReturn:
            refuse(400, f"JSON parse error - Out of range float values are not JSON compliant: '{text}'")

        try:
            return json.loads(self.content or b"{}", parse_constant=number)
        except ValueError as error:
            refuse(400, f"JSON parse error - {error}")

    def files(self) -> list[tuple[str, bytes]]:
        """Return names and contents; of several files in one field only the last is seen."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + self.content).get_payload()
        fields: dict[str, tuple[str, bytes]] = {}
        for part in parts if isinstance(parts, list) else []:
            name = part.get_param("name", header="content-disposition")
            fields[str(name)] = (_file_name(part), part.get_payload(decode=True))  # type: ignore[assignment]
        return list(fields.values())


class Rows(UserDict[int, Row]):
    """Rows by id, and by the task that they hang on."""

    def __init__(self) -> None:
        self._by_task: dict[int, dict[int, Row]] = defaultdict(dict)
        super().__init__()

    def __setitem__(self, number: int, row: Row) -> None:
        super().__setitem__(number, row)
        self._by_task[row["task"]][number] = row

    def __delitem__(self, number: int) -> None:
        del self._by_task[self.data[number]["task"]][number]
        super().__delitem__(number)

    def of(self, task_id: int) -> list[Row]:
        return list(self._by_task.get(task_id, {}).values())


class Records:
    """All that the server holds; every row is as a client sees it, tasks without what hangs on them."""

    def __init__(self, files_root: Path | None) -> None:
        self.files_root = files_root
        self.users = {1: "me@localhost"}
        self.projects: dict[int, Row] = {}
        self.tasks: dict[int, Row] = {}
        self.annotations = Rows()
        self.drafts = Rows()
        self.predictions = Rows()
        self.storages: dict[int, Row] = {}
        self.uploads: dict[int, tuple[int, str, bytes]] = {}
        self.imports: dict[int, Row] = {}
        self.async_import = False
        self._last_ids: Counter[str] = Counter()
        self._moment = datetime.now(UTC)
        self._random = Random(0)

    def new_id(self, kind: str) -> int:
        """Return an id that was never given out."""
        self._last_ids[kind] += 1
        return self._last_ids[kind]

    def now(self) -> str:
        """Return the time, later than at any call before."""
        self._moment = max(self._moment + timedelta(microseconds=1), datetime.now(UTC))
        return self._moment.strftime(MOMENT)

    def tasks_of(self, project_id: int) -> list[Row]:
        return [task for task in self.tasks.values() if task["project"] == project_id]

    # What people do ------------------------------------------------------------------------------------------------

    def add_annotation(self, task_id: int, fields: Mapping[str, Any], user: int) -> Row:
        """Submit, or skip with was_cancelled; a draft that it names is gone then."""
        draft = self.drafts.pop(fields.get("draft_id") or 0, None)
        number, now = self.new_id("annotations"), self.now()
        row: Row = {
            "id": number,
            "result": fields["result"],
            "created_username": f" {self.users[user]}, {user}",
            "created_ago": "0 minutes",
            "completed_by": user,
            "was_cancelled": bool(fields.get("was_cancelled")),
            "ground_truth": False,
            "created_at": now,
            "updated_at": now,
            "draft_created_at": draft and draft["created_at"],
            "lead_time": _float(fields.get("lead_time")),
            "task": task_id,
            "project": self.tasks[task_id]["project"],
            "updated_by": user,
            "parent_prediction": fields.get("parent_prediction"),
            "parent_annotation": fields.get("parent_annotation"),
        }
        self.annotations[number] = row
        self.touch(task_id)
        return row

    def change_annotation(self, number: int, fields: Mapping[str, Any]) -> Row:
        row = self.annotations[number]
        known = {name: value for name, value in fields.items() if name in ("result", "was_cancelled", "lead_time")}
        row.update(known, updated_at=self.now())
        row["lead_time"] = _float(row["lead_time"])
        self.touch(row["task"])
        return row

    def delete_annotation(self, number: int) -> None:
        row = self.annotations.pop(number)
        for draft in self.drafts.of(row["task"]):
            if draft["annotation"] == number:
                del self.drafts[draft["id"]]
        self.touch(row["task"])

    def add_draft(self, task_id: int, fields: Mapping[str, Any], user: int, annotation: int | None = None) -> Row:
        """Keep what is not submitted yet; the task's updated_at does not move."""
        number, now = self.new_id("drafts"), self.now()
        row: Row = {
            "id": number,
            "user": self.users[user],
            "created_username": f"{self.users[user]}, {user}",
            "created_ago": "0 minutes",
            "result": fields["result"],
            "lead_time": _float(fields.get("lead_time")),
            "was_postponed": False,
            "created_at": now,
            "updated_at": now,
            "task": task_id,
            "annotation": annotation,
        }
        self.drafts[number] = row
        return row

    # What hangs together -------------------------------------------------------------------------------------------

    def touch(self, task_id: int) -> None:
        self.tasks[task_id]["updated_at"] = self.now()

    def add_project(self, fields: Mapping[str, Any]) -> Row:
        check_project(fields)
        number = self.new_id("projects")
        row: Row = {
            "id": number,
            "title": "",
            "description": "",
            "label_config": "<View></View>",
            "expert_instruction": "",
            "show_instruction": False,
            "show_skip_button": True,
            "enable_empty_annotation": True,
            "maximum_annotations": 1,
            "overlap_cohort_percentage": 100,
            "model_version": "",
            "sampling": "Sequential sampling",
            "is_published": False,
            "created_at": self.now(),
            **fields,
        }
        self.projects[number] = row
        return row

    def add_tasks(self, project_id: int, tasks: Any) -> list[int]:
        """Import all tasks or, where one is refused, none."""
        project = self.projects[project_id]
        if not tasks:
            refuse(400, "Validation error", {"non_field_errors": ["load_tasks: No tasks added"]})
        needed = set(re.findall(r'value="\$(\w+)"', project["label_config"]))
        tasks = [task if "data" in task else {"data": task} for task in tasks]
        for n, task in enumerate(tasks):
            for key in needed - set(task["data"]):
                assumed = '[assume: item["data"] = task root with values]'
                text = f'Error at item {n}: "{key}" key is expected in task data {assumed} :: {task}'
                refuse(400, "Validation error", {"non_field_errors": [*([{}] * n), text]})
        # With SQLite the real server gives the ids of the newest tasks, once deleted, out again.
        numbers = [max(self.tasks, default=0) + 1 + n for n in range(len(tasks))]
        inner_id = len(self.tasks_of(project_id))
        for number, task in zip(numbers, tasks, strict=True):
            now, inner_id = self.now(), inner_id + 1
            overlap = project["maximum_annotations"] if project["overlap_cohort_percentage"] == 100 else 1
            self.tasks[number] = {
                "id": number,
                "inner_id": inner_id,
                "data": task["data"],
                "meta": task.get("meta", {}),
                "created_at": now,
                "updated_at": self.now(),
                "overlap": overlap,
                "project": project_id,
            }
            for prediction in task.get("predictions", ()):
                self.add_prediction({**prediction, "task": number})
            for annotation in task.get("annotations", ()):
                self.add_annotation(number, annotation, annotation.get("completed_by", 1))
        self.spread_overlap(project_id)
        return numbers

    def add_prediction(self, fields: Mapping[str, Any]) -> Row:
        number, now = self.new_id("predictions"), self.now()
        row: Row = {
            "id": number,
            "result": fields.get("result", []),
            "model_version": fields.get("model_version", ""),
            "created_ago": "0 minutes",
            "score": _float(fields.get("score")),
            "created_at": now,
            "updated_at": now,
            "task": fields["task"],
            "project": self.tasks[fields["task"]]["project"],
        }
        self.predictions[number] = row
        self.touch(row["task"])
        return row

    def delete_tasks(self, numbers: Iterable[int]) -> int:
        gone = [number for number in numbers if self.tasks.pop(number, None)]
        for rows in (self.annotations, self.drafts, self.predictions):
            for row in [row for number in gone for row in rows.of(number)]:
                del rows[row["id"]]
        return len(gone)

    def spread_overlap(self, project_id: int) -> None:
        """Let so many percent of the tasks be seen by several people, those with annotations first."""
        project, tasks = self.projects[project_id], self.tasks_of(project_id)
        several, percentage = project["maximum_annotations"], project["overlap_cohort_percentage"]
        if several == 1 or percentage == 100:
            return
        tasks.sort(key=lambda task: (-len(self.annotations.of(task["id"])), self._random.random()))
        chosen = int(len(tasks) * percentage / 100 + 0.5)
        for n, task in enumerate(tasks):
            task["overlap"] = several if n < chosen else 1

    def change_project(self, project_id: int, fields: Mapping[str, Any]) -> None:
        check_project(fields)
        project = self.projects[project_id]
        before = project["maximum_annotations"]
        project.update({name: value for name, value in fields.items() if name in project and name != "id"})
        if project["maximum_annotations"] != before and project["overlap_cohort_percentage"] == 100:
            for task in self.tasks_of(project_id):
                task["overlap"] = project["maximum_annotations"]
        if {"maximum_annotations", "overlap_cohort_percentage"} & set(fields):
            self.spread_overlap(project_id)

    # What a client sees --------------------------------------------------------------------------------------------

    def project_row(self, project: Row) -> Row:
        return {**project, "task_number": len(self.tasks_of(project["id"]))}

    def task_row(self, task: Row, *, full: bool) -> Row:
        annotations, drafts, predictions = (
            rows.of(task["id"]) for rows in (self.annotations, self.drafts, self.predictions)
        )
        skipped = sum(row["was_cancelled"] for row in annotations)
        row = {
            **task,
            "annotators": sorted({row["completed_by"] for row in annotations}) if full else [],
            "drafts": drafts if full else [],
            "cancelled_annotations": skipped,
            "total_annotations": len(annotations) - skipped,
            "total_predictions": len(predictions),
            "is_labeled": len(annotations) - skipped >= task["overlap"],
            "updated_by": [{"user_id": annotations[-1]["updated_by"]}] if annotations else [],
        }
        if full:
            submitted = [row["created_at"] for row in annotations]
            row |= {"annotations": annotations, "predictions": predictions, "draft_exists": bool(drafts)}
            row["completed_at"] = min(submitted) if submitted else None
        return row


def check_project(fields: Mapping[str, Any]) -> None:
    """Refuse what the real server refuses of a project."""
    title = fields.get("title", "...")
    if not 3 <= len(title) <= 50:
        words = "at least 3" if len(title) < 3 else "no more than 50"
        refuse(400, "Validation error", {"title": [f"Ensure this field has {words} characters."]})
    try:
        ElementTree.fromstring(fields.get("label_config", "<View/>"))
    except ElementTree.ParseError as error:
        refuse(400, "Validation error", {"label_config": [str(error)]})


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _file_name(part: Message) -> str:
    """Return the name in UTF-8, as browsers send it; the parser of mail takes it for ASCII with faults."""
    ((_, header),) = (pair for pair in part.raw_items() if pair[0].lower() == "content-disposition")
    found = re.search(r'filename="([^"]*)"', str(header))
    return found[1].encode("ascii", "surrogateescape").decode() if found else ""

"""What the fake Label Studio answers at each address, in the words and with the oddities of the real one."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.fake_studio_records import MOMENT, VERSION, Call, Records, Refusal, Reply, Row, refuse

EXTENSIONS = {".bmp", ".gif", ".jpg", ".jpeg", ".png", ".svg", ".webp", ".txt", ".csv", ".json"}
MOST_FILES = 100
PAGE_404 = '<!doctype html>\n<html lang="en"><title>404 | Label Studio</title></html>'

Answer = Callable[..., Reply]
"""Takes the records, the call, the user's id and the numbers that stand in the address."""

ROUTES: list[tuple[str, re.Pattern[str], Answer]] = []


def answer(records: Records, call: Call, user: int) -> Reply:
    """Carry a request out."""
    for method, pattern, route in ROUTES:
        if method == call.method and (found := pattern.fullmatch(call.path)):
            try:
                return route(records, call, user, *map(int, found.groups()))
            except Refusal as refusal:
                return refusal.reply
    return Reply(404, PAGE_404)


def at(method: str, path: str) -> Callable[[Answer], Answer]:
    """Name the address of a function; # stands for a number, and a slash at the end may be left out."""
    pattern = re.compile(path.rstrip("/").replace("#", r"(\d+)") + "/?")

    def add(route: Answer) -> Answer:
        ROUTES.append((method, pattern, route))
        return route

    return add


def row_of(rows: Mapping[int, Row], number: int, kind: str) -> Row:
    """Return a row, or refuse as the real server does."""
    return rows[number] if number in rows else refuse(404, f"No {kind} matches the given query.")


def _page(records: Records, call: Call, rows: list[Any], default: int) -> list[Any]:
    size, number = int(call.query.get("page_size", default)), int(call.query.get("page", 1))
    if number > 1 and (number - 1) * size >= len(rows):
        refuse(404, "Invalid page.")
    return rows[(number - 1) * size : number * size]


@at("GET", "/health")
def health(records: Records, call: Call, user: int) -> Reply:
    return Reply(200, {"status": "UP"})


@at("GET", "/api/version")
def version(records: Records, call: Call, user: int) -> Reply:
    return Reply(200, {"release": VERSION, "edition": "Community"})


@at("GET", "/api/current-user/whoami")
def whoami(records: Records, call: Call, user: int) -> Reply:
    return Reply(200, {"id": user, "username": "", "email": records.users[user], "active_organization": 1})


@at("GET", "/api/users")
def users(records: Records, call: Call, user: int) -> Reply:
    return Reply(200, [{"id": number, "username": "", "email": email} for number, email in records.users.items()])


@at("GET", "/api/projects")
def projects(records: Records, call: Call, user: int) -> Reply:
    rows = [records.project_row(row) for row in reversed(records.projects.values())]
    page = _page(records, call, rows, 30)
    last = page[-1:] == rows[-1:]
    return Reply(200, {"count": len(rows), "next": None if last else "more", "previous": None, "results": page})


@at("POST", "/api/projects")
def create_project(records: Records, call: Call, user: int) -> Reply:
    return Reply(201, {**records.add_project(call.json()), "task_number": None})


@at("GET", "/api/projects/#")
def project(records: Records, call: Call, user: int, number: int) -> Reply:
    return Reply(200, records.project_row(row_of(records.projects, number, "Project")))


@at("PATCH", "/api/projects/#")
def change_project(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(records.projects, number, "Project")
    records.change_project(number, call.json())
    return Reply(200, records.project_row(records.projects[number]))


@at("DELETE", "/api/projects/#")
def delete_project(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(records.projects, number, "Project")
    records.delete_tasks([task["id"] for task in records.tasks_of(number)])
    del records.projects[number]
    return Reply(204)


@at("POST", "/api/projects/#/import")
def import_tasks(records: Records, call: Call, user: int, number: int) -> Reply:
    if number not in records.projects:
        return Reply(404, PAGE_404)
    if call.headers.get("content-type", "").startswith("multipart/"):
        return _upload(records, call, number)
    tasks = call.json()
    numbers = records.add_tasks(number, tasks if isinstance(tasks, list) else [tasks])
    done: Row = {"task_count": len(numbers), "annotation_count": 0, "prediction_count": 0, "file_upload_ids": []}
    done["prediction_count"] = sum(len(records.predictions.of(task)) for task in numbers)
    if call.query.get("return_task_ids") == "true":
        done["task_ids"] = numbers
    if not records.async_import:
        return Reply(201, done)
    job = records.new_id("imports")
    records.imports[job] = {"id": job, "status": "created", "error": None, "project": number, **done}
    return Reply(201, {"import": job})


def _upload(records: Records, call: Call, project_id: int) -> Reply:
    files, numbers = call.files(), []
    if len(files) > MOST_FILES:
        refuse(500, "The number of files exceeded settings.DATA_UPLOAD_MAX_NUMBER_FILES.")
    for name, _content in files:
        if Path(name).suffix.lower() not in EXTENSIONS:
            text = f"{Path(name).suffix} extension is not supported"
            refuse(400, "Validation error", {"non_field_errors": [text]})
    for name, content in files:
        number = records.new_id("uploads")
        safe = re.sub(r"[^\w.-]", "_", name)
        records.uploads[number] = (project_id, f"upload/{project_id}/{number:08x}-{safe}", content)
        numbers.append(number)
    return Reply(201, {"task_count": len(numbers), "annotation_count": None, "file_upload_ids": numbers})


@at("GET", "/api/projects/#/imports/#")
def imported(records: Records, call: Call, user: int, number: int, job: int) -> Reply:
    """Say how an import in the background goes on; it is done when it is asked about for the second time."""
    row = row_of(records.imports, job, "ProjectImport")
    shown = dict(row)
    if row["status"] == "created":
        row["status"] = "completed"
        shown.pop("task_ids", None)
    return Reply(200, shown)


@at("GET", "/api/projects/#/file-uploads")
def uploads(records: Records, call: Call, user: int, number: int) -> Reply:
    if number not in records.projects:
        return Reply(404, PAGE_404)
    asked = set(records.uploads) if call.query.get("all") == "true" else set(json.loads(call.query.get("ids", "[]")))
    return Reply(
        200,
        [
            {"id": upload, "file": file, "size": len(content)}
            for upload, (owner, file, content) in records.uploads.items()
            if owner == number and upload in asked
        ],
    )


@at("GET", "/api/tasks")
def tasks(records: Records, call: Call, user: int) -> Reply:
    number = int(call.query.get("project", 0))
    if not number:
        return Reply(404, {"detail": "Neither project nor view id specified"})
    row_of(records.projects, number, "Project")
    # The real server decodes percent signs of the query once more.
    query = json.loads(unquote(call.query.get("query", "{}")))
    rows = _filtered(records, number, query)
    for order in query.get("ordering", [])[:1]:
        name = order.removeprefix("-").removeprefix("tasks:")
        rows.sort(key=lambda task: task[name], reverse=order.startswith("-"))
    full = call.query.get("fields") == "all"
    page = [records.task_row(task, full=full) for task in _page(records, call, rows, 100)]
    if asked := call.query.get("include"):
        page = [{name: row[name] for name in asked.split(",") if name in row} for row in page]
    totals = {
        "total_annotations": sum(
            not row["was_cancelled"] for task in rows for row in records.annotations.of(task["id"])
        ),
        "total_predictions": sum(len(records.predictions.of(task["id"])) for task in rows),
    }
    return Reply(200, {**totals, "total": len(rows), "tasks": page})


def _filtered(records: Records, project_id: int, query: Row) -> list[Row]:
    filters = query.get("filters") or {"conjunction": "and", "items": []}
    conditions, tasks = filters["items"], records.tasks_of(project_id)
    combine = all if filters["conjunction"] == "and" or not conditions else any
    return [task for task in tasks if combine(_holds(records, task, condition) for condition in conditions)]


def _holds(records: Records, task: Row, condition: Row) -> bool:
    name, value = condition["filter"].removeprefix("filter:tasks:"), condition["value"]
    match name.partition(".")[0], condition["operator"]:
        case "id", "greater":
            return bool(task["id"] > value)
        case "id", "equal":
            return bool(task["id"] == value)
        case "updated_at", "greater":
            return _moment(task["updated_at"]) > _moment(value)
        case "created_at", "less_or_equal":
            return _moment(task["created_at"]) <= _moment(value)
        case "data", "equal":
            return str(task["data"].get(name.partition(".")[2])) == value
        case "draft_exists", "equal":
            return bool(records.drafts.of(task["id"])) == value
    return refuse(500, f"the fake knows no filter {name!r} with operator {condition['operator']!r}")


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, MOMENT)
    except ValueError as error:
        refuse(500, str(error))


@at("GET", "/api/tasks/#")
def task(records: Records, call: Call, user: int, number: int) -> Reply:
    return Reply(200, records.task_row(row_of(records.tasks, number, "Task"), full=True))


@at("PATCH", "/api/tasks/#")
def change_task(records: Records, call: Call, user: int, number: int) -> Reply:
    row = row_of(records.tasks, number, "Task")
    row.update({name: value for name, value in call.json().items() if name in ("data", "meta", "overlap")})
    records.touch(number)
    return Reply(200, records.task_row(row, full=True))


@at("DELETE", "/api/tasks/#")
def delete_task(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(records.tasks, number, "Task")
    records.delete_tasks([number])
    return Reply(204)


@at("POST", "/api/dm/actions")
def act(records: Records, call: Call, user: int) -> Reply:
    number = int(call.query.get("project", 0))
    row_of(records.projects, number, "Project")
    query = call.json()
    chosen, every = query["selectedItems"], len(records.tasks_of(number))
    found = [task["id"] for task in _filtered(records, number, query)]
    # The real server takes an empty list for all tasks.
    some = found if chosen["all"] or not chosen["included"] else [n for n in found if n in chosen["included"]]
    gone = records.delete_tasks(some)
    return Reply(200, {"processed_items": gone, "reload": gone == every, "detail": f"Deleted {gone} tasks"})


@at("POST", "/api/tasks/#/annotations")
def submit(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(records.tasks, number, "Task")
    return Reply(201, records.add_annotation(number, call.json(), user))


@at("PATCH", "/api/annotations/#")
def change_annotation(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(records.annotations, number, "Annotation")
    return Reply(200, records.change_annotation(number, call.json()))


@at("DELETE", "/api/annotations/#")
def delete_annotation(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(records.annotations, number, "Annotation")
    records.delete_annotation(number)
    return Reply(204)


@at("POST", "/api/tasks/#/drafts")
def draft(records: Records, call: Call, user: int, number: int) -> Reply:
    return Reply(201, records.add_draft(number, call.json(), user))


@at("POST", "/api/tasks/#/annotations/#/drafts")
def draft_of(records: Records, call: Call, user: int, number: int, annotation: int) -> Reply:
    return Reply(201, records.add_draft(number, call.json(), user, annotation))


@at("GET", "/api/predictions")
def predictions(records: Records, call: Call, user: int) -> Reply:
    number = int(call.query["task"])
    if number not in records.tasks:
        text = "Select a valid choice. That choice is not one of the available choices."
        refuse(400, "Validation error", {"task": [text]})
    return Reply(200, records.predictions.of(number))


@at("POST", "/api/predictions")
def predict(records: Records, call: Call, user: int) -> Reply:
    fields = call.json()
    if fields["task"] not in records.tasks:
        text = f'Invalid pk "{fields["task"]}" - object does not exist.'
        refuse(400, "Validation error", {"task": [text]})
    return Reply(201, records.add_prediction(fields))


@at("DELETE", "/api/predictions/#")
def delete_prediction(records: Records, call: Call, user: int, number: int) -> Reply:
    row = row_of(records.predictions, number, "Prediction")
    del records.predictions[number]
    records.touch(row["task"])
    return Reply(204)


@at("GET", "/api/storages/localfiles")
def storages(records: Records, call: Call, user: int) -> Reply:
    number = int(call.query["project"])
    row_of(records.projects, number, "Project")
    return Reply(200, [row for row in records.storages.values() if row["project"] == number])


@at("POST", "/api/storages/localfiles")
def create_storage(records: Records, call: Call, user: int) -> Reply:
    fields, root = call.json(), records.files_root
    path = Path(fields["path"])
    named = f'LOCAL_FILES_DOCUMENT_ROOT="{root}" by security reasons.'
    example = f'For example: "{root}/dataset1".'
    trouble = ""
    if root is None:
        trouble = "Serving local files can be dangerous, so it's disabled by default."
    elif not path.exists():
        trouble = f'Absolute local path "{path}" does not exist'
    elif path == root:
        trouble = f'Absolute local path "{path}" cannot be the same as {named} Please add a subdirectory. {example}'
    elif not path.is_relative_to(root):
        trouble = f'Absolute local path "{path}" must be a subdirectory of {named} {example}'
    if trouble:
        refuse(400, "Validation error", {"non_field_errors": [trouble]})
    number = records.new_id("storages")
    defaults = {"title": "", "regex_filter": None, "use_blob_urls": False, "type": "localfiles"}
    records.storages[number] = {"id": number, **defaults, **fields}
    return Reply(201, records.storages[number])


@at("GET", "/data/local-files")
def local_file(records: Records, call: Call, user: int) -> Reply:
    root = records.files_root
    if root is None:
        return Reply(403, "Serving local files can be dangerous, so it's disabled by default.")
    path = (root / call.query["d"]).resolve()
    if not path.is_relative_to(root.resolve()):
        refuse(500, f"The joined path ({path}) is located outside of the base path component ({root})")
    served = any(path.is_relative_to(Path(row["path"]).resolve()) for row in records.storages.values())
    if not served or not path.is_file():
        return Reply(404, "")
    return Reply(200, path.read_bytes(), {"Content-Type": mimetypes.guess_type(path.name)[0] or "text/plain"})


@at("GET", r"/data/upload/#/[\w.%-]+")
def uploaded(records: Records, call: Call, user: int, number: int) -> Reply:
    for _owner, file, content in records.uploads.values():
        if unquote(call.path) == f"/data/{file}":
            return Reply(200, content, {"Content-Type": mimetypes.guess_type(file)[0] or "text/plain"})
    return refuse(500, "'NoneType' object has no attribute 'has_permission'")

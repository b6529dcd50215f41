"""Lists of tasks by ascending id, page after page, that miss none and repeat none while people work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from ..core.errors import InputError
from ..formats.labelstudio import KEY
from . import replies
from .replies import TooLong
from .shapes import Row, Shape, has, rows
from .wire import Wire

PAGE_SIZE = 250
FULL_PAGE_SIZE = 100
KEYS_AT_ONCE = 50

Condition = dict[str, Any]

_DONE = Shape("a report of what was done", has("processed_items"))
_PAGE = Shape("a page of tasks", lambda page: has("total", "tasks")(page) and rows("id", "data")(page["tasks"]))


def after(task_id: int) -> Condition:
    """Only tasks with a higher id."""
    return _condition("id", "greater", "Number", task_id)


def updated_after(moment: str) -> Condition:
    """Only tasks that changed later; a time in ISO 8601 with its zone. Raises InputError."""
    return _condition("updated_at", "greater", "Datetime", _moment(moment))


def made_until(moment: str) -> Condition:
    """Only tasks that were made by then; a time in ISO 8601 with its zone. Raises InputError."""
    return _condition("created_at", "less_or_equal", "Datetime", _moment(moment))


def with_drafts() -> Condition:
    """Only tasks that somebody has an unsubmitted draft of."""
    return _condition("draft_exists", "equal", "Boolean", True)


def paged(wire: Wire, project_id: int, conditions: Sequence[Condition], *, full: bool) -> Iterator[Row]:
    """Return the tasks that meet all conditions, of which the first one is about the id.

    Every page begins behind the last task of the one before: with page numbers, a task that somebody deletes would
    hide another one.
    """
    size = FULL_PAGE_SIZE if full else PAGE_SIZE
    first, *others = conditions
    while True:
        page = _page(wire, project_id, [first, *others], size=size, full=full)
        tasks = page["tasks"]
        ids = [first["value"], *(task["id"] for task in tasks)]
        if any(a >= b for a, b in pairwise(ids)):
            raise replies.other_shape(wire.url, "/api/tasks", "tasks by ascending id")
        yield from tasks
        if len(tasks) < size:
            return
        first = after(ids[-1])


def with_keys(wire: Wire, project_id: int, keys: Sequence[str], *, after_id: int, full: bool) -> list[Row]:
    """Return the tasks that have one of these keys and a higher id."""
    wanted = sorted(set(keys))
    found: dict[int, Row] = {}
    for start in range(0, len(wanted), KEYS_AT_ONCE):
        for task in _with_few(wire, project_id, wanted[start : start + KEYS_AT_ONCE], full=full):
            # A server that does not know the filter would answer with all tasks.
            if task["id"] > after_id and task["data"].get(KEY) in keys:
                found[task["id"]] = task
    return [found[number] for number in sorted(found)]


def _with_few(wire: Wire, project_id: int, keys: Sequence[str], *, full: bool) -> Iterator[Row]:
    """Ask for few keys at once, and for fewer where the question or its answer is too long for one request."""
    if len(keys) == 1:
        yield from paged(wire, project_id, [after(0), _key(keys[0])], full=full)
        return
    size = FULL_PAGE_SIZE if full else PAGE_SIZE
    try:
        page = _page(wire, project_id, [_key(key) for key in keys], conjunction="or", size=size, full=full)
    except TooLong:
        page = None
    if page is not None and page["total"] <= len(page["tasks"]):
        yield from page["tasks"]
        return
    half = len(keys) // 2
    yield from _with_few(wire, project_id, keys[:half], full=full)
    yield from _with_few(wire, project_id, keys[half:], full=full)


def count(wire: Wire, project_id: int, after_id: int) -> int:
    """Return how many tasks have a higher id."""
    return int(_page(wire, project_id, [after(after_id)], size=1)["total"])


def highest(wire: Wire, project_id: int) -> int:
    """Return the highest id of a task, 0 where there is none."""
    tasks = _page(wire, project_id, [], size=1, order="-tasks:id")["tasks"]
    return int(tasks[0]["id"]) if tasks else 0


def delete(wire: Wire, project_id: int, ids: Sequence[int]) -> None:
    """Delete the tasks that have these ids now.

    The server may carry a request out long after it was given up, and gives the ids of deleted tasks out again. So a
    task that is made later is never meant, whatever its id.
    """
    newest = _page(wire, project_id, [], size=1, order="-tasks:created_at")["tasks"] if ids else []
    if not newest:  # the server would take an empty list for all tasks
        return
    filters = {"conjunction": "and", "items": [made_until(str(newest[0].get("created_at")))]}
    body = {"selectedItems": {"all": False, "included": list(ids)}, "filters": filters}
    params: dict[str, str | int] = {"id": "delete_tasks", "project": project_id}
    wire.json("POST", "/api/dm/actions", _DONE, params=params, body=body, repeat=True)


def _moment(text: str) -> str:
    """Return a time in the only form that the server reads; it leaves the fraction out itself where it is zero."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = datetime.min
    if parsed.tzinfo is None:
        raise InputError(f"{replies.shown(text)!r} is no time: expected ISO 8601 with a zone")
    return parsed.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _condition(column: str, operator: str, kind: str, value: object) -> Condition:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _key(key: str) -> Condition:
    return _condition(f"data.{KEY}", "equal", "String", key)


def _page(
    wire: Wire,
    project_id: int,
    conditions: Sequence[Condition],
    *,
    size: int,
    full: bool = False,
    conjunction: str = "and",
    order: str = "tasks:id",
) -> Any:
    query = {"filters": {"conjunction": conjunction, "items": list(conditions)}, "ordering": [order]}
    params: dict[str, str | int] = {
        "project": project_id,
        "page_size": size,
        "resolve_uri": "false",
        "query": json.dumps(query, separators=(",", ":")),
    }
    # What else the server would count for each task takes it several times as long.
    chosen = {"fields": "all"} if full else {"include": "id,data,created_at"}
    return wire.json("GET", "/api/tasks", _PAGE, params={**params, **chosen})

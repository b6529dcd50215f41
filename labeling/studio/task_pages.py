"""Lists of tasks by ascending id, page after page, that miss none and repeat none while people work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ..core.errors import InputError
from ..formats.labelstudio import KEY
from . import replies
from .replies import TooLong
from .wire import Row, Shape, Wire, has, rows

PAGE_SIZE = 250
FULL_PAGE_SIZE = 100
KEYS_AT_ONCE = 50

Condition = dict[str, Any]

_PAGE = Shape("a page of tasks", lambda page: has("total", "tasks")(page) and rows("id", "data")(page["tasks"]))


def _condition(column: str, operator: str, kind: str, value: object) -> Condition:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


WITH_DRAFTS = _condition("draft_exists", "equal", "Boolean", True)


def after(task_id: int) -> Condition:
    """Only tasks with a higher id."""
    return _condition("id", "greater", "Number", task_id)


def updated_after(moment: str) -> Condition:
    """Only tasks that changed later; a time in ISO 8601 with its zone. Raises InputError."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise InputError(f"{replies.shown(moment)!r} is no time: expected ISO 8601 with a zone") from None
    # The server reads this form only, and leaves the fraction out itself where it is zero.
    return _condition("updated_at", "greater", "Datetime", parsed.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


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
        if any(a >= b for a, b in zip(ids, ids[1:], strict=False)):
            raise replies.other_shape(wire.url, "/api/tasks", "tasks by ascending id")
        yield from tasks
        if len(tasks) < size:
            return
        first = after(ids[-1])


def with_keys(
    wire: Wire, project_id: int, keys: Sequence[str], conditions: Sequence[Condition], *, full: bool
) -> Iterator[Row]:
    """Return the tasks with one of these keys that meet all conditions."""
    wanted = sorted(set(keys))
    found: dict[int, Row] = {}
    for start in range(0, len(wanted), KEYS_AT_ONCE):
        for task in _of_keys(wire, project_id, wanted[start : start + KEYS_AT_ONCE], conditions, full=full):
            found[task["id"]] = task
    yield from (found[number] for number in sorted(found))


def _of_keys(
    wire: Wire, project_id: int, keys: Sequence[str], conditions: Sequence[Condition], *, full: bool
) -> Iterator[Row]:
    """Ask for few keys at once, and for fewer where the question or its answer is too long for one request."""
    if len(keys) == 1:
        yield from paged(wire, project_id, [*conditions, _key(keys[0])], full=full)
        return
    if len(conditions) == 1:
        try:
            page = _page(wire, project_id, [_key(key) for key in keys], conjunction="or", size=PAGE_SIZE, full=full)
            ...
        except TooLong:
            pass
    half = len(keys) // 2
    yield from _of_keys(wire, project_id, keys[:half], conditions, full=full)
    yield from _of_keys(wire, project_id, keys[half:], conditions, full=full)

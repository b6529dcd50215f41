"""New tasks for Label Studio: all of them in one request, which is never sent twice."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import ServerError
from . import replies
from .replies import InDoubt
from .shapes import Row, Shape, has
from .wire import Wire, encoded

POLLS = 60
POLL_S = 2.0

_IMPORTED = Shape("the ids of the new tasks", lambda said: has("task_ids")(said) or has("import")(said))
_JOB = Shape("how an import goes on", has("status"))


def import_tasks(wire: Wire, project_id: int, tasks: Sequence[Row | bytes]) -> list[int]:
    """Return the ids of new tasks, JSON in bytes or not, in their order. Raises InDoubt, InputError, ServerError."""
    if not tasks:
        return []
    path = f"/api/projects/{project_id}/import"
    params = {"return_task_ids": "true", "commit_to_project": "true"}
    said = wire.json("POST", path, _IMPORTED, params=params, body=b"[" + b",".join(map(encoded, tasks)) + b"]")
    ids = said["task_ids"] if "task_ids" in said else _ids_of_job(wire, project_id, said["import"])
    if not isinstance(ids, list) or len(ids) != len(tasks) or not all(isinstance(number, int) for number in ids):
        found = len(ids) if isinstance(ids, list) else "no"
        raise InDoubt(f"{wire.url}{path}: expected the ids of {len(tasks)} new tasks, got {found}")
    return ids


def _ids_of_job(wire: Wire, project_id: int, job: object) -> object:
    """Wait for an import that the server does in the background, as the Enterprise edition does."""
    path = f"/api/projects/{project_id}/imports/{job}/"
    for _ in range(POLLS):
        try:
            state = wire.json("GET", path, _JOB)
        except ServerError as error:
            raise InDoubt(f"{error} (its import {job} may or may not have been carried out)") from error
        if state["status"] == "completed":
            return state.get("task_ids")
        if state["status"] == "failed":
            reason = replies.shown(str(state.get("error")))
            # It goes in batches, so that some tasks may be there.
            raise InDoubt(f"{wire.url}{path}: the import failed: {reason}")
        wire.wait(POLL_S)
    raise InDoubt(f"{wire.url}{path}: the import did not end within {POLLS * POLL_S:.0f} s")

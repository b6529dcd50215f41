"""Label Studio over HTTP: the few calls that a round trip needs, each sent as often as it may be carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

import httpx

from ..formats.labelstudio import KEY
from . import imports, ml_connection, picture_files, task_pages
from .replies import InDoubt
from .shapes import Row, Shape, has, rows
from .wire import Wire

__all__ = ["InDoubt", "StudioClient"]

_FETCH_BYTES = 64 * 2**20

_VERSION = Shape(
    "the version of a Label Studio", lambda said: has("release")(said) and isinstance(said["release"], str)
)
_PROJECT = Shape("a project", has("id", "label_config"))
_PREDICTION = Shape("a prediction", has("id"))
_ANNOTATION = Shape("an annotation", has("id"))
_TASK = Shape("a task", has("id", "data"))
_STORAGE = Shape("a storage", has("id", "path"))
_PROJECTS = Shape("a page of projects", lambda page: has("results", "next")(page) and rows("id")(page["results"]))
_DONE = Shape("a report of what was done", lambda value: isinstance(value, dict))


class StudioClient:
    """A Label Studio, as the owner of a token sees it.

    Reading is repeated for up to ``patience_s`` seconds; so are changes that may be made twice. Creating is not: it
    ends with InDoubt where the server may or may not have done it. Deleting what does not exist is no error, since the
    request before this one may have deleted it.

    Args:
        url: of the server; a sub-path may stand in it.
        token: a personal access token or a legacy token.
        transport: sends for httpx; the network by default.
        timeout_s: waiting for one reply.
        patience_s: repeating one request.
        clock: seconds that only grow.
        sleep: waits for seconds.

    Raises:
        InputError: the address or the token is none. No method has the token in an error.
        ServerError: of every method: the server cannot be reached, or refuses.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = 60.0,
        patience_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._wire = Wire(
            url, token, transport=transport, timeout_s=timeout_s, patience_s=patience_s, clock=clock, sleep=sleep
        )
        self.url = self._wire.url

    def __enter__(self) -> StudioClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    # The server ----------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """Return the server's release, such as "1.23.2". The token is not sent."""
        release: str = self._wire.json("GET", "/api/version", _VERSION, open_to_all=True)["release"]
        return release

    def clock(self) -> datetime | None:
        """Return what the server's clock said with its last reply; None before one, or where it says no time."""
        try:
            return parsedate_to_datetime(self._wire.date or "").astimezone(UTC)
        except ValueError:
            return None

    def whoami(self) -> Row:
        """Return the owner of the token: id, email and more."""
        return self._row("GET", "/api/current-user/whoami", Shape("a user", has("id", "email")))

    def users(self) -> dict[int, str]:
        """Return the mail of every user of the organization by id."""
        users = self._wire.json("GET", "/api/users", Shape("a list of users", rows("id", "email")))
        return {row["id"]: row["email"] for row in users}

    # Projects ------------------------------------------------------------------------------------------------------

    def project(self, project_id: int) -> Row | None:
        """Return a project, None where there is none with this id."""
        row: Row | None = self._wire.json("GET", f"/api/projects/{project_id}/", _PROJECT, absent=True)
        return row

    def projects(self) -> Iterator[Row]:
        """Return all projects, the newest first."""
        number = 1
        while True:
            params = {"page": number, "page_size": 100}
            # The page after the last one is 404 where projects were deleted meanwhile.
            page = self._wire.json("GET", "/api/projects/", _PROJECTS, params=params, absent=number > 1)
            yield from page["results"] if page else ()
            if not page or page["next"] is None:
                return
            number += 1

    def create_project(self, **fields: object) -> Row:
        """Return a new project. Raises InDoubt."""
        return self._row("POST", "/api/projects/", _PROJECT, fields)

    def update_project(self, project_id: int, **fields: object) -> Row:
        """Return a project after a change of some fields."""
        return self._row("PATCH", f"/api/projects/{project_id}/", _PROJECT, fields)

    # Tasks ---------------------------------------------------------------------------------------------------------

    def import_tasks(self, project_id: int, tasks: Sequence[Row | bytes]) -> list[int]:
        """Return the ids of new tasks in their order. One request; it is refused as a whole or carried out as a whole.

        Raises:
            InDoubt: the tasks may be there now, all or none.
            InputError: they are no JSON.
        """
        return imports.import_tasks(self._wire, project_id, tasks)

    def tasks(
        self,
        project_id: int,
        *,
        after_id: int = 0,
        updated_after: str | None = None,
        full: bool = False,
        keys: Sequence[str] = (),
        drafts_only: bool = False,
    ) -> Iterator[Row]:
        """Return tasks by ascending id, each once, also while others add and delete some.

        Args:
            project_id: of the tasks.
            after_id: only tasks with a higher id.
            updated_after: only tasks that changed later than this time, in ISO 8601 with its zone.
            full: with annotations, drafts and predictions; else a row holds id, data and created_at alone.
            keys: only tasks with one of these in data.labelstill_id; they are collected before the first one comes.
            drafts_only: only tasks that somebody has an unsubmitted draft of.
        """
        if keys and updated_after is None and not drafts_only:
            yield from task_pages.with_keys(self._wire, project_id, keys, after_id=after_id, full=full)
            return
        conditions = [task_pages.after(after_id)]
        conditions += [task_pages.updated_after(updated_after)] if updated_after is not None else []
        conditions += [task_pages.with_drafts()] if drafts_only else []
        wanted = set(keys)
        for task in task_pages.paged(self._wire, project_id, conditions, full=full):
            if not wanted or task["data"].get(KEY) in wanted:
                yield task

    def count_tasks(self, project_id: int, *, after_id: int = 0) -> int:
        """Return how many tasks there are with a higher id."""
        return task_pages.count(self._wire, project_id, after_id)

    def highest_task_id(self, project_id: int) -> int:
        """Return the id of the newest task, 0 where there is none."""
        return task_pages.highest(self._wire, project_id)

    def task_link(self, project_id: int, task_id: int) -> str:
        """Return the address of a task for people."""
        return f"{self.url}/projects/{project_id}/data?task={task_id}"

    def update_task(self, task_id: int, **fields: object) -> Row:
        """Return a task after a change of some fields; ``data`` is replaced as a whole."""
        return self._row("PATCH", f"/api/tasks/{task_id}/", _TASK, fields)

    def delete_tasks(self, project_id: int, ids: Sequence[int]) -> None:
        """Delete tasks with all that people did to them; ids that no task has now are passed over."""
        task_pages.delete(self._wire, project_id, ids)

    # Predictions ---------------------------------------------------------------------------------------------------

    def predictions(self, task_id: int) -> list[Row]:
        """Return the predictions of a task by ascending id."""
        shape = Shape("a list of predictions", rows("id", "result"))
        found: list[Row] = self._wire.json("GET", "/api/predictions/", shape, params={"task": task_id})
        return sorted(found, key=lambda row: row["id"])

    def create_prediction(self, **fields: object) -> Row:
        """Return a new prediction of ``task``. Raises InDoubt."""
        return self._row("POST", "/api/predictions/", _PREDICTION, fields)

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete a prediction."""
        self._wire.json("DELETE", f"/api/predictions/{prediction_id}/", _DONE, absent=True)

    def create_annotation(self, task_id: int, **fields: object) -> Row:
        """Return a new annotation of a task, as if the owner of the token had submitted it. Raises InDoubt."""
        return self._row("POST", f"/api/tasks/{task_id}/annotations/", _ANNOTATION, fields)

    # Pictures ------------------------------------------------------------------------------------------------------

    def local_storages(self, project_id: int) -> list[Row]:
        """Return the storages of a project that serve files of the server's disk."""
        shape = Shape("a list of storages", rows("id", "path"))
        found: list[Row] = self._wire.json("GET", "/api/storages/localfiles", shape, params={"project": project_id})
        return found

    def create_local_storage(self, project_id: int, path: str, title: str) -> Row:
        """Return a new storage for a folder of the server's disk, below its document root. Raises InDoubt."""
        fields = {"project": project_id, "path": path, "title": title, "use_blob_urls": True}
        return self._row("POST", "/api/storages/localfiles/", _STORAGE, fields)

    def upload_images(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Return the addresses of uploaded files, (name, content) each, in their order, for ``data.image``.

        Raises:
            InDoubt: some may be there now; no task uses them, so that they can be uploaded once more.
        """
        return picture_files.upload(self._wire, project_id, files)

    def fetch(self, address: str, *, max_bytes: int = _FETCH_BYTES) -> bytes:
        """Return a picture as the annotator's browser gets it.

        Args:
            address: below the server's address, or that of a task's ``data.image``, which begins with a slash.
            max_bytes: more is refused.

        Raises:
            ServerError: another server holds it, or none.
        """
        return picture_files.fetch(self._wire, address, max_bytes)

    # A model that answers people ------------------------------------------------------------------------------------

    def connect_ml_backend(self, project_id: int, url: str, title: str) -> None:
        """Let a project ask the model at ``url``; see ``ml_connection.connect``. Raises StateError, InDoubt too."""
        ml_connection.connect(self._wire, project_id, url, title)

    def disconnect_ml_backend(self, project_id: int, url: str) -> None:
        """Let a project no longer ask the model at ``url``."""
        ml_connection.disconnect(self._wire, project_id, url)

    def _row(self, method: str, path: str, shape: Shape, body: object = None) -> Row:
        row: Row = self._wire.json(method, path, shape, body=body)
        return row

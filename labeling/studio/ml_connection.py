"""One machine-learning backend of a project in Label Studio: connected, moved to another address, disconnected."""

from __future__ import annotations

from typing import Any

from ..core.errors import ServerError, StateError
from . import replies
from .shapes import Row, Shape, has, rows
from .wire import Wire

_BACKENDS = Shape("a list of machine-learning backends", rows("id", "url", "title"))
_BACKEND = Shape("a machine-learning backend", has("id", "url"))
_WEBHOOKS = Shape("a list of webhooks", rows("id", "url"))
_PROJECT = Shape("a project", has("id", "model_version"))
_DONE = Shape("a report of what was done", lambda value: isinstance(value, dict))


def connect(wire: Wire, project_id: int, url: str, title: str) -> None:
    """Let a project ask the backend that answers at this address; one of the same title is moved there.

    The predictions that people are shown stay those of the version that the project names.

    Raises:
        StateError: the project asks another backend, and Label Studio asks one only.
        ServerError: Label Studio cannot reach the backend. InDoubt: a later call finds out.
    """
    known = _known(wire, project_id)
    others = [one for one in known if one["title"] != title]
    if others:
        raise StateError(
            f"{wire.url}: project {project_id} asks another model, {replies.shown(str(others[0]['title']))!r}: "
            "remove it there under Settings, Model"
        )
    shown = _model_version(wire, project_id)
    fields = {"project": project_id, "url": url, "title": title, "is_interactive": True}
    mine, extra = (known[0] if known else None), known[1:]
    method, path = ("PATCH", f"/api/ml/{mine['id']}") if mine else ("POST", "/api/ml/")
    try:
        wire.json(method, path, _BACKEND, body=fields)
    except ServerError as error:
        # It adds the backend first, and then refuses to add the webhook, which is not wanted anyway.
        there = "reserved network address" in str(error) and any(one["url"] == url for one in _known(wire, project_id))
        if not there:
            raise _in_words(wire.url, url, str(error)) or error from None
    for one in extra:
        _remove(wire, one)
    for address in {url, *(str(one["url"]) for one in known)}:
        _without_webhook(wire, project_id, address)
    # Label Studio takes the title of its first backend for the version that people are to see.
    if _model_version(wire, project_id) != shown:
        wire.json("PATCH", f"/api/projects/{project_id}/", _PROJECT, body={"model_version": shown})


def disconnect(wire: Wire, project_id: int, url: str) -> None:
    """Let a project no longer ask the backend at this address; one that has moved elsewhere stays."""
    for one in _known(wire, project_id):
        if one["url"] == url:
            _remove(wire, one)
    _without_webhook(wire, project_id, url)


def _in_words(studio: str, url: str, error: str) -> ServerError | None:
    """Return what to do about the refusals that are to be expected, None for others."""
    if "reserved network address" in error:
        return ServerError(
            f"{studio}: does not let models answer from its own machine ({url}): start it with "
            "LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false, or anew with labelstill studio down and up"
        )
    if "health check failed" in error:
        return ServerError(
            f"{studio}: cannot reach {url}: Label Studio has to run on this machine, outside of a container"
        )
    return None


def _known(wire: Wire, project_id: int) -> list[Row]:
    found: list[Row] = wire.json("GET", "/api/ml/", _BACKENDS, params={"project": project_id})
    return sorted(found, key=lambda one: int(one["id"]))


def _remove(wire: Wire, backend: Row) -> None:
    wire.json("DELETE", f"/api/ml/{backend['id']}", _DONE, absent=True)


def _without_webhook(wire: Wire, project_id: int, url: str) -> None:
    """Remove the webhook that comes with a backend: it sends all that people do to whoever listens there."""
    for hook in wire.json("GET", "/api/webhooks/", _WEBHOOKS, params={"project": project_id}):
        if hook["url"] == f"{url.rstrip('/')}/webhook":
            wire.json("DELETE", f"/api/webhooks/{hook['id']}/", _DONE, absent=True)


def _model_version(wire: Wire, project_id: int) -> str:
    project: dict[str, Any] = wire.json("GET", f"/api/projects/{project_id}/", _PROJECT)
    return project["model_version"] or ""

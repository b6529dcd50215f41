"""`labelstill assist`: serve the teacher to Label Studio, so that labels come on demand while people draw."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from ..core.errors import InputError, LabelstillError, StateError
from ..project import Project
from ..studio.secrets import connection

if TYPE_CHECKING:
    from ..studio.assistant import Assistant
    from ..studio.client import StudioClient
    from ..studio.ml_backend import MlBackend

TITLE = "labelstill teacher"
"""Not the version of our predictions: where a model of that name does not answer, people would be shown none."""


def run(
    project: Annotated[Path, typer.Option("--project", help="Folder of the project.")] = Path(),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on this machine; 0 for any.")] = 9090,
    trust_weights: Annotated[
        bool, typer.Option("--trust-weights", help="Allow weights that are pickled modules: they can run any code.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object once it is served.")] = False,
) -> None:
    """Serve the teacher of the last run to Label Studio, until Ctrl-C.

    In the editor, switch Auto-Annotation on: a box that is drawn gets its mask, a new image gets its labels.
    """
    opened = Project.open(project)
    found = connection(opened)
    _check_on_this_machine(found.url)
    from ..studio.client import StudioClient
    from ..studio.last_teacher import last_teacher
    from ..studio.target import find_target
    from ..studio.task_photos import TaskPhotos

    with opened.open_store() as store, StudioClient(found.url, found.token) as client:
        target = find_target(store, client, local=found.local)
        teacher = last_teacher(opened, store, trust_weights=trust_weights)
        from ..studio.assistant import Assistant

        gate = opened.config.images.model_dump(include={"max_pixels", "background", "accept_truncated"})
        photos = TaskPhotos(store, client, target, gate)
        facts = {"teacher": teacher.model, "studio": target.url, "project": target.project_id}
        with _served(Assistant(teacher, photos.load, photos.is_blind), port, client, target.project_id) as backend:
            facts |= {"url": backend.url}
            print(json.dumps(facts) if as_json else _text(facts), flush=True)
            with contextlib.suppress(KeyboardInterrupt, SystemExit):  # which is how this verb ends
                backend.wait()
    _tell("the teacher is no longer served")


@contextlib.contextmanager
def _served(assistant: Assistant, port: int, client: StudioClient, project_id: int) -> Iterator[MlBackend]:
    """Serve, and let Label Studio know; it looks at once whether somebody answers."""
    from ..studio.ml_backend import MlBackend

    try:
        backend = MlBackend(assistant, port, tell=_tell)
    except OSError as error:
        raise InputError(f"--port {port}: cannot be used: {error.strerror}; name another, or 0 for any") from error
    with backend:
        try:
            client.connect_ml_backend(project_id, backend.url, TITLE)
            yield backend
        finally:
            # Label Studio may be down by now; the next call takes over what it still knows of this one.
            with contextlib.suppress(LabelstillError):
                client.disconnect_ml_backend(project_id, backend.url)


def _check_on_this_machine(url: str) -> None:
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise StateError(
            f"{url}: the teacher is served on this machine only: run labelstill assist where Label Studio runs, and "
            "name it as http://127.0.0.1:PORT in LABEL_STUDIO_URL"
        )


def _text(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['teacher']} answers at {facts['url']} for project {facts['project']} on {facts['studio']}\n"
        "in the editor, switch Auto-Annotation on; Ctrl-C ends it"
    )


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()

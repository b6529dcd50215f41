"""`labelstill assist`: serve the teacher to Label Studio, so that labels come on demand while people draw."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError
from ..core.store import Store
from ..formats.labelstudio import IMAGE_CONTROL, KEY
from ..images import LoadedImage, decode, load
from ..project import Project
from ..studio.client import StudioClient
from ..studio.last_teacher import last_teacher
from ..studio.ml_backend import MlBackend
from ..studio.secrets import connection
from ..studio.target import find_target


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
    from ..studio.assistant import Assistant

    opened = Project.open(project)
    found = connection(opened)
    with opened.open_store() as store, StudioClient(found.url, found.token) as client:
        target = find_target(store, client, local=found.local)
        teacher = last_teacher(opened, store, trust_weights=trust_weights)
        gate = opened.config.images.model_dump(include={"max_pixels", "background", "accept_truncated"})
        assistant = Assistant(teacher, partial(_photo, store, client, gate))
        try:
            backend = MlBackend(assistant, port)
        except OSError as error:
            raise InputError(f"--port {port}: cannot be used: {error.strerror}; name another, or 0 for any") from error
        with contextlib.closing(backend.socket):
            client.connect_ml_backend(target.project_id, backend.url, "labelstill")
            facts = {"url": backend.url, "teacher": teacher.model, "studio": target.url, "project": target.project_id}
            print(json.dumps(facts) if as_json else _served(facts), flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                backend.serve_forever()
    print("the teacher is no longer served", file=sys.stderr)


def _served(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['teacher']} answers at {facts['url']} for project {facts['project']} on {facts['studio']}\n"
        "in the editor, switch Auto-Annotation on; Ctrl-C ends it"
    )


def _photo(store: Store, client: StudioClient, gate: Mapping[str, Any], data: Mapping[str, Any]) -> LoadedImage:
    """Read the photo of a task from where labels.db knows it; one that was added there, from Label Studio."""
    sha256 = data.get(KEY)
    for path in store.files_of(sha256) if isinstance(sha256, str) else ():
        with contextlib.suppress(InputError):
            loaded = load(path, **gate)
            if loaded.sha256 == sha256:
                return loaded
    address = data.get(IMAGE_CONTROL)
    if not isinstance(address, str) or not address:
        raise InputError(f"expected the picture's address in data.{IMAGE_CONTROL} of the task, there is none")
    return decode(client.fetch(address), **gate)

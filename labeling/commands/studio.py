"""`labelstill studio up|down|status`: a Label Studio of the project's own, on this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..image_files import display
from ..project import Project
from ..studio import local
from ..studio.environment import ask
from ..studio.folder import data_path, files_path, log_path, secrets_path
from ..studio.secrets import URL_VARIABLE, Connection, Secrets, named_server
from ..studio.server import Server, running


class Action(StrEnum):
    """What to do with the server."""

    UP = "up"
    DOWN = "down"
    STATUS = "status"


def run(
    action: Annotated[Action, typer.Argument(help="Start it, end it, or say where it is.")],
    project: Annotated[Path, typer.Option("--project", help="Folder of the project.")] = Path(),
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The port that up tries first; 8080.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Start, stop or look at a Label Studio of the project's own, which only this machine can reach."""
    opened = Project.open(project)
    if action is Action.UP:
        facts, lines = _up(opened, port)
    elif action is Action.DOWN:
        facts, lines = _down(opened)
    else:
        facts, lines = _status(opened)
    print(json.dumps(facts) if as_json else "\n".join(lines))


def _up(project: Project, port: int | None) -> tuple[dict[str, Any], list[str]]:
    named = named_server()  # a mistake in the two variables is told before anything is started
    server, secrets, fresh = local.up(project, port, _tell)
    _prepare(project, Connection(server.url, secrets.token, local=True))
    if named:
        _tell(f"{URL_VARIABLE} is set: push and pull go to {named[0]}, not to this server")
    facts = {
        "state": "started" if fresh else "already running",
        "url": server.url,
        "email": secrets.email,
        "secrets": str(secrets_path(project)),
        "pid": server.pid,
    }
    lines = [
        f"Label Studio {'runs' if fresh else 'is already running'} at {server.url}",
        f"  email     {secrets.email}",
        f"  password  {secrets.password}",
        f"next: labelstill push --project {_typed(project.root)}",
    ]
    return facts, lines


def _prepare(project: Project, server: Connection) -> None:
    """Make sure that the server has this project and its image storage, once there are classes to label."""
    if project.config.ontology is None or not project.database_path.exists():
        return
    from ..studio.client import StudioClient
    from ..studio.target import open_target

    with project.lock(), project.open_store() as store, StudioClient(server.url, server.token) as client:
        open_target(project, store, client, local=True)


def _down(project: Project) -> tuple[dict[str, Any], list[str]]:
    server = local.down(project, _tell)
    if server is None:
        return {"state": "not running", "ended": None}, ["Label Studio is not running"]
    lines = [
        f"Label Studio at {server.url} has ended (process {server.pid}); what people did is kept in "
        f"{display(data_path(project))}",
        f"next: labelstill studio up --project {_typed(project.root)}",
    ]
    return {"state": "not running", "ended": server.pid}, lines


def _status(project: Project) -> tuple[dict[str, Any], list[str]]:
    server, secrets = running(project), Secrets.read(project)
    up = f"labelstill studio up --project {_typed(project.root)}"
    facts: dict[str, Any] = {
        "state": "not running",
        "data": str(data_path(project)),
        "files": str(files_path(project)),
        "log": str(log_path(project)),
    }
    if server is None:
        return facts, ["Label Studio is not running", f"next: {up}"]
    version = _version(server)
    facts["state"] = "starting" if not server.up else "running" if version else "no answer"
    facts |= {
        "url": server.url,
        "email": secrets.email if secrets else None,
        "secrets": str(secrets_path(project)),
        "version": version,
        "pid": server.pid,
        "uptime_s": round(time.time() - server.since),
    }
    lines = [
        f"Label Studio {version or ''}".rstrip() + f": {facts['state']} at {server.url}",
        f"  email     {facts['email'] or 'unknown'}, the password is in {display(secrets_path(project))}",
        f"  process   {server.pid}, for {_duration(facts['uptime_s'])}",
        f"  data      {display(data_path(project))}",
        f"  images    {display(files_path(project))}",
        f"  log       {display(log_path(project))}",
        f"next: labelstill push --project {_typed(project.root)}" if version else f"next: {up}",
    ]
    return facts, lines


def _version(server: Server) -> str | None:
    """Return which Label Studio answers, None where none does."""
    if not server.up:
        return None
    with contextlib.suppress(OSError, http.client.HTTPException):
        said = ask(server.address, "api/version/", timeout=5)
        if isinstance(said, dict):
            return str(said.get("release") or "")
    return None


def _duration(seconds: int) -> str:
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _typed(path: Path) -> str:
    return shlex.quote(display(path))

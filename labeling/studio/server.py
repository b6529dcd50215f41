"""The project's own Label Studio as a process: started detached, recognised again, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ..core.errors import ServerError
from ..core.private_files import read_private, write_private
from ..core.strict import StrictModel
from ..project import Project
from .environment import DEFAULT_PORT, is_label_studio
from .folder import data_path, log_path, make_folders, record_path, server_environment
from .processes import birth, end

START_WITHIN_S = 300.0
_TOLD_EVERY_S = 15.0
_POLL_S = 0.2
_LOG_BYTES = 2**20
_PORTS = 100
_LISTENS = re.compile(rb"Starting development server at http://127\.0\.0\.1:(\d+)/")

#: Waits for a line of the starter before it becomes Label Studio, so that no process exists that no file knows of.
_GATE = 'read -r go && exec "$@" </dev/null'

Tell = Callable[[str], None]


class Server(StrictModel):
    """What studio/server.json holds: one process.

    Attributes:
        pid: its number.
        born: what tells it from a later process of the same number.
        folder: the studio folder that it was started for.
        port: where it listens; before it is up, where it was told to.
        since: seconds since 1970 at its start.
        up: it has answered.
    """

    pid: int
    born: str
    folder: str
    port: int
    since: float
    up: bool = False

    @property
    def url(self) -> str:
        """Where it listens; this machine only."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> SplitResult:
        """The address in parts."""
        return urlsplit(self.url)


def running(project: Project) -> Server | None:
    """Return the server of this project, up or still starting; None where none runs. Raises StateError."""
    server = recorded(project.studio_path)
    return server if server and server.folder == str(project.studio_path) and lives(server) else None


def start(program: Path, project: Project, login: Mapping[str, str], port: int = DEFAULT_PORT) -> Server:
    """Start a server in a session of its own, on the first free port from this one on.

    Args:
        program: Label Studio's command.
        project: gets the folders below studio/.
        login: what the server has to know of the secrets, as variables.
        port: the one to try first.

    Raises:
        ServerError: no port is free.
        InputError: a folder cannot be written.
    """
    make_folders(project)
    # No secret among the arguments: every user of the machine can read them.
    port = _free_port(port)
    arguments = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(port)]
    log = os.open(log_path(project), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=data_path(project),
            env={**server_environment(project), **login},
            start_new_session=True,
        )
    finally:
        os.close(log)
    assert process.stdin is not None
    with process.stdin as gate:
        server = Server(
            pid=process.pid,
            born=birth(process.pid) or "",
            folder=str(project.studio_path),
            port=port,
            since=time.time(),
        )
        write_private(record_path(project), server.model_dump())
        gate.write(b"\n")
    return server


def wait_until_up(server: Server, project: Project, tell: Tell) -> Server:
    """Return the server once it answers, with the port that it really listens at; at most five minutes.

    Raises:
        ServerError: it ended instead, or does not answer in time; the message names the log.
    """
    began = told = time.monotonic()
    while lives(server):
        # Another program may have taken the port meanwhile; Label Studio takes the next one then, and logs it.
        port = server.port if server.up else _port_in_log(project)
        if port is not None and _answers(listening := server.model_copy(update={"port": port, "up": True})):
            if listening != server:
                write_private(record_path(project), listening.model_dump())
            return listening
        now = time.monotonic()
        if now - began > START_WITHIN_S:
            raise ServerError(
                f"Label Studio did not answer within {START_WITHIN_S:.0f} s: see {log_path(project)}, "
                "and end it with labelstill studio down"
            )
        if now - told > _TOLD_EVERY_S:
            told = now
            tell(f"still starting after {now - began:.0f} s")
        time.sleep(_POLL_S)
    raise ServerError(f"Label Studio ended while it started: {_last_words(project)}: see {log_path(project)}")


def stop(server: Server, project: Project) -> None:
    """End this server, and no other process. Raises ServerError where it cannot be ended."""
    if not end(server.pid, server.born):
        raise ServerError(f"Label Studio (process {server.pid}) does not end: kill -9 {server.pid}")
    record_path(project).unlink(missing_ok=True)


def end_misplaced(project: Project) -> bool:
    """End the server that was started before this folder moved here; say whether there was one.

    A copy of a project folder has the same record, and its original keeps its server.
    """
    server = recorded(project.studio_path)
    if server is None or server.folder == str(project.studio_path) or not lives(server):
        return False
    original = recorded(Path(server.folder))
    if original is not None and (original.pid, original.born) == (server.pid, server.born):
        return False
    stop(server, project)
    return True


def _last_words(project: Project) -> str:
    """Return the last line that the server has written, without what a terminal would obey."""
    lines = [line for line in _log(project).decode("utf-8", "replace").splitlines() if line.strip()]
    words = "".join(c for c in lines[-1] if c.isprintable()).strip() if lines else "without a word"
    return words if len(words) <= 200 else f"{words[:200]}…"


def lives(server: Server) -> bool:
    """Say whether it is still this very process that has the number."""
    return birth(server.pid) == server.born


def recorded(folder: Path) -> Server | None:
    """Return what server.json of a studio folder says. Raises StateError."""
    mend = "end the Label Studio that may still run, and remove the file"
    return read_private(folder / "server.json", Server, mend)


def _answers(server: Server) -> bool:
    try:
        return is_label_studio(server.address, timeout=5)
    except (OSError, http.client.HTTPException):
        return False


def _free_port(first: int) -> int:
    for port in range(first, min(first + _PORTS, 65536)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError(f"no free port from {first} on: name another one with --port")


def _port_in_log(project: Project) -> int | None:
    found = _LISTENS.search(_log(project))
    return int(found[1]) if found else None


def _log(project: Project) -> bytes:
    """Return the first MiB, which holds every start."""
    with contextlib.suppress(OSError), log_path(project).open("rb") as file:
        return file.read(_LOG_BYTES)
    return b""

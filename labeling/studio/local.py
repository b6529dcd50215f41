"""The project's own Label Studio, from nothing to a server with a user and a token that works, and back to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InputError, StateError
from ..health import ROOT
from ..project import Project
from . import environment
from .bootstrap import LoginRefused, ensure_token, reset_password
from .folder import make_folders
from .secrets import Secrets
from .server import Server, Tell, end_misplaced, running, start, stop, wait_until_up

_WAIT_FOR_ANOTHER_S = 360.0


def up(project: Project, port: int | None, tell: Tell) -> tuple[Server, Secrets, bool]:
    """Return a server that answers, its login and token, and whether it was started for this.

    What an earlier call did not finish is finished; a second call at the same time waits for the first.

    Args:
        project: gets a folder studio/.
        port: the one to try first; None for the one of the last time, else 8080.
        tell: gets a line whenever something takes long.

    Raises:
        ServerError: it cannot be started, ended at once, or does not answer as expected.
        StateError: no Label Studio is installed, or a file in studio/ is damaged or open to others.
        InputError: a file cannot be read or written.
        MissingExtraError: the extra studio is not installed.
    """
    make_folders(project)
    with _alone(project, tell):
        secrets = Secrets.read(project)
        if secrets is None:
            secrets = Secrets.new()
            secrets.write(project)
        if end_misplaced(project):
            tell("the project folder has moved since its Label Studio was started: starting it anew")
        server = running(project)
        fresh = server is None
        if server is None:
            tell("starting Label Studio (a minute or two the first time)")
            server = start(_program(), project, secrets.environment(), port or secrets.port or environment.DEFAULT_PORT)
        server = wait_until_up(server, project, tell)
        try:
            token = ensure_token(server.url, secrets)
        except LoginRefused:
            # Its data were made with another password: secrets.json was lost, or somebody changed the password.
            tell(f"{secrets.email} has another password on the server: setting the one of secrets.json")
            reset_password(_program(), project, secrets)
            token = ensure_token(server.url, secrets)
        finished = secrets.model_copy(update={"url": server.url, "token": token})
        if finished != secrets:
            finished.write(project)
        return server, finished, fresh


def down(project: Project, tell: Tell) -> Server | None:
    """End the server of this project and return what it was, None where none ran.

    Raises:
        ServerError: it cannot be ended.
        StateError: the record of the server is damaged.
    """
    if not project.studio_path.is_dir():
        return None
    with _alone(project, tell):
        end_misplaced(project)
        server = running(project)
        if server is not None:
            stop(server, project)
        return server


@contextmanager
def _alone(project: Project, tell: Tell) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(project.studio_path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("another labelstill studio is at work here: waiting for it")
        try:
            lock.acquire(timeout=_WAIT_FOR_ANOTHER_S)
        except Timeout:
            raise StateError(
                f"{project.studio_path}: another labelstill studio is at work here: end it, and try again"
            ) from None
    except OSError as error:
        raise InputError(
            f"{project.studio_path}: cannot be written: {error.strerror}: check whose folder it is"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _program() -> Path:
    found = environment.program(ROOT)
    if found is None:
        raise StateError(f"label-studio is not installed (an environment of its own, 800 MB): {environment.INSTALL}")
    return found

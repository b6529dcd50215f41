"""A real Label Studio for tests, started as a user starts it and ended with the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from labeling.core.ontology import parse_classes
from labeling.project import Project
from labeling.studio import environment, local
from labeling.studio.folder import files_path
from tests.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLASSES = "box, pallet, forklift"


@dataclass(frozen=True, slots=True)
class StudioServer:
    """A server that runs.

    Attributes:
        url: without a slash at its end.
        token: personal access token of the user.
        email: login of the user.
        password: of that login.
        project_root: the labelstill project that it was started for.
        files_root: the document root.
        pid: number of its process.
    """

    url: str
    token: str = field(repr=False)
    email: str
    password: str = field(repr=False)
    project_root: Path
    files_root: Path
    pid: int


def need_label_studio() -> None:
    """Skip the test where Label Studio is not installed."""
    if environment.program(ROOT) is None:
        pytest.skip(f"label-studio is not installed: {environment.INSTALL}")


@contextmanager
def start_studio(root: Path, classes: str = CLASSES, port: int | None = None) -> Iterator[StudioServer]:
    """Start Label Studio for a project in this folder, which is made if need be; end it with the block.

    The first start of a folder takes half a minute or more.
    """
    project = Project.open(root) if Project.exists(root) else Project.create(root, parse_classes(classes))
    try:
        yield _up(project, port)
    finally:
        local.down(project, _say_nothing)


@contextmanager
def session_server(factory: pytest.TempPathFactory) -> Iterator[StudioServer]:
    """Start the server that all tests of a session share; what the shell says of other servers does not count.

    While a test is written, LABELSTILL_TEST_STUDIO=DIR names a project whose server is used and left running.
    """
    need_label_studio()
    ready = os.environ.get("LABELSTILL_TEST_STUDIO")
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO_")}
    with mock.patch.dict(os.environ, elsewhere, clear=True):
        if ready:
            yield _up(Project.open(Path(ready)), None)
            return
        with start_studio(factory.mktemp("studio")) as server:
            yield server


def _up(project: Project, port: int | None) -> StudioServer:
    server, secrets, _fresh = local.up(project, port, _say_nothing)
    return StudioServer(
        url=server.url,
        token=secrets.token,
        email=secrets.email,
        password=secrets.password,
        project_root=project.root,
        files_root=files_path(project),
        pid=server.pid,
    )


def _say_nothing(_line: str) -> None:
    pass


def log_in(page: Page, server: StudioServer) -> None:
    """Go in by the page that people use."""
    page.goto(f"{server.url}/user/login/")
    page.fill("#email", server.email)
    page.fill("#password", server.password)
    page.click("button[type=submit]")
    page.wait_for_url("**/")

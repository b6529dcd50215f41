"""Token, password and key are in studio/secrets.json or the environment, and in nothing that is said or written."""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from labeling.cli import main
from labeling.core.errors import LabelstillError
from labeling.core.private_files import write_private
from labeling.project import Project
from labeling.studio.client import StudioClient
from labeling.studio.folder import log_path, make_folders, record_path, secrets_path
from labeling.studio.processes import birth
from labeling.studio.secrets import TOKEN_VARIABLE, URL_VARIABLE, Connection, Secrets
from labeling.studio.server import Server
from tests import made_stores
from tests.broken_studios import GET, IMPORTS, LEGACY, POST, PROJECTS, SERVERS, Terminal
from tests.fake_studio import FakeStudio
from tests.fake_studio_faults import Fault
from tests.pull_scene import region
from tests.pushing import World
from tests.studio_servers import StudioServer

pytestmark = pytest.mark.http

SIGNATURE = base64.urlsafe_b64encode(b"signed by the fake").rstrip(b"=").decode()
"""Ends every token of the fake, of each kind; who has it can use the token."""

PASSWORD, KEY = "kept-canary-password", "kept-canary-secret-key"
CANARIES = (SIGNATURE, PASSWORD, KEY, LEGACY)


@pytest.fixture(autouse=True)
def _says_all_it_knows(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LABELSTILL_DEBUG", "1")
    caplog.set_level(logging.DEBUG)
    for waits in ("FRESH_WAITS_S", "OLD_WAITS_S"):
        monkeypatch.setattr(f"labeling.studio.reconcile.{waits}", (0.0,))


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as running:
        yield running


@pytest.fixture
def terminal(
    tmp_path: Path, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    return Terminal(World(tmp_path, studio), monkeypatch, capsys)


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def assert_nowhere(
    folder: Path, caplog: pytest.LogCaptureFixture, said: Iterable[str], but: Path | None = None
) -> None:
    """No canary is in what was said, logged or written below a folder, names of files included."""
    texts = [*said, caplog.text, *(repr(record.args) for record in caplog.records)]
    texts += [str(path.relative_to(folder)) for path, _ in written(folder)]
    for canary in CANARIES:
        assert [text for text in texts if canary in text] == []
        assert [path for path, content in written(folder) if canary.encode() in content and path != but] == []


def journey(terminal: Terminal, folder: Path) -> Iterator[str]:
    """Use every verb once, as people and as programs; yield what was said."""
    yield from terminal.type("push", "--blind-share", "0", "--limit", "2")[1:]
    yield from terminal.type("push", "--blind-share", "0", "--overlap", "50%", "--json")[1:]
    yield from terminal.type("push", "--dry-run")[1:]
    people = [terminal.studio.add_user(f"{name}@x.org") for name in ("ann", "ben")]
    for number in range(3):
        for user in people:
            terminal.studio.annotate(terminal.world.task(number)["id"], [region("box", (1, 2, 30, 40))], user=user)
    for verb, *flags in (
        ["pull"],
        ["pull", "--json", "--policy", "consensus"],
        ["audit", "--csv", str(folder / "audit.csv")],
        ["audit", "--json"],
        ["agreement"],
        ["agreement", "--json"],
        ["report", "--out", str(folder / "report.html")],
        ["convert", "--to", "coco", "--out", str(folder / "coco")],
        ["convert", "--to", "labelstudio", "--out", str(folder / "labelstudio")],
        ["status"],
    ):
        code, out, err = terminal.type(verb, *flags)
        assert code in (0, 3), err
        yield from (out, err)


def test_a_whole_round_trip_leaves_no_trace_of_the_token(
    terminal: Terminal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = list(journey(terminal, tmp_path))
    assert any("reviewed" in text for text in said)
    assert len(list(written(tmp_path))) > 10
    assert terminal.studio.count("POST", "/api/token/refresh") > 0
    assert_nowhere(tmp_path, caplog, said)


def test_nor_does_one_with_a_legacy_token(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FakeStudio(tokens="legacy") as studio:
        studio.token = LEGACY
        said = list(journey(Terminal(World(tmp_path, studio), monkeypatch, capsys), tmp_path))
        assert {request.authorization for request in studio.requests} == {f"Token {LEGACY}", ""}
    assert_nowhere(tmp_path, caplog, said)


CAUSES = {**SERVERS, **PROJECTS, **IMPORTS}


@pytest.mark.parametrize("cause", CAUSES)
def test_no_failure_shows_the_token_not_even_with_its_traceback(
    terminal: Terminal, tmp_path: Path, caplog: pytest.LogCaptureFixture, cause: str
) -> None:
    if cause in PROJECTS:
        terminal.done("push")
    CAUSES[cause].makes(terminal)
    said = [text for verb in ("push", "pull") for text in terminal.type(verb, "--json")[1:]]
    assert "Traceback" in "".join(said)
    assert "error" in json.loads(said[0])
    assert_nowhere(tmp_path, caplog, said)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 500, 302, 200])
@pytest.mark.parametrize("path", ["/api/token/refresh", "/api/projects", "/import"])
def test_a_server_that_repeats_the_token_is_not_quoted_with_it(
    terminal: Terminal, tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    token = terminal.studio.token
    body = json.dumps({"detail": f"Token {token} is bad", "validation_errors": {token: [f"see {token}"]}})
    where = {"Location": f"https://{token[:40]}.example/?token={token}"} if status == 302 else {}
    caplog.set_level(logging.INFO)  # below that, the library shows the headers of replies as they came
    terminal.studio.faults[:] = [Fault(method, path, 0, status, body, where, commits=False) for method in (GET, POST)]
    code, *said = terminal.type("push")
    assert code == 1
    assert_nowhere(tmp_path, caplog, said)
    assert token not in "".join(said)


@pytest.mark.parametrize("kind", ["personal", "legacy"])
def test_a_token_at_the_end_of_a_long_complaint_is_not_shown_in_part(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: Literal["personal", "legacy"],
) -> None:
    with FakeStudio(tokens=kind) as studio:
        terminal = Terminal(World(tmp_path, studio), monkeypatch, capsys)
        for shown in range(10, len(studio.token) + 1, 3):
            detail = f"{'x' * (300 - shown)}{studio.token}"
            studio.faults[:] = [Fault(GET, "/api/projects", 0, 403, json.dumps({"detail": detail}), commits=False)]
            said = terminal.type("push")[2]
            assert "xxx[token]" in said
            assert studio.token[:10] not in said


def test_access_that_ends_amid_the_work_is_renewed_in_silence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FakeStudio(access_lives_requests=3) as studio:
        said = list(journey(Terminal(World(tmp_path, studio), monkeypatch, capsys), tmp_path))
        assert studio.count("POST", "/api/token/refresh") > 10
    assert_nowhere(tmp_path, caplog, said)


def test_a_password_in_the_address_is_refused_and_not_repeated(
    terminal: Terminal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    for address in (f"http://me:{PASSWORD}@127.0.0.1:1", f"http://{PASSWORD}@127.0.0.1:1/x", f"{PASSWORD}://me"):
        terminal.name_server(address)
        for verb in (["push"], ["pull"], ["assist"], ["push", "--dry-run"]):
            code, *texts = terminal.type(*verb)
            assert code == 1, verb
            said += texts
        said += terminal.typed("studio", "up", "--project", str(terminal.world.root))
    assert not record_path(Project.open(terminal.world.root)).exists(), "nothing is started before this is mended"
    assert_nowhere(tmp_path, caplog, said)


def test_two_variables_in_each_others_place_show_no_token(
    terminal: Terminal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    terminal.name_server(terminal.studio.token, terminal.studio.url)
    said = [text for verb in ("push", "pull") for text in terminal.type(verb)[1:]]
    assert "LABEL_STUDIO_URL is no address" in said[1]
    assert_nowhere(tmp_path, caplog, said)


def own_server(terminal: Terminal) -> Project:
    """Let the fake be the project's own server: its secrets lie in the project, and nothing is in the environment."""
    project = Project.open(terminal.world.root)
    make_folders(project)
    url, token = terminal.studio.url, terminal.studio.token
    Secrets(url=url, email="labelstill@localhost", password=PASSWORD, token=token, secret_key=KEY).write(project)
    born = birth(os.getpid())
    assert born is not None
    server = Server(
        pid=os.getpid(), born=born, folder=str(project.studio_path), port=int(url.split(":")[2]), since=0.0, up=True
    )
    write_private(record_path(project), server.model_dump())
    return project


def test_the_projects_own_secrets_stay_in_one_file_that_only_its_owner_can_read(
    terminal: Terminal, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL_VARIABLE)
    monkeypatch.delenv(TOKEN_VARIABLE)
    project = own_server(terminal)
    before = os.umask(0)
    try:
        said = list(journey(terminal, tmp_path))
        for flags in ((), ("--json",)):
            said += terminal.typed("studio", "status", "--project", str(project.root), *flags)
    finally:
        os.umask(before)
    terminal.studio.down()
    said += [text for verb in ("push", "pull") for text in terminal.type(verb)[1:]]
    assert any("nothing listens there" in text for text in said)
    kept = secrets_path(project)
    assert all(canary in kept.read_text() for canary in (SIGNATURE, PASSWORD, KEY))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert_nowhere(tmp_path, caplog, said, but=kept)


def test_git_sees_nothing_of_the_folder_with_the_secrets(terminal: Terminal) -> None:
    project = own_server(terminal)
    git = ["git", "-C", str(project.root)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    known = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True).stdout
    assert "project.yaml" in known
    assert "studio" not in known


def test_no_repr_and_no_traceback_with_values_shows_a_secret(studio: FakeStudio, terminal: Terminal) -> None:
    project = own_server(terminal)
    secrets, named = Secrets.read(project), Connection(studio.url, studio.token, local=False)
    assert secrets is not None
    with StudioClient(studio.url, studio.token) as client:
        client.whoami()
        shown = [*map(repr, (secrets, named, client, client._wire, client._wire._auth, client._wire._http))]
        shown += [*map(str, (secrets, named, client)), f"{secrets.model_copy()!r}"]
        studio.revoked = True
        studio._access.clear()
        try:
            client.whoami()
        except LabelstillError as error:
            told = traceback.TracebackException.from_exception(error, capture_locals=False)
            shown += [*told.format(), repr(error), repr(error.args), repr(error.__cause__), repr(error.__context__)]
    assert len(shown) > 12
    assert [text for text in shown for canary in CANARIES if canary in text] == []


def test_no_program_that_is_started_gets_a_secret_as_an_argument_or_by_accident(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal.name_server(token=LEGACY)
    told = tmp_path / "told.json"
    program = tmp_path / "bin" / "label-studio"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([sys.argv, dict(os.environ)], open({str(told)!r}, 'w'))\nsys.exit('no')\n"
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    said = terminal.typed("studio", "up", "--project", str(terminal.world.root))
    assert "Label Studio ended while it started: no: see " in "".join(said)
    arguments, environment = json.loads(told.read_text())
    secrets = Secrets.read(Project.open(terminal.world.root))
    assert secrets is not None
    assert not {secrets.password, secrets.secret_key} & set(arguments)
    assert LEGACY not in told.read_text(), "the token of another server is none of its business"
    assert (environment["LABEL_STUDIO_PASSWORD"], environment["SECRET_KEY"]) == (secrets.password, secrets.secret_key)
    told.unlink()
    for secret in (secrets.password, secrets.secret_key):
        assert secret not in "".join(said) + caplog.text
        holders = [path for path, content in written(tmp_path) if secret.encode() in content]
        assert holders == [secrets_path(Project.open(terminal.world.root))]


@pytest.mark.server
def test_a_real_server_writes_none_of_them_into_its_log(
    studio_server: StudioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    project = Project.open(studio_server.project_root)
    secrets = Secrets.read(project)
    assert secrets is not None
    monkeypatch.setenv(URL_VARIABLE, studio_server.url)
    monkeypatch.setenv(TOKEN_VARIABLE, studio_server.token)
    root = tmp_path / "project"
    Project.create(root, made_stores.ontology(("box",)))
    with Project.open(root).open_store(create=True) as store:
        made_stores.write(
            store,
            ("box",),
            [made_stores.outcome([made_stores.photo(tmp_path / "a.png")], [made_stores.Thing("box", (9, 9, 90, 90))])],
        )
    said = []
    for verb in (["push", "--upload", "--blind-share", "0"], ["pull"], ["push"], ["audit"]):
        assert main([*verb, "--project", str(root)]) == 0, capsys.readouterr().err
        said += list(capsys.readouterr())
    parts = {studio_server.token, studio_server.token.split(".")[2], secrets.password, secrets.secret_key}
    texts = [*said, caplog.text, log_path(project).read_text(errors="replace")]
    assert [text for text in texts for secret in parts if secret in text] == []
    assert [path for path, content in written(tmp_path) for secret in parts if secret.encode() in content] == []

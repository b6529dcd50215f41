"""What opens a Label Studio: nobody else can read it, no message and no repr shows it, and which server is meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labeling.core.errors import InputError, LabelstillError, StateError
from labeling.core.ontology import parse_classes
from labeling.core.private_files import write_private
from labeling.project import Project
from labeling.studio.folder import make_folders, record_path, secrets_path
from labeling.studio.processes import birth
from labeling.studio.secrets import TOKEN_VARIABLE, URL_VARIABLE, Connection, Secrets, connection
from labeling.studio.server import Server

CANARY = "kept-canary-"
SECRETS = Secrets(
    url="http://127.0.0.1:8123",
    email="a@localhost",
    password=f"{CANARY}1",
    token=f"{CANARY}2",
    secret_key=f"{CANARY}3",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in (URL_VARIABLE, TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    made = Project.create(tmp_path / "project", parse_classes("box"))
    make_folders(made)
    return made


def record(project: Project, port: int = 8123) -> None:
    """Write down this very process as the server."""
    folder, born = str(project.studio_path), birth(os.getpid())
    assert born is not None
    server = Server(pid=os.getpid(), born=born, folder=folder, port=port, since=0.0, up=True)
    write_private(record_path(project), server.model_dump())


def test_they_come_back_as_they_were_written(project: Project) -> None:
    assert Secrets.read(project) is None
    SECRETS.write(project)
    assert Secrets.read(project) == SECRETS
    assert set(json.loads(secrets_path(project).read_text())) == {"url", "email", "password", "token", "secret_key"}


def test_new_ones_are_random_and_long_enough_to_be_unguessable() -> None:
    many = [Secrets.new() for _ in range(20)]
    assert len({secrets.password for secrets in many} | {secrets.secret_key for secrets in many}) == 40
    assert all(len(secrets.password) >= 16 and len(secrets.secret_key) >= 50 for secrets in many)
    assert {secrets.token for secrets in many} == {""}


def test_nobody_else_can_read_them_at_any_moment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: set[int] = set()
    real = os.replace

    def look_first(source: str, target: Path) -> None:
        modes.add(os.stat(source).st_mode & 0o777)
        real(source, target)

    monkeypatch.setattr(os, "replace", look_first)
    before = os.umask(0)
    try:
        SECRETS.write(project)
        secrets_path(project).chmod(0o644)
        SECRETS.write(project)  # whatever mode the old file had
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert secrets_path(project).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_open_is_refused(project: Project, mode: int) -> None:
    SECRETS.write(project)
    secrets_path(project).chmod(mode)
    with pytest.raises(StateError) as refused:
        Secrets.read(project)
    assert f"mode {mode:o}" in str(refused.value)
    assert "chmod 600" in str(refused.value)
    assert CANARY not in str(refused.value)


def test_a_file_cut_off_anywhere_is_said_to_be_damaged_and_shows_nothing(project: Project) -> None:
    SECRETS.write(project)
    whole = secrets_path(project).read_bytes()
    for length in range(len(whole) - 2):  # the last two are the bracket and the line end
        secrets_path(project).write_bytes(whole[:length])
        with pytest.raises(StateError) as refused:
            Secrets.read(project)
        assert str(secrets_path(project)) in str(refused.value)
        assert "damaged" in str(refused.value)
        assert CANARY not in str(refused.value)
        assert "\n" not in str(refused.value)
    assert len(whole) > 100


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"password": 5}, "password"),
        ({"email": None}, "email"),
        ({"secret_key": ""}, "secret_key"),
        ({"more": 1}, "more"),
    ],
)
def test_a_wrong_value_is_named_by_its_key_alone(project: Project, change: dict[str, object], named: str) -> None:
    write_private(secrets_path(project), {**SECRETS.model_dump(), **change})
    with pytest.raises(StateError, match=f"damaged \\({named} ") as refused:
        Secrets.read(project)
    assert CANARY not in str(refused.value)


def test_no_repr_shows_them() -> None:
    shown = f"{SECRETS!r} {SECRETS} {Connection(SECRETS.url, SECRETS.token, local=True)!r}"
    assert CANARY not in shown
    assert "a@localhost" in shown


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    SECRETS.write(project)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        SECRETS.model_copy(update={"token": "other"}).write(project)
    assert Secrets.read(project) == SECRETS
    assert not list(project.studio_path.glob(".secrets.json.*"))


def test_the_environment_names_the_server(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    SECRETS.write(project)
    record(project)
    monkeypatch.setenv(URL_VARIABLE, "https://studio.example.org/label/")
    monkeypatch.setenv(TOKEN_VARIABLE, "their-token")
    assert connection(project) == Connection("https://studio.example.org/label", "their-token", local=False)


@pytest.mark.parametrize(("there", "missing"), [(URL_VARIABLE, TOKEN_VARIABLE), (TOKEN_VARIABLE, URL_VARIABLE)])
def test_one_of_the_two_variables_is_not_enough(
    project: Project, monkeypatch: pytest.MonkeyPatch, there: str, missing: str
) -> None:
    SECRETS.write(project)
    monkeypatch.setenv(there, CANARY)
    with pytest.raises(InputError, match=f"^{there} is set and {missing} is not") as refused:
        connection(project)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_an_address_that_is_none_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    monkeypatch.setenv(TOKEN_VARIABLE, "token")
    with pytest.raises(InputError, match=r"expected http://HOST:PORT"):
        connection(project)


def test_without_variables_it_is_the_server_of_the_project_where_it_listens_now(project: Project) -> None:
    SECRETS.write(project)
    record(project, port=8199)
    assert connection(project) == Connection("http://127.0.0.1:8199", SECRETS.token, local=True)


def test_what_to_do_where_no_server_is_known_or_runs_or_is_ready(project: Project) -> None:
    says: list[str] = []
    for prepare in (lambda: None, lambda: SECRETS.write(project), lambda: record(project)):
        prepare()
        if record_path(project).exists():
            SECRETS.model_copy(update={"token": ""}).write(project)
        with pytest.raises(LabelstillError) as refused:
            connection(project)
        says.append(str(refused.value))
    assert all("labelstill studio up" in text for text in says)
    assert [word in text for word, text in zip(("is known", "does not run", "not finished"), says, strict=True)] == [
        True
    ] * 3

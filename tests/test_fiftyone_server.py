"""FiftyOne on a real mongod: started once, shared, on this machine only, and every way to fail said in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distill.fiftyone_app import free_port, open_app
from distill.fiftyone_server import URI_VARIABLE, database
from labeling.core.errors import InputError, LabelstillError, MissingExtraError, ServerError, StateError
from labeling.health_servers import INSTALL_MONGOD, mongod_program
from labeling.project import Project
from tests import made_stores as made
from tests.paths import ROOT
from tests.privileges import bound_by_file_modes

pytestmark = pytest.mark.server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    return Project.create(tmp_path / "project", made.ontology(["disc"]))


@pytest.fixture(scope="module")
def program() -> Path:
    found = mongod_program()
    if found is None:
        pytest.skip(f"mongod is not installed: {INSTALL_MONGOD}")
    return found


def mongods(project: Project) -> list[int]:
    """Return the processes that serve the database of a project."""
    import psutil

    folder = str(project.root / "curation" / "db")
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "mongod" and folder in (process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def listening(pid: int) -> set[str]:
    """Return the addresses at which a process takes connections."""
    import psutil

    return {
        connection.laddr.ip
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def is_gone(project: Project, within_s: float = 10.0) -> bool:
    until = time.monotonic() + within_s
    while mongods(project) and time.monotonic() < until:
        time.sleep(0.1)
    return not mongods(project)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refused(project: Project) -> LabelstillError:
    """Return how opening the database fails; one line."""
    with pytest.raises(LabelstillError) as said, database(project):
        pass
    assert "\n" not in str(said.value)
    return said.value


@contextmanager
def mongod_by_hand(program: Path, folder: Path) -> Iterator[int]:
    """Run a mongod that nobody but the test knows; yield its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = closed_port()
    command = [program, "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                if process.poll() is None and socket.socket().connect_ex(("127.0.0.1", port)) == 0:
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def user(project: Project, code: str, home: Path) -> subprocess.Popen[str]:
    """Start another person's Python on the project; ``fo`` is FiftyOne, ``say`` prints a line at once."""
    lines = [
        "import os, sys, time, pathlib",
        "from functools import partial",
        "from labeling.project import Project",
        "from distill.fiftyone_server import database",
        "say = partial(print, flush=True)",
        f"with database(Project.open(pathlib.Path({str(project.root)!r}))) as fo:",
        *(f"    {line}" for line in code.splitlines()),
    ]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_database_is_the_projects_own_on_this_machine_only_and_ends_with_its_last_user(project: Project) -> None:
    with database(project) as fo:
        fo.Dataset("kept", persistent=True)
        fo.Dataset("for a moment")
        (pid,) = mongods(project)
        assert listening(pid) == {"127.0.0.1"}
        assert fo.config.do_not_track
        assert str(fo.config.default_dataset_dir).startswith(str(project.root / "curation"))
        assert os.environ[URI_VARIABLE].startswith("mongodb://127.0.0.1:")
    assert URI_VARIABLE not in os.environ, "the next project would take it for one that the user has set"
    assert is_gone(project)
    assert (project.root / "curation" / ".gitignore").read_text() == "*\n"
    with database(project) as fo:
        assert "kept" in fo.list_datasets()


def test_two_users_who_start_at_once_share_one_mongod(project: Project, tmp_path: Path) -> None:
    meet = (
        "fo.Dataset(sys.argv[0] + str(os.getpid()), persistent=True)\n"
        "say(os.environ['FIFTYONE_DATABASE_URI'])\n"
        "sys.stdin.readline()\n"
        "say(len(fo.list_datasets()))"
    )
    users = [user(project, meet, tmp_path / "home") for _ in range(2)]
    addresses = [one.stdout.readline() for one in users if one.stdout]
    assert addresses[0] == addresses[1] != ""
    assert len(mongods(project)) == 1
    for one, seen in zip(users, ("2\n", "2\n"), strict=True):
        said, errors = one.communicate("go on\n", timeout=60)
        assert (one.returncode, said) == (0, seen), errors
    assert is_gone(project)
    assert not (tmp_path / "home" / ".fiftyone").exists()
    assert not (tmp_path / "home" / "fiftyone").exists()


def test_projects_that_are_open_at_the_same_time_have_databases_of_their_own(project: Project, tmp_path: Path) -> None:
    other = Project.create(tmp_path / "other", made.ontology(["disc"]))
    theirs = user(other, "fo.Dataset('theirs', persistent=True)\nsay('open')\nsys.stdin.readline()", tmp_path / "home")
    assert theirs.stdout is not None
    assert theirs.stdout.readline() == "open\n"
    with database(project) as fo:
        assert fo.list_datasets() == []
        assert mongods(project) != mongods(other)
    theirs.communicate("close\n", timeout=60)


def test_a_mongod_that_is_killed_in_between_is_told_in_one_line_and_nothing_is_lost(project: Project) -> None:
    def use() -> None:
        with database(project) as fo:
            dataset = fo.Dataset("kept", persistent=True)
            dataset.add_sample(fo.Sample(filepath="/a.jpg", tags=["relabel"]))
            time.sleep(0.5)  # mongod writes its journal ten times a second
            os.kill(mongods(project)[0], signal.SIGKILL)
            dataset.count_sample_tags()

    with pytest.raises(ServerError, match="mongod, has ended while it was used: run the same command again") as said:
        use()
    assert "\n" not in str(said.value)
    assert is_gone(project)
    with database(project) as fo:
        assert fo.load_dataset("kept").count_sample_tags() == {"relabel": 1}


def test_a_user_who_is_killed_takes_mongod_along(project: Project, tmp_path: Path) -> None:
    killed = user(project, "say('open')\ntime.sleep(60)", tmp_path / "home")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "open\n"
    assert mongods(project)
    killed.kill()
    killed.wait()
    assert is_gone(project)


def test_a_database_that_another_mongod_has_open_is_left_alone(project: Project, program: Path) -> None:
    with mongod_by_hand(program, project.root / "curation" / "db"):
        error = refused(project)
        assert isinstance(error, StateError)
        assert "another mongod has this folder open" in str(error)
        assert len(mongods(project)) == 1


def test_a_damaged_database_says_that_it_can_be_deleted(project: Project, program: Path) -> None:
    folder = project.root / "curation" / "db"
    with mongod_by_hand(program, folder):
        pass
    (folder / "WiredTiger.wt").write_bytes(b"no database" * 400)
    error = refused(project)
    assert isinstance(error, StateError)
    assert f"{folder}: the database of FiftyOne is damaged: delete the folder" in str(error)


def test_a_folder_that_cannot_be_written(project: Project) -> None:
    project.root.chmod(0o555)
    try:
        with bound_by_file_modes():
            error = refused(project)
    finally:
        project.root.chmod(0o755)
    assert isinstance(error, InputError)
    assert f"{project.root / 'curation'}: cannot be written: Permission denied" in str(error)


def test_fiftyone_that_is_not_installed_names_the_extra(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    error = refused(project)
    assert isinstance(error, MissingExtraError)
    assert (error.library, error.extra) == ("fiftyone", "curate")
    assert not (project.root / "curation").exists()


def test_fiftyone_without_mongod_says_how_to_get_one(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "fiftyone").mkdir(parents=True)
    (tmp_path / "site" / "fiftyone" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    error = refused(project)
    assert isinstance(error, StateError)
    assert INSTALL_MONGOD in str(error)
    assert URI_VARIABLE in str(error)


def test_an_address_where_nothing_answers_is_not_waited_for_and_its_password_is_not_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (closed_port(), silent.getsockname()[1]):
            monkeypatch.setenv(URI_VARIABLE, f"mongodb://ann:s3cret@127.0.0.1:{port}/")
            started = time.monotonic()
            error = refused(project)
            assert time.monotonic() - started < 30  # the first import of FiftyOne takes most of it
            assert isinstance(error, ServerError)
            assert f"nothing answers at 127.0.0.1:{port} ({URI_VARIABLE})" in str(error)
            assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    "uri", ["127.0.0.1:27017", "mongodb://", "mongodb://ann:s3c@ret@host", "mongodb://host:s3cret"]
)
def test_an_address_that_is_none(project: Project, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv(URI_VARIABLE, uri)
    error = refused(project)
    assert isinstance(error, InputError)
    assert str(error) == f"{URI_VARIABLE} is no address: expected mongodb://HOST:PORT"


def test_a_server_of_ones_own_is_used_as_it_is_and_may_refuse_the_login(
    project: Project, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mongod_by_hand(program, tmp_path / "elsewhere") as port:
        monkeypatch.setenv(URI_VARIABLE, f"mongodb://127.0.0.1:{port}")
        with database(project) as fo:
            fo.Dataset("over there", persistent=True)
            assert not mongods(project)
        assert os.environ[URI_VARIABLE] == f"mongodb://127.0.0.1:{port}"
        assert not (project.root / "curation" / "db").exists()
        monkeypatch.setenv(URI_VARIABLE, f"mongodb://ann:s3cret@127.0.0.1:{port}")
        error = refused(project)
        assert isinstance(error, ServerError)
        assert f"127.0.0.1:{port}, refuses the login" in str(error)
        assert "s3cret" not in str(error)


def test_the_app_takes_the_next_port_that_is_free_on_this_machine_only(project: Project) -> None:
    import requests

    with database(project) as fo, socket.create_server(("127.0.0.1", 0)) as taken:
        fo.Dataset("mine", persistent=True)
        port = taken.getsockname()[1]
        with open_app(fo, "mine", port) as app:
            assert app.port > port
            assert app.url == f"http://127.0.0.1:{app.port}/datasets/mine"
            assert "<html" in requests.get(app.url, timeout=30).text
            assert listening(app.server.pid) == {"127.0.0.1"}
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", app.port), timeout=1)
    assert is_gone(project)


def test_a_taken_port_makes_way_for_the_next() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port(taken.getsockname()[1]) > taken.getsockname()[1]
    with pytest.raises(InputError, match="no port from 65536 on is free"):
        free_port(65536)

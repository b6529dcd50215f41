"""The server as a process, with small programs in place of Label Studio: recognised, ended, and what it gets to see."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from labeling.cli import main
from labeling.core.errors import ServerError, StateError
from labeling.core.ontology import parse_classes
from labeling.core.private_files import write_private
from labeling.project import Project
from labeling.studio import local, processes, server
from labeling.studio.folder import data_path, files_path, log_path, make_folders, record_path, secrets_path
from labeling.studio.processes import birth, end
from labeling.studio.server import Server, end_misplaced, running, start, stop, wait_until_up

SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    made = Project.create(tmp_path / "project", parse_classes("box"))
    yield made
    if record_path(made).exists() and (left := running(made)):
        stop(left, made)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen([sys.executable, "-c", SLEEPS]) as process:
        yield process
        process.kill()


def program(folder: Path, body: str) -> Path:
    """Write a program that stands where Label Studio stands."""
    folder.mkdir(exist_ok=True)
    path = folder / "label-studio"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return path


def started(project: Project, body: str = SLEEPS, **login: str) -> Server:
    return start(program(project.root.parent / "bin", body), project, login)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def typed(capsys: pytest.CaptureFixture[str], project: Project, *words: str) -> tuple[int, str, str]:
    code = main(["studio", *words, "--project", str(project.root)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_process_has_one_birth_and_no_other_has_the_same(bystander: subprocess.Popen[bytes]) -> None:
    ours = birth(os.getpid())
    assert ours is not None
    assert ours == birth(os.getpid()) != birth(bystander.pid)
    bystander.kill()
    until(lambda: birth(bystander.pid) is None)  # a zombie lives no more
    assert bystander.poll() is not None
    assert birth(bystander.pid) is None
    assert birth(2**22 + 1) is None


def test_a_process_that_will_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_TERM_WITHIN_S", 0.2)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert end(process.pid, str(birth(process.pid)))
        assert process.wait() == -9


def test_nobody_elses_process_is_ended_though_it_has_the_number(
    project: Project, bystander: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    make_folders(project)
    earlier = Server(pid=bystander.pid, born="boot/1", folder=str(project.studio_path), port=8080, since=0.0, up=True)
    write_private(record_path(project), earlier.model_dump())
    assert running(project) is None
    assert typed(capsys, project, "status")[1].startswith("Label Studio is not running\n")
    assert typed(capsys, project, "down") == (0, "Label Studio is not running\n", "")
    assert bystander.poll() is None


def test_the_server_sees_its_folders_and_secrets_and_nothing_of_the_shell(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "PORT", "DEBUG", "PASSWORD", "USER_TOKEN", "CLOUD_SECRET", "LABEL_STUDIO_HOST", "https_proxy"):
        monkeypatch.setenv(name, "from-the-shell")
    body = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), os.getsid(0)]))"
    made = started(project, body, SECRET_KEY="kept-canary")
    until(lambda: birth(made.pid) != made.born)
    arguments, environment, folder, session = json.loads(log_path(project).read_text())
    assert arguments[:4] == ["start", "--no-browser", "--internal-host", "127.0.0.1"]
    assert "kept-canary" not in " ".join(arguments)
    assert environment["SECRET_KEY"] == "kept-canary"
    assert "from-the-shell" not in environment.values()
    assert folder == environment["LABEL_STUDIO_BASE_DATA_DIR"] == environment["HOME"] == str(data_path(project))
    assert environment["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] == str(files_path(project))
    assert environment["LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK"] == "true"
    assert environment["LABEL_STUDIO_COLLECT_ANALYTICS"] == environment["LABEL_STUDIO_LATEST_VERSION_CHECK"] == "false"
    assert environment["LABEL_STUDIO_SENTRY_DSN"] == environment["LABEL_STUDIO_FRONTEND_SENTRY_DSN"] == ""
    assert session == made.pid, "Ctrl-C in the terminal must not reach it"
    modes = {path.name: path.stat().st_mode & 0o777 for path in project.studio_path.iterdir()}
    assert (modes["server"], modes["server.log"], modes["server.json"]) == (0o700, 0o600, 0o600)
    assert (project.studio_path / ".gitignore").read_text() == "*\n"


def test_no_process_exists_that_the_folder_does_not_know_of(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_any: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "write_private", cut_off)
    with pytest.raises(KeyboardInterrupt):
        started(project, f"open({str(project.root / 'ran')!r}, 'w'); {SLEEPS}")
    assert not record_path(project).exists()
    until(lambda: f"{project.root.parent}/bin/label-studio" not in _processes())
    assert not (project.root / "ran").exists()


def _processes() -> str:
    shown = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                shown.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(shown)


def test_a_port_that_is_taken_gives_way_to_the_next(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert server._free_port(port) > port
    assert server._free_port(port) == port


def test_no_free_port_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PORTS", 1)
    with socket.create_server(("0.0.0.0", 0)) as taken, pytest.raises(ServerError, match="no free port from"):
        server._free_port(taken.getsockname()[1])


def test_what_it_said_last_is_said_when_it_ends_at_once(project: Project) -> None:
    made = started(project, "print('first'); print('no space \\x1b[2Jleft'); raise SystemExit(3)")
    with pytest.raises(ServerError) as ended:
        wait_until_up(made, project, print)
    assert str(ended.value) == (
        f"Label Studio ended while it started: no space [2Jleft: see {project.studio_path / 'server.log'}"
    )


def test_a_server_that_never_answers_is_given_up_with_the_next_step(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "START_WITHIN_S", 0.3)
    monkeypatch.setattr(server, "_TOLD_EVERY_S", 0.1)
    told: list[str] = []
    with pytest.raises(ServerError, match=r"see .*server\.log, and end it with labelstill studio down"):
        wait_until_up(started(project), project, told.append)
    assert told
    assert all(line.startswith("still starting after ") for line in told)


def test_a_stranger_at_its_port_is_not_taken_for_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_WITHIN_S", 1.0)
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as stranger:
        Thread(target=stranger.serve_forever, daemon=True).start()
        listens = f"Starting development server at http://127.0.0.1:{stranger.server_port}/"
        made = started(project, f"print({listens!r}, flush=True); {SLEEPS}")
        with pytest.raises(ServerError, match="did not answer"):
            wait_until_up(made, project, print)
        stranger.shutdown()


def test_status_and_down_while_it_starts(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    made = started(project)
    code, out, _err = typed(capsys, project, "status", "--json")
    facts = json.loads(out)
    assert (code, facts["state"], facts["pid"], facts["version"]) == (0, "starting", made.pid, None)
    code, out, _err = typed(capsys, project, "down")
    assert code == 0
    assert f"has ended (process {made.pid})" in out
    assert birth(made.pid) != made.born
    assert typed(capsys, project, "down", "--json") == (0, '{"state": "not running", "ended": null}\n', "")


def test_a_folder_that_moved_takes_its_server_down_and_a_copy_leaves_it_alone(project: Project, tmp_path: Path) -> None:
    made = started(project)
    copy = Project.create(tmp_path / "copy", parse_classes("box"))
    make_folders(copy)
    record_path(copy).write_bytes(record_path(project).read_bytes())
    record_path(copy).chmod(0o600)
    write_private(record_path(project), made.model_copy(update={"up": True}).model_dump())  # it went on since
    assert running(copy) is None
    assert not end_misplaced(copy)
    assert birth(made.pid) == made.born
    moved = Project.open(project.root.rename(tmp_path / "moved"))
    assert running(moved) is None
    assert end_misplaced(moved)
    assert birth(made.pid) != made.born
    assert not end_misplaced(moved)


def test_a_record_that_is_damaged_is_said(project: Project) -> None:
    make_folders(project)
    write_private(record_path(project), {"pid": "many"})
    with pytest.raises(StateError, match=r"server\.json: is damaged .*: end the Label Studio that may still run"):
        running(project)
    record_path(project).unlink()


def test_without_label_studio_one_sentence_names_the_command(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(local, "ROOT", Path("/nowhere"))
    code, out, err = typed(capsys, project, "up")
    assert (code, out) == (1, "")
    (said,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "make studio-env" in said
    assert not record_path(project).exists()


def test_a_project_without_a_server_has_a_status_and_gets_no_folder(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = typed(capsys, project, "status")
    assert (code, err) == (0, "")
    assert out.startswith("Label Studio is not running\nnext: labelstill studio up --project ")
    assert typed(capsys, project, "down")[0] == 0
    assert not project.studio_path.exists()


def test_two_at_once_wait_for_each_other(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    make_folders(project)
    monkeypatch.setattr(local, "_WAIT_FOR_ANOTHER_S", 0.1)
    with FileLock(project.studio_path / ".lock"):
        code, out, err = typed(capsys, project, "up")
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "another labelstill studio is at work here: waiting for it"
    assert "end it, and try again" in err
    assert not secrets_path(project).exists()

"""Label Studio and mongod as the doctor sees them: real servers on this machine, and ports that nobody listens at."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from labeling import health_servers
from labeling.health import Check
from labeling.health_servers import server_checks


@pytest.fixture(autouse=True)
def _no_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)


def servers() -> dict[str, Check]:
    return {check.name: check for check in server_checks(Path("no such project"))}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def http_server(status: int, body: bytes) -> Iterator[tuple[int, list[str]]]:
    """Answer every question with the same; yield the port and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_label_studio_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(200, b'{"status": "UP"}') as (port, asked):
        monkeypatch.setenv("LABEL_STUDIO_URL", f"http://ann:secret@127.0.0.1:{port}/studio/")
        found = servers()["Label Studio"]
    assert found.state == "OK"
    assert f"answers at http://127.0.0.1:{port}/studio/" in found.detail
    assert "secret" not in found.detail + found.fix
    assert asked == ["/studio/health"]


@pytest.mark.parametrize(("status", "body"), [(404, b"not found"), (200, b"<html>"), (500, b'{"status": "UP"}')])
def test_something_else_at_that_address(status: int, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(status, body) as (port, _):
        monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{port}")
        found = servers()["Label Studio"]
    assert found.state == "WARN"
    assert "something else answers at" in found.detail


def test_label_studio_that_is_absent_is_a_warning_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(health_servers, "ROOT", Path("/nowhere"))
    found = servers()["Label Studio"]
    assert found.state == "WARN"
    assert "not installed, no answer at" in found.detail
    assert found.fix == "make studio-env"


def test_label_studio_that_is_installed_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "label-studio"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{closed_port()}")
    found = servers()["Label Studio"]
    assert found.state == "WARN"
    assert found.detail.startswith("installed, no answer at")
    assert found.fix.endswith("unset it: labelstill studio up")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_an_address_that_is_none_has_to_be_fixed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", url)
    found = servers()["Label Studio"]
    assert (found.state, found.fix) == ("FIX", "export LABEL_STUDIO_URL=http://127.0.0.1:8080")
    assert found.detail == "LABEL_STUDIO_URL is no address: expected http://HOST:PORT"  # it may hold a token


def test_a_server_that_never_answers_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_servers, "ANSWER_WITHIN_S", 0.05)
    with silent_server() as port:
        monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{port}")
        found = servers()["Label Studio"]
    assert found.state == "WARN"
    assert "no answer at" in found.detail


def test_a_mongod_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_server() as port:
        monkeypatch.setenv("FIFTYONE_DATABASE_URI", f"mongodb://ann:p@ss@127.0.0.1:{port},other:1/db?x=y")
        found = servers()["mongod"]
    assert found == Check("mongod", "OK", f"something listens at 127.0.0.1:{port} (FIFTYONE_DATABASE_URI)")
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", f"mongodb://127.0.0.1:{closed_port()}")
    found = servers()["mongod"]
    assert found.state == "WARN"
    assert "nothing listens at 127.0.0.1:" in found.detail
    assert "correct FIFTYONE_DATABASE_URI" in found.fix


@pytest.mark.parametrize("uri", ["localhost:27017", "mongodb://", "mongodb://host:port"])
def test_a_mongod_address_that_is_none_has_to_be_fixed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", uri)
    assert servers()["mongod"].fix == "export FIFTYONE_DATABASE_URI=mongodb://127.0.0.1:27017"


def test_the_mongod_of_fiftyone_is_found_in_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fiftyone"
    (package / "db" / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    assert servers()["mongod"].state == "WARN"
    program = package / "db" / "bin" / "mongod"
    program.touch(0o755)
    assert servers()["mongod"] == Check("mongod", "OK", f"{program}, started by labelstill curate")

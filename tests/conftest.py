"""What every test may rely on: importable helpers, no way out to the network, no skips where none are allowed."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from tests.curated import Curated
    from tests.studio_servers import StudioServer

ROOT = Path(__file__).resolve().parents[1]
# `python -m pytest` has the root on its path, `pytest` alone has not; tests import their helpers as tests.<name>.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# Read by the libraries when they are imported, hence here and not in a fixture.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other workers are on the other cores
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false")

_REQUIRE_ALL = os.environ.get("LABELSTILL_REQUIRE_ALL") == "1"
_LOOPBACK = ("127.", "::1", "localhost")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sum in one order, so that two calls, or two processes, come to the same bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _without_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _without_skip((yield))


def _without_skip(report: Report) -> Report:
    """With LABELSTILL_REQUIRE_ALL=1 a test that did not run is a test that failed."""
    if _REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"LABELSTILL_REQUIRE_ALL=1 forbids skips; skipped because: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioServer]:
    """A real Label Studio that all tests of the session share; each test makes a project of its own in it."""
    from tests.studio_servers import session_server

    with session_server(tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="session")
def fo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module ``fiftyone`` with a real mongod that all tests of this process share."""
    from tests.fiftyone_home import configured

    with configured(tmp_path_factory.mktemp("fiftyone")) as fiftyone:
        yield fiftyone


@pytest.fixture
def room(tmp_path: Path, fo: Any) -> Iterator[Curated]:
    """A small project with labels of people and of a teacher, and nothing of it in FiftyOne yet."""
    from tests.curated import curated, forget

    made = curated(tmp_path)
    yield made
    forget(made)

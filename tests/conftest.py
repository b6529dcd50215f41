"""What every test may rely on: importable helpers, no way out to the network, no skips where none are allowed."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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


@pytest.fixture
def drawn_backend() -> Iterator[None]:
    """`drawn` is a detector and a segmenter while the test runs."""
    from tests import fakes

    fakes.register()
    yield
    fakes.unregister()


@pytest.fixture
def snapped_backend(drawn_backend: None) -> Iterator[None]:
    """`snapped` is a detector, too; it knows colours that a video has blurred."""
    from tests import made_videos

    made_videos.register_snapped()
    yield
    made_videos.unregister_snapped()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of 24 frames: a red square goes right, a blue one left."""
    from tests.made_videos import encode, moving

    return encode(tmp_path / "films" / "clip.mp4", moving(24), pix_fmt="yuv444p")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab with cookies of its own."""
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page


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

"""The report in a real browser: it is laid out, pictures load, and nothing is fetched."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labeling.commands.report import write_report
from labeling.project import Project
from tests import made_stores as made
from tests.made_stores import Thing

pytestmark = pytest.mark.browser
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Path:
    things = (Thing("disc", (20, 20, 120, 90), 0.9, masked=True), Thing("ladder", (130, 20, 180, 100), 0.4))
    project = Project.create(tmp_path / "project", made.ontology(["disc", "ladder"]))
    with project.open_store(create=True) as store:
        path = made.photo(tmp_path / "photos" / "größe #1.jpg", things, (200, 120))
        made.write(store, ["disc", "ladder"], [made.outcome([path], things, (200, 120))])
    target = tmp_path / "report.html"
    write_report(project, target)
    return target


def chromium(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    command = [found, *_FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_it_renders_with_its_pictures_and_asks_nobody_for_anything(page: Path, tmp_path: Path) -> None:
    run = partial(chromium, tmp_path / "profile")
    dom = run("--dump-dom", page.as_uri()).stdout
    assert dom.count("data:image/jpeg;base64,") >= 1
    assert "disc" in dom
    assert "http://" not in dom.replace("http://www.w3.org/", "")
    assert "https://" not in dom
    shot = tmp_path / "shot.png"
    run(f"--screenshot={shot}", "--window-size=1200,1600", page.as_uri())
    seen = np.asarray(Image.open(shot).convert("RGB"))
    assert seen.shape == (1600, 1200, 3)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 50  # a page with pictures, not an error or a blank

"""The three packages have common names: they must be ours, and what a user imports must be light."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.mark.parametrize("name", ["labeling", "distill", "export"])
def test_package_resolves_inside_this_distribution(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / name / "__init__.py"
    assert module.__doc__


def test_packages_resolve_here_from_any_folder(tmp_path: Path) -> None:
    code = "import labeling, distill, export; print(labeling.__file__, distill.__file__, export.__file__)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(ROOT / name / "__init__.py") for name in ("labeling", "distill", "export")]


def test_it_cannot_be_uploaded_by_accident() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert project["name"] == "labelstill"


def test_no_script_shadows_a_package() -> None:
    scripts = [path.stem for path in (ROOT / "scripts").rglob("*.py")]
    assert len(scripts) >= 5
    assert not {"labeling", "distill", "export"} & set(scripts)


RUNTIME = ROOT / "export" / "runtime.py"
"""Goes onto the device as one file, so that people can take it alone into programs of their own."""


def test_no_room_but_the_runtime_is_larger_than_350_lines() -> None:
    rooms = [path for top in ("labeling", "distill", "export", "scripts") for path in (ROOT / top).rglob("*.py")]
    assert len(rooms) > 50
    assert [str(path) for path in rooms if len(path.read_text().splitlines()) > 350] == [str(RUNTIME)]


def test_every_room_says_its_one_job_first() -> None:
    folders = ("labeling", "distill", "export", "scripts", "tests")
    rooms = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(rooms) > 90
    assert [str(path) for path in rooms if not path.read_text().startswith(('"""', "#!"))] == []

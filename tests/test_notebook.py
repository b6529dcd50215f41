"""The notebooks run from the first cell to the last, offline, and are kept without outputs beside their sources.

After a change of a source: .venv/bin/jupytext --to ipynb --update notebooks/NAME.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests.paths import ROOT

SOURCES = sorted((ROOT / "notebooks").glob("*.py"))


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_every_notebook_has_its_source() -> None:
    assert [path.stem for path in SOURCES] == [
        "01_prompt_to_edge", "02_label_your_photos", "03_review_and_curate", "04_ship_to_a_jetson",
    ]  # fmt: skip
    assert sorted((ROOT / "notebooks").glob("*.ipynb")) == [path.with_suffix(".ipynb") for path in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_is_its_source_without_outputs(source: Path) -> None:
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert cells(source.with_suffix(".ipynb")) == cells(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert {cell.execution_count for cell in code} == {None}


def executed(name: str, folder: Path, timeout_s: int = 300) -> list[Any]:
    """Run a notebook in a folder and return everything that its cells put out; raises where a cell fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=timeout_s, resources={"metadata": {"path": str(folder)}}).execute(env=environment)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def lines_of(shown: list[Any]) -> list[str]:
    return "".join(output.text for output in shown if output.get("name") == "stdout").splitlines()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder in which label_your_photos ran, and everything that its cells put out."""
    folder = tmp_path_factory.mktemp("notebook")
    return folder, executed("02_label_your_photos", folder)


@pytest.mark.torch
def test_it_shows_pictures_and_finds_the_same_both_ways(outputs: tuple[Path, list[Any]]) -> None:
    folder, shown = outputs
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    printed = lines_of(shown)
    assert sum(line.startswith("warehouse-") for line in printed) == 4
    assert "True" in printed  # labels.db holds what the threshold kept
    assert "False" not in printed
    assert any(line.startswith("labelled     12 images") for line in printed)
    assert len(list((folder / "photos").iterdir())) == 12
    assert (folder / "mine" / "labels.db").is_file()
    assert (folder / "mine" / "exports" / "yolo" / "data.yaml").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_a_prompt_to_an_edge_bundle(tmp_path: Path) -> None:
    printed = lines_of(executed("01_prompt_to_edge", tmp_path, timeout_s=1500))
    assert "160 tasks answered" in printed or os.environ.get("LABELSTILL_REQUIRE_ALL") is None
    manifest = json.loads((tmp_path / "loop/exports/first/manifest.json").read_text())
    # 20 epochs on 112 photos: the loop is proven, not the student.
    assert manifest["accuracy"]["fp32"]["ap50"] > 0.2
    assert any("golden outputs, by this very model: as at home" in line for line in printed)
    assert (tmp_path / "loop/reports/student-first.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_labels_are_reviewed_and_curated(tmp_path: Path) -> None:
    printed = lines_of(executed("03_review_and_curate", tmp_path, timeout_s=600))
    assert "32 tasks answered" in printed or os.environ.get("LABELSTILL_REQUIRE_ALL") is None
    assert any(line.startswith("unchanged    32 tasks") for line in printed) or "32 tasks answered" not in printed
    assert any(line.startswith("Counter({") and "human" in line for line in printed)
    assert (tmp_path / "review/reports/curation.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_student_is_shipped_and_watched(tmp_path: Path) -> None:
    printed = lines_of(executed("04_ship_to_a_jetson", tmp_path, timeout_s=600))
    assert any("fp32: as at home" in line for line in printed), printed
    (log,) = (tmp_path / "logs/dark").glob("*.jsonl")
    assert len(log.read_text().splitlines()) == 1 + 500
    assert len(list((tmp_path / "seen").rglob("*.jpg"))) == 500
    assert any("light" in line and "drift" in line for line in printed), printed[-40:]

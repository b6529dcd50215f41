"""The notebooks run from the first cell to the last, offline, and are kept without outputs beside their sources.

After a change of a source: .venv/bin/jupytext --to ipynb --update notebooks/NAME.py
"""

from __future__ import annotations

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
    assert [path.stem for path in SOURCES] == ["label_your_photos"]
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


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder in which label_your_photos ran, and everything that its cells put out."""
    folder = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    notebook = nbformat.read(ROOT / "notebooks" / "label_your_photos.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)  # raises where a cell fails
    return folder, [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.torch
def test_it_shows_pictures_and_finds_the_same_both_ways(outputs: tuple[Path, list[Any]]) -> None:
    folder, shown = outputs
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    printed = "".join(output.text for output in shown if output.get("name") == "stdout").splitlines()
    assert sum(line.startswith("warehouse-") for line in printed) == 4
    assert "True" in printed  # labels.db holds what the threshold kept
    assert "False" not in printed
    assert any(line.startswith("labelled     12 images") for line in printed)
    assert len(list((folder / "photos").iterdir())) == 12
    assert (folder / "mine" / "labels.db").is_file()
    assert (folder / "mine" / "exports" / "yolo" / "data.yaml").is_file()

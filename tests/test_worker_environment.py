"""The environment of a worker: made, found again, never in place of something else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.core.errors import BackendError, InputError
from labeling.teachers import worker_environment
from tests.fake_worker import environment


def test_an_environment_that_was_not_finished_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELSTILL_GROUNDINGDINO", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert worker_environment.find("groundingdino-py") is None
    assert worker_environment.facts("groundingdino-py") == {}


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="is not empty and no environment of groundingdino-py"):
        worker_environment.install("groundingdino-py", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


def test_an_environment_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "work.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="name an empty or a new folder"):
        worker_environment.install("groundingdino-py", tmp_path)
    assert (tmp_path / "lib" / "work.py").read_text() == "x = 1\n"
    assert (tmp_path / "pyvenv.cfg").exists()


def test_a_place_where_nothing_can_be_made_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/labelstill")):
        with pytest.raises(InputError, match="no environment can be made there"):
            worker_environment.install("groundingdino-py", folder)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of one small package of no use; returns its file of constraints."""
    wheel = tmp_path / "labelstillnothing-1.0-py3-none-any.whl"
    facts = "labelstillnothing-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("labelstillnothing.py", "")
        archive.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: labelstillnothing\nVersion: 1.0\n")
        archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{facts}/RECORD", "")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("labelstillnothing==1.0\n")
    known = worker_environment._RECIPES["groundingdino-py"]
    made = replace(known, packages=(str(wheel),), constraints=constraints)
    monkeypatch.setattr(worker_environment, "_RECIPES", {"groundingdino-py": made})
    return constraints


def test_an_environment_made_for_other_versions_is_not_found(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = environment(tmp_path / "env", monkeypatch, "")
    assert worker_environment.find("groundingdino-py") == python
    recipe.write_text("labelstillnothing==1.1\n")
    assert worker_environment.find("groundingdino-py") is None
    assert worker_environment.pins("groundingdino-py") == {"labelstillnothing": "1.1"}


@pytest.mark.slow
def test_an_environment_is_made_and_after_a_change_of_versions_made_anew(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "env"
    monkeypatch.setenv("LABELSTILL_GROUNDINGDINO", str(folder))
    python = worker_environment.install("groundingdino-py")
    assert worker_environment.find("groundingdino-py") == python == folder / "bin" / "python"
    # Its own package, and those that it borrows.
    subprocess.run([python, "-I", "-c", "import labelstillnothing, numpy"], check=True)
    (folder / "left").write_text("over")
    assert worker_environment.install("groundingdino-py") == python
    assert (folder / "left").exists()
    recipe.write_text("# newer\nlabelstillnothing==1.0\n")
    assert worker_environment.install("groundingdino-py") == python
    assert not (folder / "left").exists()
    recipe.write_text("labelstillnothing==2.0\n")
    with pytest.raises(BackendError, match=r"could not be made: pip ended with 1: .*labelstillnothing"):
        worker_environment.install("groundingdino-py")
    assert worker_environment.find("groundingdino-py") is None

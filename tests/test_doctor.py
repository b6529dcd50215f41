"""The doctor: one line per part, a command where something is missing, quick, and without loading a model library."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.commands import doctor
from labeling.commands.doctor import Check, examine

ROOT = Path(__file__).resolve().parents[1]


def checks(project: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(project)}


def versions(**installed: str) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    return version


def test_every_part_has_a_line_and_a_problem_has_a_command(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert list(found) == [
        "python", "labeling", "distill", "export", "torch", "transformers", "supervision", "ultralytics", "device",
        "disk", "weights",
    ]  # fmt: skip
    assert all(check.fix for check in found.values() if check.state == "FIX")
    assert found["python"].state == "OK"


def test_the_three_packages_are_those_of_this_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("labeling", "distill", "export"):
        assert checks(tmp_path)[name] == Check(name, "OK", str(ROOT / name))
    stranger = tmp_path / "export"
    stranger.mkdir()
    (stranger / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "export", raising=False)
    found = checks(tmp_path)["export"]
    assert found.state == "FIX"
    assert str(stranger) in found.detail


@pytest.mark.parametrize(
    ("installed", "state", "said"),
    [
        ({"torch": "2.14.1", "torchvision": "0.29.1"}, "OK", "torch 2.14.1, torchvision 0.29.1"),
        ({"torch": "2.11.0+cu130", "torchvision": "0.26.0"}, "OK", "2.11.0+cu130"),
        ({"torch": "2.13.0+cpu", "torchvision": "0.29.1"}, "FIX", "are no pair"),
        ({"torch": "2.14.1"}, "FIX", "torchvision is not installed"),
        ({}, "FIX", "torch is not installed"),
    ],
)
def test_torch_and_torchvision_have_to_be_a_pair(
    installed: dict[str, str], state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", versions(**installed))
    found = checks(tmp_path)["torch"]
    assert found.state == state
    assert said in found.detail
    assert ("constraints.txt" in found.fix) == (state == "FIX")


def test_a_missing_extra_that_not_everyone_needs_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", versions())
    found = checks(tmp_path)
    assert found["transformers"].state == "FIX"
    assert found["ultralytics"].state == "WARN"
    assert '".[student]"' in found["ultralytics"].fix


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (tmp_path / "labeling" / "demo" / "teacher" / "detector").mkdir(parents=True)
    (tmp_path / "labeling" / "demo" / "teacher" / "detector" / "model.safetensors").touch()
    found = checks(tmp_path)["weights"]
    assert found.state == "FIX"
    assert "bundled segmenter missing" in found.detail


def test_a_project_that_does_not_exist_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    assert checks(tmp_path / "not" / "yet")["disk"].detail.endswith(f"free at {tmp_path}")


def test_json_and_exit_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", versions())
    assert main(["doctor", "--project", str(tmp_path), "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)["checks"]
    assert len(listed) == 11
    assert {tuple(check) for check in listed} == {("name", "state", "detail", "fix")}
    assert main(["doctor", "--project", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [check["name"] for check in listed]


def test_it_imports_nothing_heavy() -> None:
    code = "import sys; from labeling.cli import main; main(['doctor']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"numpy", "cv2", "torch", "transformers", "ultralytics.nn"}

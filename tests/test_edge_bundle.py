"""The folder that goes to the device: whole or not there, every file in its manifest, and all that it carries."""

from __future__ import annotations

import ast
import configparser
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from export import bundle
from export.runtime import Card, Floats, Model
from labeling.core.errors import InputError, StateError
from tests.made_students import HOSTILE
from tests.paths import ROOT

NAMES = ("crate", HOSTILE)
ABOUT: dict[str, Any] = {
    "name": "first",
    "made_at": "2026-11-22T10:00:00+00:00",
    "weights": "5" * 64,
    "precision": "fp16",
    "models": {"fp32": "model.onnx", "fp16": "model.fp16.onnx"},
    "classes": list(NAMES),
    "model": "yolov8n",
    "licence": "AGPL-3.0",
    "accuracy": {"fp32": {"ap50": 0.5, "ap": None, "images": 7, "part": "val"}},
    "second_look": {"share": 0.1, "per_minute": 30.0, "sentence": "10% are handed on"},
    "remarks": ["not evaluated yet"],
}
FILES = ROOT / "export" / "bundle_files"
CARRIED = ("runtime.py", "bench.py", "timing.py", "device.py", "to_engine.py", "trtexec.py")
ON_THE_DEVICE = {"numpy", "cv2", "onnxruntime", "tensorrt", "tensorrt_rtx", *CARRIED}


class Planted:
    """A network that sees one thing of class 1 in the middle of whatever it is shown."""

    card = Card(
        "ultralytics", "yolov8n", "detect", NAMES, (64, 64), False, "stretch", 32, "yolo", "fp32",
        dict.fromkeys(NAMES, 0.25), 0.7, 300, None, "AGPL-3.0", "5" * 64, "0f" * 8, "ab" * 8,
    )  # fmt: skip

    def run(self, tensor: Floats) -> list[Floats]:
        assert tensor.shape == (1, 3, 64, 64)
        return [np.array([[[32], [32], [16], [32], [0.1], [0.75]]], dtype=np.float32)]


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def written(target: Path, **changes: Any) -> dict[str, Any]:
    """Write a bundle without a real model and return its manifest."""
    with bundle.new_bundle(target, replace=target.exists()) as folder:
        (folder / "model.onnx").write_bytes(b"a model")
        bundle.write_golden(folder, [noise(48, 64), noise(900, 2560)], Model(Planted()))
        bundle.write_carried(folder, NAMES, ABOUT | changes)
        return bundle.write_manifest(folder, ABOUT | changes)


def files_of(folder: Path) -> dict[str, str]:
    """Return sha256 by relative name of every file, found without the code under test."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_manifest_knows_every_other_file(tmp_path: Path) -> None:
    manifest = written(tmp_path / "first")
    there = files_of(tmp_path / "first")
    assert json.loads((tmp_path / "first/manifest.json").read_text()) == manifest
    del there["manifest.json"]
    assert manifest["files"] == there
    assert {"model.onnx", "classes.txt", "golden.npz", "golden/0.png", "golden/1.png", "README.md"} <= set(there)
    assert {*CARRIED, "build.sh", "requirements.txt", "Dockerfile", "labelstill-edge.service"} <= set(there)
    assert (tmp_path / "first/build.sh").stat().st_mode & 0o111 == 0o111
    assert (tmp_path / "first/runtime.py").read_bytes() == (ROOT / "export/runtime.py").read_bytes()


def test_a_bundle_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def dies(target: Path) -> None:
        with bundle.new_bundle(target) as folder:
            (folder / "model.onnx").write_bytes(b"half")
            assert not target.exists()
            bundle.write_manifest(folder, ABOUT)
            raise StateError("the export died")

    with pytest.raises(StateError):
        dies(tmp_path / "first")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_manifest_never_gets_its_name(tmp_path: Path) -> None:
    with bundle.new_bundle(tmp_path / "first") as folder:
        (folder / "model.onnx").write_bytes(b"not proven")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    with bundle.new_bundle(tmp_path / "first") as folder:
        left = folder
    left.mkdir()
    (left / "old").write_text("of the one before")
    assert "old" not in written(tmp_path / "first")["files"]
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_what_a_killed_export_of_another_name_left_is_cleared_away_too(tmp_path: Path) -> None:
    (tmp_path / ".other.part").mkdir()
    (tmp_path / ".other.part/model.onnx").write_bytes(b"half")
    written(tmp_path / "first")
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_remark_is_plain_text_in_the_readme(tmp_path: Path) -> None:
    written(tmp_path / "first", remarks=["worse on <img src=x> and [a](b)\x1b[2J"])
    text = (tmp_path / "first/README.md").read_text()
    assert "&lt;img src=x&gt; and \\[a](b)" in text
    assert "\x1b" not in text


def test_a_new_one_takes_the_place_of_the_old_only_when_it_is_whole(tmp_path: Path) -> None:
    written(tmp_path / "first")
    before = files_of(tmp_path / "first")
    with pytest.raises(StateError), bundle.new_bundle(tmp_path / "first", replace=True):
        raise StateError("the export died")
    assert files_of(tmp_path / "first") == before
    written(tmp_path / "first", name="second")
    assert files_of(tmp_path / "first") != before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file in the way")
    with pytest.raises(InputError, match="exports"), bundle.new_bundle(tmp_path / "exports" / "first"):
        pass


@pytest.mark.parametrize("name", ["model.onnx", "classes.txt", "golden/1.png", "golden.npz", "runtime.py", "build.sh"])
def test_a_bundle_with_a_changed_or_missing_file_is_not_there(tmp_path: Path, name: str) -> None:
    manifest = written(tmp_path / "first")
    assert bundle.read_manifest(tmp_path / "first") == manifest
    path = tmp_path / "first" / name
    path.write_bytes(path.read_bytes() + b"x")
    assert bundle.read_manifest(tmp_path / "first") is None
    path.unlink()
    assert bundle.read_manifest(tmp_path / "first") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": []}', '{"files": {}, "format": 2}', '{"files": {"a": 1}}'])
def test_what_is_no_manifest_is_no_bundle(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert bundle.read_manifest(tmp_path) is None


def test_golden_images_are_kept_without_loss_and_large_ones_are_shrunk(tmp_path: Path) -> None:
    written(tmp_path / "first")
    kept = cv2.imread(str(tmp_path / "first/golden/0.png"))
    assert np.array_equal(kept, noise(48, 64))
    large = cv2.imread(str(tmp_path / "first/golden/1.png"))
    assert large.shape == (450, 1280, 3)


def test_the_golden_answers_are_what_the_model_sees_in_the_golden_images(tmp_path: Path) -> None:
    written(tmp_path / "first")
    with np.load(tmp_path / "first/golden.npz", allow_pickle=False) as golden:
        # Planted: (24, 16) to (40, 48) of 64 x 64, stretched over 64 x 48 and over 1280 x 450 pixels.
        assert golden["0.boxes"] == pytest.approx(np.array([[24, 12, 40, 36]]), abs=1e-4)
        assert golden["1.boxes"] == pytest.approx(np.array([[480, 112.5, 800, 337.5]]), abs=1e-3)
        assert golden["0.class_ids"].tolist() == golden["1.class_ids"].tolist() == [1]
        assert golden["0.scores"].tolist() == [0.75]
        assert golden["0.boxes"].dtype == golden["0.scores"].dtype == np.float32


def test_the_readme_says_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    written(tmp_path / "first")
    text = (tmp_path / "first/README.md").read_text()
    assert "| fp32 | 0.500 | not measured | 7 of val |" in text
    assert "- not evaluated yet" in text
    assert "at most 30 a minute" in text
    assert "10% are handed on." in text
    assert "ask for the source" in text
    written(tmp_path / "first", licence="Apache-2.0")
    assert "ask for the source" not in (tmp_path / "first/README.md").read_text()


def test_a_class_name_cannot_leave_its_place_in_the_readme(tmp_path: Path) -> None:
    written(tmp_path / "first", classes=["a`<b>", HOSTILE])
    text = (tmp_path / "first/README.md").read_text()
    assert "`a'<b>`" in text
    assert "\x1b" not in text
    outside = re.sub(r"`[^`]*`", "", text)
    assert "<b>" not in outside
    assert "<img" not in outside


@pytest.mark.parametrize("name", CARRIED)
def test_what_runs_on_the_device_is_python_3_8_and_needs_nothing_of_ours(name: str) -> None:
    text = (ROOT / "export" / name).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    later = {"slots", "kw_only", "strict"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(one) for one in calls if later & {keyword.arg for keyword in one.keywords}] == []
    imported = {
        (getattr(node, "module", None) or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    ours = {one.removesuffix(".py") for one in CARRIED}
    assert imported - set(sys.stdlib_module_names) - ON_THE_DEVICE - ours == set()


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = FILES / "labelstill-edge.service"
    told = configparser.RawConfigParser(strict=False)
    told.optionxform = str  # type: ignore[assignment, method-assign]
    told.read_string(unit.read_text())
    service = told["Service"]
    assert service["User"] not in ("", "root")
    assert service["Restart"] == "on-failure"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["WorkingDirectory"].startswith("/opt/")
    # What it writes lies where the unit may write.
    assert f"/var/lib/{service['StateDirectory']}" in service["ExecStart"]
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_the_container_leaves_root_before_it_runs_anything() -> None:
    lines = [line for line in (FILES / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    verbs = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert verbs[:2] == ["ARG", "FROM"]
    assert verbs.index("USER") < verbs.index("ENTRYPOINT")
    assert "USER root" not in lines
    assert json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).partition(" ")[2])[1] in CARRIED


def test_build_sh_is_posix_and_changes_nothing_of_the_device() -> None:
    text = (FILES / "build.sh").read_text()
    assert text.startswith("#!/bin/sh\n")
    assert "set -eu" in text
    subprocess.run(["sh", "-n", str(FILES / "build.sh")], check=True)
    commands = [line.strip() for line in text.splitlines() if not line.strip().startswith(("#", "echo", "fail"))]
    assert not [line for line in commands if re.match(r"(sudo|nvpmodel|jetson_clocks)\b", line)]
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(FILES / "build.sh")], check=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fps"], "--fps wants a value"),
        (["--fps", "fast"], "--fps is fast"),
        (["--precision", "int4"], "--precision is int4"),
        (["--speed"], "--speed is not known"),
    ],
)
def test_build_sh_says_what_was_wrong_with_its_arguments(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = subprocess.run(["sh", str(FILES / "build.sh"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("no-such-python", "no-such-python is missing"),
        ("#!/bin/sh\nexit 1\n", "is older than 3.8"),
        ('#!/bin/sh\ncase "$*" in *numpy*) exit 1;; esac\n', "numpy is missing"),
        ('#!/bin/sh\ncase "$*" in *cv2*) exit 1;; esac\n', "OpenCV is missing"),
    ],
)
def test_build_sh_names_what_is_not_installed(tmp_path: Path, python: str, said: str) -> None:
    name = python
    if python.startswith("#!"):
        name = str(tmp_path / "python")
        Path(name).write_text(python)
        Path(name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(FILES / "build.sh")], env={"PATH": "/usr/bin:/bin", "PYTHON": name}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(("failing", "code"), [("", 0), ("bench.py", 3), ("runtime.py check --backend tensorrt", 3)])
def test_build_sh_builds_then_checks_then_times_and_passes_on_what_failed(
    tmp_path: Path, failing: str, code: int
) -> None:
    written(tmp_path / "first")
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "$*" >> {tmp_path}/typed\n'
        + (f'case "$*" in "{failing}"*) exit 3;; esac\n' if failing else "")
    )
    python.chmod(0o755)
    done = subprocess.run(
        [str(tmp_path / "first/build.sh"), "--precision", "int8", "--fps", "30"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = [
        "runtime.py check --backend onnx",
        "to_engine.py --precision int8",
        "runtime.py check --backend tensorrt",
        "bench.py --backend tensorrt --fps 30 --json engine/bench.json --markdown engine/bench.md",
    ]
    typed = (tmp_path / "typed").read_text().splitlines()
    stops = next((place for place, line in enumerate(expected) if failing and line.startswith(failing)), 3)
    assert (done.returncode, typed) == (code, expected[: stops + 1])
    assert ("next: python3 runtime.py camera 0" in done.stdout) == (code == 0)

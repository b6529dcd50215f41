"""The bundle alone, with numpy, OpenCV and ONNX Runtime: it checks itself, labels, and refuses what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from labeling.cli import main
from labeling.project import Project
from tests.made_runs import made_project, made_run
from tests.paths import ROOT

pytestmark = pytest.mark.torch

LIBRARIES = ("numpy", "opencv-python-headless", "onnxruntime")
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has three libraries and what they need."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), *LIBRARIES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install {', '.join(LIBRARIES)} here: {done.stderr.strip()[-200:]}")
    return python


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run and its bundle."""
    root = made_project(tmp_path_factory.mktemp("bare-project"))
    made_run(root)
    assert main(["export", "--project", str(root), "--images", "4"]) == 0
    return root


@pytest.fixture
def bundle(project: Path, tmp_path: Path) -> Path:
    """The bundle as it is copied to a machine that knows nothing else."""
    shutil.copytree(project / "exports/first", tmp_path / "device")
    return tmp_path / "device"


@pytest.fixture
def typed(bare: Path, bundle: Path) -> Callable[..., Done]:
    """Type a command in the folder of the bundle; no variable of this process is passed on."""

    def type_it(*command: str) -> Done:
        environment = {"PATH": os.defpath, "PYTHON": str(bare), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)

    return lambda *words: type_it(*(words if words[0].startswith("./") else (str(bare), *words)))


def photos_of(root: Path, count: int) -> list[Path]:
    with Project.open(root).open_store() as store:
        return sorted(path for sha256 in sorted(store.states()) for path in store.files_of(sha256))[:count]


def at_home(project: Path, frame: Any) -> list[tuple[int, float, list[float]]]:
    """Return what the student itself sees in a frame: torch, and the preparation and NMS of the bundle."""
    from export.predictor import TorchSession
    from export.runtime import Model, OnnxSession

    card = OnnxSession(project / "exports/first/model.onnx").card
    found = Model(TorchSession(project / "runs/train/first/student.safetensors", card))(frame)
    return [
        (int(class_id), float(score), box.tolist())
        for box, score, class_id in zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True)
    ]


def same(rows: list[list[float]], expected: list[tuple[int, float, list[float]]]) -> bool:
    """Say whether a line of the runtime names the same objects: scores have 3 decimals, edges are whole pixels."""
    return len(rows) == len(expected) and all(
        row[0] == class_id and row[1:] == pytest.approx([score, *box], abs=0.55) and abs(row[1] - score) < 0.003
        for row, (class_id, score, box) in zip(rows, expected, strict=True)
    )


def signed(bundle: Path, **changes: Any) -> None:
    """Write a manifest that agrees with every file, as somebody would who knows how; changes come on top."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {
        name: hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        for name in manifest["files"]
        if (bundle / name).exists()
    }
    path.write_text(json.dumps({**manifest, **changes}))


def test_the_environment_is_bare(typed: Callable[..., Done]) -> None:
    for name in ("torch", "ultralytics", "onnx", "labeling", "distill", "export", "tensorrt"):
        assert f"No module named '{name}'" in typed("-c", f"import {name}").stderr
    assert typed("-c", "import numpy, cv2, onnxruntime").returncode == 0


def test_it_checks_itself(typed: Callable[..., Done]) -> None:
    done = typed("runtime.py", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "as at home" in done.stdout
    said = json.loads(typed("runtime.py", "check", "--precision", "fp16", "--json").stdout)
    assert said["passed"] is True
    assert said["objects"] > 0


def test_it_labels_a_folder_as_the_student_does_at_home(
    typed: Callable[..., Done], project: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for path in photos_of(project, 6):
        shutil.copyfile(path, tmp_path / "photos" / path.name)
    done = typed("runtime.py", "folder", str(tmp_path / "photos"))
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == sorted(path.name for path in (tmp_path / "photos").iterdir())
    assert sum(len(line["objects"]) for line in lines) > 0
    for line in lines:
        assert same(line["objects"], at_home(project, cv2.imread(str(tmp_path / "photos" / line["file"]))))


def test_it_labels_a_video(typed: Callable[..., Done], project: Path, tmp_path: Path) -> None:
    frames = [cv2.imread(str(path)) for path in photos_of(project, 5)]
    high, wide = frames[0].shape[:2]
    video = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (wide, high))
    for frame in frames:
        video.write(frame)
    video.release()
    done = typed("runtime.py", "video", str(tmp_path / "film.avi"), "--log", str(tmp_path / "logs"))
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(frames)
    film = cv2.VideoCapture(str(tmp_path / "film.avi"))
    for line in lines:
        there, frame = film.read()
        assert there
        assert same(line["objects"], at_home(project, frame))
    (log,) = (tmp_path / "logs").iterdir()
    assert len(log.read_text().splitlines()) == 1 + len(frames)


def test_it_is_timed(typed: Callable[..., Done], bundle: Path) -> None:
    (bundle / "engine").mkdir()
    files = ("--json", "engine/bench.json", "--markdown", "engine/bench.md")
    done = typed("bench.py", "--backend", "onnx", "--fps", "0.01", "--calls", "4", *files)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((bundle / "engine/bench.json").read_text())
    assert (bundle / "engine/bench.md").read_text().startswith("|")
    assert typed("bench.py", "--backend", "onnx", "--fps", "1000000", "--calls", "4").returncode == 3
    # What the device wrote does not make it another bundle.
    assert typed("runtime.py", "verify").returncode == 0


def external(bundle: Path) -> None:
    """Let the first tensor of the model lie in a file above the bundle."""
    import onnx

    model = onnx.load(str(bundle / "model.onnx"))
    tensor = model.graph.initializer[0]
    (bundle.parent / "outside").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../outside")
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    signed(bundle)


def other_card(bundle: Path) -> None:
    """Let the model say that it was made of other weights."""
    import onnx

    model = onnx.load(str(bundle / "model.onnx"))
    (entry,) = (one for one in model.metadata_props if one.key == "labelstill")
    entry.value = json.dumps({**json.loads(entry.value), "weights": "0" * 64})
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    signed(bundle)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def without_classes(bundle: Path) -> None:
    (bundle / "classes.txt").unlink()
    signed(bundle)


def other_classes(bundle: Path) -> None:
    (bundle / "classes.txt").write_text("cone\nbox\n")
    signed(bundle, classes=["cone", "box"])


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed model": (lambda bundle: flipped(bundle / "model.onnx"), "model.onnx: is not as it left home"),
    "a changed program": (lambda bundle: flipped(bundle / "to_engine.py"), "to_engine.py: is not as it left home"),
    "a changed golden image": (lambda bundle: flipped(bundle / "golden/0.png"), "0.png: is not as it left home"),
    "a missing file": (lambda bundle: (bundle / "golden.npz").unlink(), "golden.npz: is missing"),
    "a missing class list": (lambda bundle: (bundle / "classes.txt").unlink(), "classes.txt: is missing"),
    "a manifest without the class list": (without_classes, "does not list classes.txt"),
    "a manifest without a model": (lambda bundle: signed(bundle, models={"fp32": "gone.onnx"}), "gone.onnx"),
    "no manifest": (lambda bundle: (bundle / "manifest.json").unlink(), "manifest.json: cannot be read"),
    "classes in another order": (other_classes, "was made of other classes"),
    "a model of other weights": (other_card, "was made of other weights"),
    "a manifest of other weights": (lambda bundle: signed(bundle, weights="0" * 64), "was made of other weights"),
    "tensors outside the bundle": (external, "keeps tensors in another file"),
    "a second model": (lambda bundle: (bundle / "a.onnx").write_bytes(b"x"), "a.onnx: does not belong to the bundle"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_refuses_in_one_sentence(typed: Callable[..., Done], bundle: Path, what: str) -> None:
    spoil, said = WRONG[what]
    spoil(bundle)
    done = typed("runtime.py", "check")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        ({}, None),
        ({"tensorrt": "8.5.2"}, "is of TensorRT 8.5.2, here is 10.3.0"),
        ({"sm": "7.2"}, "is for a GPU of SM 7.2, this one has 8.7"),
        ({"onnx_sha256": "0" * 64}, "was built from another model"),
    ],
)
def test_it_refuses_an_engine_of_another_device(
    typed: Callable[..., Done], bundle: Path, foreign: dict[str, str], said: str | None
) -> None:
    model = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    facts = {"onnx_sha256": model, "precision": "fp16", "tensorrt": "10.3.0", "sm": "8.7", **foreign}
    code = (
        "import pathlib, runtime\nwhole = runtime.verify(pathlib.Path.cwd())\n"
        f"print(runtime.engine_card(whole, {facts!r}, '10.3.0', '8.7').precision)"
    )
    done = typed("-c", code)
    if said is None:
        assert (done.returncode, done.stdout) == (0, "fp16\n")
    else:
        assert done.returncode == 1
        assert said in done.stderr
        assert "./build.sh" in done.stderr


def test_an_engine_where_there_is_no_tensorrt_is_refused(typed: Callable[..., Done], bundle: Path) -> None:
    (bundle / "engine").mkdir()
    (bundle / "engine/model.engine").write_bytes(b"of a device")
    (bundle / "engine/engine.json").write_text("{}")
    done = typed("runtime.py", "check", "--backend", "tensorrt")
    assert done.returncode == 1
    assert "TensorRT" in done.stderr
    # Without being asked for the engine, it takes what can run here.
    assert "as at home" in typed("runtime.py", "check").stdout


def test_build_sh_proves_the_bundle_and_says_that_tensorrt_is_missing(typed: Callable[..., Done], bundle: Path) -> None:
    done = typed("./build.sh")
    assert done.returncode == 1
    assert "as at home" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("build.sh: TensorRT is missing, so no engine was built")
    assert not (bundle / "engine").exists()


def test_the_power_mode_is_found_by_its_name_and_what_was_not_measured_is_said(bundle: Path) -> None:
    readme, build = (bundle / "README.md").read_text(), (bundle / "build.sh").read_text()
    for text in (readme, build):
        assert "nvpmodel -m 0" not in text
        assert "sudo nvpmodel -p --verbose" in text
    assert "Nothing of this has run on a Jetson" in readme
    assert "is predicted" in readme
    assert "`labelstill export --nms` is for ONNX Runtime" in readme
    assert "name the precision that ran" in readme


def test_the_readme_says_how_many_logs_are_kept(bundle: Path) -> None:
    import inspect

    from export.runtime import Log

    kept = {name: one.default for name, one in inspect.signature(Log).parameters.items()}
    assert f"files of {kept['file_bytes'] >> 20} MiB. {kept['files']} of them" in (bundle / "README.md").read_text()


def test_build_sh_stops_at_a_bundle_that_is_not_whole(typed: Callable[..., Done], bundle: Path) -> None:
    flipped(bundle / "model.onnx")
    done = typed("./build.sh")
    assert done.returncode == 1
    assert "is not as it left home" in done.stderr
    assert "TensorRT" not in done.stderr


def test_build_sh_fails_with_3_where_the_golden_outputs_differ(typed: Callable[..., Done], bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as stored:
        golden = {name: stored[name] for name in stored.files}
    golden = {name: (one + 40 if name.endswith("boxes") else one) for name, one in golden.items()}
    np.savez(bundle / "golden.npz", **golden)
    signed(bundle)
    done = typed("./build.sh")
    assert done.returncode == 3
    assert "NOT as at home" in done.stdout

"""`labelstill export` on a drawn project: what the bundle says, what it refuses, and what a gate leaves behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.asking import Asking, Question
from distill.evaluate import evaluate
from distill.run_folder import RunFolder
from export.runtime import Model, OnnxSession
from export.second_look import second_look
from export.val_images import ValImages
from labeling.cli import main
from labeling.project import Project
from tests.made_runs import made_project, made_run
from tests.test_student_commands import openings

pytestmark = pytest.mark.torch

Typed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run and its bundle."""
    root = made_project(tmp_path_factory.mktemp("exported"))
    made_run(root)
    assert main(["export", "--project", str(root), "--images", "4"]) == 0
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Export with --json and return what it says; what it has to exit with comes first."""

    def type_it(code: int, root: Path, *more: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["export", "--project", str(root), "--images", "4", *more, "--json"]) == code
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return type_it


def manifest_of(root: Path, name: str = "first") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((root / "exports" / name / "manifest.json").read_text())
    return read


def card_of(path: Path) -> dict[str, Any]:
    import onnx

    texts = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    read: dict[str, Any] = json.loads(texts["labelstill"])
    return read


def change_a_weight(path: Path) -> None:
    """Make one weight of the last convolution of a model larger."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    last = [node for node in model.graph.node if node.op_type == "Conv" and ".cv3." in node.input[1]][-1]
    tensor = next(one for one in model.graph.initializer if one.name == last.input[1])
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 8
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(path))


def test_the_bundle_is_of_the_student_and_knows_what_it_is(made: Path) -> None:
    run = RunFolder.open(made / "runs/train/first")
    manifest = manifest_of(made)
    assert manifest["format"] == 1
    assert manifest["weights"] == hashlib.sha256(run.weights.read_bytes()).hexdigest()
    assert manifest["classes"] == ["box", "cone"]
    assert manifest["models"] == {"fp32": "model.onnx", "fp16": "model.fp16.onnx"}
    assert manifest["precision"] == "fp16"
    assert manifest["licence"] == "AGPL-3.0"
    assert manifest["faults"] == []
    assert manifest["bench"] is None
    assert {"torch", "onnx", "onnxruntime", "ultralytics"} <= set(manifest["versions"])
    assert [path.name for path in (made / "exports").iterdir()] == ["first"]


def test_no_folder_of_this_machine_is_named_in_what_leaves_it(made: Path) -> None:
    for path in (made / "exports/first").rglob("*"):
        assert not path.is_file() or str(made.parent).encode() not in path.read_bytes(), path
    assert manifest_of(made)["parity"]["fp32"]["worst"]


@pytest.mark.parametrize("file", ["model.onnx", "model.fp16.onnx"])
def test_every_model_carries_the_threshold_and_the_doubt_of_val(made: Path, file: str) -> None:
    card = card_of(made / "exports/first" / file)
    assert card["thresholds"] == {"box": 0.25, "cone": 0.25}
    assert card["imgsz"] == [64, 64]
    assert card["letterbox"] == "square"
    look = card["second_look"]
    with Project.open(made).open_store() as store:
        run = RunFolder.open(made / "runs/train/first")
        val = ValImages(Asking(Project.open(made), store, run, Question(test=False), lambda line: None))
        seen = val.seen(Model(OnnxSession(made / "exports/first" / file)))
    assert seen is not None
    own = second_look(seen.truth, seen.found, seen.names, dict.fromkeys(seen.names, 0.25))
    assert look == own.card
    if file == "model.fp16.onnx":  # the default
        assert manifest_of(made)["second_look"] == {**own.card, "sentence": own.sentence()}


def test_a_student_that_was_not_evaluated_says_so(made: Path) -> None:
    assert any("labelstill evaluate" in remark for remark in manifest_of(made)["remarks"])
    assert "labelstill evaluate" in (made / "exports/first/README.md").read_text()


def test_accuracy_is_that_of_val_and_the_test_part_stays_closed(made: Path) -> None:
    accuracy = manifest_of(made)["accuracy"]
    with sqlite3.connect(made / "labels.db") as db:
        (count,) = db.execute("SELECT count(*) FROM split_images WHERE part = 'val'").fetchone()
    for figures in accuracy.values():
        assert (figures["part"], figures["images"]) == ("val", count)
        assert 0 <= figures["ap"] <= figures["ap50"] <= 1
    assert openings(made) == 0


def test_golden_images_are_of_val(made: Path) -> None:
    manifest = manifest_of(made)
    golden = [name for name in manifest["files"] if name.startswith("golden/")]
    assert 1 <= len(golden) <= 8
    with Project.open(made).open_store() as store:
        run = RunFolder.open(made / "runs/train/first")
        asking = Asking(Project.open(made), store, run, Question(test=False), lambda line: None)
        shown = [asking.photos.photo(one) for one in asking.split.images("val")]
    pictures = [one.pixels[:, :, ::-1] for one in shown if one is not None]
    for name in golden:
        picture = cv2.imread(str(made / "exports/first" / name))
        assert any(np.array_equal(picture, one) for one in pictures)


def test_the_same_export_again_changes_nothing_and_loads_no_torch(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (made / "exports").rglob("*")}
    code = (
        "import sys\nfrom labeling.cli import main\n"
        f"assert main(['export', '--project', {str(made)!r}, '--images', '4']) == 0\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'ultralytics'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is there already" in done.stdout
    assert "build.sh" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (made / "exports").rglob("*")} == before


def test_other_settings_get_a_folder_of_their_own_and_a_dynamic_export_measures_as_evaluation_did(
    root: Path, typed: Typed
) -> None:
    said = typed(0, root, "--dynamic")
    assert Path(said["folder"]).name == "first-2"
    assert card_of(root / "exports/first-2/model.onnx")["letterbox"] == "rect"
    project, run = Project.open(root), RunFolder.open(root / "runs/train/first")
    with project.open_store() as store:
        val = Asking(project, store, run, Question(test=False), lambda line: None).answered(run, "val")
    student = evaluate(val.truth, val.found, project.ontology.names, resamples=2)
    assert said["accuracy"]["fp32"]["ap"] == pytest.approx(student.ap50_95, abs=1e-3)
    assert said["accuracy"]["fp32"]["ap50"] == pytest.approx(student.ap50, abs=1e-3)


def test_a_name_that_is_taken_is_only_given_up_when_it_is_asked_for(root: Path, typed: Typed) -> None:
    assert "--fresh" in typed(1, root, "--name", "first", "--nms")["error"]
    assert manifest_of(root)["settings"]["nms"] is False
    said = typed(0, root, "--name", "first", "--nms", "--fresh")
    assert said["made"] is True
    assert card_of(root / "exports/first/model.onnx")["layout"] == "nms"


def test_a_folder_that_is_no_bundle_is_never_replaced(root: Path, typed: Typed) -> None:
    (root / "exports/labels").mkdir()
    (root / "exports/labels/mine.txt").write_text("mine")
    assert "give another --name" in typed(1, root, "--name", "labels", "--fresh")["error"]
    assert (root / "exports/labels/mine.txt").read_text() == "mine"


def test_a_changed_bundle_is_not_taken_for_the_export(root: Path, typed: Typed) -> None:
    (root / "exports/first/classes.txt").write_text("cat\n")
    assert Path(typed(0, root)["folder"]).name == "first-2"


def test_the_threshold_that_evaluate_chose_goes_into_the_model(root: Path, typed: Typed) -> None:
    RunFolder.open(root / "runs/train/first").write(evaluation_val={"threshold": 0.4})
    said = typed(0, root, "--name", "chosen")
    assert card_of(root / "exports/chosen/model.fp16.onnx")["thresholds"] == {"box": 0.4, "cone": 0.4}
    assert not any("evaluate" in remark for remark in said["remarks"])


def test_a_student_whose_boxes_never_pay_is_exported_with_a_remark(root: Path, typed: Typed) -> None:
    RunFolder.open(root / "runs/train/first").write(evaluation_val={"threshold": 1.01})
    said = typed(0, root, "--name", "careful")
    assert card_of(root / "exports/careful/model.onnx")["thresholds"]["box"] == 0.99
    assert any("pay" in remark for remark in said["remarks"])


def test_one_changed_weight_fails_the_comparison_and_leaves_no_bundle(
    root: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import making

    export = making.to_onnx

    def damaged(weights: Path, path: Path, *settings: Any, **more: Any) -> Any:
        card = export(weights, path, *settings, **more)
        change_a_weight(path)
        return card

    monkeypatch.setattr(making, "to_onnx", damaged)
    said = typed(3, root, "--name", "damaged")
    assert said["folder"] is None
    assert said["faults"]
    assert Path(said["picture"]).name == "export-damaged-worst.png"
    assert cv2.imread(said["picture"]) is not None
    assert sorted(path.name for path in (root / "exports").iterdir()) == ["first"]


def test_a_wrong_fp16_model_stays_at_home(root: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    from export import making

    def damaged(path: Path, half: Path) -> Any:
        shutil.copyfile(path, half)
        change_a_weight(half)

    monkeypatch.setattr(making, "to_half", damaged)
    said = typed(3, root, "--name", "half")
    assert said["models"] == {"fp32": "model.onnx"}
    assert said["precision"] == "fp32"
    assert said["faults"][0].startswith("fp16: ")
    assert not (root / "exports/half/model.fp16.onnx").exists()
    # What the gate said stays with the bundle.
    assert typed(3, root, "--name", "half")["made"] is False


def test_int8_is_calibrated_on_train_and_on_few_objects_does_not_become_the_default(root: Path, typed: Typed) -> None:
    said = typed(0, root, "--int8", "--name", "small")
    assert said["int8"]["passed"] is True
    assert said["models"]["int8"] == "model.int8.onnx"
    assert said["precision"] == "fp16"
    assert any("FP16 stays the default: val holds" in remark for remark in said["remarks"])
    low, high = said["int8"]["interval"]
    assert low <= said["int8"]["lost"] <= high
    assert said["int8"]["steps"][-1]["passed"] is True
    assert said["int8"]["steps"][0]["kept"] == []
    assert said["accuracy"]["int8"]["images"] == said["accuracy"]["fp32"]["images"]
    assert card_of(root / "exports/small/model.int8.onnx")["precision"] == "int8"
    with sqlite3.connect(root / "labels.db") as db:
        (taught,) = db.execute("SELECT count(*) FROM split_images WHERE part = 'train'").fetchone()
    assert said["int8"]["images"] == taught


def test_without_any_truth_on_val_int8_is_refused_and_accuracy_is_not_measured(root: Path, typed: Typed) -> None:
    with sqlite3.connect(root / "labels.db") as db:
        db.execute("UPDATE images SET state = 'prelabelled'")
    said = typed(3, root, "--int8", "--name", "blind")
    assert said["accuracy"]["fp32"] == {"ap50": None, "ap": None, "images": 0, "part": "val"}
    assert said["precision"] == "fp16"
    assert "INT8 was not made" in said["faults"][0]
    assert "| fp32 | not measured | not measured |" in (root / "exports/blind/README.md").read_text()


def test_images_of_val_that_are_gone_are_counted(root: Path, typed: Typed) -> None:
    with sqlite3.connect(root / "labels.db") as db:
        names = [one for (one,) in db.execute("SELECT sha256 FROM split_images WHERE part = 'val'")]
    with Project.open(root).open_store() as store:
        files = [path for one in names for path in store.files_of(one)]
    try:
        files[0].rename(files[0].with_suffix(".away"))
        assert any("1 image of val" in remark for remark in typed(0, root, "--name", "fewer")["remarks"])
        for path in files[1:]:
            path.rename(path.with_suffix(".away"))
        assert "no image of val" in typed(1, root, "--name", "none")["error"]
    finally:
        for path in files:
            path.with_suffix(".away").rename(path)
    assert not (root / "exports/none").exists()


def test_what_cannot_be_exported_is_named(root: Path, typed: Typed) -> None:
    assert "no training is called" in typed(1, root, "second")["error"]
    assert "--name" in typed(1, root, "--name", "../out")["error"]
    run = RunFolder.open(root / "runs/train/first")
    assert typed(1, root, "--imgsz", "100")["error"].endswith("--imgsz 100: expected a multiple of 32, such as 96")
    run.write(finished_at=None)
    assert "has not finished" in typed(1, root, "first")["error"]
    run.write()
    run.weights.write_bytes(run.weights.read_bytes() + b" ")
    assert "not the weights" in typed(1, root, "first")["error"]


def test_a_wrong_size_is_refused_before_torch_is_loaded(made: Path) -> None:
    code = (
        "import sys\nfrom labeling.cli import main\n"
        f"assert main(['export', '--project', {str(made)!r}, '--imgsz', '33']) == 1\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'ultralytics'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--imgsz 33: expected a multiple of 32, such as 32" in done.stderr


def test_another_size_the_verdict_a_new_class_and_the_name_are_remarked(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headline = "Not ready: recall of box is 0.30, the target is 0.9."
    RunFolder.open(root / "runs/train/first").write(evaluation_val={"threshold": 0.25, "headline": headline})
    config = root / "project.yaml"
    config.write_text(config.read_text().replace("classes:\n", "classes:\n  - name: newcomer\n    prompts: [new]\n", 1))
    # Random weights may be too wild for FP16 at a size that they were not made for.
    assert main(["export", "--project", str(root), "--images", "4", "--imgsz", "96"]) in (0, 3)
    said = capsys.readouterr().out
    remarks = manifest_of(root, "first-2")["remarks"]
    assert any(headline in remark for remark in remarks)
    assert any("does not know: newcomer" in remark for remark in remarks)
    (size,) = [remark for remark in remarks if remark.startswith("It was trained at 64 pixels and takes 96 here")]
    first = manifest_of(root, "first-2")["accuracy"]["fp32"]["ap"]
    assert f"{first:.3f} at 96 and " in size
    assert "images of val" in said
    assert headline in said
    assert "first is there with other settings, so this is first-2" in said
    assert headline in (root / "exports/first-2/README.md").read_text()


def test_people_are_told_what_was_made_where_it_lies_and_what_comes_next(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "first", "--project", str(root), "--images", "4", "--fresh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("the same as the student on 4 images of val") for line in lines)
    assert lines[-2].startswith(f"wrote {root / 'exports/first'} (yolov8n, AGPL-3.0, fp16 by default)")
    assert lines[-1].startswith("next: scp -r ")
    assert lines[-1].endswith("ssh -t USER@JETSON first/build.sh")


@pytest.mark.parametrize("model", ["yolov8n-seg", "dfine-n"])
def test_every_kind_of_student_becomes_a_bundle_that_checks_itself(root: Path, model: str) -> None:
    from export.runtime import open_model, self_check

    made_run(root, model, model)
    # Random weights may be too wild for FP16; what is asked here is the rest.
    assert main(["export", model, "--project", str(root), "--images", "2"]) in (0, 3)
    bundle = root / "exports" / model
    check = self_check(bundle, open_model(bundle, "onnx"))
    assert check.passed
    assert check.objects > 0
    assert manifest_of(root, model)["licence"] == ("Apache-2.0" if model == "dfine-n" else "AGPL-3.0")

"""The verbs split, train, evaluate and distill on a small drawn project, as people type them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from distill.run_folder import RUN_FILE, RunFolder
from distill.students import WEIGHTS_FILE
from labeling.cli import main
from labeling.project import Project
from tests.made_stores import Thing, human, ontology, outcome, photo, write

pytestmark = pytest.mark.torch

CLASSES = ("box", "cone")
SMALL = ("--imgsz", "64", "--epochs", "1", "--batch", "8", "--device", "cpu")
Typed = Callable[..., dict[str, Any]]


def project_of(root: Path, images: int, reviewed: int, classes: Sequence[str] = CLASSES) -> Path:
    """Draw photos, label them as a teacher that sees all, and let people agree on the first of them."""
    project = Project.create(root / "project", ontology(classes))
    outcomes, labels = [], []
    for number in range(images):
        left, top = 10 + 7 * (number % 12), 10 + 5 * (number % 9)
        things = (Thing("box", (left, top, left + 40.0, top + 30.0), 0.9), Thing("cone", (5.0, 80.0, 35.0, 110.0), 0.6))
        made = outcome([photo(root / "photos" / f"{chr(97 + number % 26)}{number}.png", things, seed=number)], things)
        outcomes.append(made)
        labels.append([human(made.sha256 or "", thing.class_name, thing.box) for thing in things])
    with project.open_store(create=True) as store:
        write(store, CLASSES[: len(classes)], outcomes)
        for made, said in list(zip(outcomes, labels, strict=True))[:reviewed]:
            store.set_reviewed(made.sha256 or "", said, "reviewed")
    return project.root


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a student that has been trained and measured."""
    root = project_of(tmp_path_factory.mktemp("distilled"), images=40, reviewed=30)
    assert main(["distill", "--project", str(root), "--name", "first", *SMALL]) == 0
    return root


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a verb with --json and return what it says; what it has to exit with comes first."""

    def type_it(code: int, verb: str, root: Path, *more: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main([verb, "--project", str(root), *more, "--json"]) == code
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return type_it


def test_distill_leaves_weights_a_report_and_one_opening_of_the_test_part(distilled: Path) -> None:
    run = RunFolder.open(distilled / "runs/train/first")
    assert run.finished
    assert run.facts["evaluation"]["part"] == "test"
    assert run.facts["licence"] == "AGPL-3.0"
    report = (distilled / "reports/student-first.html").read_text(encoding="utf-8")
    assert run.facts["evaluation"]["headline"] in report
    assert run.facts["dataset"] in report
    with sqlite3.connect(distilled / "labels.db") as db:
        assert db.execute("SELECT count(*), count(summary) FROM openings").fetchone() == (1, 1)


def test_the_split_is_proven_and_stays_when_it_is_asked_for_again(distilled: Path, typed: Typed) -> None:
    first, second = typed(0, "split", distilled), typed(0, "split", distilled)
    assert first == second
    assert first["audit"]["leaks"] == 0
    # Photos that are alike stay together; a group with an image that nobody has reviewed is not measured on.
    assert sum(first["images"].values()) + sum(first["left_out"].values()) == 40
    assert min(first["images"].values()) >= 4


def test_val_and_test_hold_reviewed_images_alone(distilled: Path) -> None:
    with sqlite3.connect(distilled / "labels.db") as db:
        states = dict(
            db.execute(
                "SELECT part, group_concat(DISTINCT state) FROM split_images JOIN images USING (sha256) GROUP BY part"
            )
        )
    assert states["val"] == states["test"] == "reviewed"
    assert "prelabelled" in states["train"]


def test_the_test_part_opens_again_only_for_a_reason_and_the_report_says_so(distilled: Path, typed: Typed) -> None:
    assert "--again" in typed(1, "evaluate", distilled, "first")["error"]
    said = typed(0, "evaluate", distilled, "first", "--again", "a colleague asked")
    assert said["reuse"] == "a colleague asked"
    assert "a colleague asked" in Path(said["report"]).read_text(encoding="utf-8")


def test_val_can_be_measured_at_any_time_while_test_stays_closed(distilled: Path, typed: Typed) -> None:
    before = openings(distilled)
    assert typed(0, "evaluate", distilled, "first", "--val")["part"] == "val"
    assert openings(distilled) == before


def test_a_student_that_has_learned_from_test_images_is_not_measured_on_them(
    distilled: Path, tmp_path: Path, typed: Typed
) -> None:
    root = tmp_path / "changed"
    shutil.copytree(distilled, root)
    with sqlite3.connect(root / "labels.db") as db:
        db.execute(
            "UPDATE split_images SET part = 'test' WHERE sha256 IN (SELECT sha256 FROM split_images JOIN images "
            "USING (sha256) WHERE part = 'train' AND state = 'reviewed' LIMIT 1)"
        )
    assert re.search("has learned from 1 image of the test part", typed(1, "evaluate", root, "first")["error"])
    assert openings(root) == openings(distilled), "the test part stays closed for a student that cannot be measured"


def openings(root: Path) -> int:
    with sqlite3.connect(root / "labels.db") as db:
        return int(db.execute("SELECT count(*) FROM openings").fetchone()[0])


def test_a_learning_curve_is_measured_on_val_by_students_taught_less(distilled: Path, typed: Typed) -> None:
    said = typed(0, "train", distilled, "--name", "curved", "--learning-curve", *SMALL)
    assert said["run"] == "curved"
    shown = typed(0, "evaluate", distilled, "curved", "--val")
    report = Path(shown["report"]).read_text(encoding="utf-8")
    assert "it takes students on parts of the training images" not in report
    with Project.open(distilled).open_store() as store:
        assert store.runs()  # labels.db is whole
    shares = [RunFolder.open(distilled / f"runs/train/curved-{share}").facts["teaching"]["share"] for share in (25, 50)]
    assert shares == [0.25, 0.5]


@pytest.mark.parametrize(
    ("images", "reviewed", "says"),
    [
        (6, 0, "reviewed"),  # nobody has looked at anything
        (1, 1, ""),  # one image in all
    ],
)
def test_too_little_to_split_or_train_is_said_in_one_sentence(
    tmp_path: Path, typed: Typed, images: int, reviewed: int, says: str
) -> None:
    root = project_of(tmp_path, images, reviewed)
    error = typed(1, "distill", root, *SMALL)["error"]
    assert says in error
    assert "\n" not in error
    assert not list((root / "runs").glob("train/*/student.safetensors"))


def test_a_class_without_a_single_image_is_trained_and_reported_as_not_measured(tmp_path: Path, typed: Typed) -> None:
    root = project_of(tmp_path, images=24, reviewed=24)
    with sqlite3.connect(root / "labels.db") as db:
        db.execute("DELETE FROM annotations WHERE class_name = 'cone'")
    said = typed(0, "distill", root, *SMALL)
    assert said["ap50_by_class"]["cone"] is None
    assert said["ap50_by_class"]["box"] is not None


@pytest.mark.parametrize(
    ("verb", "more", "says"),
    [
        ("split", ("--parts", "70/30"), "70/15/15"),
        ("split", ("--parts", "0/50/50"), "train above 0"),
        ("train", ("--model", "yolov8n", "--imgsz", "100"), "multiple of 32"),
        (
            "train",
            (
                "--model",
                "resnet50",
            ),
            "no kind of student",
        ),
        ("train", ("mosaic",), "KEY=VALUE"),
        ("train", ("--split", "nightly"), "labelstill split"),
        ("train", ("--name", "../up"), "--name"),
        ("train", ("--name", "first"), "--resume"),
        ("train", ("--resume", "nothing"), "no training is called 'nothing'"),
        ("train", ("--resume", "first"), "has finished"),
        ("evaluate", ("nothing",), "no training is called 'nothing'"),
        ("evaluate", ("first", "--cost-miss", "0", "--val"), "above 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    distilled: Path, typed: Typed, verb: str, more: tuple[str, ...], says: str
) -> None:
    before = sorted(path.name for path in (distilled / "runs/train").iterdir())
    assert says in typed(1, verb, distilled, *more)["error"]
    assert sorted(path.name for path in (distilled / "runs/train").iterdir()) == before


def test_a_run_that_was_cut_off_is_told_apart_and_goes_on(distilled: Path, tmp_path: Path, typed: Typed) -> None:
    root = tmp_path / "cut"
    shutil.copytree(distilled, root)
    run = RunFolder.open(root / "runs/train/first")
    run.weights.unlink()
    run.write(finished_at=None)
    assert "has not finished" in typed(1, "evaluate", root, "first")["error"]
    assert typed(0, "train", root, "--resume", "first")["weights"].endswith(WEIGHTS_FILE)
    assert json.loads((run.path / RUN_FILE).read_text())["finished_at"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("mosiac=1",), "did you mean 'mosaic'"),
        (("mosaic=7.0",), "ultralytics refuses"),
        (("--device", "cuda:9"), "--device"),
        (("--start", "nothing.safetensors"), "--start"),
        (("--model", "yolov8n-cls"), "finds boxes"),
    ],
)
def test_a_training_that_is_refused_leaves_its_name_free(
    distilled: Path, typed: Typed, more: tuple[str, ...], says: str
) -> None:
    assert says in typed(1, "train", distilled, "--name", "refused", *SMALL, *more)["error"]
    assert not (distilled / "runs/train/refused").exists()


def test_a_training_says_which_epoch_it_kept_what_it_left_out_and_what_its_weights_are(distilled: Path) -> None:
    run = RunFolder.open(distilled / "runs/train/first")
    assert run.facts["kept_epoch"] == 1
    assert 0 <= run.facts["kept_ap"] <= 1
    assert run.facts["weights"] == hashlib.sha256(run.weights.read_bytes()).hexdigest()
    assert any("few images to learn from" in remark for remark in run.facts["remarks"])
    assert {"left_out", "left_out_objects", "altered"} <= run.facts.keys()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_training_that_is_stopped_names_its_run_and_goes_on_by_that_name(
    distilled: Path,
    tmp_path: Path,
    typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: type[BaseException],
) -> None:
    from distill import student

    root = tmp_path / "stopped"
    shutil.copytree(distilled, root)

    def cut_off(*_: Any) -> None:
        raise stop(143)

    asked = ("--name", "second", *SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(student, "_train", cut_off)
        said = typed(130 if stop is KeyboardInterrupt else 143, "train", root, *asked)["error"]
    assert "labelstill train --resume second --project " in said
    assert "the same command" not in said
    assert "exists: continue it with --resume" in typed(1, "train", root, *asked, "--seed", "5")["error"]
    done = typed(0, "train", root, *asked)
    assert (done["run"], done["kept_epoch"]) == ("second", 1)
    assert Path(done["weights"]).name == WEIGHTS_FILE
    assert done["sha256"] == hashlib.sha256(Path(done["weights"]).read_bytes()).hexdigest()


def test_status_names_the_verb_that_comes_next(distilled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--project", str(distilled)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: labelstill next ")


def test_a_student_goes_back_into_plain_ultralytics_and_sees_the_same(distilled: Path) -> None:
    import numpy as np
    from PIL import Image

    from distill.students import student
    from labeling.teachers.detectors.ultralytics import as_yolo

    weights = distilled / "runs/train/first" / WEIGHTS_FILE
    photo = next((distilled.parent / "photos").glob("*.png"))
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    (ours,) = student("ultralytics").load(weights, "cpu").predict([pixels], floor=1e-4)
    (theirs,) = as_yolo(weights).predict(pixels[..., ::-1], imgsz=64, conf=1e-4, iou=0.7, device="cpu", verbose=False)
    assert dict(theirs.names) == dict(enumerate(CLASSES))
    assert len(ours) > 0
    assert theirs.boxes.xyxy.numpy() == pytest.approx(ours.boxes_xyxy, abs=0.1)

"""What `labelstill evaluate` says of parts, ledger, truth and teacher, on a drawn project with trained students."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.ledger import TestLedger
from distill.run_folder import RunFolder
from labeling.cli import main
from labeling.project import Project
from tests.test_student_commands import SMALL, openings, project_of

pytestmark = pytest.mark.torch

Typed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two students; none has been measured."""
    root = project_of(tmp_path_factory.mktemp("trained"), images=40, reviewed=36)
    assert main(["split", "--project", str(root)]) == 0
    for name, seed in (("one", "0"), ("two", "1")):
        assert main(["train", "--project", str(root), "--name", name, "--seed", seed, *SMALL]) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Evaluate with --json and return what it says; what it has to exit with comes first."""

    def type_it(code: int, root: Path, *more: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["evaluate", "--project", str(root), *more, "--json"]) == code
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return type_it


def images_of(root: Path, part: str) -> list[str]:
    with sqlite3.connect(root / "labels.db") as db:
        return [one for (one,) in db.execute("SELECT sha256 FROM split_images WHERE part = ? ORDER BY 1", (part,))]


def change(root: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(root / "labels.db") as db:
        db.execute(sql, values)


def test_val_after_test_leaves_the_figures_of_test_and_says_that_it_was_opened(root: Path, typed: Typed) -> None:
    assert "was not opened for this student" in typed(0, root, "one", "--val")["headline"]
    tested = typed(0, root, "one")
    report = Path(tested["report"])
    before = report.read_bytes()
    shown = typed(0, root, "one", "--val")
    assert Path(shown["report"]).name == "student-one-val.html"
    assert report.read_bytes() == before
    facts = RunFolder.open(root / "runs/train/one").facts
    assert (facts["evaluation"]["part"], facts["evaluation_val"]["part"]) == ("test", "val")
    assert "was opened for this student on" in shown["headline"]
    assert "not opened" not in Path(shown["report"]).read_text(encoding="utf-8")


def test_the_look_of_a_student_that_is_compared_stands_in_the_ledger(root: Path, typed: Typed) -> None:
    typed(0, root, "two")
    with Project.open(root).open_store() as store:
        ledger = TestLedger(store)
        (noted,) = ledger.openings(RunFolder.open(root / "runs/train/one").weights_hash())
    assert noted.reuse is None
    assert noted.summary is not None
    assert noted.summary["compared_with"] == "two"
    assert noted.summary["ap50"] is not None
    assert "--again" in typed(1, root, "one")["error"]
    assert typed(0, root, "one", "--again", "why not")["reuse"] == "why not"
    with Project.open(root).open_store() as store:
        found = TestLedger(store).openings(RunFolder.open(root / "runs/train/one").weights_hash())
    assert [one.students_before for one in found] == [1, 1]


def test_on_val_nobody_opens_the_test_part(root: Path, typed: Typed) -> None:
    typed(0, root, "two", "--val")
    assert openings(root) == 0


def test_a_test_image_less_is_no_new_test_part(root: Path, typed: Typed) -> None:
    typed(0, root, "one")
    change(root, "DELETE FROM split_images WHERE sha256 = ?", images_of(root, "test")[0])
    assert "--again" in typed(1, root, "one")["error"]


def test_what_cannot_be_measured_is_counted_everywhere(
    root: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, skipped = images_of(root, "test")[:2]
    change(root, "UPDATE images SET state = 'skipped' WHERE sha256 = ?", skipped)
    with Project.open(root).open_store() as store:
        files = store.files_of(gone)
    try:
        for path in files:
            path.rename(path.with_suffix(".away"))
        said = typed(0, root, "one")
        assert main(["evaluate", "--project", str(root), "one", "--again", "to see the lines"]) == 0
    finally:
        for path in files:
            path.with_suffix(".away").rename(path)
    assert sum(said["left_out"]["test"].values()) == 2
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Left out"))
    assert "1 image: the photo cannot be read any more" in line
    assert "1 image: the image is skipped" in line
    assert line in Path(said["report"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_taught_image_that_was_dropped_and_comes_back_changed_in_test_is_a_leak(
    root: Path, typed: Typed, mirrored: bool
) -> None:
    taught, measured = images_of(root, "train")[0], images_of(root, "test")[0]
    grey = np.kron(np.random.default_rng(3).integers(0, 200, (8, 8)), np.ones((6, 6))).astype(np.uint8)
    again = np.ascontiguousarray(grey[:, ::-1] if mirrored else grey) // 2 + 60
    change(root, "UPDATE photo_facts SET thumbnail = ? WHERE sha256 = ?", grey.tobytes(), taught)
    change(root, "UPDATE photo_facts SET thumbnail = ? WHERE sha256 = ?", again.tobytes(), measured)
    change(root, "DELETE FROM split_images WHERE sha256 = ?", taught)
    said = typed(0, root, "one")
    text = Path(said["report"]).read_text(encoding="utf-8")
    assert "show the same as 1 test image" in text
    assert "is the most alike pair" in text
    assert said["verdict"] != "ready"


def test_weights_that_were_changed_are_refused_before_the_test_part_opens(root: Path, typed: Typed) -> None:
    run = RunFolder.open(root / "runs/train/one")
    run.write(weights=run.weights_hash())
    assert typed(0, root, "one", "--val")["part"] == "val"
    data = bytearray(run.weights.read_bytes())
    data[-1] ^= 1
    run.weights.write_bytes(bytes(data))
    assert "are not the weights" in typed(1, root, "one")["error"]
    assert openings(root) == 0


def test_an_empty_test_part_is_called_empty(root: Path, typed: Typed) -> None:
    change(root, "DELETE FROM split_images WHERE part = 'test'")
    assert typed(0, root, "one")["headline"] == "Cannot say: the test part has no image."


def test_with_truth_that_nobody_reviewed_the_teacher_is_not_measured_against_itself(root: Path, typed: Typed) -> None:
    change(root, "UPDATE splits SET settings = json_set(settings, '$.unreviewed', json('true'))")
    change(root, "DELETE FROM annotations WHERE source = 'human'")
    change(root, "UPDATE images SET state = 'prelabelled'")
    said = typed(0, root, "one")
    assert "teacher" not in [row["speaker"] for row in said["compared"]["standings"][0]["rows"]]
    text = Path(said["report"]).read_text(encoding="utf-8")
    assert "The teacher is not compared" in text
    assert "What people say is the truth" not in text


def test_the_licence_is_that_of_who_made_the_labels(root: Path, typed: Typed) -> None:
    def report(*more: str) -> str:
        return Path(typed(0, root, "one", "--val", *more)["report"]).read_text(encoding="utf-8")

    with Project.open(root).open_store() as store:
        store.start_run("label", {"teacher": {"detector": "ultralytics"}})
        store.start_run("label", {"teacher": {"detector": "student"}})
    assert "AGPL-3.0 (ultralytics)" in report()
    change(root, "DELETE FROM annotations WHERE source = 'teacher'")
    text = report()
    assert "no teacher: people&#39;s labels only" in text
    assert "grounding-dino" not in text


def test_advice_counts_what_people_have_reviewed(root: Path, typed: Typed) -> None:
    change(root, "UPDATE images SET state = 'prelabelled' WHERE sha256 NOT IN (SELECT sha256 FROM split_images "
           "WHERE part <> 'train')")  # fmt: skip
    text = Path(typed(0, root, "one", "--val")["report"]).read_text(encoding="utf-8")
    count = sum(len(images_of(root, part)) for part in ("val", "test"))
    assert f"{count} reviewed images are few" in text


def test_the_verdict_is_said_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--project", str(root), "one", "--val"]) == 0
    assert capsys.readouterr().out.startswith("Cannot say: the test part")

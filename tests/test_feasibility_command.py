"""The verb feasibility: from reviewed photos to a verdict per class, a page and JSON; the project stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.records import Annotation, Provenance
from labeling.project import Project
from tests import fakes

pytestmark = pytest.mark.usefixtures("drawn_backend")

PHOTOS = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Photos with a red box each, which the teacher finds, and a green one that only people see."""
    for number in range(PHOTOS):
        fakes.draw(tmp_path / f"photos/{number:02d}.png", [("red", (4, 4, 24, 24))], salt=number)
    folder, weights = tmp_path / "<b>project", tmp_path / "weights.pt"
    weights.write_bytes(b"any")
    assert label(tmp_path / "photos", folder, weights) == 0
    return folder


def label(photos: Path, folder: Path, weights: Path) -> int:
    classes = "red, green, blue"
    flags = ["--detector", "drawn", "--weights", str(weights), "--segmenter", "none", "--classes", classes]
    return main(["label", str(photos), "--project", str(folder), *flags])


def review(folder: Path, count: int = PHOTOS) -> None:
    project = Project.open(folder)
    with project.open_store() as store:
        for sha256 in sorted(store.states())[:count]:
            people = Provenance("human", annotator="ann")
            boxes = {"red": (4.0, 4.0, 24.0, 24.0), "green": (50.0, 30.0, 80.0, 60.0)}
            labels = [Annotation(f"{sha256[:28]}{name[:4]}", sha256, name, box, people) for name, box in boxes.items()]
            store.set_reviewed(sha256, labels, "reviewed")


def told(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["feasibility", "--project", str(folder), "--json", *more]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_each_class_gets_its_verdict(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(project)
    answer = told(project, capsys)
    assert {one["name"]: one["verdict"] for one in answer["classes"]} == {
        "red": "ship", "green": "train", "blue": "unknown",
    }  # fmt: skip
    assert answer["headline"] == "Ship the prompt as it is: red; collect and train: green; no verdict: blue"
    assert answer["work"]["actions_per_image"] == {"add": 1.0, "delete": 0.0, "move": 0.0, "relabel": 0.0}
    assert answer["teacher"] == "drawn/weights.pt"


def test_flags_set_what_is_wanted_and_what_everything_costs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(project)
    flags = ("--images", "100", "--add-seconds", "36", "--look-seconds", "0", "--price-hour", "10")
    answer = told(project, capsys, *flags)
    assert answer["classes"][1]["verdict"] == "dont"  # 100 images hold 100, a student needs 150
    hand = answer["costs"]["ways"][0]
    assert (hand["hours"], hand["cost"]) == pytest.approx((2.0, 20.0))  # 100 images, two boxes of 36 s
    assert "add, look given" in answer["work"]["seconds"]["source"]


def test_the_page_says_the_same_and_escapes_every_name(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(project)
    answer = told(project, capsys)
    text = Path(answer["report"]).read_text(encoding="utf-8")
    assert answer["headline"] in text
    assert "&lt;b&gt;project" in text
    assert "<b>project" not in text
    assert "list price of object localization" in text


def test_the_terminal_says_verdict_work_costs_and_the_next_step(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review(project)
    capsys.readouterr()
    assert main(["feasibility", "--project", str(project)]) == 0
    text = capsys.readouterr().out
    for part in ("green: collect and train", "regions per image: add 1.0", "by hand: $", "labelstill calibrate"):
        assert part in text


def test_it_can_be_asked_twice_and_changes_nothing_of_the_project(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review(project)
    first = told(project, capsys)
    before = (project / "project.yaml").read_bytes()
    assert told(project, capsys) == first
    assert (project / "project.yaml").read_bytes() == before


def test_too_few_reviewed_photos_are_refused_with_how_many_more(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review(project, 12)
    assert main(["feasibility", "--project", str(project)]) == 1
    error = capsys.readouterr().err
    assert "12 reviewed images, a verdict needs at least 30: review 18 more" in error
    assert "labelstill next --gold" in error


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--good-enough", "1.5"), "--good-enough is 1.5"),
        (("--price-hour", "-1"), "price hour is -1"),
        (("--add-seconds", "nan"), "--add-seconds is nan"),
        (("--detector", "drwan"), "unknown detector 'drwan'"),
        (("--out", "."), "is a folder"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], sentence: str
) -> None:
    review(project)
    assert main(["feasibility", "--project", str(project), *flags]) == 1
    assert sentence in capsys.readouterr().err

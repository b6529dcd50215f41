"""The verb calibrate where the detector was asked with a wrong word, and next --gold before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.config import load_config
from labeling.core.records import Annotation, Provenance
from labeling.core.store_decisions import DecisionLedger
from labeling.project import Project
from tests import fakes
from tests import made_stores as made

COMMENTED = """\
name: ware  # of the shop
classes:
  - name: sea
    prompts: [green]  # wrong
    synonyms: [blue, azure]
  # the next one is right
  - name: fire
    prompts: [red]
  - name: sun
    prompts: [yellow]
"""


@pytest.fixture(autouse=True)
def _drawn_backend() -> Iterator[None]:
    fakes.register()
    yield
    fakes.unregister()


class Room:
    """Photos with one blue and at times a red or green patch, labelled by `drawn` and reviewed on request."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 36) -> None:
        self.log = folder / "log"
        monkeypatch.setenv("LABELSTILL_TEST_LOG", str(self.log))
        self.root, photos, weights = folder / "project", folder / "photos", folder / "weights.pt"
        weights.write_text("drawn")
        self.drawn = []
        for number in range(count):
            shapes: list[tuple[str, fakes.Box]] = [("blue", (4, 4, 20 + number % 7, 30))]
            shapes += [("red", (34, 6, 50, 30))] if number % 2 else []
            shapes += [("green", (66, 6, 80, 20))] if number % 3 == 0 else []
            self.drawn.append(fakes.draw(photos / f"{number:02d}.png", shapes, salt=number))
        self.root.mkdir()
        (self.root / "project.yaml").write_text(COMMENTED)
        flags = ["--detector", "drawn", "--weights", str(weights), "--segmenter", "none"]
        assert main(["label", str(photos), "--project", str(self.root), *flags]) == 0

    def review(self, count: int) -> None:
        """People see what is blue as sea and what is red as fire; one image after the other."""
        with Project.open(self.root).open_store() as store:
            for photo in self.drawn[:count]:
                sha256 = made.outcome([photo.path], []).sha256 or ""
                names = {"blue": "sea", "red": "fire"}
                labels = [
                    _label(sha256, names[colour], box, number)
                    for number, (colour, box) in enumerate(photo.shapes)
                    if colour in names
                ]
                store.set_reviewed(sha256, labels, "reviewed")

    def run(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words, "--project", str(self.root)])
        said = capsys.readouterr()
        return code, said.out, said.err

    def calls(self) -> int:
        return sum(line.startswith("detect") for line in self.log.read_text().splitlines())


def _label(sha256: str, name: str, box: tuple[float, float, float, float], number: int) -> Annotation:
    one = made.human(sha256, name, box)
    return replace(one, id=f"{number}{one.id[1:]}", provenance=Provenance("human", annotator="ann"))


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(tmp_path, monkeypatch)


def test_the_gold_set_is_drawn_once_kept_as_a_decision_and_names_what_to_run_next(
    room: Room, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listed = tmp_path / "gold.txt"
    code, out, _ = room.run(capsys, "next", "--gold", "30", "--out", str(listed))
    assert code == 0
    assert "gold set: 30 images, 30 of them new; drawn by lot from 36 images" in out
    assert "reviewed: 0 of 30" in out
    assert out.splitlines()[-1] == f"next: labelstill push --only gold --project {room.root}"
    assert len(listed.read_text().splitlines()) == 30
    with Project.open(room.root).open_store() as store:
        first = set(DecisionLedger(store).images("gold"))
    code, out, _ = room.run(capsys, "next", "--gold", "36", "--json")
    again: dict[str, Any] = json.loads(out)
    assert (again["added"], len(again["images"])) == (6, 36)
    assert first < {one["sha256"] for one in again["images"]}
    code, _, err = room.run(capsys, "next", "--gold", "7")
    assert code == 1
    assert "expected 30 to 200" in err


def test_a_wrong_word_is_replaced_held_out_figures_say_why_and_project_yaml_keeps_its_comments(
    room: Room, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    room.review(36)
    page = tmp_path / "page.html"
    before = (room.root / "project.yaml").read_text()
    code, out, err = room.run(capsys, "calibrate", "--out", str(page))
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "today 36 of 54 objects missed, 12 false alarms"
    assert lines[1] == "calibrated 0 of 54 objects missed, 0 false alarms (held out)"
    assert lines[2].startswith("verdict cost 48 → 0, 48 less [")
    assert "change sea: prompts green → blue" in lines
    assert any("no gold object of sun: kept as they are" in line for line in lines)
    assert lines[-1] == "not applied yet; next: the same command with --apply"
    assert "asking drawn at most 10 times about 36 images" in err
    assert (room.root / "project.yaml").read_text() == before
    assert "sea" in page.read_text()
    assert "<script" not in page.read_text()

    calls = room.calls()
    code, out, _ = room.run(capsys, "calibrate", "--apply")
    assert code == 0
    assert room.calls() == calls  # every answer was kept
    after = (room.root / "project.yaml").read_text()
    for comment in ("# of the shop", "# wrong", "# the next one is right"):
        assert comment in after
    classes = load_config(room.root / "project.yaml").ontology
    assert classes is not None
    assert classes.classes[0].prompts == ("blue",)
    assert classes.classes[0].synonyms == ("blue", "azure", "green")
    assert classes.classes[2].threshold is None  # nothing was seen of it
    again = out.splitlines()[-1]
    assert again.startswith("next: labelstill label ")
    assert f"--project {room.root} --detector drawn --weights" in again

    code, out, _ = room.run(capsys, "calibrate", "--apply")
    assert code == 3
    assert "not applied: no gain was shown" in out
    assert (room.root / "project.yaml").read_text() == after


def test_json_says_everything_and_what_was_not_measured_is_null(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.review(36)
    code, out, _ = room.run(capsys, "calibrate", "--json", "--aliases", "sea: navy")
    said: dict[str, Any] = json.loads(out)
    assert code == 0
    assert said["gain_shown"]
    assert not said["applied"]
    assert said["classes"][0]["prompts"] == {"today": ["green"], "new": ["blue"]}
    assert said["classes"][0]["today"] == {"missed": 36, "false": 12}
    assert said["classes"][2]["objects"] == 0
    assert said["loss"]["today"] == 48
    assert said["kind"] == "reviewed"


def test_a_gold_set_that_is_too_small_says_how_many_more(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.review(11)
    code, _, err = room.run(capsys, "calibrate")
    assert code == 1
    assert "11 reviewed gold images: 19 more are needed: draw a gold set with labelstill next --gold" in err
    room.run(capsys, "next", "--gold", "36")
    code, _, err = room.run(capsys, "calibrate")
    assert code == 1
    assert "19 more are needed, 25 wait for people: labelstill push --only gold" in err


def test_gold_images_that_are_gone_are_counted(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.review(36)
    for photo in room.drawn[:4]:
        photo.path.unlink()
    code, out, _ = room.run(capsys, "calibrate")
    assert code == 0
    assert "4 gold images could not be used" in out
    room.drawn[5].path.unlink()
    room.drawn[6].path.unlink()
    room.drawn[7].path.unlink()
    (room.root / "runs").rename(room.root / "other")
    code, _, err = room.run(capsys, "calibrate")
    assert code == 1
    assert "29 reviewed gold images: 1 more" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recall-at-precision", "1.5"], "expected a number between 0 and 1"),
        (["--miss-cost", "0", "--false-alarm-cost", "0"], "are both 0"),
        (["--aliases", "see: blue"], "unknown class 'see'"),
        (["--aliases", "sea: red"], "already belongs to class"),
        (["--detector", "drown"], "unknown detector 'drown'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    room: Room, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    room.review(36)
    code, _, err = room.run(capsys, "calibrate", *flags)
    assert code == 1
    assert message in err

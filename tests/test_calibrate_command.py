"""The verb calibrate where the detector was asked with a wrong word, and next --gold before it."""

from __future__ import annotations

import json
import shlex
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.cli import main
from labeling.commands.calibrate import _write_page
from labeling.core.config import load_config
from labeling.core.records import Annotation, Provenance
from labeling.core.store_decisions import DecisionLedger
from labeling.project import Project
from labeling.trust import calibration_words as words
from labeling.trust.calibrate import Outcome
from labeling.trust.calibration import Calibration, Difference
from labeling.trust.calibration_claims import Aim
from labeling.trust.calibration_search import Settings
from labeling.trust.gold import Gold
from tests import fakes
from tests import made_stores as made

pytestmark = pytest.mark.usefixtures("drawn_backend")

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


class Room:
    """Photos with one blue and at times a red or green patch, labelled by `drawn` and reviewed on request."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str, count: int = 36) -> None:
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
        flags = ["--detector", "drawn", "--weights", str(weights), "--segmenter", "none", *more]
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
    assert lines[2].startswith("verdict a gain: cost 48 → 0 (difference -48, 95 % from -")
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
    assert again.startswith("every photo is reviewed and stays as it is: nothing to label again; for new photos: ")
    assert f"labelstill label NEW_PHOTOS --project {room.root} --detector drawn --weights" in again

    code, out, _ = room.run(capsys, "calibrate", "--apply")
    assert code == 3
    assert "not applied: no gain was shown" in out
    assert out.splitlines()[-1].endswith("keep the settings in force (all 36 photos took part already)")
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


def test_today_is_what_label_would_use_now_and_not_the_score_of_the_last_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = Room(tmp_path, monkeypatch, "--score", "0.05")
    room.review(36)
    classes = room.root / "project.yaml"
    classes.write_text(COMMENTED.replace("- name: fire\n", "- name: fire\n    threshold: 0.58\n"))
    code, out, _ = room.run(capsys, "calibrate", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["classes"][1]["threshold"]["today"] == 0.58
    assert said["classes"][0]["threshold"]["today"] != 0.05
    assert "the last labelling run had --score 0.05" in said["remarks"][0]

    code, out, _ = room.run(capsys, "calibrate", "--apply")
    assert "today: what labelstill label would use now" in out
    code, out, _ = room.run(capsys, "calibrate", "--json")
    assert not json.loads(out)["gain_shown"]  # the gain was taken


def test_the_next_command_repeats_what_the_last_run_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = Room(tmp_path, monkeypatch, "--tile", "640")
    room.review(32)
    code, out, _ = room.run(
        capsys, "calibrate", "--apply", "--detector", "drawn", "--weights", f"{tmp_path}/weights.pt"
    )
    assert code == 0
    assert out.splitlines()[-1].endswith(f"--detector drawn --weights {tmp_path}/weights.pt --segmenter none")
    code, out, _ = room.run(capsys, "calibrate")
    assert out.splitlines()[-1] == (
        f"next: labelstill next --gold 36 --project {room.root} for surer figures, or keep the settings in force"
    )
    (room.root / "project.yaml").write_text(COMMENTED)
    code, out, _ = room.run(capsys, "calibrate", "--apply")
    command = out.splitlines()[-1].removeprefix("next: ")
    assert command.endswith("--tile 640 --segmenter none")
    capsys.readouterr()
    assert main(shlex.split(command)[1:]) == 0  # it runs as printed, and labels what nobody has reviewed
    assert "4 images" in " ".join(capsys.readouterr().out.split())


def test_each_given_prompt_is_said_to_be_taken_or_not(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.review(36)
    _, out, _ = room.run(capsys, "calibrate", "--aliases", "fire: yellow flame, sun: golden")
    assert "tried for sea: blue, azure; taken: blue" in out
    assert "tried for fire: yellow flame; none better" in out
    assert "tried for sun: golden; not judged, the gold set has no object of it" in out


def test_after_an_import_alone_calibrate_is_named_with_a_detector(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    room.review(36)
    with sqlite3.connect(room.root / "labels.db") as database:
        database.execute("UPDATE runs SET verb = 'import'")
    _, out, _ = room.run(capsys, "next", "--gold", "200")
    assert "label first" not in out
    assert "every image is reviewed: calibrate and feasibility take them as they are" in out
    assert out.splitlines()[-1].startswith(
        f"next: labelstill calibrate --project {room.root} --detector NAME --weights WEIGHTS"
    )


def test_a_precision_that_is_not_reached_is_said_first(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    (room.root / "project.yaml").write_text(
        COMMENTED.replace("    synonyms: [blue, azure]\n", "").replace("[red]", "[pink]")
    )
    room.review(36)
    _, out, _ = room.run(capsys, "calibrate", "--recall-at-precision", "0.9")
    assert out.splitlines()[0] == "precision    held out, no box is left: a precision of 0.9 is not reached"


def _found(today: float, after: float, *, ap50: tuple[float, float] = (0.5, 0.4)) -> Calibration:
    settings = Settings((("a",), ("b",), ("c",)), None, 0.5, (0.2, 0.2, 0.2))
    other = replace(settings, thresholds=(0.4, 0.2, 0.2))
    counts = (np.array([[30.0, 20, 40], [0, 0, 0], [0, 0, 0]]), np.array([[28.0, 7, 40], [0, 0, 0], [0, 0, 0]]))
    loss = Difference(today, after, after - today - 5, after - today + 5)
    return Calibration(
        settings, other, 36, *counts, loss, Difference(0.572, 0.563, -0.018, 0.001), Difference(*ap50, -0.2, 0.0), 1
    )


def test_the_words_answer_first_and_say_what_the_brackets_are() -> None:
    found = _found(30, 19)
    assert words.headline(found, Aim()).startswith("Yes: today 10 of 40 objects missed")
    assert words.headline(_found(30, 29), Aim()).startswith("No gain shown: ")
    assert words.difference("F1", found.f1) == "F1 0.572 → 0.563 (difference -0.009, 95 % from -0.018 to +0.001)"
    assert words.verdict(found, Aim()) == "a gain: cost 30 → 19 (difference -11, 95 % from -16 to -6)"
    assert [worse for _, worse in words.figures(found)] == [True, True]
    wanted = Aim(precision=0.9)
    assert words.shortfall(found, wanted) == "held out, precision is 0.800, below the 0.9 that was wanted"
    assert words.shortfall(found, Aim(precision=0.8)) is None
    assert words.headline(found, wanted).startswith("Yes, but below the wanted precision: ")
    assert "missed objects, and more for precision below 0.9: 30 → 19" in words.verdict(found, wanted)


def test_the_page_paints_a_loss_as_one_and_counts_one_pass(room: Room, tmp_path: Path) -> None:
    outcome = Outcome(_found(30, 19), Gold(()), {})
    _write_page(tmp_path / "page.html", Project.open(room.root), "t", outcome, Aim())
    text = (tmp_path / "page.html").read_text()
    assert '<li class="look">AP50 0.500 → 0.400' in text
    assert "<h1>Yes: " in text
    assert "1 pass of the detector" in text

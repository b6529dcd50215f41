"""The verb agreement: what it reads from labels.db, what it prints, how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.store import Store
from labeling.core.store_studio import Answer, AnswerKind, StudioLedger, Target, Task, Verdict
from labeling.project import Project
from tests import made_stores as made

WIDTH, HEIGHT = 160, 120
CUP, MUG, FAR = (10, 10, 50, 50), (60, 10, 100, 50), (110, 60, 150, 110)
CLASSES = Ontology((OntologyClass("cup", ("cup",), aliases=("beaker",)), OntologyClass("mug", ("mug",))))

Things = Sequence[tuple[str, tuple[float, float, float, float]]]


def region(name: str, box: tuple[float, float, float, float], number: int = 0) -> dict[str, Any]:
    """Return a rectangle as Label Studio gives it: percent of the image."""
    x0, y0, x1, y1 = box
    sides = {"width": (x1 - x0) / WIDTH * 100, "height": (y1 - y0) / HEIGHT * 100}
    value = {"x": x0 / WIDTH * 100, "y": y0 / HEIGHT * 100, **sides, "rotation": 0, "rectanglelabels": [name]}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {
        "id": f"r{number}",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "value": value,
        **size,
    }


def result(things: Things) -> list[dict[str, Any]]:
    return [region(name, box, number) for number, (name, box) in enumerate(things)]


class Round:
    """A project whose photos were pushed; people answer as the test says."""

    def __init__(self, root: Path, photos: int) -> None:
        self.project = Project.create(root / "project", CLASSES)
        self.root = str(self.project.root)
        outcomes = [made.outcome([made.photo(root / f"photos/{n}.png", (), seed=n)], ()) for n in range(photos)]
        with self.project.open_store(create=True) as store:
            store.write_classes(CLASSES)
            store.commit_batch(outcomes, store.start_run("label", {}))
            self.images = [outcome.sha256 or "" for outcome in outcomes]
            ledger, target = self._target(store)
            ledger.intend(target, [(Task(sha256, None, "intended", 0, "", "m"), ()) for sha256 in self.images])
            ledger.confirm(target, {sha256: number for number, sha256 in enumerate(self.images, start=1)})

    def answer(self, photo: int, said: Mapping[str, Things], *, more: Sequence[Answer] = ()) -> None:
        """Let people submit what they drew on a photo."""
        answers = [self.said(photo, who, result(things)) for who, things in said.items()]
        with self.project.open_store() as store:
            ledger, target = self._target(store)
            ledger.commit_verdicts(target, [Verdict(self.images[photo], (*answers, *more), "reviewed-empty")])

    def said(
        self, photo: int, who: str, regions: list[Any], kind: AnswerKind = "submitted", at: str = "2026-01-01T10:00:00Z"
    ) -> Answer:
        self.number = getattr(self, "number", 0) + 1
        return Answer(kind, self.number, photo + 1, self.images[photo], who, at, at, 5.0, False, regions)

    def _target(self, store: Store) -> tuple[StudioLedger, Target]:
        ledger = StudioLedger(store)
        return ledger, ledger.save_target("http://127.0.0.1:1", 1, config="", media="local")


def test_people_who_agree_pass_and_the_tables_show_classes_and_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = Round(tmp_path, 4)
    for photo in range(3):
        things = [("cup", CUP), ("mug", MUG)]
        made_up.answer(photo, {"ann@x.org": things, "bob@x.org": things[::-1]})
    made_up.answer(3, {"ann@x.org": [("cup", CUP)]})
    assert main(["agreement", "--project", made_up.root]) == 0
    said = capsys.readouterr().out
    assert "2 people on 3 of 4 images with an answer, 6 objects" in said
    assert "ann@x.org and bob@x.org" in said
    assert 'gate passed: Krippendorff\'s alpha with "no object" is 1.00, 0.7 was asked for' in said
    assert "fewer than 20 images" in said
    assert "unclear" not in said
    assert "disagreements" not in said
    assert "nan" not in said.lower()


def test_people_who_differ_end_with_code_3_the_unclear_class_and_the_worst_photos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = Round(tmp_path, 2)
    made_up.answer(0, {"ann": [("cup", CUP), ("mug", MUG)], "bob": [("mug", CUP), ("mug", MUG)]})
    made_up.answer(1, {"ann": [("mug", FAR), ("mug", CUP)], "bob": [("mug", FAR)]})
    assert main(["agreement", "--project", made_up.root]) == 3
    said = capsys.readouterr().out
    assert 'gate failed: Krippendorff\'s alpha with "no object"' in said
    assert "unclear: cup" in said
    assert "the other said mug 1×" in said
    worst = said.index("ann: cup, bob: mug"), said.index("ann: mug, bob: nothing")
    assert worst[0] < worst[1]
    assert "0.png" in said[worst[0] : worst[1]]
    assert main(["agreement", "--project", made_up.root, "--gate", "0"]) == 3  # less than chance
    assert "0 was asked for" in capsys.readouterr().out


def test_json_holds_every_number_with_its_interval_and_all_disagreements(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = Round(tmp_path, 3)
    for photo in range(3):
        made_up.answer(
            photo, {"ann": [("cup", CUP), ("mug", MUG)], "bob": [("cup", CUP)], "cy": [("cup", CUP), ("mug", MUG)]}
        )
    assert main(["agreement", "--project", made_up.root, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["images_compared"], answer["drawn"]) == (3, 3, {"cup": 9, "mug": 6})
    assert answer["everyone"]["annotators"] == ["ann", "bob", "cy"]
    assert [pair["annotators"] for pair in answer["pairs"]] == [["ann", "bob"], ["ann", "cy"], ["bob", "cy"]]
    first = answer["pairs"][0]
    assert first["table"] == [{"first": "cup", "second": "cup", "n": 3}, {"first": "mug", "second": None, "n": 3}]
    assert first["overall"]["iou"]["value"] == pytest.approx(1)
    assert answer["pairs"][1]["overall"]["cohen_kappa"]["value"] == 1
    assert first["overall"]["cohen_kappa_matched"] == {
        "value": None, "low": None, "high": None, "reason": "everyone always said 'cup'",
    }  # fmt: skip
    assert answer["gate"]["passed"] is False
    assert answer["gate"]["estimate"] == answer["everyone"]["overall"]["alpha"]
    assert [(one["sha256"] in made_up.images, one["said"]) for one in answer["disagreements"]] == [
        (True, {"ann": "mug", "bob": None, "cy": "mug"})
    ] * 3
    assert {Path(one["image"]).name for one in answer["disagreements"]} == {"0.png", "1.png", "2.png"}
    assert main(["agreement", "--project", made_up.root, "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == answer


def test_of_one_person_the_answer_changed_last_counts_and_drafts_and_skips_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = Round(tmp_path, 2)
    right = result([("cup", CUP), ("mug", MUG)])
    later = made_up.said(0, "ann", right, at="2026-01-01T12:00:00.5Z")
    draft = made_up.said(0, "ann", [], "draft", at="2026-01-03T10:00:00Z")
    other = made_up.said(0, "cy", [], "skipped", at="2026-01-03T10:00:00Z")
    things = [("cup", CUP), ("mug", MUG)]
    made_up.answer(0, {"ann": [("mug", FAR)], "bob": things}, more=[later, draft, other])
    made_up.answer(1, {"ann": things, "bob": things})
    assert main(["agreement", "--project", made_up.root, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["everyone"]["annotators"] == ["ann", "bob"]
    assert answer["disagreements"] == []


def test_an_alias_is_its_class_and_what_is_no_box_is_left_out_with_a_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = Round(tmp_path, 1)
    ellipse = region("cup", FAR, 9)
    ellipse["type"], ellipse["from_name"] = "ellipselabels", "oval"
    ellipse["value"] = {"x": 50, "y": 50, "radiusX": 5, "radiusY": 5, "rotation": 0, "ellipselabels": ["cup"]}
    things = [("beaker", CUP), ("mug", MUG)]
    made_up.answer(0, {"bob": [("cup", CUP), ("mug", MUG)]}, more=[made_up.said(0, "ann", [*result(things), ellipse])])
    assert main(["agreement", "--project", made_up.root]) == 0
    said = capsys.readouterr().out
    assert "beaker" not in said
    assert said.count("left out: ") == 1
    assert "(1×)" in said


def test_without_two_people_on_one_image_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up = Round(tmp_path, 2)
    assert main(["agreement", "--project", made_up.root]) == 1
    assert "error: no image has an answer yet: " in capsys.readouterr().err
    made_up.answer(0, {"ann": [("cup", CUP)]})
    made_up.answer(1, {"bob": [("cup", CUP)]})
    assert main(["agreement", "--project", made_up.root, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "2 images have an answer, none has two people's" in captured.err
    assert "labelstill push --overlap 10% --project" in json.loads(captured.out)["error"]
    made_up.answer(0, {"ann": [], "bob": []})
    assert main(["agreement", "--project", made_up.root]) == 1
    assert "nobody drew anything on the 1 images" in capsys.readouterr().err


def test_with_one_class_the_gate_says_that_it_asks_another_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = Round(tmp_path, 1)
    made_up.answer(0, {"ann": [("cup", CUP), ("cup", FAR)], "bob": [("cup", CUP), ("cup", FAR)]})
    assert main(["agreement", "--project", made_up.root]) == 0
    said = capsys.readouterr().out
    assert "gate passed: the share found by both is 1.00" in said
    assert "with one class alone" in said
    assert "undefined for cup, all classes, ann and bob: everyone always said 'cup'" in said


def test_names_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up = Round(tmp_path, 1)
    hostile = "ann\x1b[31m\n\u202eb"
    made_up.answer(0, {hostile: [("cup\x1b[2J", CUP)], "bob": [("mug", CUP)]})
    assert main(["agreement", "--project", made_up.root]) == 3
    said = capsys.readouterr().out
    assert "ann\\x1b[31m\\n\\u202eb" in said
    assert "cup\\x1b[2J" in said
    assert all(c.isprintable() or c == "\n" for c in said)


@pytest.mark.parametrize("threshold", ["nan", "1.5", "-0.1", "most"])
def test_a_gate_that_is_no_share_is_refused(threshold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up = Round(tmp_path, 1)
    assert main(["agreement", "--project", made_up.root, "--gate", threshold]) == 1
    assert "--gate" in capsys.readouterr().err

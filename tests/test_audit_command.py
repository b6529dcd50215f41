"""The verb audit: what it prints, as text, JSON and CSV; hostile names; nothing to measure yet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.project import Project
from tests import made_stores as made
from tests.made_reviews import Desk, claim, drawn, left, sha

CLASSES = ("box", "=1+1")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", made.ontology(CLASSES))


def answered(project: Project, *, by: str = "ann@x.org") -> None:
    """One image whose three claims were kept, relabelled and deleted, one blind image, one that waits."""
    with project.open_store(create=True) as store:
        desk = Desk(store, CLASSES)
        one, two, three = (claim("a.png", k, "box", (30.0 * k, 0, 30.0 * k + 20, 20), 0.5 + k / 10) for k in range(3))
        desk.push("a.png", [one, two, three])
        desk.push("b\x1b[31m.png", [claim("b\x1b[31m.png", 1, "box", (0, 0, 20, 20))], blind=True)
        desk.push("c.png", [])
        desk.answer("a.png", [one, left(two, class_name="=1+1")], seconds=30, by=by)
        desk.answer("b\x1b[31m.png", [drawn("b\x1b[31m.png", "=1+1", (50, 50, 100, 100))], seconds=50, by=by)


def audited(project: Project, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["audit", "--project", str(project.root), *more]) == 0
    return capsys.readouterr().out


def test_text_has_every_figure_and_ends_with_what_to_run_next(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(project)
    lines = audited(project, capsys).splitlines()
    assert lines[0] == "2 images reviewed, 1 waiting"
    assert lines[1] == "teacher, on 1 pre-labelled image"
    rows = [" ".join(line.split()) for line in lines[2:5]]
    assert rows[0] == "precision recall kept moved relabelled deleted added IoU moved"
    # One of three; Wilson by hand: (1/3 + 1.9208/3 ± 1.96 √(2/27 + 0.9604/9)) / (1 + 3.8416/3).
    assert rows[1] == "0.33 (0.06 to 0.79) 1.00 (0.21 to 1.00) 1 0 1 1 0 box"
    assert rows[2] == "not measured 0.00 (0.00 to 0.79) 0 0 0 0 0 =1+1"
    assert "  relabelled: box to =1+1 1" in lines
    assert "teacher, on 1 blind image: nobody saw its labels, they are matched by overlap" in lines
    said = "30.0 (half of them 30.0 to 30.0, n 1); blind 50.0 (half of them 50.0 to 50.0, n 1)"
    assert f"  seconds per image: {said}; difference -20.00 (too few for an interval)" in lines
    assert (
        lines[-1]
        == f"next: labelstill report --project {project.root}, which shows the worst disagreements as pictures"
    )


def test_json_has_the_same_figures(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    answered(project)
    found = json.loads(audited(project, capsys, "--json"))
    assert found["images"] == {"reviewed": 2, "skipped": 0, "draft": 0, "attention": 0, "waiting": 1}
    box = found["teacher"]["prelabelled"]["classes"]["box"]
    assert (box["precision"]["part"], box["precision"]["whole"], box["kept"], box["deleted"]) == (1, 3, 1, 1)
    assert found["teacher"]["prelabelled"]["confusion"] == [["box", "=1+1", 1]]
    assert found["work"]["blind"]["image_seconds"]["median"] == 50
    assert found["annotators"][0]["share_accepted"] == 0
    what = [(row["what"], row["class"], row["became"], row["blind"]) for row in found["worst"]]
    assert what == [
        ("deleted", "box", None, True),
        ("added", "=1+1", None, True),
        ("relabelled", "box", "=1+1", False),
        ("deleted", "box", None, False),
    ]
    assert found["worst"][3]["sha256"] == sha("a.png")
    assert found["worst"][3]["image"] == "/photos/a.png"


def test_table_for_spreadsheets_holds_no_formula(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(project)
    target = tmp_path / "audit.csv"
    assert f"wrote {target}" in audited(project, capsys, "--csv", str(target))
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["images"], row["class"]) for row in rows] == [
        ("prelabelled", "box"),
        ("prelabelled", "'=1+1"),
        ("blind", "box"),
        ("blind", "'=1+1"),
    ]
    assert (rows[0]["claims"], rows[0]["right"], rows[0]["precision"]) == ("3", "1", "0.333333")
    assert rows[1]["precision"] == ""
    for wrong in (tmp_path, tmp_path / "labels.db", tmp_path / "no" / "audit.csv"):
        assert main(["audit", "--project", str(project.root), "--csv", str(wrong)]) == 1
        assert capsys.readouterr().err.startswith(f"error: {wrong}: ")


def test_names_cannot_command_a_terminal(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    answered(project, by="eve\x1b]0;gone\x07\u202e@x.org")
    text = audited(project, capsys)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "b\\x1b[31m.png" in text


def test_nothing_reviewed_yet_is_said_with_what_to_run(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"--project {project.root}"
    nothing = f"nothing was handed over yet: labelstill push {folder}"
    assert audited(project, capsys).splitlines()[-1] == nothing
    with project.open_store(create=True) as store:
        assert audited(project, capsys).splitlines()[-1] == nothing
        Desk(store, CLASSES).push("a.png", [claim("a.png", 1, "box", (0, 0, 20, 20))])
    assert audited(project, capsys).splitlines() == [
        "0 images reviewed, 1 waiting",
        f"nothing reviewed yet: labelstill pull {folder}",
    ]
    found = json.loads(audited(project, capsys, "--json"))
    assert (found["images"]["reviewed"], found["teacher"]["prelabelled"]["images"], found["worst"]) == (0, 0, [])
    assert found["teacher"]["prelabelled"]["overall"]["precision"]["value"] is None


def test_somebody_who_accepts_everything_is_named_with_the_odds(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with project.open_store(create=True) as store:
        desk = Desk(store, CLASSES)
        for number in range(50):
            name = f"{number}.png"
            one = claim(name, 1, "box", (0, 0, 20, 20))
            desk.push(name, [one])
            desk.answer(name, [one] if number < 35 else [], by="eve@x.org" if number < 25 else "ann@x.org")
    said = next(line for line in audited(project, capsys).splitlines() if line.startswith("look: "))
    # 15 of 50 images were changed, all among the 25 of ann: comb(35, 25) / comb(50, 25) = 1.4521e-6.
    assert said == (
        "look: eve@x.org left all 25 pre-labelled images as they were, while others changed 15 of 25. If both looked "
        "equally closely, that would happen once in 688,588 times: look at some of these images again."
    )


def test_project_that_is_none_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--project", str(tmp_path)]) == 1
    assert "is no project" in capsys.readouterr().err


def test_estimate_by_lot_and_what_labels_do_to_people_are_said_once_there_is_enough(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with project.open_store(create=True) as store:
        desk = Desk(store, CLASSES)
        for number in range(19):
            hand_over(desk, f"{number}.png")
        assert "chosen by lot" not in audited(project, capsys)
        hand_over(desk, "19.png")
        text = audited(project, capsys)
        assert "teacher, on the 20 pre-labelled images chosen by lot: an estimate for the whole project" in text
        assert "look: " not in text
        for number in range(10):
            hand_over(desk, f"blind {number}.png", blind=True)
    lines = audited(project, capsys).splitlines()
    assert (
        "  objects per image: 1.00 (n 20); blind 2.00 (n 10); difference -1.00 (95 % interval -1.00 to -1.00)" in lines
    )
    assert any(line.startswith("look: People leave fewer objects per image where they see") for line in lines)


def hand_over(desk: Desk, name: str, *, blind: bool = False) -> None:
    """Push one claim by lot; people leave it, and find a second object where they do not see it."""
    one = claim(name, 1, "box", (0, 0, 20, 20))
    desk.push(name, [one], blind=blind, by_lot=True)
    seen = [drawn(name, "box", (0, 0, 20, 20)), drawn(name, "box", (50, 50, 70, 70))]
    desk.answer(name, seen if blind else [one])

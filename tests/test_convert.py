"""The verb convert: what it prints, where it writes, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.formats.targets import TARGETS
from labeling.project import Project
from tests import made_stores as made
from tests.made_stores import Thing

CLASSES = ["disc", "box"]
THINGS = (Thing("disc", (10, 10, 90, 90), 0.9, masked=True), Thing("box", (100, 20, 140, 60), 0.4))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a photo, an empty photo and a refused file."""
    project = Project.create(tmp_path / "project", made.ontology(CLASSES))
    with project.open_store(create=True) as store:
        outcomes = [
            made.outcome([made.photo(tmp_path / "photos/1.png", THINGS, seed=1)], THINGS),
            made.outcome([made.photo(tmp_path / "photos/2.png", (), seed=2)], ()),
            made.refused(tmp_path / "photos/bad.jpg", "truncated"),
        ]
        made.write(store, CLASSES, outcomes)
    return project.root


def test_coco_is_one_json_file_and_the_answer_counts_what_is_left_out(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new/folder"
    assert main(["convert", "--project", str(root), "--to", "coco", "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [str(path) for path in out.rglob("*")] == [answer["file"]]
    assert (answer["images"], answer["images_without_objects"]) == (2, 1)
    assert answer["annotations"] == {"disc": 1, "box": 1}
    assert answer["left_out"]["quarantined_files"] == 1
    assert {image["file_name"] for image in json.loads(Path(answer["file"]).read_text())["images"]} == {
        "1.png",
        "2.png",
    }


def test_second_run_needs_force(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(TARGETS) == 7
    for to in TARGETS:
        command = ["convert", "--project", str(root), "--to", to, "--out", str(tmp_path / to)]
        assert main(command) == 0
        assert "1 quarantined files" in capsys.readouterr().out
        assert main(command) == 1
        assert "--force" in capsys.readouterr().err
        assert main([*command, "--force"]) == 0
        capsys.readouterr()


def test_photo_that_is_gone_is_said_and_ends_with_2(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos/2.png").unlink()
    assert main(["convert", "--project", str(root), "--to", "yolo", "--out", str(tmp_path / "out")]) == 2
    assert "2.png: missing" in capsys.readouterr().out
    (tmp_path / "photos/1.png").unlink()
    assert main(["convert", "--project", str(root), "--to", "yolo", "--out", str(tmp_path / "none")]) == 1
    assert "none of the 2 labelled photos can be read" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "cvat", "--out", "x"], "cvat"),
        (["--from", "voc"], "--from voc needs --in"),
        (["--to", "coco", "--out", "x", "--in", "x"], "--in has no meaning here: it goes with --from"),
        (["--from", "coco", "--in", "x", "--labels", "best"], "--labels has no meaning here"),
        (["--from", "coco", "--in", "x", "--to", "voc", "--out", "x"], "--project has no meaning here"),
        (["--to", "coco"], "--out"),
        (["--to", "coco", "--out", "/proc/labelstill"], "cannot be written"),
        (["--to", "coco", "--out", "{photo}"], "is a file"),
        (["--to", "coco", "--out", "x", "--labels", "human"], "nobody has reviewed"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    photo = str(tmp_path / "photos/1.png")
    before = sorted(tmp_path.rglob("*"))
    assert main(["convert", "--project", str(root), *(a.format(photo=photo) for a in arguments)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if "labels.db" not in path.name] == [
        path for path in before if "labels.db" not in path.name
    ]

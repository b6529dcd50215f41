"""`labelstill label` from the outside: what it writes, says and returns, and what it refuses before writing."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.store import Store
from labeling.project import Project
from tests.fakes import Drawn, draw, draw_photos, poison

pytestmark = pytest.mark.usefixtures("drawn_backend")

ROOT = Path(__file__).resolve().parents[1]
CLASSES = "crimson: red box, leaf: green box, sea: blue box, sun: yellow box"
CLASS_OF = {"red": "crimson", "green": "leaf", "blue": "sea", "yellow": "sun"}


@pytest.fixture
def photos(tmp_path: Path) -> list[Drawn]:
    return draw_photos(tmp_path / "photos", 9)


def command(tmp_path: Path, *flags: str, classes: str | None = CLASSES, photos: str = "photos") -> list[str]:
    weights = tmp_path / "weights"
    weights.write_text("drawn")
    chosen = ["--classes", classes] if classes is not None else []
    return [
        "label", str(tmp_path / photos), "--project", str(tmp_path / "project"), *chosen,
        "--detector", "drawn", "--weights", str(weights), "--segmenter", "drawn", "--segmenter-weights", str(weights),
        *flags,
    ]  # fmt: skip


def as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], *flags: str, **choice: Any) -> dict[str, Any]:
    capsys.readouterr()
    main(command(tmp_path, "--json", *flags, **choice))
    output = capsys.readouterr()
    result: dict[str, Any] = json.loads(output.out)
    return result


def status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["status", "--project", str(tmp_path / "project"), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Run a command that must fail before anything is written, and return its one line."""
    assert main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert not (tmp_path / "project").exists()
    return output.err


def digest(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_new_project_from_words(tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]) -> None:
    before = digest(tmp_path / "photos")
    assert main(command(tmp_path)) == 0
    drawn = Counter(CLASS_OF[colour] for photo in photos for colour, _ in photo.shapes)
    said = capsys.readouterr().out
    assert f"labelled     9 images, {drawn.total()} objects" in said
    assert all(f"{name} {count}" in said for name, count in drawn.items())
    assert f"{tmp_path}/project/labels.db" in said
    assert f"labelstill report --project {tmp_path}/project" in said
    assert status(tmp_path, capsys) == {
        "images": {"prelabelled": 9},
        "annotations": {name: drawn[name] for name in CLASS_OF.values()},
        "quarantined": [],
        "skipped_files": 0,
        "split": {},
        "students": {"finished": 0, "newest": None},
    }
    assert digest(tmp_path / "photos") == before


def test_the_same_command_again_does_nothing(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path))
    with sqlite3.connect(tmp_path / "project" / "labels.db") as db:
        runs = db.execute("SELECT * FROM runs").fetchall()
    capsys.readouterr()
    assert main(command(tmp_path)) == 0
    output = capsys.readouterr()
    assert "labelled     0 images" in output.out
    assert "unchanged    9 images" in output.out
    assert output.err == ""
    with sqlite3.connect(tmp_path / "project" / "labels.db") as db:
        assert db.execute("SELECT * FROM runs").fetchall() == runs


def test_a_run_with_nothing_to_do_imports_no_model_library(tmp_path: Path, photos: list[Drawn]) -> None:
    main(command(tmp_path))
    code = (
        "import sys; from tests import fakes; from labeling.cli import main; fakes.register(); main(sys.argv[1:]);"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "unchanged    9 images" in done.stdout
    assert not set(done.stdout.split()) & {"torch", "supervision", "cv2", "transformers", "scipy", "ultralytics"}


def test_new_classes_are_appended_and_saved(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path, classes="sea: blue box"))
    result = as_json(tmp_path, capsys, classes="crimson: red box, sea: blue box")
    drawn = Counter(colour for photo in photos for colour, _ in photo.shapes)
    assert result["labelled"] == 9
    assert result["objects"] == {"sea": drawn["blue"], "crimson": drawn["red"]}
    assert Project.open(tmp_path / "project").ontology.names == ("sea", "crimson")
    assert as_json(tmp_path, capsys, classes=None)["unchanged"] == 9


def test_changed_prompts_replace_machine_labels_and_leave_reviewed_ones(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path, classes="thing: red box"))
    with Store.open(tmp_path / "project" / "labels.db") as store:
        image = next(iter(store.iter_images()))
        store.set_reviewed(image.sha256 or "", [], "reviewed-empty")
    result = as_json(tmp_path, capsys, classes="thing: blue box")
    assert (result["labelled"], result["reviewed"]) == (8, 1)
    with Store.open(tmp_path / "project" / "labels.db") as store:
        made = [a for image in store.iter_images("best") for a in store.annotations_of(image.sha256 or "")]
    assert {annotation.provenance.prompt for annotation in made} == {"blue box"}


def test_another_score_labels_again(tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]) -> None:
    main(command(tmp_path))
    result = as_json(tmp_path, capsys, "--score", "0.95")
    assert result["labelled"] == 9
    assert sum(result["objects"].values()) == 0
    assert result["dropped"] == {}  # what is below every threshold is not asked for
    with Project.open(tmp_path / "project").open_store() as store:
        faint = store.rows("SELECT class_name, x0, y0, x1, y1 FROM faint")
    drawn = [(CLASS_OF[colour], *box) for photo in photos for colour, box in photo.shapes]
    assert sorted(faint) == sorted(drawn)
    assert as_json(tmp_path, capsys, "--score", "0.95")["unchanged"] == 9


def test_score_on_the_command_line_beats_the_class_which_beats_project_yaml(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    ontology = tmp_path / "classes.yaml"
    ontology.write_text(
        "classes:\n- {name: a, prompts: [red box], threshold: 0.95}\n- {name: b, prompts: [blue box]}\n"
    )
    flags = ("--ontology", str(ontology))
    drawn = Counter(colour for photo in photos for colour, _ in photo.shapes)
    assert as_json(tmp_path, capsys, *flags, classes=None)["objects"] == {"a": 0, "b": drawn["blue"]}
    both = {"a": drawn["red"], "b": drawn["blue"]}
    assert as_json(tmp_path, capsys, *flags, "--score", "0.5", classes=None)["objects"] == both
    settings = tmp_path / "project" / "project.yaml"
    settings.write_text(settings.read_text() + "\nteacher:\n  score: 0.95\n")
    assert as_json(tmp_path, capsys, *flags, classes=None)["objects"] == {"a": 0, "b": 0}


def test_project_yaml_chooses_the_teacher_where_the_command_line_does_not(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path))
    settings = tmp_path / "project" / "project.yaml"
    weights = tmp_path / "weights"
    settings.write_text(
        settings.read_text()
        + f"\nteacher: {{detector: drawn, weights: {weights}, segmenter: drawn, segmenter_weights: {weights}}}\n"
    )
    capsys.readouterr()
    assert main(["label", str(tmp_path / "photos"), "--project", str(tmp_path / "project")]) == 0
    assert "unchanged    9 images" in capsys.readouterr().out


def test_limit_labels_that_many_and_the_next_run_goes_on(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    assert as_json(tmp_path, capsys, "--limit", "4")["labelled"] == 4
    result = as_json(tmp_path, capsys)
    assert (result["labelled"], result["unchanged"]) == (5, 4)


def test_quarantined_files_are_named_and_the_exit_code_is_2_every_time(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "photos" / "cut.png"
    bad.write_bytes(photos[0].path.read_bytes()[:100])
    os.mkfifo(tmp_path / "photos" / "pipe.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    for _ in range(2):
        assert main(command(tmp_path)) == 2
        said = capsys.readouterr().out
        assert "quarantined  2 files" in said
        assert f"{bad}: truncated: " in said
        assert "pipe.jpg: not_a_regular_file: " in said
        assert "skipped      1 files" in said
    counts = status(tmp_path, capsys)
    assert counts["images"] == {"prelabelled": 9, "quarantined": 2}
    assert counts["skipped_files"] == 1
    assert [Path(file["path"]).name for file in counts["quarantined"]] == ["cut.png", "pipe.jpg"]


def test_what_counts_as_usable_can_change(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path))
    settings = tmp_path / "project" / "project.yaml"
    draw(tmp_path / "photos" / "new.png", [])
    text = settings.read_text()
    settings.write_text(text + "\nimages: {max_pixels: 100}\n")
    assert len(as_json(tmp_path, capsys)["quarantined"]) == 1
    settings.write_text(text)
    result = as_json(tmp_path, capsys)
    assert (result["labelled"], result["quarantined"]) == (1, [])


def test_photos_inside_the_project_folder_do_not_mix_with_what_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photos(tmp_path / "project" / "photos", 3)
    assert as_json(tmp_path, capsys, photos="project")["labelled"] == 3
    draw_photos(tmp_path / "project" / "exports" / "yolo", 2, seed=1)
    assert as_json(tmp_path, capsys, photos="project")["labelled"] == 0


def test_files_that_are_gone_are_named(tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]) -> None:
    main(command(tmp_path))
    photos[3].path.unlink()
    assert as_json(tmp_path, capsys)["vanished"] == [str(photos[3].path)]


def test_a_renamed_photo_and_a_mended_folder_leave_nothing_of_the_old_names(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    (folder / "bad.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    assert main(command(tmp_path)) == 2
    photos[0].path.rename(folder / "renamed.png")
    for name in ("bad.jpg", "notes.txt"):
        (folder / name).unlink()
    assert main(command(tmp_path)) == 0
    counts = status(tmp_path, capsys)
    assert (counts["images"], counts["quarantined"], counts["skipped_files"]) == ({"prelabelled": 9}, [], 0)
    assert main(["convert", "--project", str(tmp_path / "project"), "--to", "coco", "--out", str(tmp_path / "o")]) == 0
    names = {image["file_name"] for image in json.loads((tmp_path / "o/annotations.json").read_text())["images"]}
    assert names == {path.name for path in folder.iterdir()}
    assert as_json(tmp_path, capsys)["vanished"] == []


def test_a_photo_that_is_gone_keeps_its_labels_and_is_named_every_time(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path))
    photos[0].path.unlink()
    for _ in range(2):
        assert as_json(tmp_path, capsys)["vanished"] == [str(photos[0].path)]
    assert status(tmp_path, capsys)["images"] == {"prelabelled": 9}


def test_a_reviewed_photo_that_was_replaced_is_said(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path))
    sha256 = hashlib.sha256(photos[0].path.read_bytes()).hexdigest()
    with Store.open(tmp_path / "project" / "labels.db") as store:
        store.set_reviewed(sha256, [], "reviewed-empty")
    draw(photos[0].path, [("red", (1, 1, 30, 30))], salt=900)
    assert as_json(tmp_path, capsys)["set_aside"] == 1
    assert main(["status", "--project", str(tmp_path / "project")]) == 0
    assert "1 reviewed images set aside" in capsys.readouterr().out


def test_the_files_of_the_project_are_not_skipped_and_its_folders_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photos(tmp_path / "project" / "datasets", 2)
    assert main(command(tmp_path, photos="project")) == 1
    assert "datasets is the project's own" in capsys.readouterr().err
    draw_photos(tmp_path / "project" / "photos", 3)
    assert as_json(tmp_path, capsys, photos="project")["skipped_files"] == 0
    assert as_json(tmp_path, capsys, photos="project")["skipped_files"] == 0
    main(command(tmp_path, photos="project"))
    assert "passed over  1 folders of the project: datasets" in capsys.readouterr().out


def test_a_limit_that_only_met_a_broken_file_is_no_verdict_on_the_others(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    assert main(command(tmp_path, "--limit", "1")) == 2
    assert "quarantined  1 files" in capsys.readouterr().out


def test_names_that_are_no_utf8_pass_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"odd\xff")
    draw_photos(tmp_path / odd, 2)
    (tmp_path / f"weights{odd}").write_text("drawn")
    arguments = command(tmp_path, photos=odd)
    arguments[3] = str(tmp_path / f"p{odd}")
    arguments[arguments.index("--weights") + 1] = str(tmp_path / f"weights{odd}")
    assert main(arguments) == 0
    for verb in (["status"], ["report"], ["convert", "--to", "yolo", "--out", str(tmp_path / f"out{odd}")]):
        assert main([*verb, "--project", arguments[3]]) == 0
    assert "error" not in capsys.readouterr().err
    assert main(["init", "--project", str(tmp_path / f"new{odd}")]) == 0


def test_a_run_notes_its_settings_and_what_it_did(tmp_path: Path, photos: list[Drawn]) -> None:
    main(command(tmp_path, "--score", "0.4"))
    with Store.open(tmp_path / "project" / "labels.db") as store:
        (run,) = store.runs()
    assert run.verb == "label"
    assert run.settings["teacher"]["detector"] == "drawn"
    assert run.settings["scores"] == [0.4] * 4
    assert run.summary is not None
    assert run.summary["labelled"] == 9


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--score", "1.5"], "score is 1.5"),
        (["--batch", "0"], "--batch is '0'"),
        (["--batch", "many"], "--batch is 'many'"),
        (["--limit", "0"], "--limit is 0"),
        (["--detector", "grounding-dinosaur"], "unknown detector 'grounding-dinosaur'"),
        (["--segmenter", "sam3"], "unknown segmenter 'sam3'"),
        (["--weights", "nowhere/at/all.safetensors"], "nowhere/at/all.safetensors do not exist"),
        (["--weights", "nobody/nothing"], "hf download nobody/nothing"),
        (["--class-names", "nowhere.txt"], "--class-names nowhere.txt"),
        (["--ontology", "also.yaml"], "got both"),
        (["--classes", "a, a"], "comes twice"),
        (["--classes", "a, , b"], "class 2 of 'a, , b' is empty"),
        (["--classes", ""], "got nothing"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    flags: list[str], said: str, tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tmp_path, capsys, command(tmp_path, *flags))


def test_no_words_is_one_sentence(tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to look for: add --classes" in refused(tmp_path, capsys, command(tmp_path, classes=None))


def test_an_empty_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    assert "no image in" in refused(tmp_path, capsys, command(tmp_path))
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    assert "1 files are no images" in refused(tmp_path, capsys, command(tmp_path))
    assert "no such file or folder" in refused(tmp_path, capsys, command(tmp_path, photos="nowhere"))


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_not_one_usable_image_is_one_sentence(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    poison(tmp_path / "photos" / "b.png")
    assert main(command(tmp_path, *flags)) == 1
    output = capsys.readouterr()
    assert "none of the 2 files can be used; the first: " in output.err
    assert output.err.count("error: ") == 1
    if flags:
        assert list(json.loads(output.out)) == ["error"]


def test_a_project_that_cannot_be_made(tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = command(tmp_path)
    arguments[3] = str(tmp_path / "file" / "project")
    assert "the project folder cannot be made" in refused(tmp_path, capsys, arguments)


def test_a_class_that_labels_know_cannot_go(
    tmp_path: Path, photos: list[Drawn], capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tmp_path, classes="a: red box, b: blue box"))
    settings = tmp_path / "project" / "project.yaml"
    settings.write_text("name: p\nclasses: [b]\n")
    capsys.readouterr()
    assert main(command(tmp_path, classes=None)) == 1
    assert "expected class 'a'" in capsys.readouterr().err


def test_folders_of_photos_stay_as_they_were_beside_the_flags_for_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photos: list[Drawn]
) -> None:
    told = as_json(tmp_path, capsys, "--every", "5", "--fps", "1")
    assert told["labelled"] == len(photos)
    assert (told["videos"], told["tracks"]) == ([], 0)
    assert not (tmp_path / "project" / "frames").exists()

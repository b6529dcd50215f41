"""A project folder: started once, opened often, written by one process at a time; and the verbs init and status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.core.config import SCHEMA_FILE, load_config
from labeling.core.errors import InputError, StateError
from labeling.core.ontology import parse_classes
from labeling.project import Project
from tests.outcomes import machine, outcome, refused
from tests.privileges import bound_by_file_modes

ROOT = Path(__file__).resolve().parents[1]
CLASSES = parse_classes("box: a box, pallet")


def filled(root: Path) -> Project:
    """Return a project with three images, one of them refused."""
    project = Project.create(root, CLASSES)
    with project.open_store(create=True) as store:
        project = project.with_ontology(CLASSES, store)
        run = store.start_run("label", {})
        store.commit_batch([outcome("a", machine("a")), outcome("b"), refused("\x1b[2Jc", "truncated: \x1b[31m")], run)
        store.record_skipped([(b"/photos/notes.txt", "no image")])
    return project


def test_a_new_project_reads_back(tmp_path: Path) -> None:
    made = Project.create(tmp_path / "deep" / "yard", CLASSES)
    opened = Project.open(tmp_path / "deep" / "yard")
    assert opened == made
    assert (opened.config.name, opened.ontology) == ("yard", CLASSES)
    assert sorted(path.name for path in opened.root.iterdir()) == ["project.schema.json", "project.yaml"]
    places = [opened.runs_path, opened.datasets_path, opened.exports_path, opened.reports_path]
    assert [place.relative_to(opened.root).as_posix() for place in places] == ["runs", "datasets", "exports", "reports"]


def test_a_project_without_classes_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no classes yet.*--classes"):
        _ = Project.create(tmp_path).ontology


def test_an_existing_project_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(StateError, match="is not overwritten"):
        Project.create(tmp_path, CLASSES)
    assert [(path.name, path.read_text("utf-8")) for path in tmp_path.iterdir()] == [("project.yaml", "name: mine\n")]


def test_labels_without_settings_are_not_taken_over(tmp_path: Path) -> None:
    project = filled(tmp_path)
    project.config_path.unlink()
    for use in (Project.open, Project.create):
        with pytest.raises(StateError, match=r"has a labels.db but no project.yaml"):
            use(tmp_path)


def test_a_folder_that_is_no_project_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="labelstill init"):
        Project.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with bound_by_file_modes():
        for root in (tmp_path / "file" / "project", tmp_path / "file", closed, closed / "project"):
            with pytest.raises(InputError) as caught:
                Project.create(root, CLASSES)
            assert str(root) in str(caught.value)
    assert list(closed.iterdir()) == []


def test_an_unwritable_project_is_refused_by_lock_and_store(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", CLASSES)
    project.root.chmod(0o555)
    with bound_by_file_modes():
        with pytest.raises(InputError, match="cannot be written"), project.lock():
            pass
        with pytest.raises(InputError, match="cannot be opened for writing"):
            project.open_store(create=True)


def test_classes_go_to_both_places_and_only_grow(tmp_path: Path) -> None:
    project = filled(tmp_path)
    with project.open_store() as store:
        grown = project.with_ontology(project.ontology.extended_with(parse_classes("cone, box: carton")), store)
        assert grown.ontology == parse_classes("box: carton, pallet, cone")
        assert store.class_names() == ("box", "pallet", "cone")
        before = project.config_path.read_text("utf-8")
        for text in ("pallet, box, cone", "box", "crate, pallet, cone"):
            with pytest.raises(StateError, match="not removed, renamed or moved"):
                grown.with_ontology(parse_classes(text), store)
        assert project.config_path.read_text("utf-8") == before
    assert Project.open(tmp_path).ontology == grown.ontology


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from labeling.project import Project
with Project.open(Path(sys.argv[2])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_project(tmp_path: Path) -> None:
    project = Project.create(tmp_path, CLASSES)
    command = [sys.executable, "-c", HOLDER, str(ROOT), str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for _ in range(2):
        with pytest.raises(StateError, match=f"process {holder.pid} is writing here"), project.lock():
            pass
    holder.kill()
    holder.communicate()
    with project.lock():
        pass
    with project.lock():
        assert (tmp_path / ".labelstill.pid").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / ".labelstill.pid").exists()


def test_init_writes_a_project_that_its_own_schema_is_named_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--project", str(tmp_path / "p"), "--classes", "box: a box, pallet"]) == 0
    text = (tmp_path / "p" / "project.yaml").read_text("utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    assert json.loads((tmp_path / "p" / SCHEMA_FILE).read_text("utf-8"))["title"] == "ProjectConfig"
    assert load_config(tmp_path / "p" / "project.yaml").ontology == CLASSES
    assert f"labelstill label PHOTOS --project {tmp_path / 'p'}" in capsys.readouterr().out


def test_init_takes_a_file_and_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ontology = tmp_path / "o.json"
    ontology.write_text('{"a box": "box", "pallet": "pallet"}', encoding="utf-8")
    assert main(["init", "--project", str(tmp_path / "p"), "--ontology", str(ontology), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["classes"] == ["box", "pallet"]
    assert Project.open(Path(said["project"])).ontology == CLASSES


def test_init_refuses_what_it_cannot_do_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Project.create(tmp_path / "there")
    for arguments, said in [
        (["--project", str(tmp_path / "there")], "is not overwritten"),
        (["--project", str(tmp_path / "p"), "--classes", "a,,b"], "class 2 of 'a,,b' is empty"),
        (["--project", str(tmp_path / "p"), "--classes", "a", "--ontology", "o.yaml"], "got both"),
        (["--project", str(tmp_path / "p"), "--ontology", str(tmp_path / "none.yaml")], "no such file"),
    ]:
        assert main(["init", *arguments]) == 1
        captured = capsys.readouterr()
        assert said in captured.err
        assert captured.err.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_status_counts_states_classes_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path)
    assert main(["status", "--project", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "images": {"prelabelled": 2, "quarantined": 1},
        "annotations": {"box": 1, "pallet": 0},
        "quarantined": [{"path": "/photos/\x1b[2Jc.jpg", "reason": "truncated: \x1b[31m"}],
        "skipped_files": 1,
        "split": {},
        "students": {"finished": 0, "newest": None},
    }
    assert main(["status", "--project", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    for line in ("3 images", "  2  prelabelled", "1 objects", "  0  pallet", "/photos/\\x1b[2Jc.jpg: truncated"):
        assert line in text


def test_json_is_json_whatever_the_terminal_can_show(tmp_path: Path) -> None:
    Project.create(tmp_path, parse_classes("café"))
    code = "import sys; from labeling.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--project", str(tmp_path), "--json"],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert json.loads(done.stdout)["annotations"] == {"café": 0}


def test_status_of_a_project_without_labels_makes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Project.create(tmp_path, CLASSES)
    assert main(["status", "--project", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "images": {},
        "annotations": {"box": 0, "pallet": 0},
        "quarantined": [],
        "skipped_files": 0,
        "split": {},
        "students": {"finished": 0, "newest": None},
    }
    assert not (tmp_path / "labels.db").exists()


def test_status_says_what_is_wrong_with_a_project_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = filled(tmp_path)
    good = project.config_path.read_text("utf-8")
    project.config_path.write_text(good + "techer: {}\n", encoding="utf-8")
    assert main(["status", "--project", str(tmp_path)]) == 1
    assert "did you mean 'teacher'?" in capsys.readouterr().err
    project.config_path.write_text(good, encoding="utf-8")
    project.database_path.write_bytes(b"rubbish" * 1000)
    assert main(["status", "--project", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "is damaged" in captured.err
    assert captured.err.count("\n") == 1


def test_status_answers_fast_and_imports_nothing_heavy(tmp_path: Path) -> None:
    filled(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from labeling.cli import main; "
        "main(['status', '--project', sys.argv[2]]); "
        "print([m for m in ('torch', 'cv2', 'numpy', 'shapely', 'PIL', 'supervision') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(tmp_path)]
    begun = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.endswith("\n[]\n")
    assert time.perf_counter() - begun < 5  # a quarter of a second on an idle machine


def test_a_moved_project_is_the_same_project(tmp_path: Path) -> None:
    filled(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = Project.open(tmp_path / "there")
    with moved.open_store() as store:
        assert store.counts()["images"] == {"prelabelled": 2, "quarantined": 1}

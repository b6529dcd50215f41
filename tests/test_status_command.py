"""What `labelstill status` says of split and students, and which verb it names next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.ontology import parse_classes
from labeling.core.store_splits import Part, Place, SplitLedger
from labeling.project import Project
from tests.outcomes import digest, human, machine, outcome

READY = {"verdict": "ready", "headline": "Ready: every class is found.", "threshold": 0.4}
NOT_READY = {"verdict": "not ready", "headline": "Not ready: recall of box is 0.18.", "threshold": 0.9}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with three labelled images, one of them reviewed."""
    with Project.create(tmp_path, parse_classes("box, pallet")).open_store(create=True) as store:
        store.write_classes(parse_classes("box, pallet"))
        run = store.start_run("label", {})
        store.commit_batch([outcome(name, machine(name)) for name in "abc"], run)
        store.set_reviewed(digest("a"), [human("a")], "reviewed")
    return tmp_path


def cut(root: Path, name: str, parts: Mapping[str, Part], folds: Mapping[str, int] | None = None) -> None:
    places = [Place(digest(image), part, (folds or {}).get(image), digest(image)) for image, part in parts.items()]
    with Project.open(root).open_store() as store:
        SplitLedger(store).write(name, {}, places)


def trained(root: Path, name: str, finished_at: str | None, **facts: Any) -> Path:
    folder = root / "runs" / "train" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"dataset": "d", "finished_at": finished_at, **facts}))
    if finished_at:
        (folder / "student.safetensors").write_bytes(b"weights")
    return folder


def status(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], dict[str, Any]]:
    assert main(["status", "--project", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["status", "--project", str(root), "--json"]) == 0
    return lines, json.loads(capsys.readouterr().out)


def next_verb(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    last = status(root, capsys)[0][-1]
    return last.removeprefix("next: labelstill ").partition(" --project")[0]


def test_the_parts_of_every_split_are_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(root, "default", {"a": "test", "b": "train", "c": "train"})
    cut(root, "folds", {"a": "train", "b": "train", "c": "train"}, {"a": 0, "b": 1})
    lines, said = status(root, capsys)
    assert {"split default: train 2, test 1", "split folds: train 3, 2 folds"} <= set(lines)
    assert said["split"] == {
        "default": {"images": {"train": 2, "val": 0, "test": 1}, "folds": 0},
        "folds": {"images": {"train": 3, "val": 0, "test": 0}, "folds": 2},
    }


def test_the_newest_student_is_shown_with_its_verdict(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(root, capsys)[1]["students"] == {"finished": 0, "newest": None}
    trained(root, "e15", "2026-11-21", evaluation=NOT_READY)
    trained(root, "e10", "2026-11-20", evaluation=READY)
    trained(root, "e15-50", "2026-11-22", curve_of="e15")
    trained(root, "cut", None)
    report = root / "reports" / "student-e15.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("report")
    lines, said = status(root, capsys)
    at = lines.index("2 students, the newest: e15")
    assert lines[at + 1 : at + 3] == ["  Not ready: recall of box is 0.18.", f"  report {report}"]
    assert said["students"] == {
        "finished": 2,
        "newest": {
            "run": "e15", "finished_at": "2026-11-21", "evaluated": True, "report": str(report), **NOT_READY,
        },
    }  # fmt: skip


def test_next_leads_from_reviewed_images_to_a_student_that_labels(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert next_verb(root, capsys) == "distill"
    cut(root, "default", {"a": "val", "b": "train", "c": "train"})
    trained(root, "first", None)
    assert next_verb(root, capsys) == "distill"
    trained(root, "second", "2026-11-21")
    assert next_verb(root, capsys) == "evaluate second"
    assert "  not evaluated yet" in status(root, capsys)[0]
    notes = root / "runs" / "train" / "second" / "run.json"
    for facts, verb in (
        ({"evaluation_val": {"verdict": "cannot say"}}, "next"),
        ({"evaluation": NOT_READY}, "next"),
        ({"evaluation": READY}, "label PHOTOS --detector student"),
    ):
        notes.write_text(json.dumps({"finished_at": "2026-11-21", **facts}))
        assert next_verb(root, capsys) == verb


def test_notes_of_a_training_that_are_damaged_do_not_end_status(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(root, "bad", "2026-11-21")
    for text in ("{", "[]", '{"finished_at": 3, "evaluation": {"threshold": "x", "headline": ["\\u001b[31m"]}}'):
        (folder / "run.json").write_text(text)
        lines, _said = status(root, capsys)
        assert "\x1b" not in "\n".join(lines)

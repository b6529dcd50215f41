"""The plan: what is read again, what is left alone, and in which order, from names, sizes, times and labels.db."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.core.ontology import parse_classes
from labeling.core.records import REVIEWED_STATES, ImageState
from labeling.core.store import FileRow
from labeling.image_files import FoundFile, Rejected, Scan, Skipped
from labeling.planning import Plan, done_key, make_plan, rejection
from labeling.teachers.filters import FilterSettings

KEY = "ontology-teacher-thresholds"
ROOT = Path("/photos")


def found(name: str, size: int = 10, mtime_ns: int = 1) -> FoundFile:
    return FoundFile(str(ROOT / name), ROOT, size, mtime_ns)


def row(sha256: str | None, reason: str | None = None) -> FileRow:
    return FileRow(10, 1, sha256, "quarantined" if reason else "ok", reason)


def plan(
    names: str,
    known: dict[str, FileRow] | None = None,
    done: dict[str, str] | None = None,
    states: dict[str, ImageState] | None = None,
    **options: object,
) -> Plan:
    scan = Scan(tuple(found(name) for name in names.split()), (), ())
    rows = {os.fsencode(ROOT / name): value for name, value in (known or {}).items()}
    return make_plan(scan, rows, done or {}, states or {}, KEY, **options)  # type: ignore[arg-type]


def read(made: Plan) -> list[str]:
    return [file.path.name for file in made.files]


def test_unknown_files_are_read_in_order() -> None:
    assert read(plan("a b c")) == ["a", "b", "c"]


def test_a_done_image_is_not_read_again() -> None:
    made = plan("a b", {"a": row("sha-a"), "b": row("sha-b")}, {"sha-a": KEY, "sha-b": "another key"})
    assert read(made) == ["b"]
    assert made.unchanged == 1
    assert made.current == {"sha-a"}


def test_a_change_of_size_or_time_is_read_again_even_when_the_image_was_reviewed() -> None:
    for file in (found("a", size=11), found("a", mtime_ns=2)):
        rows = {os.fsencode(file.path): row("sha-a")}
        made = make_plan(Scan((file,), (), ()), rows, {"sha-a": KEY}, {"sha-a": "reviewed"}, KEY)
        assert read(made) == ["a"]


@pytest.mark.parametrize("state", REVIEWED_STATES)
def test_a_reviewed_image_is_left_alone_whatever_it_was_labelled_for(state: ImageState) -> None:
    made = plan("a", {"a": row("sha-a")}, {"sha-a": "another key"}, {"sha-a": state})
    assert read(made) == []
    assert (made.reviewed, made.unchanged) == (1, 0)
    assert made.current == {"sha-a"}


def test_a_pushed_image_is_labelled_again_for_another_key() -> None:
    assert read(plan("a", {"a": row("sha-a")}, {"sha-a": "another key"}, {"sha-a": "pushed"})) == ["a"]


def test_of_two_files_with_the_same_bytes_one_is_read() -> None:
    made = plan("a b", {"a": row("sha"), "b": row("sha")}, {"sha": "another key"})
    assert read(made) == ["a"]
    assert plan("a b", {"a": row("sha"), "b": row("sha")}, {"sha": KEY}).unchanged == 1


def test_a_quarantined_file_is_not_read_again_unless_the_gate_changed() -> None:
    known = {"a": row("sha-a", "truncated: ends early")}
    made = plan("a", known)
    assert read(made) == []
    assert made.quarantined == (("/photos/a", "truncated: ends early"),)
    assert read(plan("a", known, retry=True)) == ["a"]


def test_what_the_teacher_failed_on_is_tried_again_after_everything_else() -> None:
    known = {"a": row("sha-a", "teacher_failed: broken"), "b": row("sha-b", "out_of_memory: not even one image fits")}
    assert read(plan("a b c d", known)) == ["c", "d", "a", "b"]


def test_a_file_that_may_be_read_now_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    known = {os.fsencode(path): row(None, "permission: the file may not be read")}
    scan = Scan((FoundFile(str(path), tmp_path, 10, 1),), (), ())
    assert read(make_plan(scan, known, {}, {}, KEY)) == ["a.png"]
    gone = plan("a", {"a": row(None, "permission: the file may not be read")})
    assert read(gone) == []


def test_limit_counts_files_to_read() -> None:
    made = plan("a b c d", {"a": row("sha-a")}, {"sha-a": KEY}, limit=2)
    assert read(made) == ["b", "c"]


def test_rejected_files_are_recorded_once_and_always_named() -> None:
    entry = Rejected(ROOT / "pipe.jpg", "not_a_regular_file", "a pipe")
    scan = Scan((), (Skipped(ROOT / "notes.txt", "not_an_image"),), (entry,))
    first = make_plan(scan, {}, {}, {}, KEY)
    assert first.rejected == (entry,)
    again = make_plan(scan, {os.fsencode(entry.path): row(None, rejection(entry))}, {}, {}, KEY)
    assert again.rejected == ()
    assert first.quarantined == again.quarantined == (("/photos/pipe.jpg", "not_a_regular_file: a pipe"),)


def test_files_that_are_gone_are_named_where_their_folder_was_searched(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "here-not"
    here.mkdir()
    known = {os.fsencode(folder / "a.png"): row("sha") for folder in (here, elsewhere)}
    made = make_plan(Scan((), (), ()), known, {}, {}, KEY, inputs=[here])
    assert made.vanished == (str(here / "a.png"),)
    assert make_plan(Scan((), (), ()), known, {}, {}, KEY, inputs=[here / "b.png"]).vanished == ()


def test_what_lies_in_a_folder_that_cannot_be_searched_is_not_gone(tmp_path: Path) -> None:
    known = {os.fsencode(tmp_path / "locked/a.png"): row("sha"), os.fsencode(tmp_path / "bad.png"): row(None, "empty")}
    scan = Scan((), (), (Rejected(tmp_path / "locked", "permission"),))
    made = make_plan(scan, known, {}, {}, KEY, inputs=[tmp_path])
    assert (made.vanished, made.gone) == ((), (os.fsencode(tmp_path / "bad.png"),))


def test_a_name_that_is_no_utf8_is_recognised() -> None:
    path = Path(os.fsdecode(b"/photos/\xff.png"))
    scan = Scan((FoundFile(str(path), ROOT, 10, 1),), (), ())
    assert make_plan(scan, {b"/photos/\xff.png": row("sha")}, {"sha": KEY}, {}, KEY).files == ()


def test_the_key_changes_with_everything_that_changes_labels_and_with_nothing_else() -> None:
    ontology, filters = parse_classes("a, b: c | d"), FilterSettings()
    key = done_key(ontology, "teacher", [0.3, 0.4], filters)
    assert key == done_key(parse_classes("a, b: c | d"), "teacher", (0.3, 0.4), FilterSettings())
    others = [
        done_key(parse_classes("a, b: c"), "teacher", [0.3, 0.4], filters),
        done_key(parse_classes("b: c | d, a"), "teacher", [0.3, 0.4], filters),
        done_key(ontology, "other", [0.3, 0.4], filters),
        done_key(ontology, "teacher", [0.3, 0.5], filters),
        done_key(ontology, "teacher", [0.3, 0.4], replace(filters, nms_iou=0.6)),
    ]
    assert len({key, *others}) == 6
    assert done_key(ontology, "teacher", [0.3, 0.4], replace(filters, faint_share=1.0)) == key
    # As it was before there were faint boxes: nothing is labelled again for them.
    assert key.endswith("-teacher-1f6662a5dc4ba6d3")

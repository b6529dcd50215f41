"""Frames that a device kept come back: the doubtful and different ones, once, and from nowhere else."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.monitoring.candidates import Candidates
from export.monitoring.log import Damage, Header, LoggedFrame, frames, read_header
from export.monitoring.opening import FOLDER, inside, open_frames
from labeling.images import ImageRejected
from labeling.project import Project
from tests.made_edge_logs import NAMES, World, write
from tests.made_edge_logs import frames as drawn
from tests.made_stores import ontology, photo

QUIET = World()


def kept_log(folder: Path, count: int) -> tuple[Path, list[dict[str, Any]]]:
    """Write a log whose first frames were kept; the pictures differ."""
    lines = list(drawn(QUIET, count + 3))
    for number, line in enumerate(lines[:count]):
        photo(folder / "kept" / f"{number}.jpg", size_wh=(64, 48), seed=number)
        line |= {"kept": f"kept/{number}.jpg", "sure": number / 100}
        lines[number] = line
    return write(folder / "a.jsonl", lines), lines


def candidates_of(log: Path) -> Candidates:
    found, head = Candidates(), read_header(log)
    for frame in frames(head, Damage()):
        found.look(head, frame)
    return found


def test_the_least_sure_comes_first_and_then_what_looks_different(tmp_path: Path) -> None:
    head = Header(tmp_path / "a.jsonl", "", "m", "fp32", NAMES, "", "", NAMES)
    found = Candidates()
    for number, (grey, sure) in enumerate([(100, 0.0), (100, 0.01), (250, 0.4), (101, 0.02), (20, 0.5), (249, 0.4)]):
        found.look(head, LoggedFrame(0, number, "", 0, 0, bytes([grey] * 56), (), sure, f"{number}.jpg", None))
    assert [one.kept for one in islice(found.ranked(), 3)] == ["0.jpg", "2.jpg", "4.jpg"]
    assert {one.kept for one in found.ranked()} == {f"{number}.jpg" for number in range(6)}


def test_frames_of_a_window_that_drifted_come_before_doubtful_ones(tmp_path: Path) -> None:
    head = Header(tmp_path / "a.jsonl", "", "", "fp32", NAMES, "", "", NAMES)
    found = Candidates()
    rng = np.random.default_rng(0)
    for number in range(100):
        sketch = rng.integers(100, 140, 56, dtype=np.uint8).tobytes()
        late = number >= 60  # in the dark nothing is seen, and nothing is doubted
        found.look(head, LoggedFrame(number, number, "", 0, 0, sketch, (), 1.0 if late else 0.1, f"{number}.jpg", None))
    assert all(one.time >= 60 for one in islice(found.ranked([(60, 99)]), 10))
    assert all(one.time < 60 for one in islice(found.ranked(), 10))


def test_known_and_refused_frames_do_not_use_up_what_was_asked_for(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ontology(NAMES))
    log, _ = kept_log(tmp_path / "logs", 9)
    assert len(open_frames(project, candidates_of(log).ranked(), 4).new) == 4
    left = [one for one in (log.parent / "kept").iterdir()]
    left[0].write_bytes(b"no picture")
    again = open_frames(project, candidates_of(log).ranked(), 3)
    assert len(again.new) == 3
    last = open_frames(project, candidates_of(log).ranked(), 50)
    assert len(again.new) + len(last.new) in (4, 5)
    assert last.refused == {"unreadable": 1}


@pytest.mark.parametrize("kept", ["a\ud800b.jpg", "\udc80.jpg", "x" * 5000 + ".jpg"])
def test_a_name_that_no_file_can_have_is_counted(tmp_path: Path, kept: str) -> None:
    project = Project.create(tmp_path / "project", ontology(NAMES))
    log, lines = kept_log(tmp_path / "logs", 2)
    lines[0]["kept"] = kept
    opened = open_frames(project, candidates_of(write(log, lines)).ranked(), 2)
    assert len(opened.new) == 1
    assert opened.refused.total() == 1


def test_frames_become_new_images_once(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ontology(NAMES))
    log, _ = kept_log(tmp_path / "logs", 6)
    candidates = candidates_of(log)
    assert (candidates.kept, candidates.without) == (6, 3)
    first = open_frames(project, candidates.ranked(), 4)
    assert len(first.new) == 4
    assert first.known == 0
    assert not first.refused
    assert {path.parent for path in first.new} == {project.root / FOLDER}
    with project.open_store() as store:
        assert store.counts()["images"] == {"new": 4}
        assert store.runs()[-1].verb == "monitor"
        assert store.runs()[-1].summary == {
            "opened": 4,
            "known": 0,
            "refused": 0,
        }
    again = open_frames(project, candidates_of(log).ranked(), 4)
    assert len(again.new) == 2
    assert again.known == 4
    assert len(list((project.root / FOLDER).iterdir())) == 6


def test_the_same_bytes_are_one_image(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ontology(NAMES))
    log, _ = kept_log(tmp_path / "logs", 2)
    (log.parent / "kept" / "1.jpg").write_bytes((log.parent / "kept" / "0.jpg").read_bytes())
    opened = open_frames(project, candidates_of(log).ranked(), 2)
    assert len(opened.new) == 1
    assert opened.known == 1


@pytest.mark.parametrize("kept", ["../secret.jpg", "/etc/secret.jpg", "kept/../../secret.jpg", "a\0b.jpg", ""])
def test_a_log_cannot_name_a_file_outside_its_folder(tmp_path: Path, kept: str) -> None:
    photo(tmp_path / "secret.jpg")
    with pytest.raises(ImageRejected, match="outside"):
        inside(tmp_path / "logs" / "a.jsonl", kept)


def test_links_rubbish_and_missing_files_are_counted_with_their_reason(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ontology(NAMES))
    log, lines = kept_log(tmp_path / "logs", 5)
    secret = photo(tmp_path / "secret.jpg")
    kept = log.parent / "kept"
    (kept / "0.jpg").unlink()
    os.symlink(secret, kept / "0.jpg")
    (kept / "1.jpg").write_bytes(b"no picture")
    (kept / "2.jpg").unlink()
    os.symlink(tmp_path, log.parent / "away")
    lines[3]["kept"] = "away/secret.jpg"
    write(log, lines)
    opened = open_frames(project, candidates_of(log).ranked(), 5)
    assert len(opened.new) == 1
    assert opened.refused == {"link": 2, "unreadable": 1, "missing": 1}
    assert opened.first_refused is not None
    assert [path.suffix for path in opened.new] == [".jpg"]

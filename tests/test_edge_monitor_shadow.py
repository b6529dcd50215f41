"""Two students are compared frame by frame: counted by hand, run by run, under their own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.monitoring.log import read_header, read_headers
from export.monitoring.shadow import compare_shadow
from labeling.core.errors import InputError
from tests.made_edge_logs import World, write
from tests.made_edge_logs import frames as drawn

QUIET = World()


def boxes(count: int, class_id: int = 0, shift: float = 0.0) -> list[list[float]]:
    return [[class_id, 0.8, 100 * k + shift, 10, 100 * k + 50 + shift, 90] for k in range(count)]


def test_two_students_in_one_log_are_counted_by_hand(tmp_path: Path) -> None:
    lines = []
    for number, line in enumerate(drawn(QUIET, 200)):
        # Both see 2 persons; the first alone a forklift in every second frame; the second alone 2 pallets.
        line["objects"] = boxes(2) + (boxes(1, 1) if number % 2 else [])
        line["shadow"] = boxes(2, shift=3) + boxes(2, 2)
        lines.append(line)
    found = compare_shadow([read_header(write(tmp_path / "a.jsonl", lines))])
    rows = {row.name: (row.both, row.only_first, row.only_second) for row in found.classes}
    assert rows == {"person": (400, 0, 0), "forklift": (0, 100, 0), "pallet": (0, 0, 400)}
    assert found.frames == 200
    assert found.overall.agreement == pytest.approx(400 / 900)
    assert found.overall.more == pytest.approx(150)
    assert found.overall.more_within is not None
    assert found.overall.more_within[0] > 100
    assert "the second sees 150.0 more objects per 100 frames" in found.verdict


def test_two_logs_of_the_same_frames_are_matched_by_source_and_number(tmp_path: Path) -> None:
    lines = [line | {"objects": boxes(1)} for line in drawn(QUIET, 60)]
    first = write(tmp_path / "a.jsonl", lines[:50])
    others = [line | {"objects": [[1, 0.9, *row[2:]] for row in boxes(1)]} for line in lines[10:]]
    names = ["forklift", "person"]
    second = write(tmp_path / "b.jsonl", others, model="b" * 64, names=names)
    found = compare_shadow([read_header(first), read_header(second)])
    assert found.frames == 40
    assert found.alone == 20
    assert found.overall.agreement == 1
    assert "neither is shown to see more" in found.verdict
    with pytest.raises(InputError, match="no frame has the answers of two students"):
        compare_shadow([read_header(first)])


def test_frames_of_one_run_are_never_matched_with_those_of_another(tmp_path: Path) -> None:
    # In the first run both see a person, in the second none; each log lacks frames of its own and begins files anew.
    rng = np.random.default_rng(0)
    paths, kept = [], []
    for name, cut in (("a", 35), ("b", 60)):
        every = [line | {"objects": boxes(1)} for line in drawn(QUIET, 80)]
        every += [line | {"objects": []} for line in drawn(QUIET, 80)]
        places = np.sort(rng.choice(160, 120, replace=False))
        some = [every[place] for place in places]
        kept.append(set(places))
        for part, (begin, end) in enumerate(((0, cut), (cut, 120))):
            paths.append(tmp_path / f"{name}{part}.jsonl")
            write(paths[-1], some[begin:end], model=name * 64, started=str(part))
    found = compare_shadow(read_headers(paths))
    assert found.frames == len(kept[0] & kept[1])
    assert found.alone == len(kept[0] ^ kept[1])
    assert found.overall.agreement == 1


def test_runs_that_only_one_of_two_logs_holds_are_refused(tmp_path: Path) -> None:
    once = write(tmp_path / "a.jsonl", drawn(QUIET, 50))
    twice = write(tmp_path / "b.jsonl", [*drawn(QUIET, 50), *drawn(QUIET, 50)], model="b" * 64)
    with pytest.raises(InputError, match="frame numbers begin anew more often in one of them"):
        compare_shadow(read_headers([once, twice]))


def test_students_are_compared_under_their_own_classes_or_not_at_all(tmp_path: Path) -> None:
    def log(name: str, **changes: Any) -> Path:
        seen = [line | {"objects": boxes(1), "shadow": boxes(1)} for line in drawn(QUIET, 20)]
        return write(tmp_path / f"{name}.jsonl", seen, **changes)

    paths = [log("a"), log("b", names=["person"])]
    with pytest.raises(InputError, match=r"a.jsonl and .*b.jsonl: are of one model and name different classes"):
        compare_shadow(read_headers(paths))
    paths = [log("a"), log("b", shadow_names=["forklift", "person"])]
    with pytest.raises(InputError, match="different classes"):
        compare_shadow(read_headers(paths))
    paths = [log("a"), log("b", model="b" * 64), log("c", model="c" * 64)]
    with pytest.raises(InputError, match="one or two students, there are 3"):
        compare_shadow(read_headers(paths))


def test_equal_students_differ_by_chance_alone_in_most_logs(tmp_path: Path) -> None:
    shown = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lines = list(drawn(QUIET, 150, seed))
        for line in lines:
            kept = rng.random((2, len(line["objects"]))) < 0.8
            every = [[*row[:2], 200 * k, 0, 200 * k + 50, 50] for k, row in enumerate(line["objects"])]
            line["objects"] = [row for row, keep in zip(every, kept[0], strict=True) if keep]
            line["shadow"] = [row for row, keep in zip(every, kept[1], strict=True) if keep]
        shown += "neither" not in compare_shadow([read_header(write(tmp_path / f"{seed}.jsonl", lines))]).verdict
    assert shown <= 4

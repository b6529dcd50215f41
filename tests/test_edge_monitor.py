"""Logs are read whatever became of them, the reference rests, day and night are usual if asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import runtime
from export.monitor import monitor
from export.monitoring.log import Damage, LoggedFrame, frames, read_header, read_headers
from export.monitoring.remembered import load, save
from export.monitoring.words import lines
from labeling.core.errors import InputError, StateError
from tests.made_edge_logs import NAMES, World, drifting, header, write
from tests.made_edge_logs import frames as drawn

QUIET = World()


def read(path: Path) -> tuple[list[LoggedFrame], Damage]:
    damage = Damage()
    return list(frames(read_header(path), damage)), damage


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    line = next(iter(drawn(QUIET, 1)))
    line |= {"kept": "kept/0.jpg", "shadow": [[1, 0.5, 1, 2, 3, 4]]}
    (frame,), damage = read(write(tmp_path / "a.jsonl", [line]))
    assert not damage.reasons
    assert damage.first is None
    assert (frame.time, frame.number, frame.source) == (line["t"], 0, "camera")
    assert (frame.light, frame.blur, frame.sure) == (line["light"], line["blur"], line["sure"])
    assert frame.sketch == base64.b64decode(line["sketch"])
    assert len(frame.sketch) == 56
    assert [list(row) for row in frame.objects] == line["objects"]
    assert frame.kept == "kept/0.jpg"
    assert frame.shadow == ((1, 0.5, 1, 2, 3, 4),)


def test_the_monitor_reads_what_the_runtime_writes(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    light, blur, sketch = runtime.frame_facts(picture)
    card = runtime.Card(
        "ultralytics", "yolov8n", "detect", NAMES, (640, 640), False, "square", 32, "yolo", "fp32",
        dict.fromkeys(NAMES, 0.3), 0.7, 300, None, "AGPL-3.0", "a" * 64, "d", "o",
    )  # fmt: skip
    objects = runtime.Objects(np.array([[1, 2, 30, 40]], np.float32), np.array([0.5], np.float32), np.array([1]))
    line = {
        "t": 1.0,
        "n": 3,
        "source": "0",
        "wh": [160, 90],
        "light": light,
        "blur": blur,
        "sure": 0.2,
        "sketch": base64.b64encode(sketch).decode(),
        "objects": runtime.rows_of(objects),
    }
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (runtime.log_head(card), line)) + "\n")
    (frame,), damage = read(path)
    assert not damage.reasons
    assert read_header(path).names == NAMES
    assert frame.objects == ((1, 0.5, 1, 2, 30, 40),)
    assert frame.light == pytest.approx(picture.mean() / 255, abs=0.01)


DAMAGED: list[tuple[str, dict[str, Any]]] = [
    ("a class that is not known", {"objects": [[3, 0.5, 0, 0, 1, 1]]}),
    ("a class that is no whole number", {"objects": [[True, 0.5, 0, 0, 1, 1]]}),
    ("a score above one", {"objects": [[0, 1.5, 0, 0, 1, 1]]}),
    ("an object that is too short", {"objects": [[0, 0.5, 0, 0]]}),
    ("objects that are no list", {"objects": 5}),
    ("a box that is no number", {"objects": [[0, 0.5, 0, 0, 1, float("nan")]]}),
    ("light that is no number", {"light": float("inf")}),
    ("a sketch of the wrong length", {"sketch": base64.b64encode(b"x" * 55).decode()}),
    ("a sketch that is no base64", {"sketch": "%%%"}),
    ("a number without end", {"t": 10**400}),
    ("a time that no calendar has", {"t": 1e300}),
    ("light that no frame has", {"light": 1e300}),
    ("sharpness that no frame has", {"blur": 1e39}),
    ("sharpness below zero", {"blur": -1.0}),
    ("sureness above one", {"sure": 1.5}),
    ("a box out of this world", {"objects": [[0, 0.5, 0, 0, 1e300, 1]]}),
    ("a picture that is no name", {"kept": 7}),
]


@pytest.mark.parametrize("change", [change for _, change in DAMAGED], ids=[name for name, _ in DAMAGED])
def test_a_damaged_line_is_counted_and_the_others_are_read(tmp_path: Path, change: dict[str, Any]) -> None:
    lines = list(drawn(QUIET, 3))
    found, damage = read(write(tmp_path / "a.jsonl", [lines[0], lines[1] | change, lines[2]]))
    assert [frame.number for frame in found] == [0, 2]
    assert damage.reasons == {"damaged": 1}
    assert str(damage.first).endswith("a.jsonl, line 3")


def test_lines_that_are_cut_or_no_text_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", drawn(QUIET, 5))
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    found, damage = read(path)
    assert len(found) == 4
    assert damage.reasons == {"cut off at the end": 1}
    path.write_bytes(whole + b"\xff\xfe\x00\n\n[1]\n" + b"[" * 100_000 + b"\n" + b"x" * 3_000_000 + b"\n")
    found, damage = read(path)
    assert len(found) == 5
    assert damage.reasons == {"damaged": 3, "too long": 1}


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("", "no header of a log"),
        ('{"t": 1}', "no header of a log"),
        (json.dumps(header(format=2)), "format 2, this version reads 1"),
        (json.dumps(header(names=[])), "no list of classes"),
        (json.dumps(header(names="abc")), "no list of classes"),
        (json.dumps(header(names=["a\0b"])), "no list of classes"),
        (json.dumps(header(names=["\ud800"])), "no list of classes"),
        (json.dumps(header(model="../../../evil")), "expected the sha256 of the weights"),
        (json.dumps(header(model="/" + "a" * 63)), "expected the sha256 of the weights"),
        (json.dumps(header(model="a" * 63 + "\0")), "model in its header is no text"),
        (json.dumps(header(device="\udfff")), "device in its header is no text"),
        (json.dumps(header(precision=["fp16"])), "precision in its header is no text"),
    ],
)
def test_what_is_no_such_log_is_refused(tmp_path: Path, first: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(first + "\n")
    with pytest.raises(InputError, match=said):
        read_header(path)


def test_logs_are_read_in_the_order_of_time_and_once(tmp_path: Path) -> None:
    late = write(tmp_path / "a.jsonl", drawn(QUIET, 2), started="2026-03-02")
    early = write(tmp_path / "b.jsonl", drawn(QUIET, 2), started="2026-03-01")
    assert [one.path.name for one in read_headers([tmp_path, late, early])] == ["b.jsonl", "a.jsonl"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no \.jsonl file"):
        read_headers([empty])


def test_logs_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", drawn(QUIET, 2))
    second = write(tmp_path / "b.jsonl", drawn(QUIET, 2), model="b" * 64)
    with pytest.raises(InputError, match="different models or classes"):
        monitor([first, second])
    text = first.read_text() + second.read_text()
    first.write_text(text)
    with pytest.raises(InputError, match=r"line 4: goes on with another model"):
        monitor([first])


def test_a_runtime_that_was_started_again_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*drawn(QUIET, 2), header(started="later"), *drawn(QUIET, 2, start=2)])
    found, damage = read(path)
    assert len(found) == 4
    assert not damage.reasons


def test_the_first_stretch_becomes_the_reference_and_later_calls_compare_with_it(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    first = write(tmp_path / "a.jsonl", drawn(QUIET, 3000))
    learned = monitor([first], memory=memory, window=500)
    assert learned.fresh
    assert learned.kept_at is not None
    assert learned.kept_at.is_file()
    assert learned.reference.frames == 2000
    assert learned.frames == 1000
    assert learned.state == "quiet"
    again = monitor([first], memory=memory, window=500)
    assert not again.fresh
    assert again.skipped == 2000
    assert again.frames == 1000
    assert again.verdict is not None
    assert learned.verdict is not None
    assert again.verdict.rows == learned.verdict.rows
    dark = write(tmp_path / "b.jsonl", drawn(World(light=0.3), 1000, start=3000), started="2026-03-02")
    found = monitor([dark], memory=memory, window=500)
    assert found.state == "drift"
    assert not found.fresh
    assert found.skipped == 0
    assert found.verdict is not None
    assert "light" in [one.statistic for one in found.verdict.drifts]


def test_a_reference_survives_the_disk_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    found = monitor([write(tmp_path / "a.jsonl", drawn(QUIET, 2500))], memory=tmp_path / "memory", window=500)
    assert found.kept_at is not None
    stored = load(found.kept_at)
    assert stored is not None
    assert stored.taken == found.reference.taken
    assert stored.names == NAMES
    assert (stored.blocks == found.reference.blocks).all()
    assert (stored.total == found.reference.total).all()
    found.kept_at.write_bytes(found.kept_at.read_bytes()[:300])
    with pytest.raises(StateError, match="remove the file"):
        load(found.kept_at)


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 0},
        {"block": 0},
        {"block": 21},
        {"memory": 0.0},
        {"frames": -1},
        {"frames": 10**6},
        {"since": float("nan")},
        {"model": "../evil"},
        {"names": ("a",)},
        {"taken": {"a": "b"}},
        {"total": np.zeros(3, dtype=np.int64)},
        {"blocks": np.zeros((0, 3), dtype=np.int64)},
        {"means": np.zeros(2)},
        {"classes": np.array([-1, 0, 0])},
    ],
)
def test_a_reference_that_does_not_go_together_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", drawn(QUIET, 2500))
    found = monitor([path], memory=tmp_path / "memory", window=500)
    assert found.kept_at is not None
    save(replace(found.reference, **change), found.kept_at)
    with pytest.raises(StateError, match="remove the file"):
        monitor([path], memory=tmp_path / "memory", window=500)


@pytest.mark.parametrize(("key", "other"), [("precision", "int8"), ("device", "another")])
def test_logs_at_another_precision_or_of_another_device_are_told(tmp_path: Path, key: str, other: str) -> None:
    usual = write(tmp_path / "a.jsonl", drawn(QUIET, 3000))
    assert monitor([usual], memory=tmp_path / "memory", window=500).remarks == ()
    later = write(tmp_path / "b.jsonl", drawn(QUIET, 1000, start=3000), **{key: other})
    (remark,) = monitor([later], memory=tmp_path / "memory", window=500).remarks
    assert key in remark
    assert other in remark


def days(count: int, start: int = 0, shade: float = 1.0) -> Iterator[dict[str, Any]]:
    """Draw days of 3,000 frames whose light follows a sine."""
    for line in drawn(World(light=0), count, start=start):
        here = 0.5 + 0.3 * np.sin(2 * np.pi * line["n"] / 3000) + line["light"] - 0.02
        yield line | {"light": round(float(np.clip(shade * here, 0, 1)), 4)}


@pytest.mark.parametrize("cycles", [1, 2])
def test_day_and_night_within_the_reference_are_usual_and_a_darker_day_is_not(tmp_path: Path, cycles: int) -> None:
    first = cycles * 3000
    usual = write(tmp_path / "a.jsonl", days(first + 3000))
    found = monitor([usual], memory=tmp_path / "memory", first=first, window=500)
    assert found.reference.slow
    assert found.state == "quiet"
    assert "the rate of false alarms is approximate" in " ".join(lines(found))
    darker = write(tmp_path / "b.jsonl", days(3000, first + 3000, 0.8), started="2026-03-02")
    found = monitor([darker], memory=tmp_path / "memory", window=500)
    assert found.state == "drift"
    assert found.verdict is not None
    assert "light" in [one.statistic for one in found.verdict.drifts]


def test_where_a_day_is_called_drift_the_words_say_how_to_make_it_usual(tmp_path: Path) -> None:
    found = monitor([write(tmp_path / "a.jsonl", days(5000))], window=100)
    assert found.state in ("drift", "too small")
    assert "--first N" in " ".join(lines(found))


def test_a_reference_that_is_too_small_raises_no_alarm_and_is_not_kept(tmp_path: Path) -> None:
    slow = World(memory=0.98)
    path = write(tmp_path / "a.jsonl", drifting(slow, 1500, 500, light=0.2))
    found = monitor([path], memory=tmp_path / "memory")
    assert found.state == "too small"
    assert found.verdict is None
    assert found.kept_at is None
    assert found.needed > 2000
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize(
    ("statistic", "changes"),
    [
        ("light", {"light": 0.35}),
        ("blur", {"blur": 4.0}),
        ("look", {"colour": 90.0}),
        ("objects", {"objects": 1.0}),
        ("scores", {"score": 0.55}),
        ("classes", {"mix": (0.9, 0.1, 0.0)}),
    ],
)
def test_each_planted_drift_is_found(tmp_path: Path, statistic: str, changes: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", drifting(QUIET, 2000, 800, **changes))
    found = monitor([path], window=400, first=2000)
    assert found.state == "drift"
    assert found.verdict is not None
    assert statistic in [one.statistic for one in found.verdict.drifts]


@pytest.mark.parametrize(("changes", "state"), [({}, "quiet"), ({"light": 0.35}, "drift")])
def test_frames_of_a_video_need_a_longer_reference_and_are_judged_alike(
    tmp_path: Path, changes: dict[str, Any], state: str
) -> None:
    path = write(tmp_path / "a.jsonl", drifting(World(memory=0.7), 6000, 1500, **changes))
    found = monitor([path], window=500, first=6000)
    assert found.state == state
    assert found.reference.block > 40


def test_another_log_can_be_the_reference(tmp_path: Path) -> None:
    usual = write(tmp_path / "usual" / "a.jsonl", drawn(QUIET, 3000), model="b" * 64)
    log = write(tmp_path / "a.jsonl", drawn(World(objects=6), 1000, start=5000))
    for reference in (usual, usual.parent):
        found = monitor([log], reference=reference, window=500)
        assert found.state == "drift"
        assert found.frames == 1000
        assert found.remarks == (
            "The reference was logged by another model: what changed may be the model, not the world.",
        )
    other = write(tmp_path / "c.jsonl", drawn(QUIET, 3000), names=["a", "b", "c"])
    with pytest.raises(InputError, match="classes are not those of the reference"):
        monitor([log], reference=other, window=500)

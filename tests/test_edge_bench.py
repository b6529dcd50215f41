"""The bench of the device: known sleeps come out as they went in, gates, what is not measured, and a whole bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import bench as edge_bench
from export import device, timing
from export.bench import COLUMNS, STAGES, Result, faults, lines, markdown, report
from export.runtime import Canvas, Card, Check, Floats, Frame, Model, Objects, RuntimeFault
from export.timing import Stage, Timing, bench, photos, remarks
from tests.made_bundles import flat_bundle

CARD = Card(
    kind="ultralytics", model="yolov8n", task="detect", names=("a", "b"), imgsz=(32, 64), dynamic=False,
    letterbox="square", stride=32, layout="yolo", precision="fp16", thresholds={"a": 0.5, "b": 0.5}, nms_iou=0.7,
    max_objects=300, second_look=None, licence="AGPL-3.0", weights="0", dataset="1", ontology="2",
)  # fmt: skip
STILL: Mapping[str, Any] = {
    "clocks": {"cpu_mhz": {"current": 2000}, "gpu_mhz": {"current": 900}, "locked": True},
    "temperatures_c": {"gpu-thermal": 40.0},
    "load_1min": 0.1,
    "cores": 6,
    "spent_s": {"uptime": 1000.0, "busy": 500.0, "own": 50.0, "cores": 6},
}


class Sleeper:
    """A session that takes 9 ms, and 80 ms at one call."""

    card = CARD

    def __init__(self, slow_call: int = -1) -> None:
        self.calls: list[int] = []
        self._slow_call = slow_call

    def run(self, tensor: Floats) -> list[Floats]:
        sleep(0.08 if len(self.calls) == self._slow_call else 0.009)
        self.calls.append(round(float(tensor[0, 0, 16, 32]) * 255))
        return [np.zeros((1, 6, 42), dtype=np.float32)]


class SleepyModel(Model):
    """4 ms before the network and 14 ms after it."""

    def prepare(self, frame: Frame) -> Canvas:
        sleep(0.004)
        return super().prepare(frame)

    def judge(self, outputs: Sequence[Floats], canvas: Canvas) -> tuple[Objects, float]:
        sleep(0.014)
        return super().judge(outputs, canvas)


def _frames(count: int) -> list[Frame]:
    return [np.full((32, 64, 3), place, dtype=np.uint8) for place in range(count)]


def _stages(pre: float, inference: float, post: float) -> dict[str, Stage]:
    whole = pre + inference + post
    return {name: Stage(ms, ms, ms, ms, ms, 7) for name, ms in zip(STAGES, (pre, inference, post, whole), strict=True)}


def _result(fps: float = 50.0, overlapped: float = 55.0, *, passed: bool = True, **facts: Any) -> Result:
    stages = _stages(2, 1000 / fps - 5, 3)
    measured = Timing(stages, fps, overlapped, 1, {"640 x 480": 4}, {**STILL, **facts}, STILL, ())
    check = Check(4, 20, 0.0004, 0.998, 0, passed)
    return Result(
        "yard", "yolov8n", "fp16", "fp16", "TensorRT", (320, 640), measured, {}, None, "the ONNX model", check
    )


def test_each_stage_gets_the_time_that_it_took_and_outliers_stay() -> None:
    session = Sleeper(slow_call=5)
    measured = bench(SleepyModel(session), _frames(4), calls=8, warm_up=3)
    assert session.calls == [0, 1, 2, 3, *([0, 1, 2, 3] * 2), *([0, 1, 2, 3] * 2)]
    stages = measured.stages
    assert tuple(stages) == STAGES
    assert {stage.n for stage in stages.values()} == {8}
    for name, least in zip(STAGES, (4, 9, 14, 27), strict=True):
        assert least <= stages[name].p50 < 3 * least, name
    assert stages["pre"].p50 < stages["inference"].p50 < stages["post"].p50
    assert stages["inference"].max >= 80 > stages["inference"].p50
    assert stages["inference"].mean >= (80 + 7 * 9) / 8
    assert max(stages["pre"].max, stages["post"].max) < 80
    assert measured.fps == pytest.approx(1000 / stages["end to end"].mean)
    assert measured.sizes == {"64 x 32": 4}


def test_warm_up_does_not_count_and_shows_every_frame_once() -> None:
    session = Sleeper(slow_call=0)
    measured = bench(Model(session), _frames(5), calls=3, warm_up=1)
    assert session.calls[:5] == [0, 1, 2, 3, 4]
    assert measured.stages["inference"].max < 80


def test_the_overlapped_loop_sees_the_same_frames_at_the_rate_of_the_clock() -> None:
    session = Sleeper()
    measured = bench(Model(session), _frames(2), calls=20, warm_up=1)
    assert len(session.calls) == 2 + 20 + 20
    assert 10 < measured.overlapped_fps < 1000 / 9


@pytest.mark.parametrize(("frames", "calls"), [(0, 5), (1, 0)])
def test_nothing_to_time_is_refused(frames: int, calls: int) -> None:
    with pytest.raises(RuntimeFault, match="at least one photo"):
        bench(Model(Sleeper()), _frames(frames), calls=calls)


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=200))
def test_figures_of_a_stage_are_in_order_and_of_all_times(times: list[float]) -> None:
    stage = Stage.of(times)
    assert stage.n == len(times)
    assert min(times) <= stage.p50 <= stage.p90 <= stage.p99 <= stage.max == max(times)
    assert stage.mean == pytest.approx(sum(times) / len(times))


def test_percentiles_of_known_times() -> None:
    assert Stage.of([float(ms) for ms in range(101)]) == Stage(50, 90, 99, 50, 100, 101)


def test_the_gate_counts_the_mean_one_by_one_and_says_where_the_time_goes() -> None:
    assert faults(_result(fps=60.0), 60) == []
    assert faults(_result(fps=1.0)) == []
    (said,) = faults(_result(fps=50.0, overlapped=55.0), 60)
    assert "60 frames per second are wanted, 50.0 are reached" in said
    assert "mean 20.0 ms, p99 20.0 ms" in said
    assert "inference takes 75%, post takes 15%, pre takes 10%; what helps with inference: a smaller input" in said
    assert "overlapped" not in said


def test_an_overlapped_loop_that_is_fast_enough_is_named_and_does_not_pass() -> None:
    (said,) = faults(_result(fps=50.0, overlapped=61.0), 60)
    assert "The overlapped loop reaches 61.0" in said


def test_what_takes_longest_is_what_is_spoken_about() -> None:
    slow = _result()
    slow = replace(slow, timing=replace(slow.timing, stages=_stages(2, 5, 33), fps=25.0))
    (said,) = faults(slow, 60)
    assert "what helps with post: NMS in the graph" in said


def test_a_model_that_finds_other_things_passes_at_no_speed() -> None:
    (said,) = faults(_result(fps=900.0, passed=False), 60)
    assert "finds other things than at home" in said
    assert "NOT as at home" in markdown(_result(passed=False))


def test_what_nobody_measured_is_said_and_is_no_zero() -> None:
    result = _result()
    header, _, row = markdown(result).splitlines()
    cells = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert tuple(cells) == COLUMNS
    for name in ("power mode", "device", "AP50 at home", "AP at home"):
        assert cells[name] == "not measured"
    assert cells["input"] == "640 x 320"
    assert cells["FPS one by one"] == "50.0"
    assert "AP50 not measured, AP50-95 not measured" in "\n".join(lines(result))
    stored = json.loads(json.dumps(report(result, 60), allow_nan=False))
    assert stored["accuracy"] is None
    assert stored["gate"] == {"fps": 60, "passed": False, "faults": faults(result, 60)}
    assert stored["golden"]["worst_iou"] == 0.998


def test_accuracy_of_the_same_precision_stands_beside_the_figures() -> None:
    result = replace(_result(power_mode="MAXN"), accuracy={"ap50": 0.8125, "ap": 0.5, "images": 40, "part": "val"})
    assert "accuracy at home, the ONNX model: AP50 0.812, AP50-95 0.500 on 40 images of val" in lines(result)
    assert "| MAXN |" in markdown(result)
    assert "| 0.812 | 0.500 | as at home |" in markdown(result)


def test_a_cell_cannot_break_the_row() -> None:
    assert markdown(_result(device="Jetson | <b>")).splitlines()[2].count("|") == len(COLUMNS) + 1


def test_a_device_that_stood_still_needs_no_remark() -> None:
    assert remarks(STILL, STILL, [5.0, 5.1, 4.9, 5.0]) == []
    assert remarks({}, {}, [5.0]) == []


@pytest.mark.parametrize(
    ("before", "after", "times", "said"),
    [
        ({}, {"clocks": {"gpu_mhz": {"current": 600}}}, [5.0], "the clock of the GPU fell from 900 to 600 MHz"),
        ({}, {"clocks": {"cpu_mhz": {"current": 1700}}}, [5.0], "the clock of the processor fell from 2000 to 1700"),
        ({}, {"temperatures_c": {"gpu-thermal": 51.0}}, [5.0], "gpu-thermal warmed from 40 to 51 C"),
        ({"clocks": {"locked": False}}, {}, [5.0], "clocks are not locked"),
        ({"load_1min": 3.5}, {}, [5.0], "not idle (load 3.5 on 6 cores)"),
        # 31 s of work in 10 s, of which the bench did 12: 1.9 cores.
        ({}, {"spent_s": {"uptime": 1010.0, "busy": 531.0, "own": 62.0, "cores": 6}}, [5.0], "kept 1.9 of 6 cores"),
        ({}, {}, [5.0] * 20 + [6.0] * 10, "5.0 ms at first and 6.0 ms at last"),
    ],
)
def test_what_speaks_against_the_figures_is_said(
    before: Mapping[str, Any], after: Mapping[str, Any], times: list[float], said: str
) -> None:
    (remark,) = remarks({**STILL, **before}, {**STILL, **after}, times)
    assert said in remark


def test_the_work_of_the_bench_itself_is_no_other_program() -> None:
    after = {**STILL, "spent_s": {"uptime": 1010.0, "busy": 562.0, "own": 110.0, "cores": 6}, "load_1min": 5.9}
    assert remarks(STILL, after, [5.0]) == []


def test_load_that_arrives_while_it_is_timed_is_told() -> None:
    def busy(frames: int) -> Sequence[str]:
        return bench(Model(Sleeper()), _frames(2), calls=frames, warm_up=1).remarks

    if device.facts()["spent_s"] is None:
        pytest.skip("this system does not tell what its cores do")
    hogs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(max(1, (os.cpu_count() or 1) // 2))
    ]
    try:
        assert any("other programs kept" in remark for remark in busy(60))
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_the_precision_of_the_engine_is_said_where_another_one_was_timed() -> None:
    assert not any("--precision" in line for line in lines(_result()))
    (said,) = [line for line in lines(replace(_result(), precision="fp32")) if "--precision" in line]
    assert "this is fp32; the engine of ./build.sh will be fp16" in said
    assert "--precision fp16 times that model here" in said


def test_why_the_overlapped_loop_is_faster_is_said() -> None:
    result = _result()
    assert any("a frame is prepared while" in line for line in lines(result))
    result = replace(result, timing=replace(result.timing, workers=4))
    assert any("4 frames at a time in ONNX Runtime, each on cores of its own" in line for line in lines(result))


def test_one_outlier_is_no_throttling() -> None:
    assert remarks(STILL, STILL, [5.0] * 29 + [90.0]) == []


def test_photos_are_read_and_what_is_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST_IMAGES", 4)
    for place in range(9):
        cv2.imwrite(str(tmp_path / f"{place}.png"), np.full((8, 8, 3), place, dtype=np.uint8))
    (tmp_path / "2.png").write_bytes(b"no photo")
    (tmp_path / "notes.txt").write_text("x")
    frames, left_out = photos(tmp_path)
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 4, 6]
    assert sorted(left_out.values()) == [1, 1, 5]
    assert left_out["cannot be decoded"] == 1


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RuntimeFault, match="none of 1 files is one"):
        photos(tmp_path)
    with pytest.raises(RuntimeFault, match="is no folder"):
        photos(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat_bundle(tmp_path_factory.mktemp("bundle"))


def on_device(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "bench.py", "--calls", "6", *options]
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "PYTHONDONTWRITEBYTECODE": "1"
    }
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.torch
def test_a_bundle_is_timed_where_it_lies_and_its_files_stay(whole: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    done = on_device(whole, "--json", str(tmp_path / "engine" / "b.json"), "--markdown", str(tmp_path / "b.md"))
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
    stored = json.loads((tmp_path / "engine" / "b.json").read_text())
    assert stored["runs_on"] == "ONNX Runtime, CPUExecutionProvider"
    assert stored["precision"] == "fp32"
    assert stored["accuracy"] == {"ap50": 0.9, "ap": 0.6, "images": 12, "part": "val"}
    assert stored["golden"]["passed"]
    assert stored["golden"]["objects"] > 0
    assert stored["timing"]["stages"]["inference"]["n"] == 6
    parts = [stored["timing"]["stages"][name]["mean"] for name in STAGES]
    assert sum(parts[:3]) == pytest.approx(parts[3])
    assert stored["timing"]["before"]["cores"] >= 1
    assert (tmp_path / "b.md").read_text() == stored["markdown"]
    assert stored["markdown"] in done.stdout
    assert "AP50 0.900, AP50-95 0.600 on 12 images of val" in done.stdout


@pytest.mark.torch
def test_a_rate_that_is_not_reached_exits_with_3(whole: Path) -> None:
    done = on_device(whole, "--fps", "1000000", "--json")
    assert done.returncode == 3
    assert "FAILED: 1e+06 frames per second are wanted" in done.stderr
    assert not json.loads(done.stdout)["gate"]["passed"]
    assert on_device(whole, "--fps", "0.001").returncode == 0


@pytest.mark.torch
def test_golden_outputs_of_another_model_fail_the_bench(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(whole, folder)
    flat_bundle(folder, golden_shift=9.0)
    done = on_device(folder)
    assert done.returncode == 3
    assert "finds other things than at home" in done.stderr


@pytest.mark.torch
def test_a_changed_file_and_a_missing_engine_end_in_one_sentence(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(whole, folder)
    done = on_device(folder, "--precision", "int8")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    (folder / "golden" / "0.png").write_bytes(b"other")
    done = on_device(folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "0.png: is not as it left home" in done.stderr


@pytest.mark.torch
def test_other_photos_than_the_golden_ones_can_be_timed(whole: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.jpg"), np.full((40, 56, 3), 90, dtype=np.uint8))
    result = edge_bench.measure(whole, tmp_path, calls=2)
    assert result.timing.sizes == {"56 x 40": 1}
    assert result.golden.images == 2

"""The verb budget: a table of predictions that says so, verdicts, JSON with every source, errors with near names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from export.budget import devices, predict
from labeling.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["budget", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_has_a_line_for_every_model_and_size_and_says_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "yolov8n", "yolov8s", "--device", "orin-nano", "--imgsz", "320", "--imgsz", "640")
    lines = out.splitlines()
    assert "predicted, not measured" in lines[0]
    assert "Jetson Orin Nano 8GB" in lines[0]
    assert [line.split()[-1] for line in lines[2:6]] == ["yolov8n", "yolov8n", "yolov8s", "yolov8s"]
    assert [line.split()[0] for line in lines[2:6]] == ["320", "640", "320", "640"]
    found = predict("yolov8n", "orin-nano", "fp16", 640).engine
    assert f"{found.mid:.1f} ({found.low:.1f}-{found.high:.1f})" in lines[3]


def test_errors_of_left_out_rows_and_the_outliers_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys)
    assert "left out one by one" in out
    assert "off by more than 25%: " in out
    assert "(qengineering)" in out
    assert "JetPack" in out
    assert "TensorRT" in out
    assert "bench.py" in out


def test_the_verdict_follows_the_frames_per_second_that_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for wanted, verdict in (("1", "likely"), ("100000", "unlikely")):
        out = said(capsys, "yolov8n", "--imgsz", "640", "--fps", wanted)
        assert verdict in out.splitlines()[2].split()
    middle = predict("yolov8n", "orin-nano-super", "fp16", 640).fps.mid
    assert "maybe" in said(capsys, "yolov8n", "--imgsz", "640", "--fps", f"{middle:.1f}").splitlines()[2].split()


def test_json_holds_the_predictions_the_fit_and_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(
        said(capsys, "yolo11n", "--device", "agx-orin", "--precision", "int8", "--imgsz", "512", "--json")
    )
    assert found["predicted"] is True
    assert found["measured"] is None
    (one,) = found["predictions"]
    assert (one["model"], one["device"], one["precision"], one["imgsz"]) == ("yolo11n", "agx-orin", "int8", 512)
    assert one["engine"]["mid"] == pytest.approx(predict("yolo11n", "agx-orin", "int8", 512).engine.mid)
    assert one["verdict"] in {"likely", "maybe", "unlikely"}
    assert set(found["devices"]) == set(devices())
    assert all(source["url"] for source in found["sources"].values())
    assert found["fit"]["outliers"]


def test_published_times_stand_beside_what_is_predicted_for_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("yolov8n", "--device", "orin-nano-super", "--imgsz", "640")
    out = said(capsys, *asked)
    assert "published for the same, 0 of 2 outside" in out
    (loop,) = [line for line in out.splitlines() if "fairystriker, not fitted on" in line]
    assert loop.split()[:5] == ["640", "end", "to", "end", "30.47"]
    out = said(capsys, *asked, "--precision", "fp32")
    (row,) = [line for line in out.splitlines() if "(hokwangchoi)" in line and "8.36" in line]
    assert "outside" in row
    assert "1 of 1 outside of the range" in out
    assert "published for the same: nothing" in said(capsys, "yolov8n-seg")


def test_how_many_loops_of_other_programs_the_range_holds_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "yolov8n")
    assert "hold 48 of 53 published loops; of 19 that nothing was fitted on it holds 14, and would hold 3" in out


def test_json_lists_every_published_row_of_the_devices_that_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, "yolov8n", "--device", "orin-nano-super", "--json"))["published"]
    assert {row["device"] for row in rows} == {"orin-nano-super"}
    assert len(rows) == 26
    (row,) = [row for row in rows if (row["model"], row["precision"], row["timed"]) == ("yolov8n", "fp32", "engine")]
    assert row["ms"] == 8.36
    assert row["inside"] is False
    assert row["predicted"]["high"] < 8.36
    rows = json.loads(said(capsys, "yolov8n", "--device", "agx-orin", "--json"))["published"]
    assert {row["inside"] for row in rows if row["left_out"] == "power"} == {None}


def test_several_devices_are_predicted_one_below_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "yolov8n", "--imgsz", "192", "--device", "nano", "--device", "orin-nx", "--device", "nano")
    heads = [line for line in out.splitlines() if "predicted, not measured" in line]
    assert [head.split(",")[0] for head in heads] == ["Jetson Nano (2019)", "Jetson Orin NX 16GB"]
    assert "no published row below 320 pixels" in out
    assert "other devices (--device): orin-nano, orin-nano-super, agx-orin" in out


def test_what_was_carried_over_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "note: 2 published rows of Jetson Nano (2019)" in said(capsys, "yolov8n", "--device", "nano")
    assert "rows below 640 pixels are of" in said(capsys, "yolov8n", "--device", "nano", "--imgsz", "320")
    assert "note:" not in said(capsys, "yolov8n", "--device", "orin-nx", "--imgsz", "320")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["yolov8nn"], "did you mean 'yolov8n'"),
        (["--device", "orin-nxx"], "did you mean 'orin-nx'"),
        (["--device", "nano", "--precision", "int8"], "no int8 arithmetic"),
        (["--imgsz", "1280"], "from 160 to 640"),
        (["--fps", "inf"], "finite"),
    ],
)
def test_an_unknown_name_or_size_is_one_sentence_and_code_1(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["budget", *arguments]) == 1
    assert part in capsys.readouterr().err


def test_it_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from labeling.cli import main; main(['budget', 'yolov8n']); "
        "sys.exit(sorted({'torch', 'numpy', 'scipy', 'ultralytics', 'onnx'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

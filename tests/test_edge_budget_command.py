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
    assert "beyond 25%: " in out
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
        (["--imgsz", "1280"], "from 320 to 640"),
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

"""`labelstill budget`: how fast a model is predicted to be on a Jetson, before it is trained; nothing is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from labeling.core.errors import InputError
from labeling.tables import printable, table

from ..budget import Prediction, Range, coefficients, devices, find_device, models, predict, sources

MODELS = ("yolov8n", "yolov8s", "yolov8m", "yolo11n", "yolo11s")
SIZES = (320, 416, 512, 640)


def run(
    model: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="yolov8n, yolo11s, yolov8n-seg and so on.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="nano, orin-nano, orin-nano-super, orin-nx or agx-orin.")
    ] = "orin-nano-super",
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 or int8.")] = "fp16",
    imgsz: Annotated[
        list[int] | None, typer.Option("--imgsz", help="Input size, 320 to 640 in steps of 32; may be repeated.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.1, help="Frames per second that are wanted.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Predict milliseconds and frames per second of a TensorRT engine on a Jetson, from counted work.

    The counts are set against published times, which are listed with --json; each range is where nine of ten rows fell
    that the prediction had not seen. Real figures come from bench.py on the device.
    """
    if not fps < float("inf"):
        raise InputError(f"--fps is {fps}: expected a finite number")
    predictions = [predict(name, device, precision, size) for name in model or MODELS for size in imgsz or SIZES]
    if as_json:
        print(json.dumps(_as_dict(predictions, fps)))
    else:
        print("\n".join(map(printable, _lines(predictions, device, precision, fps))))
    return 0


def _lines(predictions: Sequence[Prediction], device: str, precision: str, fps: float) -> list[str]:
    board, fit = find_device(device), coefficients()
    first, others = predictions[0], fit["host"]["others"]
    columns = ("size", "engine ms", "host ms", "end to end ms", "FPS", f"{fps:g} FPS?")
    rows = [
        (one.model, (str(one.imgsz), *map(_span, (one.engine, one.host, one.end_to_end, one.fps)), one.verdict(fps)))
        for one in predictions
    ]
    error, unseen = fit["leave_one_out"]["yolov8"], fit["leave_source_out"]["yolov8"]
    lines = [
        f"{board.title}, {board.mode}, TensorRT {precision}, batch 1: predicted, not measured",
        *table(columns, rows),
        f"engine: {first.rows} published rows of this device and precision; left out one by one, the YOLOv8 rows of "
        f"all devices are met within {error['median_error']:.0%} (median), {error['within_25_percent']:.0%} of "
        f"{error['rows']} within 25%; whole sources left out: {unseen['median_error']:.0%}, "
        f"{unseen['within_25_percent']:.0%}",
        "host: capture, preparation and decoding in Python on the CPU, added to the engine; threads may hide it; loops "
        f"of other programs, not fitted, add {min(others.values()):.1f} to {max(others.values()):.1f} times as much",
        f"beyond 25%: {', '.join(f'{name} {error:+.0%}' for name, error in fit['outliers'].items())}",
        "rows: JetPack 4.6 to 6.2, TensorRT 8 to 10 mixed, full power; the sources are in --json",
    ]
    if device not in fit["below_640"] and any(one.imgsz < 640 for one in predictions):
        lines.append(f"note: rows below 640 pixels are of {' and '.join(fit['below_640'])} alone")
    lines += [f"note: {caution}" for caution in dict.fromkeys(one.caution for one in predictions if one.caution)]
    more = ", ".join(name for name in devices() if name != device)
    return [*lines, f"other devices (--device): {more}; measure with bench.py on the device"]


def _span(found: Range) -> str:
    digits = 0 if found.mid >= 30 else 1
    return f"{found.mid:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"


def _as_dict(predictions: Sequence[Prediction], fps: float) -> dict[str, Any]:
    return {
        "predicted": True,
        "measured": None,
        "fps_wanted": fps,
        "predictions": [one.to_json() | {"verdict": one.verdict(fps)} for one in predictions],
        "devices": {name: board.title for name, board in devices().items()},
        "models": list(models()),
        "fit": coefficients(),
        **sources(),
    }

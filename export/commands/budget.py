"""`labelstill budget`: how fast a model is predicted to be on a Jetson, before it is trained; nothing is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Any

import typer

from labeling.core.errors import InputError
from labeling.tables import printable, table

from ..budget import Prediction, Range, coefficients, devices, find_device, models, predict, sources
from ..published import beside, listed, predicted, published

MODELS = ("yolov8n", "yolov8s", "yolov8m", "yolo11n", "yolo11s")
SIZES = (320, 416, 512, 640)
DEVICE = "orin-nano-super"


def run(
    model: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="yolov8n, yolo11s, yolov8n-seg and so on.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            help=f"nano, orin-nano, orin-nano-super, orin-nx or agx-orin; may be repeated. {DEVICE} if left out.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 or int8.")] = "fp16",
    imgsz: Annotated[
        list[int] | None, typer.Option("--imgsz", help="Input size, 160 to 640 in steps of 32; may be repeated.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.1, help="Frames per second that are wanted.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Predict milliseconds and frames per second of a TensorRT engine on a Jetson, from counted work.

    Times that somebody published for the very same stand below the predictions; --json lists all of the device. Nine of
    ten rows fell into the range of the engine when they were left out of the fit; the range of end to end is so wide
    that it holds nine of ten published loops, for programs differ. Real figures come from bench.py on the device.
    """
    if not fps < float("inf"):
        raise InputError(f"--fps is {fps}: expected a finite number")
    predictions = [
        predict(name, board, precision, size)
        for board in dict.fromkeys(device or [DEVICE])
        for name in model or MODELS
        for size in imgsz or SIZES
    ]
    if as_json:
        print(json.dumps(_as_dict(predictions, fps)))
    else:
        print("\n".join(map(printable, _lines(predictions, fps))))
    return 0


def _lines(predictions: Sequence[Prediction], fps: float) -> list[str]:
    fit = coefficients()
    error, unseen = fit["leave_one_out"]["yolov8"], fit["leave_source_out"]["yolov8"]
    host, loops, others = fit["host"], fit["host"]["loops"], fit["host"]["others"].values()
    asked = dict.fromkeys(one.device for one in predictions)
    lines = [line for _, found in groupby(predictions, lambda one: one.device) for line in _block(list(found), fps)]
    lines += [
        f"engine: left out one by one, the YOLOv8 rows of all devices are met within {error['median_error']:.0%} "
        f"(median), {error['within_25_percent']:.0%} of {error['rows']} within 25%; whole sources left out: "
        f"{unseen['median_error']:.0%}, {unseen['within_25_percent']:.0%}",
        "host: capture, preparation and decoding in Python on the CPU, added to the engine; threads may hide it",
        f"end to end: the range is as wide as it takes to hold {loops['inside']} of {loops['rows']} published loops; "
        f"of {loops['unseen']} that nothing was fitted on it holds {loops['unseen_inside']}, and would hold "
        f"{loops['unseen_inside_spread']} if programs differed no more than those of the fit (a factor of "
        f"{host['spread']:.1f}); their hosts take {min(others):.1f} to {max(others):.1f} times as long as predicted",
        "left out one by one and off by more than 25%: "
        + ", ".join(f"{name} {error:+.0%}" for name, error in fit["outliers"].items()),
        "rows: JetPack 4.6 to 6.2, TensorRT 8 to 10 mixed, full power; the sources are in --json",
    ]
    if any(one.device not in fit["below_640"] and one.imgsz < 640 for one in predictions):
        lines.append(f"note: rows below 640 pixels are of {' and '.join(fit['below_640'])} alone")
    lines += [f"note: {caution}" for caution in dict.fromkeys(one.caution for one in predictions if one.caution)]
    if more := [name for name in devices() if name not in asked]:
        lines.append(f"other devices (--device): {', '.join(more)}")
    return [*lines, "measure with bench.py on the device"]


def _block(predictions: Sequence[Prediction], fps: float) -> list[str]:
    """Return the table of one device and precision, and what was published for the same."""
    first = predictions[0]
    board = find_device(first.device)
    columns = ("size", "engine ms", "host ms", "end to end ms", "FPS", f"{fps:g} FPS?")
    rows = [
        (one.model, (str(one.imgsz), *map(_span, (one.engine, one.host, one.end_to_end, one.fps)), one.verdict(fps)))
        for one in predictions
    ]
    lines = [
        f"{board.title}, {board.mode}, TensorRT {first.precision}, batch 1: predicted, not measured",
        *table(columns, rows),
        f"fitted on {first.rows} published engine rows of this device and precision, and those of the others",
    ]
    same = [(row, predicted(row, one)) for one in predictions for row in beside(one)]
    if not same:
        return [*lines, "published for the same: nothing"]
    cells = [
        (
            f"{row.model} ({row.source}{', not fitted on' if row.left_out else ''})",
            (str(row.imgsz), row.timed, f"{row.ms:g}", _span(span), "" if span.holds(row.ms) else "outside"),
        )
        for row, span in same
    ]
    outside = sum(not span.holds(row.ms) for row, span in same)
    return [
        *lines,
        f"published for the same, {outside} of {len(same)} outside of the range:",
        *table(("size", "timed", "published ms", "predicted ms", ""), cells),
    ]


def _span(found: Range) -> str:
    digits = 0 if found.mid >= 30 else 1
    return f"{found.mid:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"


def _as_dict(predictions: Sequence[Prediction], fps: float) -> dict[str, Any]:
    asked = {one.device for one in predictions}
    return {
        "predicted": True,
        "measured": None,
        "fps_wanted": fps,
        "predictions": [one.to_json() | {"verdict": one.verdict(fps)} for one in predictions],
        "published": [listed(row) for row in published() if row.device in asked],
        "devices": {name: board.title for name, board in devices().items()},
        "models": list(models()),
        "fit": coefficients(),
        **sources(),
    }

"""Predicted milliseconds of a student on a Jetson, from counted work and published times; nothing here was measured.

The time of an engine is that of launching its kernels plus that of its arithmetic and its memory traffic, which
overlap in part (between the sum and the maximum of the roofline model, Williams et al. 2009):

    engine = device x (kernels x launch / clock + sqrt((FLOPs / (peak x compute))^2 + (bytes / (peak x memory))^2))

``launch``, ``compute`` (by precision), ``memory`` and ``device`` are fitted on published rows by
scripts/edge/fit_budget.py. What the host adds (capture, preparation, decoding) is fitted apart, on publications that
state both: a constant and a part that grows with the pixels of the input. Programs differ by far more than that: its
band is as wide as it takes for the range of the whole to hold nine of ten published loops.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from labeling.core.errors import InputError
from labeling.core.strict import did_you_mean

Precision = Literal["fp32", "fp16", "int8"]
Verdict = Literal["likely", "maybe", "unlikely"]

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
BYTES: Mapping[str, int] = {"fp32": 4, "fp16": 2, "int8": 1}
FEW_ROWS = 3
"""With fewer published rows of a device and precision the wider band is given."""


@dataclass(frozen=True, slots=True)
class Device:
    """A Jetson in its full power mode.

    Attributes:
        title: name on the box.
        tflops: dense peak by precision in TFLOP/s or TOP/s, of the GPU alone; TF32 for fp32 where there are tensor
            cores, as TensorRT uses them. Of NVIDIA's figures for sparse matrices it is the half; what is off in them is
            taken up by the fitted factor of the device. A precision that the device lacks is left out.
        gbps: peak memory bandwidth in GB/s.
        ghz: clock of the GPU.
        mode: power mode that the published rows were taken in.
        host: device whose processor stands for its own in host times.
    """

    title: str
    tflops: Mapping[str, float]
    gbps: float
    ghz: float
    mode: str
    host: str


@dataclass(frozen=True, slots=True)
class Work:
    """What one image costs: kernels of the engine, FLOPs (2 per multiply-accumulate), numbers read and written."""

    kernels: int
    flops: float
    elements: float


@dataclass(frozen=True, slots=True)
class Range:
    """A predicted value and the band around it.

    Nine of ten rows fell into the band of an engine when they were left out one by one, and nine of ten published
    loops fall into that of end to end, among them those that the host time was fitted on.
    """

    low: float
    mid: float
    high: float

    def holds(self, value: float) -> bool:
        """Say whether a value lies in the band."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction for one image at a time.

    Attributes:
        engine: ms of the TensorRT engine alone.
        host: ms of capture, preparation and decoding.
        end_to_end: ms of one after the other; errors of the two parts are taken to be independent.
        fps: 1000 / end_to_end.
        overlapped_fps: where host and engine work at the same time, as the threads of runtime.py do: 1000 / the slower.
        rows: published engine rows of this device and precision, any model and size.
        caution: why the band is wider and what is left out, or None.
    """

    model: str
    device: str
    precision: str
    imgsz: int
    engine: Range
    host: Range
    end_to_end: Range
    fps: Range
    overlapped_fps: float
    rows: int
    caution: str | None

    def verdict(self, fps: float) -> Verdict:
        """Say whether the whole band, a part of it or nothing of it reaches so many frames per second."""
        if self.fps.low >= fps:
            return "likely"
        return "maybe" if self.fps.high >= fps else "unlikely"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "predicted": True}


def predict(model: str, device: str, precision: str = "fp16", imgsz: int = 640) -> Prediction:
    """Return what a model is predicted to take on a device.

    Args:
        model: see ``models``; counted with 80 classes.
        device: see ``devices``.
        precision: fp32, fp16 or int8.
        imgsz: both sides of the input in pixels, a multiple of 32 from 160 to 640; no row below 320 is published.

    Raises:
        InputError: no such model, device, precision or size, or a device that cannot compute in this precision.
    """
    board, work, fit = find_device(device), work_of(model, imgsz), coefficients()
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision not in board.tflops:
        raise InputError(f"{board.title} has no {precision} arithmetic: choose one of {', '.join(board.tflops)}")
    rows = int(fit["rows"].get(f"{device} {precision}", 0))
    caution = _caution(model, board, precision, imgsz, rows)
    engine = _band(engine_ms(work, board, device, precision, fit), fit["band"]["few" if caution else "rows"])
    host = _band(host_ms(board, imgsz, fit), fit["host"]["band"])
    mid = engine.mid + host.mid
    low = mid - math.hypot(engine.mid - engine.low, host.mid - host.low)
    high = mid + math.hypot(engine.high - engine.mid, host.high - host.mid)
    return Prediction(
        model=model,
        device=device,
        precision=precision,
        imgsz=imgsz,
        engine=engine,
        host=host,
        end_to_end=Range(low, mid, high),
        fps=Range(1000 / high, 1000 / mid, 1000 / low),
        overlapped_fps=1000 / max(engine.mid, host.mid),
        rows=rows,
        caution=caution,
    )


def engine_ms(work: Work, board: Device, device: str, precision: str, fit: Mapping[str, Any]) -> float:
    """Return the ms of an engine by the formula above."""
    launching = work.kernels * fit["launch_us_ghz"] / board.ghz / 1e3
    computing = work.flops / (board.tflops[precision] * 1e9 * fit["compute"][precision])
    moving = work.elements * BYTES[precision] / (board.gbps * 1e6 * fit["memory"])
    return float(fit["device"].get(device, 1.0) * (launching + math.hypot(computing, moving)))


def host_ms(board: Device, imgsz: int, fit: Mapping[str, Any]) -> float:
    """Return the ms that the host adds: its time at 640 pixels, of which a part is in proportion to the pixels."""
    grows = float(fit["host"]["grows"])
    return float(fit["host"]["ms_640"][board.host]) * (1 - grows + grows * (imgsz / 640) ** 2)


def work_of(model: str, imgsz: int) -> Work:
    """Return the counted work of a model.

    Raises:
        InputError: it was not counted, or not at this size.
    """
    known = _counts()
    if model not in known:
        raise InputError(
            f"model {model!r}: no work was counted for it, so nothing can be predicted{did_you_mean(model, known)}"
        )
    work = known[model]["work"]
    if str(imgsz) not in work:
        raise InputError(f"input size {imgsz}: expected a multiple of 32 from {min(map(int, work))} to 640")
    return Work(known[model]["kernels"], *work[str(imgsz)])


def find_device(name: str) -> Device:
    """Return a device by its name.

    Raises:
        InputError: there is none of this name.
    """
    known = devices()
    if name not in known:
        raise InputError(
            f"device {name!r}: no published row is known, so nothing can be predicted{did_you_mean(name, known)}"
        )
    return known[name]


@cache
def devices() -> dict[str, Device]:
    """Return all devices by name."""
    return {name: Device(**row) for name, row in _read("devices.json").items()}


def models() -> tuple[str, ...]:
    """Return the names of all counted models."""
    return tuple(_counts())


@cache
def coefficients() -> dict[str, Any]:
    """Return what scripts/edge/fit_budget.py wrote: coefficients, bands, leave-one-out errors and outliers."""
    return _read("coefficients.json")


@cache
def sources() -> dict[str, Any]:
    """Return the rules by which rows were left out, and the sources of the rows."""
    return _read("sources.json")


@cache
def _counts() -> dict[str, Any]:
    counted: dict[str, Any] = _read("counts.json")["models"]
    return counted


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(files("export.budget_data").joinpath(name).read_text(encoding="utf-8"))
    return data


def _band(mid: float, factor: float) -> Range:
    return Range(mid / factor, mid, mid * factor)


def _caution(model: str, board: Device, precision: str, imgsz: int, rows: int) -> str | None:
    fit, found = coefficients(), []
    if rows < FEW_ROWS:
        count = {0: "no published row", 1: "one published row"}.get(rows, f"{rows} published rows")
        found.append(f"{count} of {board.title} in {precision}")
    if model not in fit["models"]:
        found.append(f"no published row of {model}")
    if imgsz < fit["smallest"]:
        found.append(f"no published row below {fit['smallest']} pixels")
    if not found:
        return None
    masks = "; the host time is that of boxes: decoding the masks is left out" if model.endswith("-seg") else ""
    return f"{' and '.join(found)}: carried over from others, wider band{masks}"

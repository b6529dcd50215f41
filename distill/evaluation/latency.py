"""How long a student takes for one photo on this machine, from pixels to objects."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from labeling.core.errors import InputError

from .table import Numbers

if TYPE_CHECKING:
    from labeling.teachers.interfaces import RgbImage

    from ..students import Predictor

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Device:
    """Where it was measured.

    Attributes:
        cpu: model.
        cores: that this process may use.
        gpu: that torch has been using; None where it runs on the CPU.
        threads: of torch; None where torch is not loaded.
        torch: its version; None where it is not loaded.
    """

    cpu: str
    cores: int
    gpu: str | None
    threads: int | None
    torch: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """Milliseconds for one photo at a time, decoded and in memory: resized, seen by the model, boxes out.

    Attributes:
        p50_ms, p90_ms, p99_ms: percentiles; outliers are kept.
        mean_ms, max_ms: likewise of all.
        n: measured calls.
        images: different photos among them.
        imgsz: longer side of the student's input in pixels.
        device: where.
        times_ms: (n,) in the order of the calls.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    max_ms: float
    n: int
    images: int
    imgsz: int
    device: Device
    times_ms: Numbers


def measure_latency(
    predictor: Predictor, images: Sequence[RgbImage], *, warmup: int = 3, repeats: int = 3, floor: float = 0.25
) -> Latency:
    """Time a student on photos, one by one.

    Args:
        predictor: the student.
        images: RGB uint8 (H, W, 3), upright.
        warmup: calls that are not counted.
        repeats: how often every photo is seen; all photos in turn, so that no cache helps.
        floor: smallest score returned; what comes after the model grows with the objects, so it should be as in use.

    Raises:
        InputError: there is no image, or nothing to repeat.
    """
    if not images or repeats < 1:
        raise InputError(f"expected at least one image and one repeat, got {len(images)} and {repeats}")
    for image in islice(cycle(images), warmup):
        predictor.predict([image], floor)
    times = np.zeros(repeats * len(images))
    for call, image in enumerate(islice(cycle(images), len(times))):
        _finish()
        start = perf_counter()
        predictor.predict([image], floor)
        _finish()
        times[call] = 1000 * (perf_counter() - start)
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    return Latency(
        p50,
        p90,
        p99,
        float(times.mean()),
        float(times.max()),
        len(times),
        len(images),
        predictor.imgsz,
        device(),
        times,
    )


def device() -> Device:
    """Return what this process computes on; torch is not imported for it."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    return Device(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        gpu=str(torch.cuda.get_device_name()) if torch is not None and on_gpu else None,
        threads=int(torch.get_num_threads()) if torch is not None else None,
        torch=str(torch.__version__) if torch is not None else None,
    )


def _finish() -> None:
    """Wait for the GPU where one is in use: torch returns before it is done."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _cpu() -> str:
    try:
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

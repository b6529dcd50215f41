"""How long a model takes for a frame on this device, stage by stage, and how the device stood meanwhile.

This file is copied into a bundle as it stands and needs runtime.py and device.py beside it. It reads power mode, clocks
and temperatures and sets none of them. It has not run on a Jetson.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    from . import device
    from .runtime import Model, RuntimeFault, Source, read_picture, run
except ImportError:  # in a bundle the files lie side by side
    import device  # type: ignore[import-not-found,no-redef]
    from runtime import Model, RuntimeFault, Source, read_picture, run  # type: ignore[import-not-found,no-redef]

if TYPE_CHECKING:
    from .runtime import Frame

CALLS = 300
"""Timed frames: three of them lie above the p99."""
WARM_UP = 20
MOST_IMAGES = 64
"""Photos held in memory at once; of a larger folder as many are taken, evenly spread."""
STAGES = ("pre", "inference", "post", "end to end")

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_SLOWER, _WARMER_C, _BUSY, _SHARED = 0.9, 10, 0.5, 0.25


@dataclass(frozen=True)
class Stage:
    """Milliseconds per frame; no outlier is left out.

    Attributes:
        p50, p90, p99: percentiles.
        mean, max: of all.
        n: timed frames.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    max: float
    n: int

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Stage:
        """Return the figures of all times, at least one."""
        p50, p90, p99 = (float(value) for value in np.percentile(times_ms, (50, 90, 99)))
        return cls(p50, p90, p99, float(np.mean(times_ms)), float(np.max(times_ms)), len(times_ms))


@dataclass(frozen=True)
class Timing:
    """One model on one device.

    Attributes:
        stages: of STAGES, frames one by one, decoded and in memory. Every session returns when its outputs are in the
            memory of the host, so each stage ends when its result is there.
        fps: 1000 / mean of end to end: what the gate counts.
        overlapped_fps: of the loop of runtime.py on the same frames, whose parts overlap: what a camera sees.
        workers: frames at a time in that loop.
        sizes: "width x height" of a frame -> how many different photos.
        before, after: facts of the device around the timing.
        remarks: what a reader of the figures has to know.
    """

    stages: Mapping[str, Stage]
    fps: float
    overlapped_fps: float
    workers: int
    sizes: Mapping[str, int]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    remarks: Sequence[str]


def bench(
    model: Model,
    frames: Sequence[Frame],
    *,
    calls: int = CALLS,
    warm_up: int = WARM_UP,
    beside: Model | None = None,
    workers: int = 1,
) -> Timing:
    """Time a model on frames in turn, as ``runtime.run`` uses it: one by one, then overlapped.

    Args:
        model: with any session.
        frames: real ones, BGR uint8 (h, w, 3), in memory.
        beside: the same model, opened for several frames at a time; None takes the first for both ways.
        workers: so many at a time in the overlapped loop.
        calls: timed frames of each way.
        warm_up: frames before them, which do not count; every frame is seen once at least.

    Raises:
        RuntimeFault: there is no frame, or nothing to time.
    """
    if not frames or calls < 1:
        raise RuntimeFault(f"expected at least one photo and one timed frame, got {len(frames)} and {calls}")
    for frame in islice(cycle(frames), max(warm_up, len(frames))):
        canvas = model.prepare(frame)
        model.judge(model.session.run(canvas.tensor), canvas)
    before = device.facts()
    times = np.zeros((calls, len(STAGES)))
    for call, frame in enumerate(islice(cycle(frames), calls)):
        start = perf_counter()
        canvas = model.prepare(frame)
        prepared = perf_counter()
        outputs = model.session.run(canvas.tensor)
        answered = perf_counter()
        model.judge(outputs, canvas)
        end = perf_counter()
        times[call] = prepared - start, answered - prepared, end - answered, end - start
    overlapped = _overlapped_fps(beside or model, frames, calls, workers)
    after = device.facts()
    times *= 1000
    stages = {name: Stage.of(times[:, place].tolist()) for place, name in enumerate(STAGES)}
    sizes = Counter(f"{frame.shape[1]} x {frame.shape[0]}" for frame in frames)
    return Timing(
        stages,
        1000 / stages["end to end"].mean,
        overlapped,
        workers,
        dict(sizes),
        before,
        after,
        remarks(before, after, times[:, -1].tolist()),
    )


def photos(folder: Path) -> tuple[list[Frame], dict[str, int]]:
    """Return photos of a folder as BGR uint8 (h, w, 3), and how many files were left out, by reason.

    Raises:
        RuntimeFault: it is no folder, or no file in it is a photo that can be decoded.
    """
    if not folder.is_dir():
        raise RuntimeFault(f"{folder}: is no folder: expected one with photos")
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    named = [path for path in paths if path.suffix.lower() in _SUFFIXES]
    count = min(len(named), MOST_IMAGES)
    read = [read_picture(named[place * len(named) // count]) for place in range(count)]
    frames = [frame for frame in read if not isinstance(frame, str)]
    left_out = {
        f"no photo by its name (expected {', '.join(_SUFFIXES)})": len(paths) - len(named),
        "cannot be decoded": len(read) - len(frames),
        f"more than {MOST_IMAGES} photos": len(named) - count,
    }
    if not frames:
        raise RuntimeFault(f"{folder}: expected photos ({', '.join(_SUFFIXES)}), none of {len(paths)} files is one")
    return frames, {reason: count for reason, count in left_out.items() if count}


def remarks(before: Mapping[str, Any], after: Mapping[str, Any], times_ms: Sequence[float]) -> list[str]:
    """Return what speaks against the figures, one sentence each; what the device does not tell is not guessed.

    Args:
        before, after: ``device.facts`` around the timing.
        times_ms: of each frame from end to end, in order.
    """
    found = []
    third = -(-len(times_ms) // 3)
    early, late = float(np.median(times_ms[:third])), float(np.median(times_ms[-third:]))
    if early < _SLOWER * late:
        found.append(f"frames took {early:.1f} ms at first and {late:.1f} ms at last: the device slowed down")
    clocks, later = before.get("clocks") or {}, after.get("clocks") or {}
    for key, name in (("cpu_mhz", "processor"), ("gpu_mhz", "GPU")):
        was, now = ((one.get(key) or {}).get("current") for one in (clocks, later))
        if was and now and now < _SLOWER * was:
            found.append(f"the clock of the {name} fell from {was} to {now} MHz: the device throttles or saves power")
    if clocks.get("locked") is False:
        found.append("clocks are not locked, so figures vary with what the device did before")
    warm, warmer = before.get("temperatures_c") or {}, after.get("temperatures_c") or {}
    for name in warm:
        if warmer.get(name, warm[name]) - warm[name] >= _WARMER_C:
            found.append(f"{name} warmed from {warm[name]:.0f} to {warmer[name]:.0f} C: a longer run may be slower")
    load, cores = before.get("load_1min"), before.get("cores")
    if load is not None and cores and load > _BUSY * cores:
        found.append(f"the device was not idle (load {load:.1f} on {cores} cores): other programs slow it down")
    spent, later = before.get("spent_s"), after.get("spent_s")
    if spent and later and later["uptime"] > spent["uptime"]:
        uptime, busy, own = (later[key] - spent[key] for key in ("uptime", "busy", "own"))
        others, everywhere = (busy - own) / uptime, spent["cores"]
        if others > _SHARED * everywhere:
            found.append(
                f"other programs kept {others:.1f} of {everywhere} cores busy meanwhile: time it again without them"
            )
    return found


def _overlapped_fps(model: Model, frames: Sequence[Frame], count: int, workers: int) -> float:
    named = (("", frame) for frame in islice(cycle(frames), count))
    start = perf_counter()
    tally = run(model, Source(named, live=False), workers=workers)
    seconds = perf_counter() - start
    if tally.interrupted:  # the loop ends quietly, a measurement must not
        raise KeyboardInterrupt
    return tally.seen / seconds

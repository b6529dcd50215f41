"""How fast a student is on this device, stage by stage, and how right the very same configuration is.

Usage: python3 bench.py [--images DIR] [--fps 60] [--backend auto] [--precision fp16] [--json [FILE]] [--markdown FILE]

This file is copied into a bundle as it stands and needs timing.py, runtime.py and device.py beside it. It has not run
on a Jetson.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # a bundle stays as it is

try:
    from .runtime import MANIFEST, Arguments, Model, OnnxSession, RuntimeFault, open_model, self_check, workers_for
    from .timing import CALLS, STAGES, Timing, bench, photos
except ImportError:  # in a bundle the files lie side by side
    from runtime import (  # type: ignore[import-not-found,no-redef]
        MANIFEST,
        Arguments,
        Model,
        OnnxSession,
        RuntimeFault,
        open_model,
        self_check,
        workers_for,
    )
    from timing import CALLS, STAGES, Timing, bench, photos  # type: ignore[import-not-found,no-redef]

if TYPE_CHECKING:
    from .runtime import Check

GATE_FAILED = 3
NOT_MEASURED = "not measured"
COLUMNS = (
    "device", "power mode", "model", "precision", "runs on", "input", "pre p50", "inference p50", "post p50",
    "end to end p50", "p90", "p99", "max ms", "frames", "FPS one by one", "FPS overlapped", "AP50 at home",
    "AP at home", "golden",
)  # fmt: skip
"""Of the Markdown row."""

_STDOUT = Path("-")
_HELP = {
    "pre": "frames that are captured smaller are shrunk faster",
    "inference": "a smaller input or model (labelstill budget predicts both), FP16 or INT8 on TensorRT, or a higher "
    "power mode, which people set",
    "post": "NMS in the graph (labelstill export --nms) or higher thresholds leave fewer boxes to sort",
}


@dataclass(frozen=True)
class Result:
    """One configuration of a bundle, how fast and how right.

    Attributes:
        bundle: its name.
        model: architecture.
        precision: of what ran.
        engine_precision: of the engine that build.sh makes if nobody says another one.
        runs_on: what ran it, such as "ONNX Runtime, CPUExecutionProvider".
        imgsz: (height, width) of the input in pixels.
        timing: see Timing.
        left_out: why photos were not timed -> how many.
        accuracy: of the same precision with ONNX Runtime at home; None where nobody measured it.
        accuracy_of: what that accuracy is of.
        golden: worst differences from the golden outputs, measured by the timed model in this run.
    """

    bundle: str
    model: str
    precision: str
    engine_precision: str
    runs_on: str
    imgsz: tuple[int, int]
    timing: Timing
    left_out: Mapping[str, int]
    accuracy: Mapping[str, Any] | None
    accuracy_of: str
    golden: Check


def measure(
    folder: Path,
    images: Path | None = None,
    *,
    backend: str = "auto",
    precision: str | None = None,
    threads: int = 0,
    calls: int = CALLS,
) -> Result:
    """Check a bundle, compare its model with the golden outputs, and time it.

    Args:
        folder: of the bundle; nothing is written into it.
        images: folder of photos; the golden images if None.
        backend, precision, threads: see ``open_model``.
        calls: timed frames.

    Raises:
        RuntimeFault: the bundle is not whole, does not open, or there is no photo.
    """
    model = open_model(folder, backend, precision, threads)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    frames, left_out = photos(folder / "golden" if images is None else images)
    golden = self_check(folder, model)
    card, on_onnx = model.card, isinstance(model.session, OnnxSession)
    # As runtime.py follows a source: a frame on each core.
    beside = open_model(folder, backend, precision, threads or 1) if on_onnx else model
    return Result(
        bundle=str(manifest["name"]),
        model=card.model,
        precision=card.precision,
        engine_precision=str(manifest.get("precision", card.precision)),
        runs_on=_runs_on(model),
        imgsz=card.imgsz,
        timing=bench(model, frames, calls=calls, beside=beside, workers=workers_for(beside.session, threads or 1)),
        left_out=left_out,
        accuracy=manifest.get("accuracy", {}).get(card.precision),
        accuracy_of="this file" if on_onnx else f"the ONNX model in {card.precision}, of the engine none was measured",
        golden=golden,
    )


def faults(result: Result, fps: float = 0) -> list[str]:
    """Return what a gate has to say, one sentence each; empty where all passed.

    Frames one by one have to reach the rate in the mean of all frames, outliers included; p99 stands beside it. The
    overlapped loop does not count, and neither does the speed of a model that finds other things than at home.

    Args:
        result: of ``measure``.
        fps: frames per second that are wanted; 0 for no such gate.
    """
    found = []
    if not result.golden.passed:
        found.append(f"the model finds other things than at home ({_golden(result.golden)}): its speed says nothing")
    timing, whole = result.timing, result.timing.stages["end to end"]
    if timing.fps < fps:
        shares = sorted(((timing.stages[name].mean / whole.mean, name) for name in _HELP), reverse=True)
        most = shares[0][1]
        said = (
            f"{fps:g} frames per second are wanted, {timing.fps:.1f} are reached one by one (mean {whole.mean:.1f} ms, "
            f"p99 {whole.p99:.1f} ms): "
            + ", ".join(f"{name} takes {share:.0%}" for share, name in shares)
            + f"; what helps with {most}: {_HELP[most]}"
        )
        if timing.overlapped_fps >= fps:
            said += f". The overlapped loop reaches {timing.overlapped_fps:.1f}, each frame later than the rate says"
        found.append(said)
    return found


def markdown(result: Result) -> str:
    """Return COLUMNS and one row as a Markdown table; milliseconds where nothing else is said."""
    timing, whole = result.timing, result.timing.stages["end to end"]
    facts = timing.before
    cells = [
        _word(facts.get("device") or facts.get("gpu") or facts.get("cpu")),
        _word(facts.get("power_mode")),
        result.model,
        result.precision,
        result.runs_on,
        f"{result.imgsz[1]} x {result.imgsz[0]}",
        *(f"{timing.stages[name].p50:.2f}" for name in STAGES),
        *(f"{value:.2f}" for value in (whole.p90, whole.p99, whole.max)),
        str(whole.n),
        *(f"{value:.1f}" for value in (timing.fps, timing.overlapped_fps)),
        *(_share(result.accuracy, key) for key in ("ap50", "ap")),
        _as_at_home(result.golden),
    ]
    rows = (COLUMNS, ["---"] * len(COLUMNS), [cell.replace("|", "/") for cell in cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def lines(result: Result) -> list[str]:
    """Return the figures for people."""
    timing, accuracy = result.timing, result.accuracy
    high, wide = result.imgsz
    found = [
        f"{result.bundle}: {result.model}, {result.precision}, {wide} x {high} pixels, {result.runs_on}",
        f"{'ms per frame':>12}" + "".join(f"{column:>9}" for column in ("p50", "p90", "p99", "mean", "max")),
    ]
    for name, stage in timing.stages.items():
        values = (stage.p50, stage.p90, stage.p99, stage.mean, stage.max)
        found.append(f"{name:>12}" + "".join(f"{value:9.2f}" for value in values))
    sizes = ", ".join(f"{count} of {size}" for size, count in timing.sizes.items())
    found.append(f"{timing.stages['end to end'].n} frames after warm-up, none left out; photos: {sizes}")
    found += [f"left out: {count} {reason}" for reason, count in result.left_out.items()]
    found.append(
        f"frames per second: {timing.fps:.1f} one by one, {timing.overlapped_fps:.1f} overlapped "
        "(frames in memory: neither capturing nor drawing is in it)"
    )
    found.append(f"overlapped: {_overlap(timing)}")
    if result.precision != result.engine_precision:
        found.append(
            f"this is {result.precision}; the engine of ./build.sh will be {result.engine_precision}, and without "
            f"TensorRT a device runs fp32: --precision {result.engine_precision} times that model here, which says "
            "little of an engine"
        )
    found.append(f"golden outputs, by this very model: {_golden(result.golden)}")
    ap = f"AP50 {_share(accuracy, 'ap50')}, AP50-95 {_share(accuracy, 'ap')}"
    images = f" on {accuracy.get('images')} images of {accuracy.get('part')}" if accuracy else ""
    found.append(f"accuracy at home, {result.accuracy_of}: {ap}{images}")
    found += [_stood("before", timing.before), _stood("after", timing.after)]
    return found + [f"note: {one}" for one in timing.remarks]


def main(arguments: Sequence[str] | None = None) -> int:
    """Time a bundle and return the exit code: 0 ok, 1 could not finish, 3 a gate failed, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    try:
        result = measure(
            asked.bundle,
            asked.images,
            backend=asked.backend,
            precision=asked.precision,
            threads=asked.threads,
            calls=asked.calls,
        )
        failed = faults(result, asked.fps)
        text = json.dumps(report(result, asked.fps))
        for path, content in ((asked.json, text + "\n"), (asked.markdown, markdown(result))):
            if path is not None and path != _STDOUT:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
    except (RuntimeFault, OSError, cv2.error) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if asked.json == _STDOUT:
        print(text)
    else:
        print("\n".join([*lines(result), "", markdown(result)]))
    for sentence in failed:
        print(f"FAILED: {sentence}", file=sys.stderr)
    return GATE_FAILED if failed else 0


def report(result: Result, fps: float = 0) -> dict[str, Any]:
    """Return what JSON holds: the result, the gate and its row; null says "not measured"."""
    failed = faults(result, fps)
    whole = {**asdict(result), "golden": result.golden._asdict()}
    return {**whole, "gate": {"fps": fps, "passed": not failed, "faults": failed}, "markdown": markdown(result)}


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent, help="folder of the bundle")
    parser.add_argument("--images", type=Path, help="folder of photos, the golden images if left out")
    parser.add_argument("--fps", type=_rate, default=0, help="frames per second one by one that it must reach, 0: none")
    parser.add_argument("--backend", choices=("auto", "onnx", "tensorrt"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"))
    parser.add_argument("--threads", type=int, default=0, help="of ONNX Runtime, which chooses if left out")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"timed frames, default {CALLS}")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=_STDOUT, metavar="FILE", help="print JSON, or write it there"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the row there")
    return parser


def _rate(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text}: expected frames per second such as 60, or 0")
    return value


def _runs_on(model: Model) -> str:
    """Return what runs the network; a session of ONNX Runtime is asked what it really uses."""
    if not isinstance(model.session, OnnxSession):
        return "TensorRT"
    return f"ONNX Runtime, {', '.join(model.session._session.get_providers())}"


def _stood(when: str, facts: Mapping[str, Any]) -> str:
    clocks = facts.get("clocks") or {}
    cpu, gpu = (_word((clocks.get(key) or {}).get("current")) for key in ("cpu_mhz", "gpu_mhz"))
    degrees = facts.get("temperatures_c")
    hottest = f"{max(degrees.values()):.0f} C" if degrees else NOT_MEASURED
    return f"{when}: power mode {_word(facts.get('power_mode'))}, CPU MHz {cpu}, GPU MHz {gpu}, hottest {hottest}"


def _overlap(timing: Timing) -> str:
    if timing.workers > 1:
        return (
            f"{timing.workers} frames at a time in ONNX Runtime, each on cores of its own; one by one a frame shares "
            "them badly or leaves some idle"
        )
    return "a frame is prepared while the one before it is in the network, and the one before that is decoded"


def _golden(check: Check) -> str:
    return (
        f"{_as_at_home(check)}, {check.objects} objects on {check.images} images, worst score difference "
        f"{check.worst_score:.4f}, worst IoU {check.worst_iou:.3f}, {check.unmatched} without a partner"
    )


def _as_at_home(check: Check) -> str:
    return "as at home" if check.passed else "NOT as at home"


def _word(value: Any) -> str:
    return NOT_MEASURED if value is None else str(value)


def _share(figures: Mapping[str, Any] | None, key: str) -> str:
    value = (figures or {}).get(key)
    return NOT_MEASURED if value is None else f"{value:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())

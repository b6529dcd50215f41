"""Build a TensorRT engine out of the ONNX of a bundle, on the device that is going to run it.

This file is copied into a bundle as it stands. The very same build runs at home with tensorrt_rtx (``--check``); with
the TensorRT of a JetPack, and with trtexec, it has not run yet.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from math import ceil
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # a bundle stays as it left home

try:
    from . import device, trtexec
    from .runtime import Arguments, Card, RuntimeFault, card_of
except ImportError:  # in a bundle the files lie side by side
    import device  # type: ignore[import-not-found,no-redef]
    import trtexec  # type: ignore[import-not-found,no-redef]
    from runtime import Arguments, Card, RuntimeFault, card_of  # type: ignore[import-not-found,no-redef]

ENGINE, FACTS, CACHE = "model.engine", "engine.json", "timing.cache"
_INPUT = "images"

_FLAGS: Mapping[str, Sequence[str]] = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8", "FP16")}
"""What a weakly typed network may be computed in; TensorRT takes the fastest for every layer."""


def build(
    onnx: Path,
    engine: Path,
    *,
    precision: str = "fp16",
    api: str = "auto",
    workspace_mb: int | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Build an engine, put it in place of an older one and engine.json beside it.

    FP16 comes from the FP32 model where TensorRT chooses the precision itself, and from model.fp16.onnx beside it where
    it no longer does (TensorRT 11). INT8 comes from model.int8.onnx, which says itself what is quantised; what is not
    runs in FP16 in the first case and in FP32 in the second.

    Args:
        onnx: the FP32 model, or one whose card has the asked precision.
        engine: file to write; the older one stays until the new one is complete.
        precision: fp32, fp16 or int8.
        api: python, trtexec, or auto for the first of them that is installed.
        workspace_mb: most memory that a layer may work in; None leaves it to TensorRT.
        log: takes every line that TensorRT says.

    Returns:
        What engine.json says: onnx and onnx_sha256 of the model that was built, engine_sha256, precision, tensorrt,
        cuda, jetpack, sm, device, built_at.

    Raises:
        RuntimeFault: no TensorRT, no such model, nothing can be written there, or TensorRT refused: its first error and
            what it means.
    """
    if precision not in _FLAGS:
        raise RuntimeFault(f"precision {precision!r}: expected one of {', '.join(_FLAGS)}")
    if workspace_mb is not None and workspace_mb < 1:
        raise RuntimeFault(f"--workspace-mb {workspace_mb}: expected 1 at least, or nothing for no bound")
    aside, cache = engine.with_name(engine.name + ".part"), engine.with_name(CACHE)
    program = None if api == "python" else trtexec.find()
    module = None if api == "trtexec" else _tensorrt()
    try:
        engine.parent.mkdir(parents=True, exist_ok=True)
        if module is not None:
            source = _source(onnx, precision, weak=_is_weak(module))
            known = cache.read_bytes() if cache.is_file() else b""
            plan, timings = serialise(module, source, precision, workspace_mb=workspace_mb, timings=known, log=log)
            aside.write_bytes(plan)
            cache.write_bytes(timings)
            version = str(module.__version__)
        elif program is not None:
            offered = trtexec.offered(program)
            source = _source(onnx, precision, weak="--fp16" in offered)
            options = _options(card_of(source), offered, precision, workspace_mb)
            version = trtexec.run(program, source, aside, [f"--timingCacheFile={cache}", *options], log)
        else:
            raise RuntimeFault(_missing(api))
        facts = _facts(source, aside, precision, version)
        written = engine.with_name(FACTS)
        written.unlink(missing_ok=True)  # an engine without it is refused: never the new one with the facts of the old
        os.replace(aside, engine)
        written.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RuntimeFault(
            f"{error.filename or engine.parent}: {error.strerror}: no engine was built: check whose folder it is and "
            "how much space is left"
        ) from None
    finally:
        with suppress(OSError):  # its folder may be none
            aside.unlink()
        with suppress(OSError):  # one with an engine in it stays
            engine.parent.rmdir()
    return facts


def check(onnx: Path, precision: str = "fp32", log: Callable[[str], None] = print) -> str:
    """Build with tensorrt_rtx, which needs no GPU for it, and return its name and version; nothing is written.

    That a parser and builder of TensorRT take the graph says nothing about the speed on a Jetson.

    Raises:
        RuntimeFault: it is not installed, or refuses the model.
    """
    module = _tensorrt("tensorrt_rtx")
    if module is None:
        raise RuntimeFault("tensorrt_rtx is not installed: pip install tensorrt-rtx")
    serialise(module, _source(onnx, precision, weak=_is_weak(module)), precision, log=log)
    return f"tensorrt_rtx {module.__version__}"


def serialise(
    trt: Any,
    onnx: Path,
    precision: str,
    *,
    workspace_mb: int | None = None,
    timings: bytes = b"",
    log: Callable[[str], None] = print,
) -> tuple[bytes, bytes]:
    """Return an engine and what was learnt about the speed of its layers, which makes the next build faster.

    Args:
        trt: the module tensorrt, 8.5 or newer, or tensorrt_rtx.
        onnx: the model as it is built.
        precision: see ``build``.
        workspace_mb: see ``build``.
        timings: of an earlier build; those of another device or version are left aside.
        log: takes every line that TensorRT says.

    Raises:
        RuntimeFault: TensorRT refused.
    """
    card = card_of(onnx)
    logger = _logger(trt, log)
    trt.init_libnvinfer_plugins(logger, "")
    try:
        builder = trt.Builder(logger)
    except TypeError:  # what the binding makes of a constructor that gives nothing back
        raise trtexec.fault(onnx, logger.errors) from None
    flag = "EXPLICIT_BATCH" if _is_weak(trt) else "STRONGLY_TYPED"
    known = getattr(trt.NetworkDefinitionCreationFlag, flag, None)  # TensorRT 10 and 11 do one or both unasked
    network = builder.create_network(0 if known is None else 1 << int(known))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        said = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise trtexec.fault(onnx, logger.errors or said)
    config = builder.create_builder_config()
    if workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    for name in _FLAGS[precision] if _is_weak(trt) else ():
        config.set_flag(getattr(trt.BuilderFlag, name))
    if card.dynamic:
        profile = builder.create_optimization_profile()
        profile.set_shape(_INPUT, *shapes(card))
        if config.add_optimization_profile(profile) < 0:
            raise trtexec.fault(onnx, logger.errors)
    config.set_timing_cache(config.create_timing_cache(timings), False)
    logger.errors.clear()  # a cache that cannot be used stops nothing
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise trtexec.fault(onnx, logger.errors)
    return bytes(plan), bytes(config.get_timing_cache().serialize())


def shapes(card: Card) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return smallest, usual and largest input of a dynamic model, (1, 3, h, w); usual is what a 16:9 frame needs."""
    high, wide = card.imgsz
    usual = min(high, ceil(wide * 9 / 16 / card.stride) * card.stride)
    return (1, 3, card.stride, card.stride), (1, 3, usual, wide), (1, 3, high, wide)


def main(argv: Sequence[str] | None = None) -> int:
    """Build the engine of a bundle. Returns 0, or 1 where none could be built."""
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).parent, help="folder; default: this one")
    parser.add_argument("--precision", choices=list(_FLAGS), help="default: that of manifest.json")
    parser.add_argument("--api", choices=["auto", "python", "trtexec"], default="auto")
    parser.add_argument("--workspace-mb", type=int, help="most memory that a layer may work in")
    parser.add_argument("--check", action="store_true", help="only try the model with tensorrt_rtx, without a GPU")
    parser.add_argument("--json", action="store_true", help="print engine.json")
    asked = parser.parse_args(argv)
    onnx, engine = asked.bundle / "model.onnx", asked.bundle / "engine" / ENGINE
    try:
        precision = asked.precision or _default(asked.bundle / "manifest.json")
        if asked.check:
            print(f"{onnx}: taken by {check(onnx, precision, _aloud)} as {precision}")
            return 0
        facts = build(onnx, engine, precision=precision, api=asked.api, workspace_mb=asked.workspace_mb, log=_aloud)
    except RuntimeFault as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    print(json.dumps(facts, indent=2) if asked.json else f"{engine}: {precision}, TensorRT {facts['tensorrt']}")
    return 0


def _aloud(line: str) -> None:
    print(line, file=sys.stderr)


def _default(manifest: Path) -> str:
    """Return the precision that the export chose; fp16 where there is no manifest."""
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["precision"])
    except FileNotFoundError:
        return "fp16"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RuntimeFault(f"{manifest}: cannot be read: copy the bundle anew, or give --precision") from None


def _tensorrt(name: str = "tensorrt") -> Any | None:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):  # OSError: its libraries are missing
        return None


def _missing(api: str) -> str:
    what = {"python": "the Python module tensorrt", "trtexec": "trtexec"}.get(api, "TensorRT")
    return (
        f"{what} is not installed: on a Jetson sudo apt install nvidia-jetpack python3-libnvinfer libnvinfer-bin, and "
        "make a virtual environment with --system-site-packages; without TensorRT the ONNX runs as it is, only slower"
    )


def _is_weak(trt: Any) -> bool:
    """Say whether this TensorRT chooses precisions itself; 11 and tensorrt_rtx take those of the file."""
    return hasattr(trt.BuilderFlag, "FP16")


def _source(onnx: Path, precision: str, *, weak: bool) -> Path:
    """Return the file of a bundle that an engine of this precision is built from."""
    has = card_of(onnx).precision
    if has == precision or (weak and (has, precision) == ("fp32", "fp16")):
        return onnx
    other = onnx.with_name(f"{onnx.stem}.{precision}.onnx")
    if not other.is_file():
        raise RuntimeFault(
            f"{other}: is not there, and this TensorRT needs it for {precision}: export it, or take fp32"
        )
    if card_of(other).precision != precision:
        raise RuntimeFault(f"{other}: its card says {card_of(other).precision}, not {precision}: copy the bundle anew")
    return other


def _logger(trt: Any, log: Callable[[str], None]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Hands on what TensorRT says and keeps its errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (self.Severity.INTERNAL_ERROR, self.Severity.ERROR):
                self.errors.append(msg)
            if severity != self.Severity.VERBOSE:
                log(f"[{str(severity).rpartition('.')[2]}] {msg}")

    return Logger()


def _options(card: Card, offered: str, precision: str, workspace_mb: int | None) -> list[str]:
    """Return what trtexec is told of a model, as far as its version takes it."""
    options = [f"--{flag.lower()}" for flag in _FLAGS[precision] if f"--{flag.lower()}" in offered]
    options += [option for option in ("--skipInference", "--buildOnly") if option in offered][:1]
    if workspace_mb is not None:
        options.append(f"--memPoolSize=workspace:{workspace_mb}")
    if card.dynamic:
        for which, shape in zip(("min", "opt", "max"), shapes(card)):  # noqa: B905 (strict= needs Python 3.10)
            options.append(f"--{which}Shapes={_INPUT}:{'x'.join(map(str, shape))}")
    return options


def _facts(onnx: Path, engine: Path, precision: str, version: str) -> dict[str, Any]:
    here = device.facts()
    if version == "unknown" or str(here["tensorrt"]).startswith(version + "."):
        version = here["tensorrt"] or version  # trtexec leaves out the last of four numbers, the runtime compares all
    return {
        "onnx": onnx.name,
        "onnx_sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
        "engine_sha256": hashlib.sha256(engine.read_bytes()).hexdigest(),
        "precision": precision,
        "tensorrt": version,
        "cuda": here["cuda"],
        "jetpack": here["jetpack"],
        "sm": here["sm"],
        "device": here["device"] or here["gpu"],
        "built_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (Python 3.8)
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""What TensorRT says: its own program run and read, and its errors in plain words.

This file is copied into a bundle as it stands. It has not run on a Jetson.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

try:
    from .runtime import RuntimeFault
except ImportError:  # in a bundle the files lie side by side
    from runtime import RuntimeFault  # type: ignore[import-not-found,no-redef]

_OF_JETPACK = "/usr/src/tensorrt/bin"
_KILLED = (-9, 137)
"""Exit status of what the kernel ended when memory ran out: of the process, and of a shell around it."""

_NODE = re.compile(r'While parsing node number \d+ \[(\w+) -> "[^"]*"\]')
_NODE_NAME = re.compile(r'^(?:.*\[E\] )?(?:Node name: *|name: *")([^"\s]+)', re.MULTILINE)
_REASON = re.compile(r"Assertion|Error Code|Error\[|No importer|Invalid Node|(un|not )supported", re.IGNORECASE)
"""In a line that says what was wrong; those around it say where."""

_CAUSES = (
    ("insufficient workspace", "a layer needs more memory to work in: raise --workspace-mb or leave it away"),
    (
        "out of memory|OutOfMemory|MemoryAllocation|could not allocate|requested amount of|Killed",
        "the memory of the device was not enough: end other programs, add swap or lower --workspace-mb",
    ),
    (
        "no CUDA-capable|cudaError 35|CUDA initialization failure|driver version is insufficient|CUDA failure",
        "no CUDA device answers: build on the device itself, in a container with --runtime nvidia",
    ),
    (
        "Unknown option|version tag|serialization version|version mismatch|opset",
        "this TensorRT is too old or too new for it: the README of the bundle names the versions",
    ),
)


def find() -> str | None:
    """Return the path of trtexec: on PATH, or where JetPack puts it."""
    return shutil.which("trtexec", path=os.environ.get("PATH", "") + os.pathsep + _OF_JETPACK)


def offered(program: str) -> str:
    """Return the help of this trtexec: its options come and go with the version."""
    return _said([program, "--help"], lambda line: None)[1]


def run(program: str, onnx: Path, engine: Path, options: Sequence[str], log: Callable[[str], None]) -> str:
    """Let trtexec build an engine.

    Args:
        program: see ``find``.
        onnx: the model.
        engine: file that it writes.
        options: more of its command line.
        log: takes every line that it says.

    Returns:
        The version of TensorRT; "unknown" where it does not say.

    Raises:
        RuntimeFault: it failed, or ended well and wrote nothing.
    """
    status, said = _said([program, f"--onnx={onnx}", f"--saveEngine={engine}", *options], log)
    if status or not engine.is_file() or not engine.stat().st_size:
        errors = said.splitlines() if _NODE.search(said) else re.findall(r"\[E\] (.*)", said)
        killed = ["Killed for want of memory"] if status in _KILLED else []
        raise fault(onnx, [*killed, *errors] or [f"trtexec ended with {status} and wrote no engine"])
    found = re.search(r"\[TensorRT v(\d+)\]", said)
    return _dotted(int(found[1])) if found else "unknown"


def fault(onnx: Path, errors: Iterable[str]) -> RuntimeFault:
    """Return what stopped a build: the cause where it is a known one, and the first error as TensorRT put it."""
    said = "\n".join(errors)
    node = _NODE.search(said)
    if node is not None:
        name = _NODE_NAME.search(said, node.end())
        cause = f"TensorRT does not take its node {name[1] if name else '(without a name)'} ({node[1]})"
        if node[1] in ("NonMaxSuppression", "NonZero"):
            cause += ": export it without NMS in the graph"
        elif node[1] in ("QuantizeLinear", "DequantizeLinear"):
            cause += ": quantise it symmetrically to signed INT8, biases left as they are"
    else:
        cause = next((plain for sign, plain in _CAUSES if re.search(sign, said, re.IGNORECASE)), "TensorRT refused it")
    lines = [line for line in (re.sub(r"^\[[^\]]*\] \[E\] ", "", line).strip() for line in said.splitlines()) if line]
    first = next(filter(_REASON.search, lines), lines[0] if lines else "none was given")
    return RuntimeFault(f"{onnx}: no engine was built: {cause} (first error: {first})")


def _said(command: Sequence[str], log: Callable[[str], None]) -> tuple[int, str]:
    """Return exit status and output of a program, standard error among it."""
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            log(line.rstrip("\n"))
    return process.returncode, "".join(lines)


def _dotted(number: int) -> str:
    """Return 8.5.2 for 8502 and 10.3.0 for 100300: the major number moved up with TensorRT 10."""
    major, rest = divmod(number, 10_000 if number >= 10_000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"

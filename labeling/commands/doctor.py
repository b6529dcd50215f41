"""`labelstill doctor`: what this machine offers, and what to type where something is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

#: The source tree: this file lies in <root>/labeling/commands.
ROOT = Path(__file__).resolve().parents[2]
INSTALL = 'pip install -c constraints.txt -e ".[teacher]"'
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's answer.

    Attributes:
        name: what was looked at.
        state: OK, WARN (works, with a limit) or FIX (a part will not work).
        detail: what was found.
        fix: the command to type; empty where nothing is to do.
    """

    name: str
    state: Literal["OK", "WARN", "FIX"]
    detail: str
    fix: str = ""


def run(
    project: Annotated[Path, typer.Option(metavar="DIR", help="Project folder: is there room for it?")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check this machine: versions, device, disk, weights. Loads no model; exit code 1 where something is to fix."""
    checks = examine(project)
    if as_json:
        print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            print(f"{check.state:<5} {check.name:<12} {check.detail}" + (f"  ->  {check.fix}" if check.fix else ""))
    return 1 if any(check.state == "FIX" for check in checks) else 0


def examine(project: Path) -> list[Check]:
    """Return every check, in the order in which problems should be solved. Imports no heavy library."""
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _python, _packages, _torch, _libraries, _device, lambda: _disk(project), _bundled_weights
    )  # fmt: skip
    return [check for part in parts for check in part()]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield Check("python", "OK", version)
    else:
        yield Check("python", "FIX", f"{version}, made for 3.11 and 3.12", "make setup PYTHON=python3.11")


def _packages() -> Iterator[Check]:
    # Other distributions install packages of these common names; whichever is imported must be ours.
    for name in ("labeling", "distill", "export"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is not None and found.is_relative_to(ROOT):
            yield Check(name, "OK", str(found.parent))
        else:
            yield Check(name, "FIX", f"resolves to {found}, not into {ROOT}", f"pip install -e {ROOT}")


def _torch() -> Iterator[Check]:
    torch, torchvision = _version("torch"), _version("torchvision")
    if torch is None or torchvision is None:
        missing = "torch" if torch is None else "torchvision"
        yield Check("torch", "FIX", f"{missing} is not installed, so no teacher can run", INSTALL)
    elif _minor(torchvision) - _minor(torch) != 15:
        # torchvision 0.(n+15) is built against torch 2.n; another one fails while it is imported.
        yield Check("torch", "FIX", f"torch {torch} and torchvision {torchvision} are no pair", INSTALL)
    else:
        yield Check("torch", "OK", f"torch {torch}, torchvision {torchvision}")


def _libraries() -> Iterator[Check]:
    extras = {"transformers": "teacher", "supervision": "teacher", "ultralytics": "student"}
    for library, extra in extras.items():
        version = _version(library)
        if version is None:
            state: Literal["WARN", "FIX"] = "FIX" if extra == "teacher" else "WARN"
            yield Check(library, state, f"not installed (extra {extra})", INSTALL.replace("teacher", extra))
        else:
            yield Check(library, "OK", version)


def _device() -> Iterator[Check]:
    cards = [_model(file) for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    if not cards and not Path("/dev/nvidia0").exists():
        yield Check("device", "OK", f"no NVIDIA GPU, {os.cpu_count()} CPU cores")
    elif "+cpu" in (_version("torch") or ""):
        yield Check("device", "WARN", "an NVIDIA GPU is here, but this torch is built for the CPU", INSTALL)
    else:
        yield Check("device", "OK", ", ".join(cards) or "NVIDIA GPU")


def _disk(project: Path) -> Iterator[Check]:
    folder = next(parent for parent in (project.absolute(), *project.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free / _GB
    if not os.access(folder, os.W_OK):
        yield Check("disk", "FIX", f"{folder} cannot be written to", "choose another --project DIR")
    else:
        yield Check("disk", "OK" if free >= 2 else "WARN", f"{free:.1f} GB free at {folder}")


def _bundled_weights() -> Iterator[Check]:
    folder = ROOT / "labeling" / "demo" / "teacher"
    missing = [part for part in ("detector", "segmenter") if not list((folder / part).glob("*.safetensors"))]
    if missing:
        detail = f"bundled {' and '.join(missing)} missing under {folder}"
        yield Check("weights", "FIX", detail, "git checkout -- labeling/demo/teacher")
    else:
        yield Check("weights", "OK", "bundled detector and segmenter")


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def _model(information: Path) -> str:
    lines = information.read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "NVIDIA GPU")

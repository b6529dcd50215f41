"""What this machine offers, part by part: versions, licences, device, disk, weights. Imports no heavy library."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from .teachers.hub import cached_snapshot

State = Literal["OK", "WARN", "FIX"]

#: The source tree: this file lies in <root>/labeling.
ROOT = Path(__file__).resolve().parents[1]

#: Library -> the extra that brings it, "" for what every install has.
LIBRARIES: Mapping[str, str] = {
    "numpy": "", "opencv-python-headless": "", "pillow": "", "pycocotools": "", "pydantic": "",
    "transformers": "teacher", "supervision": "teacher", "ultralytics": "student", "faster-coco-eval": "student",
    "rf-sam-2": "sam2", "timm": "timm", "ensemble-boxes": "ensemble", "av": "video",
    "httpx": "studio", "label-studio-sdk": "studio", "scikit-learn": "studio", "scipy": "studio",
    "krippendorff": "studio", "fiftyone": "curate", "matplotlib": "curate",
    "onnx": "edge", "onnxruntime": "edge", "onnxslim": "edge",
}  # fmt: skip

#: Backend -> hub id of the models that label where no others are named.
DEFAULT_MODELS: Mapping[str, str] = {
    "grounding-dino": "IDEA-Research/grounding-dino-tiny",
    "sam2": "facebook/sam2.1-hiera-small",
}

_NEEDED_TO_LABEL = ("", "teacher")
_OBLIGES = {"AGPL-3.0": "what you publish or serve with it falls under the AGPL, or needs a licence of its makers"}
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's answer.

    Attributes:
        name: what was looked at.
        state: OK, WARN (works, with a limit, or is not needed to label) or FIX (a part will not work).
        detail: what was found.
        fix: the command to type; empty where nothing is to do.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


def install(extra: str) -> str:
    """Return the command that installs an extra, "" for none, with the versions that are tested together."""
    return f'pip install -c constraints.txt -e ".[{extra}]"' if extra else "pip install -c constraints.txt -e ."


def machine_checks(project: Path, root: Path = ROOT) -> list[Check]:
    """Return the checks of everything but servers, in the order in which problems should be solved.

    Args:
        project: project folder, for the room on its disk; need not exist.
        root: source tree, with constraints.txt and the bundled weights.
    """
    pins = read_pins(root / "constraints.txt")
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _python, lambda: _packages(root), lambda: _torch(pins), lambda: _libraries(pins), _device,
        lambda: _disk(project), lambda: _weights(root),
    )  # fmt: skip
    return [check for part in parts for check in part()]


def read_pins(constraints: Path) -> dict[str, str]:
    """Return library -> what constraints.txt asks for, such as ``==2.14.1`` or ``>=4.12,<4.13``; empty without it."""
    try:
        lines = constraints.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = (re.fullmatch(r"([\w.-]+)([=<>].*)", line.partition("#")[0].strip()) for line in lines)
    return {match[1]: match[2] for match in found if match}


def satisfies(version: str, wanted: str) -> bool:
    """Say whether a version meets ``==``, ``>=`` and ``<`` conditions; what stands behind a + does not count."""
    compare = {"==": tuple.__eq__, ">=": tuple.__ge__, "<": tuple.__lt__}
    for condition in filter(None, wanted.split(",")):
        match = re.fullmatch(r"(==|>=|<)(.+)", condition.strip())
        if match is None or not compare[match[1]](release(version), release(match[2])):
            return False
    return True


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version without zeros at the end: 2.14.0+cu130 is (2, 14)."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def licence_of(library: str) -> str:
    """Return what the metadata of an installed library says about its licence, in a few words."""
    data = metadata.metadata(library)
    classifiers = [line for line in data.get_all("Classifier") or [] if line.startswith("License ::")]
    stated = next((text for key in ("License-Expression", "License") for text in data.get_all(key) or [] if text), "")
    if "AGPL" in stated or any("AGPL" in line for line in classifiers):
        return "AGPL-3.0"
    if stated and "\n" not in stated:
        first, _, others = stated.partition(" AND ")
        return f"{first} and others" if others else first
    return classifiers[0].rpartition(" :: ")[2] if classifiers else "licence not stated"


def _python() -> Iterator[Check]:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield Check("python", "OK", f"{version}, {sys.prefix}")
    else:
        yield Check("python", "FIX", f"{version}, made for 3.11 and 3.12", "make setup PYTHON=python3.11")


def _packages(root: Path) -> Iterator[Check]:
    # Other distributions install packages of these common names; whichever is imported must be ours.
    for name in ("labeling", "distill", "export"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is not None and found.is_relative_to(root):
            yield Check(name, "OK", str(found.parent))
        else:
            yield Check(name, "FIX", f"resolves to {found}, not into {root}", f"pip install -e {root}")


def _torch(pins: Mapping[str, str]) -> Iterator[Check]:
    torch, torchvision = _version("torch"), _version("torchvision")
    if torch is None or torchvision is None:
        missing = "torch" if torch is None else "torchvision"
        yield Check("torch", "FIX", f"{missing} is not installed, so no teacher can run", install("teacher"))
        return
    said = f"torch {torch}, torchvision {torchvision}"
    if not _are_a_pair(torch, torchvision):
        detail = f"torch {torch} and torchvision {torchvision} are no pair, so torchvision cannot be imported"
        yield Check("torch", "FIX", detail, install("teacher"))
        return
    tested = pins.get("torch", "")
    if tested and not satisfies(torch, tested):
        # Which torch runs is decided by the driver and the card too: another pair is no fault.
        said += f" (tested with {tested.removeprefix('==')})"
    yield Check("torch", "OK", f"{said}, {licence_of('torch')}")


def _are_a_pair(torch: str, torchvision: str) -> bool:
    """torchvision 0.(n+15) is built against torch 2.n, and both for the same CUDA or both for none."""
    (major, minor), (vision_major, vision_minor) = (((*release(v), 0, 0)[:2]) for v in (torch, torchvision))
    builds = {build for version in (torch, torchvision) if (build := version.partition("+")[2])}
    return (major, vision_major, vision_minor - minor) == (2, 0, 15) and len(builds) <= 1


def _libraries(pins: Mapping[str, str]) -> Iterator[Check]:
    for library, extra in LIBRARIES.items():
        version, wanted = _version(library), pins.get(library, "")
        needed: State = "FIX" if extra in _NEEDED_TO_LABEL else "WARN"
        if version is None:
            yield Check(library, needed, f"not installed (extra {extra})" if extra else "not installed", install(extra))
            continue
        licence = licence_of(library)
        said = f"{version}, {licence}" + (f": {_OBLIGES[licence]}" if licence in _OBLIGES else "")
        if satisfies(version, wanted):
            yield Check(library, "OK", said)
        else:
            yield Check(library, "WARN", f"{said}; tested with {wanted.removeprefix('==')}", install(extra))


def _device() -> Iterator[Check]:
    cards = [_model(file) for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    if not cards and not Path("/dev/nvidia0").exists():
        yield Check("device", "OK", f"no NVIDIA GPU, {os.cpu_count()} CPU cores")
    elif torch_cuda() is None and _version("torch") is not None:
        detail = "an NVIDIA GPU is here, but this torch is built for the CPU"
        yield Check("device", "WARN", detail, f"pip uninstall -y torch torchvision && {install('teacher')}")
    else:
        cuda = torch_cuda()
        yield Check("device", "OK", (", ".join(cards) or "NVIDIA GPU") + (f", torch for CUDA {cuda}" if cuda else ""))


def torch_cuda() -> str | None:
    """Return the CUDA version that the installed torch is built for, read from its version.py; None for a CPU build."""
    spec = importlib.util.find_spec("torch")
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8") if spec and spec.origin else ""
    except OSError:
        return None
    match = re.search(r"^cuda\b[^=]*=\s*'([\d.]+)'", text, re.MULTILINE)
    return match[1] if match else None


def _disk(project: Path) -> Iterator[Check]:
    folder = next(parent for parent in (project.absolute(), *project.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free / _GB
    if not os.access(folder, os.W_OK):
        yield Check("disk", "FIX", f"{folder} cannot be written to", "choose another --project DIR")
    elif free < 2:
        yield Check("disk", "WARN", f"{free:.1f} GB free at {folder}", "free some space, or choose another --project")
    else:
        yield Check("disk", "OK", f"{free:.1f} GB free at {folder}")


def _weights(root: Path) -> Iterator[Check]:
    folder = root / "labeling" / "demo" / "teacher"
    missing = [part for part in ("detector", "segmenter") if not list((folder / part).glob("*.safetensors"))]
    if missing:
        detail = f"bundled {' and '.join(missing)} missing under {folder}"
        yield Check("bundled weights", "FIX", detail, "git checkout -- labeling/demo/teacher")
    else:
        yield Check("bundled weights", "OK", "detector and segmenter for labelstill demo and --detector bundled")
    for backend, hub_id in DEFAULT_MODELS.items():
        snapshot = cached_snapshot(hub_id)
        if snapshot is not None:
            yield Check(backend, "OK", f"weights {hub_id} in {snapshot}")
        else:
            detail = f"weights {hub_id} are not on this machine; the first run fetches them where there is a network"
            yield Check(backend, "WARN", detail, f"hf download {hub_id}")


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _model(information: Path) -> str:
    lines = information.read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "NVIDIA GPU")

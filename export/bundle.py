"""The folder that goes to the device: models, golden images, the files that run there, a manifest of all of it."""

from __future__ import annotations

import errno
import hashlib
import html
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from labeling.core.errors import InputError, StateError
from labeling.image_files import display
from labeling.tables import printable

from .runtime import Frame, Model

MANIFEST = "manifest.json"
FORMAT = 1

MODEL_FILES: Mapping[str, str] = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
"""What the model is called in each precision."""

GOLDEN_SIDE = 1280
"""Golden images are shrunk to this longer side in pixels; what counts is that both sides see the same ones."""

_HERE = Path(__file__).parent
_OURS = ("runtime.py", "bench.py", "timing.py", "device.py", "to_engine.py", "trtexec.py")
_FILES = ("build.sh", "requirements.txt", "Dockerfile", "labelstill-edge.service")
_README = "README.md.j2"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def new_bundle(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a folder to write a bundle into; when the block ends it gets its name, or is removed if it has no manifest.

    Whoever calls holds the lock of the project, so what another export left half done is dead and is removed.

    Args:
        target: of the bundle.
        replace: a bundle that has that name gives way, when the new one is whole.

    Raises:
        StateError: the disk is full. InputError: the folder cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(".*.part"):
            _remove(left)
        part.mkdir()
        try:
            yield part
            if not (part / MANIFEST).exists():
                return
            if replace:
                _remove(target)
            part.rename(target)
        finally:
            _remove(part)
    except OSError as error:
        if is_full(error):
            raise StateError(f"{display(target.parent)}: the disk is full: free space and export again") from error
        raise InputError(
            f"{display(target)}: cannot be written: {error.strerror or error}: check whose folder it is"
        ) from error


def is_full(error: BaseException | None) -> bool:
    """Say whether an error, or one that it came of, is that there is no room left to write."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def write_golden(folder: Path, frames: Sequence[Frame], model: Model) -> None:
    """Write images and what the model finds in them at its thresholds: what a device has to find, too.

    Args:
        folder: of the bundle.
        frames: BGR uint8 (h, w, 3); they are written without loss.
        model: in FP32.
    """
    (folder / "golden").mkdir()
    found: dict[str, Any] = {}
    for number, frame in enumerate(frames):
        golden = _shrunk(frame)
        written, encoded = cv2.imencode(".png", golden)
        assert written
        (folder / "golden" / f"{number}.png").write_bytes(encoded.tobytes())
        objects = model(golden)
        found[f"{number}.boxes"] = objects.boxes_xyxy.astype(np.float32)
        found[f"{number}.scores"] = objects.scores.astype(np.float32)
        found[f"{number}.class_ids"] = objects.class_ids.astype(np.int64)
    np.savez(folder / "golden.npz", **found)


def write_carried(folder: Path, names: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write what a bundle carries besides its models: classes, the programs of the device, how to use it all.

    Args:
        folder: of the bundle.
        names: the classes, in the order of the head.
        about: what the manifest will say, for the README.
    """
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for path in (*(_HERE / name for name in _OURS), *(_HERE / "bundle_files" / name for name in _FILES)):
        shutil.copyfile(path, folder / path.name)
    (folder / "build.sh").chmod(0o755)
    (folder / "README.md").write_text(_readme(about), encoding="utf-8")


def write_manifest(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest, the last file of a bundle, with the sha256 of every other one, and return it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = {"format": FORMAT, **about, "files": {name: _sha256(folder / name) for name in names}}
    path = folder / MANIFEST
    with path.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return manifest


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a bundle whose files are all as they were written; None where it is no such bundle."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(_sha256(folder / name) == sha256 for name, sha256 in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole and manifest.get("format") == FORMAT else None


def _readme(about: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(_HERE / "bundle_files")
    # Plain text: what comes from outside stands in code spans, which it cannot leave.
    environment = Environment(
        loader=folder, autoescape=False, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["code"] = lambda text: f"`{printable(str(text)).replace('`', chr(39))}`"
    environment.filters["share"] = lambda value: "not measured" if value is None else f"{value:.3f}"
    # Sentences name classes, too.
    remarks = [html.escape(printable(one), quote=False).replace("[", "\\[") for one in about["remarks"]]
    return environment.get_template(_README).render(**{**about, "remarks": remarks})


def _shrunk(frame: Frame) -> Frame:
    longer = max(frame.shape[:2])
    if longer <= GOLDEN_SIDE:
        return frame
    size = (max(1, round(frame.shape[1] * GOLDEN_SIDE / longer)), max(1, round(frame.shape[0] * GOLDEN_SIDE / longer)))
    smaller: Frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return smaller


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

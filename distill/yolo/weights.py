"""Files around a training: the weights it leaves, written whole or not at all, and what soft labels say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from labeling.core.errors import BackendError, StateError
from labeling.image_files import display
from labeling.teachers.student_weights import margin
from labeling.teachers.weights import read_checkpoint

from ..dataset import Dataset
from ..students import TrainSettings

_MODEL_NAME = re.compile(r"yolo[a-z0-9-]{1,30}")


@dataclass(frozen=True, slots=True)
class StudentFile:
    """A student.safetensors.

    Attributes:
        tensors: the state dict, float32.
        model: name of the architecture.
        task: detect, or segment.
        names: the classes, in the order of the head.
        imgsz: longer side of the input in pixels.
        margin: grey pixels that it wants on every side of a photo, at least.
    """

    tensors: Mapping[str, torch.Tensor]
    model: str
    task: str
    names: tuple[str, ...]
    imgsz: int
    margin: int = 0


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that its name holds all of it or what it held before. Raises OSError."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_student(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights in half precision, which is what the library itself keeps of a training. Raises OSError."""
    halved = {key: (one.half() if one.is_floating_point() else one).contiguous() for key, one in tensors.items()}
    write_whole(path, save(halved, dict(metadata)))


def metadata_of(kind: str, licence: str, settings: TrainSettings, dataset: Dataset, folder: Path) -> dict[str, str]:
    """Return what a student.safetensors says of itself; the hash of the ontology where run.json names it."""
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8")) if (folder / "run.json").exists() else {}
    return {
        "kind": kind,
        "yaml": settings.model,
        "task": dataset.task,
        "names": json.dumps(list(dataset.names)),
        "imgsz": str(settings.imgsz),
        "licence": licence,
        "dataset": dataset.hash,
        "ontology": str(facts.get("ontology", "")),
    }


def kept_epoch(epoch: int, ap: float | None) -> dict[str, str]:
    """Return what a student.safetensors says of the epoch that it is of: its number from 1, and AP50-95 on val."""
    return {"kept_epoch": str(epoch)} | ({} if ap is None else {"kept_ap": f"{ap:.4f}"})


def read_student(path: Path) -> StudentFile:
    """Read what ``write_student`` wrote. Raises BackendError."""
    checkpoint = read_checkpoint(path)
    stored = checkpoint.metadata
    try:
        names = tuple(str(name) for name in json.loads(stored["names"]))
        model = model_named({"yaml": stored["yaml"]}, path)
        tensors, size = checkpoint.tensors, int(stored["imgsz"])
        return StudentFile(tensors, model, stored["task"], names, size, margin(stored, path))
    except (KeyError, ValueError, TypeError) as error:
        raise BackendError(
            f"weights {display(path)} are no student: expected yaml, task, names and imgsz in the metadata of a "
            ".safetensors file that labelstill train wrote"
        ) from error


def model_named(metadata: Mapping[str, str], weights: Path) -> str:
    """Return the architecture that weights say they are of, or nothing; never a path, which would be opened.

    Raises:
        BackendError: a name that can be none.
    """
    name = metadata.get("yaml", "").removesuffix(".yaml")
    if name and not _MODEL_NAME.fullmatch(name):
        raise BackendError(f"weights {display(weights)}: {name[:60]!r} is no architecture: expected one as in yolov8n")
    return name


def has_soft_files(folder: Path) -> bool:
    """Say whether a dataset folder has weights of labels or boxes to ignore."""
    return any((folder / name / "train").is_dir() for name in ("weights", "ignore"))


def taught_softly(folder: Path, args: Mapping[str, object]) -> bool:
    """Say whether a training with these arguments of ultralytics reads them: boxes of all classes."""
    all_classes = not args.get("single_cls") and args.get("classes") is None
    return has_soft_files(folder) and args["task"] == "detect" and all_classes


def read_weights(path: Path, count: int) -> npt.NDArray[np.float32]:
    """Return the weights of the labels of one image; 1 for each where there is no file.

    Raises:
        StateError: not one number in (0, 1] per label.
    """
    if not path.exists():
        return np.ones(count, dtype=np.float32)
    weights = _numbers(path, 1)[:, 0]
    if len(weights) != count or not ((weights > 0) & (weights <= 1)).all():
        raise StateError(
            f"{display(path)}: expected {count} weights in (0, 1], one per label, found {len(weights)} lines: the "
            "dataset was changed: make it anew"
        )
    return weights


def read_ring(path: Path, class_count: int) -> npt.NDArray[np.float32]:
    """Return the boxes to ignore in one image: (n, 5) class, centre x, centre y, width, height, as shares of the image.

    Raises:
        StateError: a line that is no box, or a class that there is not.
    """
    if not path.exists():
        return np.zeros((0, 5), dtype=np.float32)
    rows = _numbers(path, 5)
    if not ((rows >= 0).all() and (rows[:, 0] < class_count).all() and (rows[:, 1:] <= 1).all()):
        raise StateError(f"{display(path)}: expected lines as in 0 0.5 0.5 0.1 0.1: the dataset was changed: make anew")
    return rows


def _numbers(path: Path, columns: int) -> npt.NDArray[np.float32]:
    try:
        rows = [[float(one) for one in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]
        return np.array(rows, dtype=np.float32).reshape(len(rows), columns)
    except (OSError, ValueError) as error:
        raise StateError(f"{display(path)}: cannot be read ({error}): make the dataset anew") from error

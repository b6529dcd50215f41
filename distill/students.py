"""Every kind of student behind one interface: its models, its licence, how it is trained and loaded."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from labeling.core.errors import InputError, MissingExtraError
from labeling.core.strict import did_you_mean
from labeling.teachers.interfaces import RgbImage

from .dataset import Dataset
from .objects import Objects

Task = Literal["detect", "segment"]
Tell = Callable[[str], None]
Logger = Literal["mlflow", "tensorboard", "wandb"]

_PLAIN = re.compile(r"[a-z](-seg)?")
"""What a model of ultralytics is called after its family: a size, and whether it draws masks."""

WEIGHTS_FILE = "student.safetensors"
"""What a training leaves in its run folder: tensors, and metadata that says how to build and feed the model."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a student is trained.

    Attributes:
        model: name of the architecture, such as yolov8n, yolov8s-seg or dfine-n.
        start: file or folder of weights to start from; None starts from random ones.
        epochs: how often every image is seen.
        imgsz: longer side of the input in pixels, a multiple of 32.
        batch: images per step.
        seed: of weights, order and augmentation.
        device: auto, cpu, cuda, cuda:N, or several as in 0,1.
        loggers: that watch the training.
        distill_model: checkpoint of a larger model of the same family whose features are taught, too.
        extra: further settings of the library, by its own names.
    """

    model: str
    start: Path | None = None
    epochs: int = 100
    imgsz: int = 640
    batch: int = 16
    seed: int = 0
    device: str = "auto"
    loggers: tuple[Logger, ...] = ()
    distill_model: Path | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Predictor(Protocol):
    """A student that looks at photos."""

    names: tuple[str, ...]
    """The classes, in the order of its ontology."""

    imgsz: int
    """Longer side of its input in pixels."""

    def predict(self, images: Sequence[RgbImage], floor: float = 0.001) -> list[Objects]:
        """Return what it sees in each image, best first, at most 300 objects an image.

        Args:
            images: RGB uint8 (H, W, 3), upright, of any size.
            floor: smallest score returned.

        Returns:
            One per image, in order; ``sha256`` is empty.
        """


class Student(Protocol):
    """A way to train and to load models."""

    licence: str
    """Of the library and so of what is trained with it."""

    def train(self, dataset: Dataset, folder: Path, settings: TrainSettings, tell: Tell) -> None:
        """Train, or go on where an earlier call for the same folder was cut off, and leave WEIGHTS_FILE there.

        The weights are whole or not there at all, whenever the process is killed.

        Args:
            dataset: verified before the first step: what the library finds is what was written.
            folder: the run folder; everything that is written lies in it.
            settings: see TrainSettings.
            tell: called with lines for people.

        Raises:
            InputError: settings that the library does not know or that do not fit.
            StateError: the data is not what was written, a checkpoint is damaged, or the disk is full.
        """

    def load(self, weights: Path, device: str = "auto") -> Predictor:
        """Return the student of a WEIGHTS_FILE. Raises BackendError."""


@dataclass(frozen=True, slots=True)
class StudentKind:
    """Where a kind of student is written, and which models it knows by how their names begin."""

    target: str
    extra: str
    models: tuple[str, ...]


KINDS: Mapping[str, StudentKind] = {
    "ultralytics": StudentKind(
        ".student:UltralyticsStudent",
        "student",
        ("yolov8", "yolo11", "yolo12", "yolo26", "yolov9", "yolov10"),
    ),
    "dfine": StudentKind(".student_dfine:DFineStudent", "teacher", ("dfine",)),
}


def kind_of(model: str) -> str:
    """Return the kind of student that a model belongs to. Raises InputError."""
    for name, kind in KINDS.items():
        begun = next((one for one in kind.models if model.startswith(one)), None)
        if begun is None:
            continue
        if name == "ultralytics" and not _PLAIN.fullmatch(model.removeprefix(begun)):
            raise InputError(
                f"--model {model!r}: expected the name of an architecture that finds boxes, as yolov8n, or masks, as "
                "yolov8n-seg; weights are given with --start"
            )
        return name
    known = ("yolov8n", "yolov8s", "yolov8n-seg", "yolo11n", "dfine-n")
    raise InputError(f"--model {model!r}: no kind of student has it{did_you_mean(model, known)}")


def pace(seconds: float, epochs_left: int) -> str:
    """Return how long an epoch took, and how long those that are left will take, in words."""
    if not epochs_left:
        return f"{seconds:.0f} s"
    left = seconds * epochs_left
    about = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min" if left < 5400 else f"{left / 3600:.1f} h"
    return f"{seconds:.0f} s, about {about} left"


def student(kind: str) -> Student:
    """Return a kind of student; its library is imported now.

    Raises:
        MissingExtraError: its library is not installed.
    """
    found = KINDS[kind]
    module, _, name = found.target.partition(":")
    try:
        return cast("Student", getattr(importlib.import_module(module, __package__), name)())
    except ImportError as error:
        raise MissingExtraError(error.name or kind, found.extra) from error

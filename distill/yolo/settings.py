"""What is asked of ultralytics: defaults for small data, arguments that pass through, loggers; without the library."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from labeling.core.errors import InputError
from labeling.core.strict import did_you_mean

from ..dataset import Dataset
from ..students import Logger, TrainSettings

_FLAGS = {
    "model": "--model", "epochs": "--epochs", "imgsz": "--imgsz", "batch": "--batch", "seed": "--seed",
    "device": "--device", "distill_model": "--distill-model", "pretrained": "--start",
}  # fmt: skip
_FIXED = ("data", "task", "mode", "project", "name", "exist_ok", "resume", "save_dir", "cfg", "split", "save")
_CACHE_BYTES = 2**30
"""Decoded training images that fit into this much memory are kept there: each is then decoded once, not per epoch."""
_STRIDE = 32
_STEPS_OF_FULL_RATE = 100
"""After 9 steps on 41 raccoon photos AP50 is 0.10 at the full rate and 0.96 at a tenth of it; after 104 steps on bccd
0.76 at the full rate and 0.64 at half of it (160 px, one seed each)."""
_OBJECTS_OF_FULL_RATE = 200
"""In 180 steps of 17 objects (raccoon) AP50-95 on val is 0.62 at the full rate, 0.68 at half of it and at a quarter; in
260 steps of 219 objects (bccd) 0.617 at the full rate and 0.614 at half of it (320 px, one seed each)."""
_MOSAIC_ENDS, _MOSAIC_ENDS_WARM = 4, 2
"""One epoch in so many goes without mosaic, at the end, ten at most. Whole photos first throw a student that began from
given weights back: AP50-95 on val of raccoon falls, and recovers within ten epochs, not within five. Its best is
0.705 with ten such epochs of twenty, 0.671 with five, 0.692 with none (320 px, two seeds)."""
_LOG_VARIABLES = {"mlflow": ("MLFLOW_TRACKING_URI",), "wandb": ("WANDB_MODE", "WANDB_DIR")}


def arguments(settings: TrainSettings, dataset: Dataset, known: Mapping[str, object], *, cuda: bool) -> dict[str, Any]:
    """Return the arguments of one training: ours, and over them everything that the user gave.

    Ours differ from the library's where few images are taught: the optimizer steps after every batch instead of every
    64 images (nbs), which is 4 times as often; warm-up and the end without mosaic are shares of a short training
    instead of a fixed number of epochs; nothing stops early; images are decoded once where memory allows. From given
    weights the learning rate is small, see ``start_rate``, unless the user sets optimizer or lr0.

    Args:
        settings: see TrainSettings.
        dataset: says how much memory its images need.
        known: every argument that the library knows, with its default.
        cuda: trains on a GPU, in bfloat16; on a CPU it is float32.

    Raises:
        InputError: an argument that the library does not know, or one that is not the user's to set here.
    """
    for key, value in settings.extra.items():
        if key in _FLAGS:
            raise InputError(f"setting {key}: is not read here: give it with {_FLAGS[key]}")
        if key in _FIXED:
            raise InputError(f"setting {key}: is the project's own and cannot be set: leave it away")
        if key not in known:
            raise InputError(f"setting {key!r}: ultralytics has none of that name{did_you_mean(key, known)}")
        if key == "cache" and value == "disk":
            raise InputError("setting cache: disk would write into the dataset, which is read-only: use ram or False")
    if settings.model.endswith("-seg") != (dataset.task == "segment"):
        raise InputError(
            f"--model {settings.model}: the dataset is for task {dataset.task}: models whose names end in -seg are "
            "taught masks, all others boxes"
        )
    if settings.imgsz < _STRIDE or settings.imgsz % _STRIDE:
        raise InputError(f"--imgsz {settings.imgsz}: expected a multiple of {_STRIDE}")
    if settings.epochs < 1 or settings.batch < 1:
        raise InputError(f"--epochs {settings.epochs} --batch {settings.batch}: expected at least 1 of each")
    shown = dataset.images.get("train", 0) + sum(times - 1 for times in dataset.repeats.values())
    small = (shown + dataset.images.get("val", 0)) * 3 * settings.imgsz**2 <= _CACHE_BYTES
    ours: dict[str, Any] = {
        "nbs": settings.batch,
        "warmup_epochs": min(3.0, settings.epochs / 10),
        "close_mosaic": min(10, settings.epochs // (_MOSAIC_ENDS if settings.start is None else _MOSAIC_ENDS_WARM)),
        "patience": 0,
        "deterministic": True,
        "amp": "bf16" if cuda else False,
        "cache": "ram" if small else False,
        "workers": min(8, os.cpu_count() or 1),
        "plots": False,
        "verbose": False,
    }
    given = {
        "model": f"{settings.model}.yaml",
        "epochs": settings.epochs,
        "imgsz": settings.imgsz,
        "batch": settings.batch,
        "seed": settings.seed,
        "task": dataset.task,
        "data": str(dataset.path / "data.yaml"),
    }
    if settings.start is not None and not settings.extra.keys() & {"optimizer", "lr0"}:
        ours |= _gently(settings, dataset, shown)
    return {**ours, **settings.extra, **given}


def start_rate(classes: int, steps: int, objects: float) -> float:
    """Return the learning rate of AdamW for weights that know something already.

    It is the rate that the library fitted to the number of classes, 0.002 * 5 / (4 + classes), and less where there are
    so few steps that a training cannot repair what the full rate breaks first (in proportion), or so few objects in a
    step that its direction is mostly noise (by the square root, as for small batches).

    Args:
        classes: of the dataset.
        steps: of the whole training.
        objects: labels in a step, on average.
    """
    share = min(1.0, steps / _STEPS_OF_FULL_RATE, sqrt(max(objects, 1.0) / _OBJECTS_OF_FULL_RATE))
    return 0.002 * 5 / (4 + classes) * share


def _gently(settings: TrainSettings, dataset: Dataset, shown: int) -> dict[str, Any]:
    """Return what keeps the weights of a start from being destroyed in a short training."""
    epochs, batch = settings.epochs, settings.batch
    objects = dataset.objects.get("train", 0) / max(dataset.images.get("train", 0), 1)
    return {
        "optimizer": "AdamW",
        "momentum": 0.9,
        "lr0": start_rate(len(dataset.names), epochs * ceil(shown / batch), objects * batch),
        "warmup_bias_lr": 0.0,  # the library's 0.1 is meant for SGD
        "warmup_epochs": max(min(3.0, epochs / 10), min(1.0, epochs / 3)),
    }


def device_argument(name: str, gpus: int) -> str:
    """Return a device as the library writes it: cpu, 0, or several as in 0,1. Raises InputError."""
    if name == "auto":
        return "0" if gpus else "cpu"
    if name == "cpu":
        return name
    numbers = name.removeprefix("cuda").removeprefix(":") or "0"
    wanted = numbers.split(",")
    if not all(one.isdecimal() for one in wanted) or len(set(wanted)) < len(wanted):
        raise InputError(f"--device {name!r}: expected auto, cpu, cuda, cuda:1, or several GPUs as in 0,1")
    if any(int(one) >= gpus for one in wanted):
        raise InputError(f"--device {name!r}: there are {gpus} CUDA devices here: use auto or cpu")
    return numbers


def logger_environment(loggers: tuple[Logger, ...], folder: Path) -> dict[str, str]:
    """Return the environment variables that keep what loggers write on this machine; the user's own stay.

    Raises:
        InputError: a logger that is not installed.
    """
    for name in loggers:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--log {name}: the package {name} is not installed: pip install {name}")
    values = {
        "MLFLOW_TRACKING_URI": (folder / "mlflow").resolve().as_uri(),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder.resolve()),
    }
    wanted = [variable for name in loggers for variable in _LOG_VARIABLES.get(name, ())]
    return {key: values[key] for key in wanted if key not in os.environ}

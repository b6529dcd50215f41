"""D-FINE as a student: trained, loaded and exported with transformers alone (Apache-2.0, extra "teacher")."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labeling.core.errors import InputError, StateError
from labeling.core.strict import did_you_mean
from labeling.image_files import display
from labeling.teachers.device import pick_device
from labeling.teachers.interfaces import RgbImage

from .dataset import Dataset
from .dfine import data as dfine_data
from .dfine import model as dfine_model
from .dfine import pictures as dfine_pictures
from .dfine import training as dfine_training
from .dfine.answers import decoded
from .dfine.model import Stored
from .dfine.pictures import Changes
from .dfine.training import CHECKPOINT_FILE, Course, Recipe
from .objects import Objects
from .run_folder import RUN_FILE, RunFolder
from .students import WEIGHTS_FILE, Tell, TrainSettings
from .yolo.weights import kept_epoch, metadata_of

_BATCH = 8
_OPSET = 17


class DFineStudent:
    """Trains and loads D-FINE (arXiv 2410.13842): boxes only, one device, no code of ultralytics.

    ``settings.extra`` takes what ``Recipe``, ``Changes`` and the library's DFineConfig name. Where the dataset has
    weights of labels and boxes to ignore they are heeded, see ``SoftDFineLoss``.
    """

    licence = dfine_model.LICENCE

    def train(self, dataset: Dataset, folder: Path, settings: TrainSettings, tell: Tell) -> None:
        """Train as the Student protocol says; the best epoch is that of the highest AP50-95 on val."""
        recipe, changes, network_changes = _divided(settings.extra)
        _check(dataset, folder, settings)
        weights = folder / WEIGHTS_FILE
        if weights.exists():
            _same_data(weights, dfine_model.read(weights).dataset, dataset)
            tell(f"{display(weights)}: is trained already")
            return
        device = _device(settings.device)
        config = dfine_model.configured(settings.model, dataset.names, settings.imgsz, network_changes)
        train, val = (dfine_data.samples(dataset, part) for part in ("train", "val"))
        if not any(len(one.weights) for one in train):
            raise StateError(f"{display(dataset.path)}: no image of the train part holds an object: label some first")
        tell(f"{settings.model}, {self.licence}: {dataset.images['train']} images to learn from, {len(val)} to check")
        network = _begun(config, settings, tell)
        if recipe.backbone is None:
            recipe = dataclasses.replace(recipe, backbone=1.0 if settings.start is None else 0.1)
        course = Course(
            train,
            val,
            settings.imgsz,
            settings.batch,
            settings.epochs,
            settings.seed,
            recipe,
            changes,
            _mark(dataset, settings),
        )
        best = dfine_training.fit(network, course, folder, device, tell)
        about = metadata_of(dfine_model.KIND, self.licence, settings, dataset, folder)
        dfine_model.save(weights, best.weights, config, about | kept_epoch(best.epoch, best.ap))
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)

    def load(self, weights: Path, device: str = "auto") -> DFinePredictor:
        """Return the student of a file. Raises BackendError."""
        return DFinePredictor(dfine_model.read(weights), _device(device))


class DFinePredictor:
    """A trained D-FINE that looks at photos, see the Predictor protocol."""

    def __init__(self, stored: Stored, device: torch.device) -> None:
        """Build the network. Raises BackendError where the weights do not fill it."""
        self.names = stored.names
        self.imgsz = stored.imgsz
        self._device = device
        self._network = stored.network().to(device)

    @torch.inference_mode()
    def predict(self, images: Sequence[RgbImage], floor: float = 0.001) -> list[Objects]:
        """Return what it sees in each image, best first, at most 300 objects an image."""
        found: list[Objects] = []
        for first in range(0, len(images), _BATCH):
            some = images[first : first + _BATCH]
            pixels = dfine_pictures.as_tensor(dfine_pictures.squared(image, self.imgsz) for image in some)
            said = self._network(pixel_values=pixels.to(self._device).float() / 255)
            for image, (boxes, class_ids, scores) in zip(
                some, decoded(said.logits, said.pred_boxes, floor), strict=True
            ):
                height, width = image.shape[:2]
                sides = np.array([width, height, width, height], dtype=np.float64)
                found.append(Objects("", (width, height), boxes * sides, class_ids, scores))
        return found


class _Exported(torch.nn.Module):
    """What the file of an export computes."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        said = self.network(pixel_values=images)
        return said.logits.sigmoid(), said.pred_boxes


def to_onnx(weights: Path, path: Path) -> None:
    """Write a student as ONNX, opset 17, for one image of its input size.

    The input ``images`` is (1, 3, imgsz, imgsz) float32, RGB in [0, 1], the photo stretched to the square. The
    outputs are ``scores`` (1, q, classes) in [0, 1] and ``boxes`` (1, q, 4), cxcywh as fractions of the photo; q is at
    most 300.

    Args:
        weights: a WEIGHTS_FILE of this kind.
        path: of the ONNX file.

    Raises:
        BackendError: the weights cannot be read.
    """
    stored = dfine_model.read(weights)
    with warnings.catch_warnings():
        # The exporter by tracing needs no further package; its warnings name shapes that are fixed here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Exported(stored.network()),
            (torch.zeros(1, 3, stored.imgsz, stored.imgsz),),
            str(path),
            input_names=["images"],
            output_names=["scores", "boxes"],
            opset_version=_OPSET,
            dynamo=False,
        )


def _divided(extra: Mapping[str, Any]) -> tuple[Recipe, Changes, dict[str, Any]]:
    """Return settings by whom they belong to: the loop, the pictures, the network. Raises InputError."""
    parts: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
    known = [[field.name for field in dataclasses.fields(owner)] for owner in (Recipe, Changes)]
    known.append(list(dfine_model.config_keys()))
    for key, value in extra.items():
        owner = next((row for row, keys in enumerate(known) if key in keys), None)
        if owner is None:
            hint = did_you_mean(key, [name for keys in known for name in keys])
            raise InputError(f"{key}={value!r}: D-FINE has no such setting{hint}")
        if owner < 2 and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise InputError(f"{key}={value!r}: expected a number from 0 on")
        parts[owner][key] = value
    return Recipe(**parts[0]), Changes(**parts[1]), parts[2]


def _check(dataset: Dataset, folder: Path, settings: TrainSettings) -> None:
    if dataset.task != "detect":
        raise InputError(f"--model {settings.model}: finds boxes, no masks: for masks take a model such as yolov8n-seg")
    if settings.loggers:
        raise InputError(
            f"--log {settings.loggers[0]}: D-FINE has no loggers: leave it out; every epoch is in "
            f"{dfine_training.HISTORY_FILE} of the run"
        )
    if settings.distill_model is not None:
        raise InputError(f"--distill-model: {settings.model} cannot be taught features: leave it out")
    if (folder / RUN_FILE).exists():
        run = RunFolder.open(folder)
        _same_data(run.path / RUN_FILE, str(run.facts["dataset"]), dataset)


def _same_data(where: Path, hash_: str, dataset: Dataset) -> None:
    if hash_ != dataset.hash:
        raise StateError(f"{display(where)}: this training has the dataset {hash_}, not {dataset.hash}: train anew")


def _begun(config: Any, settings: TrainSettings, tell: Tell) -> Any:
    if settings.start is None:
        tell("starting from random weights")
        return dfine_model.fresh(config, settings.seed)
    network, unfilled = dfine_model.started(settings.start, config, settings.seed)
    heads = f"; {len(unfilled)} tensors of the class heads start at random" if unfilled else ""
    tell(f"starting from {display(settings.start)}{heads}")
    return network


def _mark(dataset: Dataset, settings: TrainSettings) -> dict[str, str]:
    return {
        "dataset": dataset.hash,
        "model": settings.model,
        "epochs": str(settings.epochs),
        "imgsz": str(settings.imgsz),
        "batch": str(settings.batch),
        "seed": str(settings.seed),
        "settings": repr(sorted(settings.extra.items())),
    }


def _device(name: str) -> torch.device:
    if "," in name:
        raise InputError(f"--device {name}: D-FINE is trained on one device: give one of them")
    return pick_device(f"cuda:{name}" if name.isdecimal() else name)

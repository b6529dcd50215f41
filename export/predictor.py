"""A model of the edge as a student at home: asked, measured and timed by whatever takes a student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distill.objects import Objects
from labeling.core import masks
from labeling.core.errors import InputError
from labeling.image_files import display
from labeling.teachers.interfaces import RgbImage

from . import runtime
from .runtime import Card, Floats, Model


class EdgePredictor:
    """What goes onto the device, see distill.students.Predictor."""

    def __init__(self, model: Model) -> None:
        """Take a model with any session."""
        self.model = model
        self.names = model.card.names
        self.imgsz = max(model.card.imgsz)

    def predict(self, images: Sequence[RgbImage], floor: float = 0.001) -> list[Objects]:
        """Return what it sees in each image, one after the other; see the Predictor protocol."""
        return [
            objects_of(self.model(np.ascontiguousarray(image[:, :, ::-1]), floor), image.shape[:2]) for image in images
        ]


def objects_of(found: runtime.Objects, size_hw: tuple[int, ...]) -> Objects:
    """Return objects of the runtime as everyone at home speaks of them, without a sha256.

    Args:
        found: the objects.
        size_hw: of the frame that they were found in.
    """
    return Objects(
        "",
        (size_hw[1], size_hw[0]),
        found.boxes_xyxy.astype(np.float64),
        found.class_ids,
        found.scores.astype(np.float64),
        None if found.masks is None else tuple(masks.encode(one) for one in found.masks),
    )


class TorchSession:
    """The network of a student.safetensors in torch: what every other session is compared with.

    It returns what the network itself says; where NMS is in the graph of the file that the card is of, the runtime's
    own takes its place here.
    """

    def __init__(self, weights: Path, card: Card) -> None:
        """Build the network.

        Args:
            weights: the student that the card is of.
            card: of its ONNX file.

        Raises:
            InputError: the card is of another student.
            BackendError: the weights cannot be read.
        """
        import hashlib

        if hashlib.sha256(weights.read_bytes()).hexdigest() != card.weights:
            raise InputError(f"{display(weights)}: is not the student that the ONNX file was made of: export it anew")
        self.card = replace(card, precision="fp32", layout="queries" if card.kind == "dfine" else "yolo")
        self._network = _network(weights, card)

    def run(self, tensor: Floats) -> list[Floats]:
        """See Session."""
        import torch

        with torch.inference_mode():
            said: Any = self._network(torch.from_numpy(np.ascontiguousarray(tensor)))
        if self.card.kind == "dfine":
            return [said.logits.sigmoid().numpy(), said.pred_boxes.numpy()]
        if self.card.task == "segment":
            anchors, prototypes = said[0]
            return [anchors.numpy(), prototypes.numpy()]
        return [said[0].numpy()]


def _network(weights: Path, card: Card) -> Any:
    if card.kind == "dfine":
        from distill.dfine.model import read

        return read(weights).network()
    from labeling.teachers.detectors.ultralytics import as_yolo

    return as_yolo(weights).model.float().eval()

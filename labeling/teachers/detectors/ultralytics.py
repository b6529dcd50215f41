"""YOLO, YOLO-World and YOLOE checkpoints through ultralytics as a detector (AGPL-3.0, extra "student")."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import PIL.Image
import torch

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ..class_names import match_classes, match_prompts, names_of_checkpoint
from ..device import pick_device
from ..interfaces import Detected, RgbImage
from ..student_weights import input_size, margin
from ..weights import Checkpoint, read_checkpoint
from .yolo_forward import YoloForward
from .yolo_text import embed_prompts, set_prompts

#: Models that a state dict is matched against where it does not say which one it is of.
_FAMILIES = ("yolov8", "yolo11")
_SCALES = "nsmlx"
_MODEL_NAME = re.compile(r"(yolov?\d+)([a-z]?)(-seg|-p2|-p6)?")
_THREADS = "OMP_NUM_THREADS"
_HEAD = re.compile(r"model\.\d+\.cv3\.0\.2\.weight")


class UltralyticsDetector:
    """Detector over one checkpoint file: a state dict (.safetensors, .pt), or a pickled module that the user trusts.

    A closed vocabulary is matched by prompt, that of a student by class; the modules of YOLO-World and YOLOE read the
    prompts. For the boxes see ``YoloForward``.
    """

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        class_names: Path | None = None,
        trust_weights: bool = False,
    ) -> None:
        """Load the checkpoint.

        Raises:
            BackendError: no such file, not a YOLO detector, or a pickled module that is not trusted.
            InputError: class names that do not fit, or no such device.
        """
        import_ultralytics()
        picked = pick_device(device)
        checkpoint = read_checkpoint(weights, trust_weights=trust_weights)
        model = _from_state_dict(checkpoint, weights) if checkpoint.module is None else _trusted(checkpoint, weights)
        self._open_vocabulary = hasattr(model, "set_classes")
        self._names: tuple[str, ...] = ()
        if not self._open_vocabulary:
            self._names = names_of_checkpoint(
                _stored_names(checkpoint), int(model.model[-1].nc), class_names, weights, coco=_coco_names
            )
        self._match = match_classes if "kind" in checkpoint.metadata else match_prompts
        about = checkpoint.metadata
        self._yolo = YoloForward(model, input_size(about, weights), picked, margin(about, weights))
        self._model = self._yolo.model
        self._plan: tuple[Ontology, dict[int, tuple[str, int]]] | None = None

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol."""
        return self._yolo.detect(images, self._wanted(ontology), floor)

    def _wanted(self, ontology: Ontology) -> dict[int, tuple[str, int]]:
        """Return, by class index of the model, the prompt and the class id that it stands for."""
        if self._plan is None or self._plan[0] != ontology:
            if self._open_vocabulary:
                prompts = [prompt for prompt, _ in ontology.prompts]
                set_prompts(self._model, prompts, embed_prompts(self._model, prompts))
                wanted = dict(enumerate(ontology.prompts))
            else:
                wanted = self._match(ontology, self._names)
            self._plan = (ontology, wanted)
        return self._plan[1]


def import_ultralytics() -> None:
    """Import the library so that it neither calls out, installs packages, nor writes outside a temporary folder."""
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="labelstill-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    # When it is imported, the library replaces how everyone opens images, how many threads OpenCV has, and in the
    # environment how many threads processes begun from here have.
    image_open, threads, inherited = PIL.Image.open, cv2.getNumThreads(), os.environ.get(_THREADS)
    try:
        import ultralytics  # noqa: F401
    finally:
        PIL.Image.open = image_open
        cv2.setNumThreads(threads)
        os.environ.pop(_THREADS, None)
        if inherited is not None:
            os.environ[_THREADS] = inherited


def _from_state_dict(checkpoint: Checkpoint, path: Path) -> Any:
    """Return the model whose parameters have exactly the names and shapes of the state dict."""
    head_weights(checkpoint.tensors, path)
    named = checkpoint.metadata.get("yaml", "").removesuffix(".yaml")
    variant = "-seg" if draws_masks(checkpoint.tensors) else ""
    guessed = [family + scale + variant for family in _FAMILIES for scale in _SCALES]
    tried = guessed if description_of(named) is None else [named]
    stem = checkpoint.tensors.get("model.0.conv.weight", torch.empty(0)).shape[0]
    for name in tried:
        description = description_of(name) or {}
        # Spares building the large models for the sake of a comparison.
        if tried is guessed and stem != 64 * description["scales"][description["scale"]][1]:
            continue
        model = network(name, checkpoint.tensors, path)
        if model is not None:
            return model
    open_vocabulary = any(".cv4.0.logit_scale" in key for key in checkpoint.tensors)
    hint = "; it reads prompts: use --detector yolo-world or yoloe" if open_vocabulary else ""
    raise BackendError(
        f"weights {path} have {len(checkpoint.tensors)} tensors that fit none of {', '.join(tried)}{hint}"
    )


def network(name: str, tensors: Mapping[str, torch.Tensor], path: Path) -> Any | None:
    """Return a model of ultralytics if the tensors are exactly its parameters, by name and shape; otherwise None.

    Args:
        name: such as yolov8n or yolo11s-seg.
        tensors: its state dict.
        path: where they come from, for messages.

    Raises:
        BackendError: no head of a YOLO detector is among them.
    """
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    head = head_weights(tensors, path)
    description = description_of(name)
    if description is None:
        return None
    model_class = SegmentationModel if draws_masks(tensors) else DetectionModel
    classes, width = head.shape[:2]
    model = model_class(description | {"nc": classes}, verbose=False)
    if model.model[-1].cv3[0][-1].in_channels != width:
        # A head that was trained from one for more classes keeps its width: the library widens it the same way.
        model.load(model_class(description | {"nc": width}, verbose=False), verbose=False)
    return model if fill(model, tensors) else None


def fill(model: Any, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Load a state dict if it has exactly the names and shapes of a model's own; say whether it has."""
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if shapes != {key: tensor.shape for key, tensor in tensors.items()}:
        return False
    model.load_state_dict(dict(tensors), strict=True)
    return True


def head_weights(tensors: Mapping[str, torch.Tensor], path: Path) -> torch.Tensor:
    """Return the last weights of the class branch, (classes, width, 1, 1)."""
    for key, tensor in tensors.items():
        if _HEAD.fullmatch(key):
            return tensor
    raise BackendError(f"weights {path} are no YOLO detector: no tensor such as 'model.22.cv3.0.2.weight'")


def as_yolo(weights: Path | str) -> Any:
    """Return a student as ``ultralytics.YOLO``, to be used as the library's own: predict, val, export.

    Args:
        weights: a student.safetensors, or another state dict that the detector takes.

    Raises:
        BackendError: it cannot be read, or fits no model of the library.
    """
    import_ultralytics()
    from ultralytics import YOLO

    path = Path(weights)
    checkpoint = read_checkpoint(path)
    model = _from_state_dict(checkpoint, path)
    names = names_of_checkpoint(_stored_names(checkpoint), int(model.model[-1].nc), None, path, coco=_coco_names)
    task = "segment" if draws_masks(checkpoint.tensors) else "detect"
    yolo = YOLO("yolov8n.yaml", task=task)
    model.names, model.task, model.args = dict(enumerate(names)), task, yolo.model.args
    yolo.model = model
    return yolo


def draws_masks(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Say whether a state dict of ultralytics is that of a model for masks."""
    return any(".proto." in key for key in tensors)


def description_of(name: str, pattern: re.Pattern[str] = _MODEL_NAME) -> dict[str, Any] | None:
    """Return ultralytics' own description of a model such as yolov8n-seg; None for a model that it does not have.

    Args:
        name: family, scale and variant.
        pattern: names that are allowed, with these three as its groups.
    """
    from ultralytics.utils import ROOT, YAML

    # Looked up among its files and never opened by the name: weights come from anywhere.
    files = {file.stem: file for file in (ROOT / "cfg" / "models").rglob("yolo*.yaml")}
    parts = pattern.fullmatch(name)
    if parts is None:
        return None
    family, scale, variant = parts.groups(default="")
    file = files.get(name) or files.get(family + variant)
    return YAML.load(file) | {"scale": scale} if file else None


def _trusted(checkpoint: Checkpoint, path: Path) -> Any:
    model = checkpoint.module
    if not hasattr(getattr(model, "model", [None])[-1], "nc"):
        raise BackendError(f"weights {path} hold a {type(model).__name__}: expected a detection model of ultralytics")
    return model


def _stored_names(checkpoint: Checkpoint) -> object:
    return checkpoint.metadata.get("names") if checkpoint.module is None else getattr(checkpoint.module, "names", None)


def _coco_names() -> tuple[str, ...]:
    from ultralytics.utils import ROOT, YAML

    return tuple(YAML.load(ROOT / "cfg" / "datasets" / "coco.yaml")["names"].values())

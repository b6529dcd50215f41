"""YOLO-World and YOLOE: checkpoints whose classes are prompts, given as embeddings, as text or as pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.errors import BackendError, InputError
from ...core.ontology import Ontology
from ..device import pick_device
from ..embeddings import read_embeddings
from ..exemplars import Exemplar, find_exemplars, read_exemplar
from ..interfaces import Detected, RgbImage
from ..student_weights import input_size
from ..weights import Checkpoint, read_checkpoint
from .ultralytics import description_of, draws_masks, fill, head_weights, import_ultralytics
from .yolo_forward import YoloForward
from .yolo_text import embed_prompts, set_prompts

_WORLD = ("yolov8{}-worldv2", "yolov8{}-world")
_YOLOE = ("yoloe-v8{}", "yoloe-11{}", "yoloe-26{}")
_SCALES = "smlxn"
_MODEL_NAME = re.compile(r"(yolo(?:e-)?v?\d+)([a-z]?)(-worldv2|-world|-seg)?")


class YoloWorldDetector:
    """YOLO-World over a state dict (.safetensors, .pt), or a pickled module that the user trusts.

    Has not run with published weights. For the boxes see ``YoloForward``.
    """

    def __init__(
        self, weights: Path, device: str = "auto", embeddings: Path | None = None, trust_weights: bool = False
    ) -> None:
        """Load the checkpoint.

        Args:
            weights: its file; which model it is, its metadata ("yaml") say, or its shapes.
            device: "auto", "cpu", "cuda", ...
            embeddings: see ``read_embeddings``; None asks the model's own text encoder.
            trust_weights: allow a pickled module.

        Raises:
            BackendError: no such file, no YOLO-World, or a pickled module that is not trusted.
            InputError: no such device.
        """
        self._yolo = _load(weights, device, trust_weights, _WORLD, "WorldModel")
        self._embeddings = embeddings
        self._plan: tuple[Ontology, dict[int, tuple[str, int]]] | None = None

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol.

        Raises:
            BackendError: neither embeddings nor the text encoder. InputError: see ``read_embeddings``.
        """
        if self._plan is None or self._plan[0] != ontology:
            self._plan = (ontology, _set_text(self._yolo, ontology, self._embeddings))
        return self._yolo.detect(images, self._plan[1], floor)


class YoloeDetector:
    """YOLOE with text or with pictures as prompts; of its variants that draw masks only the boxes are taken.

    A class that is shown by pictures has one embedding: the mean over its pictures. Its boxes carry the first prompt
    of the class. Has not run with published weights. For the boxes see ``YoloForward``.
    """

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        embeddings: Path | None = None,
        exemplars: Path | None = None,
        trust_weights: bool = False,
    ) -> None:
        """Load the checkpoint.

        Args:
            weights: its file; which model it is, its metadata ("yaml") say, or its shapes.
            device: "auto", "cpu", "cuda", ...
            embeddings: see ``read_embeddings``; None asks the model's own text encoder.
            exemplars: see ``find_exemplars``; then no text is read.
            trust_weights: allow a pickled module.

        Raises:
            BackendError: no such file, no YOLOE, or a pickled module that is not trusted.
            InputError: embeddings and exemplars at once, or no such device.
        """
        if embeddings is not None and exemplars is not None:
            raise InputError("--embeddings and --exemplar both say what the classes look like: give one of them")
        self._yolo = _load(weights, device, trust_weights, _YOLOE, "YOLOEModel")
        self._embeddings = embeddings
        self._exemplars = exemplars
        self._plan: tuple[Ontology, dict[int, tuple[str, int]]] | None = None

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol.

        Raises:
            BackendError: neither embeddings, nor exemplars, nor the text encoder.
            InputError: see ``read_embeddings``, ``find_exemplars`` and ``read_exemplar``.
        """
        if self._plan is None or self._plan[0] != ontology:
            if self._exemplars is None:
                wanted = _set_text(self._yolo, ontology, self._embeddings)
            else:
                wanted = _set_pictures(self._yolo, ontology, self._exemplars)
            self._plan = (ontology, wanted)
        return self._yolo.detect(images, self._plan[1], floor)


def _set_text(yolo: YoloForward, ontology: Ontology, file: Path | None) -> dict[int, tuple[str, int]]:
    # Suppression moves boxes apart by their index, which rounds them: sorted, the order of the classes does not count.
    wanted = sorted(ontology.prompts)
    prompts = [prompt for prompt, _ in wanted]
    if file is None:
        embeddings = embed_prompts(yolo.model, prompts)
    else:
        width = int(yolo.model.model[-1].cv3[0][-1].out_channels)
        embeddings = torch.from_numpy(read_embeddings(file, prompts, width))[None].to(yolo.device)
    set_prompts(yolo.model, prompts, embeddings)
    return dict(enumerate(wanted))


def _set_pictures(yolo: YoloForward, ontology: Ontology, folder: Path) -> dict[int, tuple[str, int]]:
    rows = []
    for files in find_exemplars(folder, ontology.names):
        seen = torch.stack([_visual_embedding(yolo, read_exemplar(file), file) for file in files])
        rows.append(torch.nn.functional.normalize(seen.mean(dim=0), dim=0))
    set_prompts(yolo.model, ontology.names, torch.stack(rows)[None])
    return {class_id: (entry.prompts[0], class_id) for class_id, entry in enumerate(ontology.classes)}


def _visual_embedding(yolo: YoloForward, exemplar: Exemplar, file: Path) -> torch.Tensor:
    """Return the (d,) embedding of what lies in the boxes of one picture, as YOLOEVPDetectPredictor makes it."""
    from ultralytics.data.augment import LetterBox, LoadVisualPrompt
    from ultralytics.utils.instance import Instances

    boxes = Instances(exemplar.boxes_xyxy.copy(), np.zeros((0, 1, 2)), bbox_format="xyxy", normalized=False)
    letterbox = LetterBox((yolo.side, yolo.side), auto=True, stride=yolo.stride)
    placed = letterbox({"img": exemplar.pixels, "instances": boxes})
    canvas = np.ascontiguousarray(placed["img"])
    mask = LoadVisualPrompt().get_visuals([0] * len(boxes), canvas.shape[:2], placed["instances"].bboxes)
    if not mask.any():
        raise InputError(f"exemplar {file}: its boxes are too small in the picture to be seen; cut the object out")
    with torch.inference_mode():
        embedding: torch.Tensor = yolo.model.get_visual_pe(yolo.pixels(canvas[None]), mask[None].to(yolo.device))
    if not embedding.isfinite().all():
        raise BackendError(f"exemplar {file}: the model answered numbers that are not finite")
    return embedding[0, 0]


def _load(weights: Path, device: str, trust_weights: bool, families: Sequence[str], expected: str) -> YoloForward:
    import_ultralytics()
    from ultralytics.nn import tasks

    picked = pick_device(device)
    checkpoint = read_checkpoint(weights, trust_weights=trust_weights)
    model = checkpoint.module
    if model is None:
        model = _from_state_dict(checkpoint, weights, families)
    if not isinstance(model, getattr(tasks, expected)):
        raise BackendError(f"weights {weights} hold a {type(model).__name__}: expected a {expected} of ultralytics")
    return YoloForward(model, input_size(checkpoint.metadata, weights), picked)


def _from_state_dict(checkpoint: Checkpoint, path: Path, families: Sequence[str]) -> Any:
    """Return the model whose parameters have exactly the names and shapes of the state dict."""
    from ultralytics.nn.tasks import WorldModel, YOLOEModel, YOLOESegModel

    tensors = checkpoint.tensors
    variant = "-seg" if draws_masks(tensors) and families is _YOLOE else ""
    guessed = [family.format(scale) + variant for family in families for scale in _SCALES]
    named = checkpoint.metadata.get("yaml", "").removesuffix(".yaml")
    # The width of the class branch is that of the lowest level, or the number of classes it was made for.
    classes = head_weights(tensors, path).shape[1]
    stem = tensors.get("model.0.conv.weight", torch.empty(0)).shape[0]
    layers = 1 + max(int(key.split(".")[1]) for key in tensors if re.match(r"model\.\d+\.", key))
    for name in [named] if named in guessed else guessed:
        description = description_of(name, _MODEL_NAME)
        # Spares building models for the sake of a comparison.
        if (
            description is None
            or stem != 64 * description["scales"][description["scale"]][1]
            or layers != len(description["backbone"]) + len(description["head"])
        ):
            continue
        model_class = WorldModel if families is _WORLD else YOLOESegModel if variant else YOLOEModel
        model = model_class(description | {"nc": classes}, verbose=False)
        if fill(model, tensors):
            return model
    raise BackendError(f"weights {path} have {len(tensors)} tensors that fit none of {', '.join(guessed)}")

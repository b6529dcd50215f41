"""YOLO, YOLO-World and YOLOE checkpoints through ultralytics as a detector (AGPL-3.0, extra "student")."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import supervision as sv
import torch

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ..class_names import match_classes, match_prompts, names_of_checkpoint
from ..device import pick_device
from ..features import pool_boxes, pool_image
from ..interfaces import Detected, RgbImage
from ..student_weights import input_size
from ..weights import Checkpoint, read_checkpoint

_NMS_IOU = 0.7
_MAX_BOXES = 300
#: Models that a state dict is matched against where it does not say which one it is of.
_FAMILIES = ("yolov8", "yolo11")
_SCALES = "nsmlx"
_MODEL_NAME = re.compile(r"(yolov?\d+)([a-z]?)(-seg|-p2|-p6)?")
_HEAD = re.compile(r"model\.\d+\.cv3\.0\.2\.weight")


class UltralyticsDetector:
    """Detector over one checkpoint file: a state dict (.safetensors, .pt), or a pickled module that the user trusts.

    A closed vocabulary is matched by prompt, that of a student by class; YOLO-World and YOLOE, which come only as
    modules, read the prompts. Of models that draw masks only the boxes are taken. They have been through the library's
    own per-class NMS at IoU 0.7, at most 300 an image.
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
        self._device = pick_device(device)
        checkpoint = read_checkpoint(weights, trust_weights=trust_weights)
        model = _from_state_dict(checkpoint, weights) if checkpoint.module is None else _trusted(checkpoint, weights)
        self._open_vocabulary = hasattr(model, "set_classes")
        self._names: tuple[str, ...] = ()
        if not self._open_vocabulary:
            self._names = names_of_checkpoint(
                _stored_names(checkpoint), int(model.model[-1].nc), class_names, weights, coco=_coco_names
            )
        self._match = match_classes if "kind" in checkpoint.metadata else match_prompts
        self._input_size = input_size(checkpoint.metadata, weights)
        self._model = model.float().eval().to(self._device)
        self._stride = max(int(self._model.stride.max()), 32)
        self._feature_map: torch.Tensor | None = None
        self._model.model[-1].register_forward_pre_hook(self._keep_features)
        self._plan: tuple[Ontology, dict[int, tuple[str, int]]] | None = None

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol."""
        wanted = self._wanted(ontology)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        canvases = [_letterboxed(image, self._input_size, self._stride) for image in images]
        for row, canvas in enumerate(canvases):
            groups[canvas.shape].append(row)
        results: dict[int, Detected] = {}
        try:
            with torch.inference_mode():
                for rows in groups.values():
                    sizes = [images[row].shape[:2] for row in rows]
                    found = self._forward(np.stack([canvases[row] for row in rows]), sizes, wanted, floor)
                    results.update(zip(rows, found, strict=True))
        finally:
            self._feature_map = None
        return [results[row] for row in range(len(images))]

    def _wanted(self, ontology: Ontology) -> dict[int, tuple[str, int]]:
        """Return, by class index of the model, the prompt and the class id that it stands for."""
        if self._plan is None or self._plan[0] != ontology:
            if self._open_vocabulary:
                self._set_classes([prompt for prompt, _ in ontology.prompts])
                wanted = dict(enumerate(ontology.prompts))
            else:
                wanted = self._match(ontology, self._names)
            self._plan = (ontology, wanted)
        return self._plan[1]

    def _set_classes(self, prompts: list[str]) -> None:
        try:
            # YOLOE takes the embeddings of its text encoder, YOLO-World computes them itself.
            if hasattr(self._model, "get_cls_pe"):
                self._model.set_classes(prompts, self._model.get_text_pe(prompts))
            else:
                self._model.set_classes(prompts)
        except Exception as error:  # the text encoder is a package and a file of its own, fetched on first use
            raise BackendError(
                f"the text encoder of this open-vocabulary checkpoint could not be loaded ({type(error).__name__}: "
                f"{error}): install it, or use --detector grounding-dino"
            ) from error

    def _forward(
        self,
        canvases: np.ndarray[Any, np.dtype[np.uint8]],
        sizes_hw: Sequence[tuple[int, ...]],
        wanted: Mapping[int, tuple[str, int]],
        floor: float,
    ) -> list[Detected]:
        from ultralytics.utils.nms import non_max_suppression

        pixels = torch.from_numpy(canvases).to(self._device).permute(0, 3, 1, 2).float() / 255
        try:
            raw = self._model(pixels)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BackendError(f"the detector failed on {len(pixels)} image(s): {error}") from error
        while not isinstance(raw, torch.Tensor):  # the boxes come first, before masks and what only training needs
            raw = raw[0]
        found = non_max_suppression(
            raw,
            conf_thres=floor,
            iou_thres=_NMS_IOU,
            classes=list(wanted),
            max_det=_MAX_BOXES,
            nc=int(self._model.model[-1].nc),
            end2end=bool(getattr(self._model, "end2end", False)),
            # On a busy machine the library would give up in the middle of a batch and drop the rest without a word.
            max_time_img=1e6,
        )
        maps = [None] * len(found) if self._feature_map is None else list(self._feature_map)
        return [
            _detected(rows, canvas_hw=canvases.shape[1:3], size_hw=size_hw, wanted=wanted, feature_map=feature_map)
            for rows, size_hw, feature_map in zip(found, sizes_hw, maps, strict=True)
        ]

    def _keep_features(self, _head: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        levels = inputs[0]
        self._feature_map = levels[-1] if isinstance(levels, list) else None


def _detected(
    rows: torch.Tensor,
    *,
    canvas_hw: tuple[int, ...],
    size_hw: tuple[int, ...],
    wanted: Mapping[int, tuple[str, int]],
    feature_map: torch.Tensor | None,
) -> Detected:
    """Return the boxes of one image; ``rows`` are x0, y0, x1, y1 on the letterboxed canvas, score, class index."""
    from ultralytics.utils.ops import scale_boxes

    # supervision refuses numbers that are not finite, so they are counted here and not by the filters.
    finite = rows[:, :4].isfinite().all(dim=1)
    boxes, scores, indices = rows[finite, :4], rows[finite, 4], rows[finite, 5]
    hits = [wanted[int(index)] for index in indices.tolist()]
    prompts = np.empty(len(hits), dtype=object)
    prompts[:] = [prompt for prompt, _ in hits]
    data: dict[str, Any] = {"prompt": prompts}
    image_feature = None
    if feature_map is not None:
        height, width = canvas_hw
        data["feature"] = pool_boxes(feature_map, boxes / boxes.new_tensor([width, height, width, height]))
        image_feature = pool_image(feature_map)
    detections = sv.Detections(
        xyxy=scale_boxes(canvas_hw, boxes, size_hw).cpu().numpy().astype(np.float32),
        confidence=scores.cpu().numpy().astype(np.float32),
        class_id=np.array([class_id for _, class_id in hits], dtype=int),
        data=data,
    )
    return Detected(detections, image_feature, +Counter({"not_finite": int((~finite).sum())}))


def import_ultralytics() -> None:
    """Import the library so that it neither calls out, installs packages, nor writes outside a temporary folder."""
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="labelstill-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    # The library replaces how everyone opens images, and how many threads OpenCV has, when it is imported.
    image_open, threads = PIL.Image.open, cv2.getNumThreads()
    try:
        import ultralytics  # noqa: F401
    finally:
        PIL.Image.open = image_open
        cv2.setNumThreads(threads)


def _from_state_dict(checkpoint: Checkpoint, path: Path) -> Any:
    """Return the model whose parameters have exactly the names and shapes of the state dict."""
    _head(checkpoint.tensors, path)
    named = checkpoint.metadata.get("yaml", "").removesuffix(".yaml")
    variant = "-seg" if draws_masks(checkpoint.tensors) else ""
    guessed = [family + scale + variant for family in _FAMILIES for scale in _SCALES]
    tried = guessed if _description(named) is None else [named]
    stem = checkpoint.tensors.get("model.0.conv.weight", torch.empty(0)).shape[0]
    for name in tried:
        description = _description(name) or {}
        # Spares building the large models for the sake of a comparison.
        if tried is guessed and stem != 64 * description["scales"][description["scale"]][1]:
            continue
        model = network(name, checkpoint.tensors, path)
        if model is not None:
            return model
    raise BackendError(f"weights {path} have {len(checkpoint.tensors)} tensors that fit none of {', '.join(tried)}")


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

    head = _head(tensors, path)
    description = _description(name)
    if description is None:
        return None
    model_class = SegmentationModel if draws_masks(tensors) else DetectionModel
    classes, width = head.shape[:2]
    model = model_class(description | {"nc": classes}, verbose=False)
    if model.model[-1].cv3[0][-1].in_channels != width:
        # A head that was trained from one for more classes keeps its width: the library widens it the same way.
        model.load(model_class(description | {"nc": width}, verbose=False), verbose=False)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if shapes != {key: tensor.shape for key, tensor in tensors.items()}:
        return None
    model.load_state_dict(dict(tensors), strict=True)
    return model


def _head(tensors: Mapping[str, torch.Tensor], path: Path) -> torch.Tensor:
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


def _description(name: str) -> dict[str, Any] | None:
    """Return ultralytics' own description of a model such as yolov8n-seg; None for a model that it does not have."""
    from ultralytics.utils import ROOT, YAML

    # Looked up among its files and never opened by the name: weights come from anywhere.
    files = {file.stem: file for file in (ROOT / "cfg" / "models").rglob("yolo*.yaml")}
    parts = _MODEL_NAME.fullmatch(name)
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


def _letterboxed(image: RgbImage, size: int, stride: int) -> RgbImage:
    from ultralytics.data.augment import LetterBox

    letterbox = LetterBox((size, size), auto=True, stride=stride)
    canvas: RgbImage = np.ascontiguousarray(letterbox(image=image))
    return canvas

"""Small students with random weights that see something, and their ONNX files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.students import WEIGHTS_FILE, kind_of

NAMES = ("crate", "drum", "ladder")
ABOUT = {"licence": "AGPL-3.0", "dataset": "0f" * 8, "ontology": "ab" * 8}


def make_student(
    folder: Path,
    model: str = "yolov8n",
    names: Sequence[str] = NAMES,
    imgsz: int = 64,
    seed: int = 0,
    margin: int = 0,
) -> Path:
    """Write a student.safetensors whose scores reach from nearly 0 to nearly 1 and whose boxes lie everywhere.

    Args:
        folder: is made where it is not there.
        model: such as yolov8n, yolov8n-seg, yolo26n or dfine-n.
        names: the classes.
        imgsz: side of the input in pixels.
        seed: of the weights.
        margin: grey pixels that it wants around a photo.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_FILE
    task = "segment" if model.endswith("-seg") else "detect"
    about = {"yaml": model, "task": task, "names": json.dumps(list(names)), "imgsz": str(imgsz)} | ABOUT
    if margin:
        about["margin"] = str(margin)
    if kind_of(model) == "dfine":
        _make_dfine(path, model, names, imgsz, seed, about | {"kind": "dfine", "licence": "Apache-2.0"})
    else:
        _make_yolo(path, model, names, imgsz, seed, about | {"kind": "ultralytics"})
    return path


def coco_student(folder: Path) -> Path:
    """Write the published weights of YOLOv8n for the 80 classes of COCO as a student; skips where they are not here."""
    from distill.yolo.weights import write_student
    from labeling.teachers.detectors.ultralytics import as_yolo
    from tests.paths import shared

    yolo = as_yolo(shared("weights", "yolov8n-coco-fp16.safetensors"))
    about = {"kind": "ultralytics", "yaml": "yolov8n", "task": "detect", "imgsz": "640"} | ABOUT
    folder.mkdir(parents=True, exist_ok=True)
    write_student(
        folder / WEIGHTS_FILE, yolo.model.state_dict(), about | {"names": json.dumps(list(yolo.names.values()))}
    )
    return folder / WEIGHTS_FILE


def make_onnx(
    folder: Path,
    model: str = "yolov8n",
    names: Sequence[str] = NAMES,
    imgsz: int = 64,
    seed: int = 0,
    *,
    margin: int = 0,
    dynamic: bool = False,
    nms: bool = False,
    thresholds: Mapping[str, float] | None = None,
) -> Path:
    """Write folder/student.safetensors as ``make_student`` does, and folder/model.onnx with its card."""
    from export.to_onnx import ExportSettings, to_onnx

    weights = make_student(folder, model, names, imgsz, seed, margin)
    to_onnx(weights, folder / "model.onnx", ExportSettings(dynamic=dynamic, nms=nms), thresholds=thresholds)
    return folder / "model.onnx"


def photo(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return noise in patches of all sizes with some rectangles, uint8 (height, width, 3)."""
    import cv2

    random = np.random.default_rng(seed)
    mixed = np.zeros((height, width, 3), dtype=np.float32)
    for cells in (2, 6, 18):
        patch = random.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        mixed += cv2.resize(patch, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    drawn = np.ascontiguousarray(mixed.clip(0, 255).astype(np.uint8))
    for _ in range(6):
        x, y = int(random.integers(width)), int(random.integers(height))
        far = (x + int(random.integers(8, max(9, width // 2))), y + int(random.integers(8, max(9, height // 2))))
        cv2.rectangle(drawn, (x, y), far, [int(one) for one in random.integers(0, 256, 3)], -1)
    return drawn


def _photos(imgsz: int) -> Any:
    import torch

    shown = np.stack([photo(imgsz, imgsz, seed) for seed in range(100, 116)])
    return torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 255


def _make_yolo(path: Path, model: str, names: Sequence[str], imgsz: int, seed: int, about: Mapping[str, str]) -> None:
    import torch

    from distill.yolo.weights import write_student
    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    torch.manual_seed(seed)
    model_class = SegmentationModel if model.endswith("-seg") else DetectionModel
    network = model_class(f"{model}.yaml", nc=len(names), verbose=False)
    _liven(network, imgsz)
    head = network.model[-1]
    with torch.no_grad():
        for box, cls in zip(head.cv2, head.cv3, strict=True):
            # Boxes reach some two cells from their middle; few places are likely to hold anything.
            bins = -0.5 * torch.arange(head.reg_max) if head.reg_max > 1 else torch.tensor([2.0])
            _spread(network, box[-1], imgsz, bins.repeat(4), 1.0)
            _spread(network, cls[-1], imgsz, torch.full((len(names),), -2.5), 1.5)
    write_student(path, network.state_dict(), about)


def _make_dfine(path: Path, model: str, names: Sequence[str], imgsz: int, seed: int, about: Mapping[str, str]) -> None:
    import torch

    from distill.dfine import model as dfine_model

    config = dfine_model.configured(model, names, imgsz, {})
    network = dfine_model.fresh(config, seed)
    _liven(network, imgsz)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "class_embed" in name or "enc_score_head" in name:
                parameter.fill_(-1.0) if name.endswith("bias") else parameter.normal_(0, 0.3)
    dfine_model.save(path, network.state_dict(), config, about)


def _spread(network: Any, convolution: Any, imgsz: int, means: Any, deviation: float) -> None:
    """Give the outputs of a convolution these means and this standard deviation, over the photos."""
    seen: list[Any] = []
    hook = convolution.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network(_photos(imgsz))
    hook.remove()
    factor = deviation / seen[0].std(dim=(0, 2, 3))
    convolution.bias.copy_((convolution.bias - seen[0].mean(dim=(0, 2, 3))) * factor + means)
    convolution.weight *= factor[:, None, None, None]


def _liven(network: Any, imgsz: int) -> None:
    """Let the normalisations see photos, or the signal of random weights dies on its way."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all that was seen
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        network(_photos(max(imgsz, 64)))
    network.eval()

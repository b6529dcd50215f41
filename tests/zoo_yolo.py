"""Tiny YOLO, YOLO-World and YOLOE checkpoints with random weights, embeddings and pictures as examples, on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labeling.teachers.backends import TeacherSpec
from labeling.teachers.members import with_members

CLASSES = ("box", "cone", "ladder")
PROMPTS = ("box", "red box", "cone", "ladder")


def save_prompted(path: Path, name: str = "yolov8n-worldv2", *, classes: int = 80, side: int = 96) -> Path:
    """Save a random YOLO-World or YOLOE that is unsure about every box; images are resized to ``side`` pixels."""
    return save(path, prompted(name, classes), {"yaml": name, "imgsz": str(side)})


def prompted(name: str, classes: int = 80) -> Any:
    """Return a random YOLO-World or YOLOE whose scores lie around 0.5."""
    import torch

    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.nn import tasks

    torch.manual_seed(0)
    kind = "WorldModel" if "world" in name else "YOLOESegModel" if name.endswith("-seg") else "YOLOEModel"
    model = getattr(tasks, kind)(f"{name}.yaml", nc=classes, verbose=False)
    with torch.no_grad():
        for contrast in model.model[-1].cv4:
            contrast.bias.zero_()
    return _lively(model)


def save_closed(path: Path, names: Sequence[str], metadata: dict[str, str] | None = None) -> Path:
    """Save a random YOLOv8n with these classes; images are resized to 96 pixels."""
    import torch

    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", nc=len(names), verbose=False)
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].bias.zero_()
    return save(path, _lively(model), {"names": json.dumps(list(names)), "imgsz": "96"} | (metadata or {}))


def save(path: Path, model: Any, metadata: dict[str, str]) -> Path:
    """Save the state dict of a model."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous().clone() for key, value in model.state_dict().items()}, path, metadata)
    return path


def save_embeddings(path: Path, prompts: Sequence[str] = PROMPTS, width: int = 512) -> Path:
    """Save one random vector per prompt, the same for the same prompt."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prompt: embedding(prompt, width) for prompt in prompts}, path)
    return path


def embedding(prompt: str, width: int = 512) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a random vector that depends on the prompt alone."""
    return np.random.default_rng(list(prompt.encode())).normal(size=width).astype(np.float32)


def save_exemplars(folder: Path, classes: Sequence[str] = CLASSES, count: int = 2) -> Path:
    """Save ``count`` random pictures per class."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for picture in range(count):
            pixels = np.random.default_rng([number, picture]).integers(0, 255, (40, 30 + 10 * picture, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{picture}.png")
    return folder


def _lively(model: Any) -> Any:
    """Return the model with the statistics of noise in its normalisation; else a random one answers all alike."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 96, 96))
    return model.eval()


def _world(folder: Path) -> TeacherSpec:
    weights = save_prompted(folder / "world.safetensors")
    return _spec("yolo-world", weights, embeddings=save_embeddings(folder / "prompts.safetensors"))


def _yoloe(folder: Path) -> TeacherSpec:
    weights = save_prompted(folder / "yoloe.safetensors", "yoloe-11n-seg")
    return _spec("yoloe", weights, embeddings=save_embeddings(folder / "prompts.safetensors"))


def _yoloe_exemplars(folder: Path) -> TeacherSpec:
    weights = save_prompted(folder / "yoloe.safetensors", "yoloe-v8n")
    return _spec("yoloe", weights, exemplars=save_exemplars(folder / "crops"))


def _ultralytics(folder: Path) -> TeacherSpec:
    return _spec("ultralytics", save_closed(folder / "closed.safetensors", PROMPTS))


def _student(folder: Path) -> TeacherSpec:
    return _spec("student", save_closed(folder / "student.safetensors", CLASSES, {"kind": "yolo"}))


def _ensemble(folder: Path) -> TeacherSpec:
    weights = save_closed(folder / "closed.safetensors", PROMPTS)
    spec = TeacherSpec("bundled,ultralytics", f"ultralytics={weights}", segmenter="none", device="cpu")
    return with_members(spec)


def _spec(detector: str, weights: Path, **options: Any) -> TeacherSpec:
    return TeacherSpec(detector, str(weights), segmenter="none", device="cpu", **options)


DETECTORS: dict[str, Callable[[Path], TeacherSpec]] = {
    "yolo-world": _world,
    "yoloe": _yoloe,
    "yoloe/exemplars": _yoloe_exemplars,
    "ultralytics": _ultralytics,
    "student": _student,
    "bundled,ultralytics": _ensemble,
}
SEGMENTERS: dict[str, Callable[[Path], TeacherSpec]] = {}

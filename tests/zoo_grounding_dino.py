"""Tiny GroundingDINOs for the contract suite, one per route to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from labeling.teachers import worker_environment
from labeling.teachers.backends import TeacherSpec
from tests import tiny_models


def _bundled(_: Path) -> TeacherSpec:
    return TeacherSpec(detector="bundled", segmenter="none", device="cpu")


def _folder(model_type: str) -> Callable[[Path], TeacherSpec]:
    def make(folder: Path) -> TeacherSpec:
        tiny_models.save_grounding_dino(folder, model_type=model_type)
        return TeacherSpec(detector=model_type, weights=str(folder), segmenter="none", device="cpu")

    return make


def _original(detector: str) -> Callable[[Path], TeacherSpec]:
    def make(folder: Path) -> TeacherSpec:
        file = tiny_models.save_original_grounding_dino(folder)
        return TeacherSpec(detector=detector, weights=str(file), segmenter="none", device="cpu")

    return make


DETECTORS: dict[str, Callable[[Path], TeacherSpec]] = {
    "bundled": _bundled,
    "grounding-dino": _folder("grounding-dino"),
    "grounding-dino/original": _original("grounding-dino"),
    "mm-grounding-dino": _folder("mm-grounding-dino"),
}
#: Its worker takes ten seconds of CPU to start.
SLOW = frozenset({"groundingdino-py"})
if worker_environment.find("groundingdino-py") is not None:
    DETECTORS["groundingdino-py"] = _original("groundingdino-py")

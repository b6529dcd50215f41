"""Right or wrong labels of two teachers whose truth is known, for measures of the guarantee; labelled once, kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labeling.core.matching import match
from labeling.core.ontology import Ontology, OntologyClass
from labeling.demo.objects import NOUNS
from labeling.demo.scenes import all_pairs, render_scene
from labeling.images import load
from labeling.teachers.backends import TeacherSpec
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.teacher import build_teacher

FIRST_SEED = 41_000_000
BATCH = 8
MIN_IOU = 0.5

Picture = npt.NDArray[np.uint8]
Told = list[dict[str, Any]]


def photos(shared: Path, kept: Path) -> Told:
    """Return what YOLOv8n said about coco-photos; see ``told``."""
    file = kept / "coco.json"
    return _kept(file) or _keep(file, _coco(shared))


def scenes(count: int, kept: Path) -> Told:
    """Return what the bundled teacher said about drawn scenes; see ``told``."""
    file = kept / f"scenes-{count}.json"
    return _kept(file) or _keep(file, _scenes(count))


def told(
    boxes: Sequence[Sequence[float]],
    names: Sequence[str],
    scores: Sequence[float],
    true_boxes: Sequence[Sequence[float]],
    true_names: Sequence[str],
    faint: int,
) -> dict[str, Any]:
    """Return one image: ``classes``, ``scores``, ``right`` per label, ``missed`` objects and ``faint`` boxes."""
    same = [[name == true for true in true_names] for name in names]
    pairs = match(boxes, true_boxes, min_iou=MIN_IOU, prefer=same) if len(boxes) and len(true_boxes) else []
    right = [False] * len(names)
    for i, j, _ in pairs:
        right[i] = names[i] == true_names[j]
    missed = len(true_names) - len(pairs)
    return {
        "classes": list(names), "scores": [float(s) for s in scores], "right": right, "missed": missed, "faint": faint,
        "objects": len(true_names),
    }  # fmt: skip


def _coco(shared: Path) -> Iterator[dict[str, Any]]:
    folder = shared / "data/coco-photos"
    truth = json.loads((folder / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}
    weights = str(shared / "weights/yolov8n-coco-fp16.safetensors")
    spec = TeacherSpec("ultralytics", weights, segmenter="none", device="cpu")
    ontology = Ontology(tuple(OntologyClass(name, (name,)) for name in names.values()))
    teacher = build_teacher(spec, ontology, FilterSettings())
    boxes: dict[int, list[tuple[list[float], str, bool]]] = {image["id"]: [] for image in truth["images"]}
    for one in truth["annotations"]:
        x, y, w, h = one["bbox"]
        entry = ([x, y, x + w, y + h], names[one["category_id"]], bool(one.get("iscrowd")))
        boxes[one["image_id"]].append(entry)
    for start in range(0, len(truth["images"]), BATCH):
        some = truth["images"][start : start + BATCH]
        pictures = [load(folder / "images" / image["file_name"], max_pixels=100_000_000).pixels for image in some]
        for image, labelled in zip(some, teacher.label(pictures), strict=True):
            seen = labelled.detections
            said = [ontology.names[int(number)] for number in seen.class_id]
            objects = boxes[image["id"]]
            crowd = [(box, name) for box, name, crowded in objects if crowded]
            # COCO judges no claim within a crowd, which people have boxed as one.
            kept = [i for i, name in enumerate(said) if not _within(seen.xyxy[i], name, crowd)]
            alone = [(box, name) for box, name, crowded in objects if not crowded]
            yield told(
                seen.xyxy[kept].tolist(), [said[i] for i in kept], seen.confidence[kept].tolist(),
                [box for box, _ in alone], [name for _, name in alone], len(labelled.faint),
            )  # fmt: skip


def _within(box: npt.NDArray[np.float32], name: str, crowd: Sequence[tuple[list[float], str]]) -> bool:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    for (a0, b0, a1, b1), other in crowd:
        shared = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
        if other == name and shared >= 0.5 * (x1 - x0) * (y1 - y0):
            return True
    return False


def _scenes(count: int) -> Iterator[dict[str, Any]]:
    ontology = Ontology(tuple(OntologyClass(noun, (noun,)) for noun in NOUNS))
    teacher = build_teacher(TeacherSpec("bundled", segmenter="none", device="cpu"), ontology, FilterSettings())
    for start in range(0, count, BATCH):
        some = [
            render_scene(FIRST_SEED + n, pairs=all_pairs(unseen=True)) for n in range(start, min(start + BATCH, count))
        ]
        for scene, labelled in zip(some, teacher.label([one.picture for one in some]), strict=True):
            seen = labelled.detections
            yield told(
                seen.xyxy.tolist(), [ontology.names[int(number)] for number in seen.class_id],
                seen.confidence.tolist(), [list(thing.box_xyxy) for thing in scene.things],
                [thing.noun for thing in scene.things], len(labelled.faint),
            )  # fmt: skip


def _kept(file: Path) -> Told | None:
    return json.loads(file.read_text()) if file.exists() else None


def _keep(file: Path, told: Iterator[dict[str, Any]]) -> Told:
    found = list(told)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    return found

"""Images whose truth is known in full, with what a teacher says about them: drawn scenes and photos of COCO."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labeling.demo.objects import NOUNS
from labeling.demo.scenes import all_pairs, render_scene
from labeling.project import Project
from labeling.teachers.backends import TeacherSpec, effective_scores
from labeling.trust.gold import GoldImage, read_gold
from labeling.trust.opinions import Opinion, ask, kept

SCENES, FIRST_SEED = 400, 43_000_000


@dataclass(frozen=True)
class Population:
    """Images, in one order.

    Attributes:
        names: of the classes.
        gold: what is there.
        raw: what the teacher says, down to low scores.
        kept: what its filters leave at the scores in force.
    """

    names: tuple[str, ...]
    gold: tuple[GoldImage, ...]
    raw: tuple[Opinion, ...]
    kept: tuple[Opinion, ...]


def drawn_scenes(work: Path) -> Population:
    """Return drawn scenes as the bundled teacher sees them, asked for nouns alone."""
    photos = work / "scenes"
    if not (photos / "labels.json").exists():
        _draw(photos)
    return _population(photos / "labels.json", photos, work / "scenes-project", TeacherSpec("bundled", device="cpu"))


def real_photos(shared: Path, work: Path) -> Population:
    """Return the photos of COCO as a YOLOv8n sees them."""
    folder = shared / "data/coco-photos"
    weights = str(shared / "weights/yolov8n-coco-fp16.safetensors")
    spec = TeacherSpec("ultralytics", weights, segmenter="none", device="cpu")
    return _population(folder / "instances.json", folder / "images", work / "photos-project", spec)


def _draw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = [], []
    for number in range(SCENES):
        scene = render_scene(FIRST_SEED + number, pairs=all_pairs(unseen=True))
        name = f"scene-{number:03d}.jpg"
        (folder / name).write_bytes(scene.jpeg)
        height, width = scene.picture.shape[:2]
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for thing in scene.things:
            x0, y0, x1, y1 = (float(edge) for edge in thing.box_xyxy)
            box = [x0, y0, x1 - x0, y1 - y0]
            labels.append(
                {"id": len(labels), "image_id": number, "category_id": list(NOUNS).index(thing.noun), "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    classes = [{"id": place, "name": noun} for place, noun in enumerate(NOUNS)]
    part = folder / "labels.part"
    part.write_text(json.dumps({"images": images, "annotations": labels, "categories": classes}))
    part.rename(folder / "labels.json")


def _population(labels: Path, photos: Path, folder: Path, spec: TeacherSpec) -> Population:
    if not (folder / "labels.db").exists():
        labelstill(
            "convert", "--from", "coco", "--in", str(labels), "--images", str(photos), "--project", str(folder)
        )  # fmt: skip
    project = Project.open(folder)
    ontology = project.ontology
    with project.open_store() as store:
        gold = read_gold(store, ontology).images
        raw = ask(project, store, spec, ontology, [one.sha256 for one in gold])
    scores, filters = effective_scores(spec, ontology), project.config.filters
    left = tuple(kept(one, scores, filters.nms_iou, filters.class_agnostic_nms) for one in raw)
    return Population(ontology.names, _answered(gold, raw), tuple(raw), left)


def _answered(gold: Sequence[GoldImage], raw: Sequence[Opinion]) -> tuple[GoldImage, ...]:
    answered = {one.sha256 for one in raw}
    return tuple(one for one in gold if one.sha256 in answered)


def labelstill(*arguments: str) -> None:
    """Run one verb of the command that is installed beside this Python."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("labelstill")), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"labelstill {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")

"""Large pictures whose truth is known, drawn scenes or photos of COCO side by side, and scores of labels of them."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from labeling.core import geometry, masks
from labeling.core.records import Annotation, Rle
from labeling.demo.objects import NOUNS
from labeling.demo.scenes import all_pairs, render_scene
from labeling.teachers.tiles import starts

Boxes = npt.NDArray[np.float64]
"""(n, 4) xyxy in pixels."""

FIRST_SEED = {"look": 31_000_000, "final": 30_000_000}
GAP = 24
"""Room around each part, in which it is shifted off the grid of the tiles."""

GREY = 114


@dataclass(frozen=True, slots=True)
class Truth:
    """What one picture shows: boxes, classes, and which boxes hold crowds and are therefore never scored."""

    boxes: Boxes
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in one picture."""

    boxes: Boxes
    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """A small picture of a mosaic: the bytes of its file, its truth, and masks in the order of the boxes or none."""

    file: bytes
    size_wh: tuple[int, int]
    truth: Truth
    rles: tuple[Rle, ...] = ()


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A large picture of parts; ``at`` are the left upper corners of the parts."""

    file: Path
    size_wh: tuple[int, int]
    parts: tuple[Part, ...]
    at: npt.NDArray[np.int64]

    def truth(self) -> Truth:
        """Return the truth of all parts in pixels of the mosaic."""
        moved = [part.truth.boxes + np.tile(at, 2) for part, at in zip(self.parts, self.at, strict=True)]
        return Truth(
            np.concatenate(moved),
            np.concatenate([part.truth.classes for part in self.parts]),
            np.concatenate([part.truth.crowd for part in self.parts]),
        )

    def by_part(self, labels: Sequence[Annotation]) -> list[list[Annotation]]:
        """Return the labels whose centre each part holds, and lastly those that lie in none."""
        frames = np.concatenate([self.at, self.at + [part.size_wh for part in self.parts]], axis=1)
        boxes = boxes_of(labels)
        tree = shapely.STRtree(shapely.box(*frames.T))
        rows, owners = tree.query(shapely.points((boxes[:, :2] + boxes[:, 2:]) / 2))
        owner = np.full(len(labels), len(frames))
        owner[rows] = owners
        own: list[list[Annotation]] = [[] for _ in range(len(frames) + 1)]
        for label, number in zip(labels, owner, strict=True):
            own[number].append(label)
        return own


def scenes(half: str) -> tuple[list[str], list[Part]]:
    """Return the class names and 80 drawn scenes; more would not be more different."""
    names = list(NOUNS)
    return names, [_scene(FIRST_SEED[half] + number, names) for number in range(80)]


def _scene(seed: int, names: Sequence[str]) -> Part:
    drawn = render_scene(seed, pairs=all_pairs(unseen=True))
    boxes = np.array([thing.box_xyxy for thing in drawn.things], dtype=np.float64).reshape(-1, 4)
    classes = np.array([names.index(thing.noun) for thing in drawn.things], dtype=np.int64)
    height, width = drawn.picture.shape[:2]
    rles = tuple(masks.encode(thing.mask) for thing in drawn.things)
    return Part(drawn.jpeg, (width, height), Truth(boxes, classes, np.zeros(len(boxes), dtype=bool)), rles)


def photos(shared: Path, half: str) -> tuple[list[str], list[Part]]:
    """Return the class names and every other photo: the odd ones were looked at while the joining was made."""
    folder = shared / "data/coco-photos"
    told = json.loads((folder / "instances.json").read_text())
    names = [category["name"] for category in told["categories"]]
    place = {category["id"]: number for number, category in enumerate(told["categories"])}
    images = sorted(told["images"], key=lambda image: image["file_name"])[half == "look" :: 2]
    parts = []
    for image in images:
        own = [row for row in told["annotations"] if row["image_id"] == image["id"]]
        boxes = np.array([row["bbox"] for row in own], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        classes = np.array([place[row["category_id"]] for row in own], dtype=np.int64)
        crowd = np.array([row["iscrowd"] for row in own], dtype=bool)
        data = next(folder.glob(f"images/**/{image['file_name']}")).read_bytes()
        parts.append(Part(data, (image["width"], image["height"]), Truth(boxes, classes, crowd)))
    return names, parts


def mosaic(parts: Sequence[Part], megapixels: float, side: int, folder: Path) -> Mosaic:
    """Write a lossless picture of so many pixels or few less, of parts, again from the first where they are used up.

    Parts lie in rows by height, each shifted by up to ``GAP`` pixels so that it shares no edge with a tile of ``side``.
    """
    width = int((megapixels * 1e6) ** 0.5)
    height = int(megapixels * 1e6) // width
    chosen: list[Part] = []
    repeated = itertools.cycle(parts)
    while _height(_rows([*chosen, part := next(repeated)], width)) <= height:
        chosen.append(part)
    rows = _rows(chosen, width)
    rng = np.random.default_rng(0)
    canvas = np.full((height, width, 3), GREY, dtype=np.uint8)
    order, at, top = [], [], 0
    for row in rows:
        left = 0
        for part in row:
            x = _shifted(rng, left, part.size_wh[0], width, side)
            y = _shifted(rng, top, part.size_wh[1], height, side)
            canvas[y : y + part.size_wh[1], x : x + part.size_wh[0]] = Image.open(io.BytesIO(part.file)).convert("RGB")
            order.append(part)
            at.append((x, y))
            left += part.size_wh[0] + GAP
        top += row[0].size_wh[1] + GAP
    file = folder / f"{width}x{height}.png"
    Image.fromarray(canvas).save(file, compress_level=1)
    return Mosaic(file, (width, height), tuple(order), np.array(at))


def _rows(parts: Sequence[Part], width: int) -> list[list[Part]]:
    rows: list[list[Part]] = []
    left = width
    for part in sorted(parts, key=lambda part: -part.size_wh[1]):
        if left + part.size_wh[0] + GAP > width:
            rows.append([])
            left = 0
        rows[-1].append(part)
        left += part.size_wh[0] + GAP
    return rows


def _height(rows: Sequence[Sequence[Part]]) -> int:
    return sum(row[0].size_wh[1] + GAP for row in rows)


def _shifted(rng: np.random.Generator, start: int, extent: int, length: int, side: int) -> int:
    begins = starts(length, side)
    edges = {*begins, *(begin + side for begin in begins)}
    places = (start + rng.permutation(GAP + 1)).tolist()
    return next(place for place in places if not edges & {place, place + extent})


def boxes_of(labels: Sequence[Annotation]) -> Boxes:
    """Return the boxes of labels."""
    return np.array([label.box_xyxy for label in labels], dtype=np.float64).reshape(-1, 4)


def seen(labels: Sequence[Annotation], names: Sequence[str], at: npt.ArrayLike = (0, 0)) -> Seen:
    """Return labels as what was found in the part that lies ``at``."""
    return Seen(
        boxes_of(labels) - np.tile(at, 2),
        np.array([names.index(label.class_name) for label in labels], dtype=np.int64),
        np.array([label.provenance.score for label in labels], dtype=np.float64),
    )


def ap50(truths: Sequence[Truth], found: Sequence[Seen], names: Sequence[str]) -> float:
    """Return COCO's AP at IoU 0.5, mean over the classes that occur."""
    rows: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for number, (truth, one) in enumerate(zip(truths, found, strict=True)):
        for box, kind, crowd in zip(geometry.xyxy_to_xywh(truth.boxes), truth.classes, truth.crowd, strict=True):
            rows.append(
                {"id": len(rows) + 1, "image_id": number, "category_id": int(kind), "bbox": box.tolist(),
                 "area": float(box[2] * box[3]), "iscrowd": int(crowd)}
            )  # fmt: skip
        for box, kind, score in zip(geometry.xyxy_to_xywh(one.boxes), one.classes, one.scores, strict=True):
            row = {"image_id": number, "category_id": int(kind), "bbox": box.tolist(), "score": float(score)}
            answers.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(len(truths))],
            "annotations": rows,
            "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(answers), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, -1].mean(axis=0)  # -1 throughout where a class never occurs
    return float(precision[precision > -1].mean())


def mask_iou(
    parts: Sequence[Part], labels: Sequence[Sequence[Annotation]], names: Sequence[str], at: npt.NDArray[np.int64]
) -> float | None:
    """Return the mean mask IoU of the objects whose class and box were found; None without masks in the truth."""
    overlaps = []
    for part, own, (x, y) in zip(parts, labels, at, strict=True):
        meeting = geometry.iou(part.truth.boxes, boxes_of(own) - [x, y, x, y])
        classes = np.array([names.index(label.class_name) for label in own], dtype=np.int64)
        for row, mask in enumerate(part.rles):
            right = meeting[row] * (classes == part.truth.classes[row])
            if len(right) and right.max() >= 0.5:
                rle = own[int(right.argmax())].rle
                if rle is None:
                    overlaps.append(0.0)
                    continue
                frame = (float(x), float(y), float(x + part.size_wh[0]), float(y + part.size_wh[1]))
                overlaps.append(masks.iou(rle, masks.placed(mask, frame, (rle["size"][0], rle["size"][1]))))
    return float(np.mean(overlaps)) if overlaps else None

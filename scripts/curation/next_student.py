"""A small student for the measurement of `labelstill next`: trained on few photos, its boxes, its AP50."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIDE = 192
EPOCHS = 20

_BATCH = 8
_TAIL = 0.001
_SETTINGS: dict[str, Any] = {
    "imgsz": SIDE, "batch": _BATCH, "nbs": _BATCH, "optimizer": "AdamW", "lr0": 0.001, "lrf": 0.01,
    "warmup_epochs": 1, "close_mosaic": 3, "amp": False, "workers": 0, "cache": "ram", "device": "cpu",
    "deterministic": True, "val": False, "plots": False, "save_period": -1, "verbose": False, "exist_ok": True,
}  # fmt: skip

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo with the labels of people: (class index, box in pixels)."""

    name: str
    path: Path
    sha256: str
    size_wh: tuple[int, int]
    objects: tuple[tuple[int, Box], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One box of a student, in pixels."""

    class_index: int
    box: Box
    score: float


def offline(folder: Path) -> None:
    """Let ultralytics neither call out nor write outside a folder; before its import."""
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=str(folder))


def write_dataset(folder: Path, photos: Sequence[Photo]) -> None:
    """Write the photos at the size of the student, and their labels, as ultralytics reads them."""
    import cv2

    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    for photo in photos:
        width, height = photo.size_wh
        share = SIDE / max(width, height)
        small = cv2.resize(
            cv2.imread(str(photo.path)), (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA
        )
        cv2.imwrite(str(folder / "images" / f"{photo.name}.png"), small)
        lines = [
            f"{index} {(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f} "
            f"{(x1 - x0) / width:.6f} {(y1 - y0) / height:.6f}"
            for index, (x0, y0, x1, y1) in photo.objects
        ]
        (folder / "labels" / f"{photo.name}.txt").write_text("\n".join(lines) + "\n")


def start_weights(state: Path, target: Path) -> Path:
    """Write the state dict of a COCO detector as a checkpoint that ultralytics starts a training from."""
    import torch
    from safetensors.torch import load_file
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolov8n.yaml", verbose=False)
    model.load_state_dict({key: tensor.float() for key, tensor in load_file(state).items()}, strict=True)
    model.args = {}
    torch.save({"model": model, "train_args": {}}, target)
    return target


def train(start: Path, dataset: Path, picked: Sequence[str], names: Sequence[str], seed: int, work: Path) -> Path:
    """Train a student on the picked photos and return its checkpoint, the average of its weights."""
    import yaml
    from ultralytics import YOLO

    work.mkdir(parents=True, exist_ok=True)
    (work / "train.txt").write_text("".join(f"{dataset / 'images' / name}.png\n" for name in sorted(picked)))
    listed = str(work / "train.txt")
    data = work / "data.yaml"
    data.write_text(
        yaml.safe_dump({"path": str(work), "train": listed, "val": listed, "names": dict(enumerate(names))})
    )
    with contextlib.redirect_stdout(io.StringIO()):
        YOLO(str(start)).train(data=str(data), epochs=EPOCHS, seed=seed, project=str(work), name="run", **_SETTINGS)
    return work / "run/weights/last.pt"


def predict(checkpoint: Path, dataset: Path, photos: Sequence[Photo]) -> dict[str, list[Found]]:
    """Return the boxes of a student by sha256, best first, down to scores that only AP wants."""
    return dict(_predicted(checkpoint, dataset, photos))


def _predicted(checkpoint: Path, dataset: Path, photos: Sequence[Photo]) -> Iterator[tuple[str, list[Found]]]:
    from ultralytics import YOLO

    paths = [str(dataset / "images" / f"{photo.name}.png") for photo in photos]
    results = YOLO(str(checkpoint)).predict(
        paths, imgsz=SIDE, conf=_TAIL, iou=0.6, max_det=100, device="cpu", verbose=False, stream=True, batch=8
    )
    for photo, result in zip(photos, results, strict=True):
        width, height = photo.size_wh
        yield (
            photo.sha256,
            [
                Found(int(index), (x0 * width, y0 * height, x1 * width, y1 * height), float(score))
                for (x0, y0, x1, y1), index, score in zip(
                    result.boxes.xyxyn.tolist(), result.boxes.cls.tolist(), result.boxes.conf.tolist(), strict=True
                )
            ],
        )


def ap50(photos: Sequence[Photo], found: Mapping[str, Sequence[Found]], names: Sequence[str]) -> dict[str, float]:
    """Return AP at IoU 0.5 by pycocotools: of each class, and ``all``, their mean."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, boxes = COCO(), []
    truth.dataset = {
        "images": [{"id": number, "width": p.size_wh[0], "height": p.size_wh[1]} for number, p in enumerate(photos)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
        "annotations": [],
    }
    for number, photo in enumerate(photos):
        for index, box in photo.objects:
            row = {"image_id": number, "category_id": index, "bbox": _xywh(box), "iscrowd": 0}
            area = row["bbox"][2] * row["bbox"][3]
            truth.dataset["annotations"].append(row | {"id": len(truth.dataset["annotations"]) + 1, "area": area})
        boxes += [
            {"image_id": number, "category_id": one.class_index, "bbox": _xywh(one.box), "score": one.score}
            for one in found[photo.sha256]
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(boxes), "bbox")
        run.params.iouThrs = [0.5]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][0, :, :, 0, -1]
    of_class = {name: float(precision[:, index].mean()) for index, name in enumerate(names)}
    return {"all": sum(of_class.values()) / len(of_class), **of_class}


def _xywh(box: Box) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

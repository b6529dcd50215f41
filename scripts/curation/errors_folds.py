"""What a small detector says about images that it was not taught: two-fold cross-validation, kept on disk.

Each half of the images is predicted by a YOLOv8n that saw only the other half, with the labels as they are, errors
included. The answers of a half are one JSON file; a half that has one is not trained again, and a training that was
cut off goes on at its last epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from errors_data import Photos

from labeling.core.geometry import xyxy_to_cxcywhn
from labeling.core.records import Annotation, Provenance

FOLDS = 2
_NMS_IOU = 0.7


@dataclass(frozen=True, slots=True)
class Training:
    """How each half is learned; other settings give other files.

    Attributes:
        epochs: passes over the half.
        size: side of the square that images are fitted into, in pixels.
        batch: images per step.
        floor: lowest score of an answer that is kept on disk.
    """

    epochs: int = 8
    size: int = 320
    batch: int = 8
    floor: float = 0.1


def out_of_sample(
    labels: Mapping[str, Sequence[Annotation]], photos: Photos, weights: Path, work: Path, training: Training
) -> dict[str, list[Annotation]]:
    """Return the claims about every image by the model that was not taught it.

    Args:
        labels: of every image, by sha256, as they are to be learned.
        photos: the set that they belong to.
        weights: state dict of a YOLOv8n to start from.
        work: folder that outlives this run.
        training: settings.
    """
    images = sorted(labels)
    turn = np.random.default_rng(0).permutation(len(images)) % FOLDS
    claims: dict[str, list[Annotation]] = {}
    for fold in range(FOLDS):
        learned = [image for image, at in zip(images, turn, strict=True) if at != fold]
        asked = [image for image, at in zip(images, turn, strict=True) if at == fold]
        said = [[label.class_name, *label.box_xyxy] for image in learned for label in labels[image]]
        key = json.dumps([asdict(training), list(photos.names), learned, said])
        folder = work / hashlib.sha256(key.encode()).hexdigest()[:16]
        answers = folder / "answers.json"
        if not answers.exists():
            _write_dataset(folder, learned, asked, labels, photos)
            found = _trained(folder, weights, asked, photos.names, training)
            answers.with_suffix(".part").write_text(json.dumps(found))
            answers.with_suffix(".part").rename(answers)
            shutil.rmtree(folder / "data")
        for image, rows in json.loads(answers.read_text()).items():
            claims[image] = [
                _claim(image, row, f"yolov8n fold {fold} {folder.name}", photos.sizes[image]) for row in rows
            ]
    return claims


def _claim(image: str, row: Sequence[Any], model: str, size_wh: tuple[int, int]) -> Annotation:
    name, score, *box = row
    width, height = size_wh
    x0, y0, x1, y1 = (min(max(edge, 0.0), float(most)) for edge, most in zip(box, (width, height) * 2, strict=True))
    content = json.dumps([image, model, row])
    return Annotation(
        hashlib.sha256(content.encode()).hexdigest()[:32], image, name, (x0, y0, x1, y1),
        Provenance("teacher", model=model, score=score),
    )  # fmt: skip


def _write_dataset(
    folder: Path,
    learned: Sequence[str],
    asked: Sequence[str],
    labels: Mapping[str, Sequence[Annotation]],
    photos: Photos,
) -> None:
    """Write the folder that the library trains on; pictures are links."""
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    for part, some in (("train", learned), ("val", asked)):
        (data / "images" / part).mkdir(parents=True)
        (data / "labels" / part).mkdir(parents=True)
        for image in some:
            (data / "images" / part / f"{image}{photos.paths[image].suffix}").symlink_to(photos.paths[image])
            # The held-out half has labels only so that the library can print how good it is there.
            rows = [
                [
                    photos.names.index(label.class_name),
                    *xyxy_to_cxcywhn([label.box_xyxy], photos.sizes[image])[0].tolist(),
                ]
                for label in labels[image]
            ]
            text = "".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in rows)
            (data / "labels" / part / f"{image}.txt").write_text(text)
    classes = {position: name for position, name in enumerate(photos.names)}
    description = {"path": str(data), "train": "images/train", "val": "images/val", "names": classes}
    (data / "data.yaml").write_text(json.dumps(description))


def _trained(
    folder: Path, weights: Path, asked: Sequence[str], names: Sequence[str], training: Training
) -> dict[str, list[list[Any]]]:
    """Train on one half and return class name, score and box of every find in the other, by image."""
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=str(folder))
    from safetensors.torch import load_file
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.nn.tasks import DetectionModel

    class Warm(DetectionTrainer):  # type: ignore[misc]
        """Starts from a state dict; all but the class layer fits whatever the classes are."""

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            model = DetectionModel("yolov8n.yaml", nc=self.data["nc"], verbose=False)
            if weights is None:
                start = DetectionModel("yolov8n.yaml", nc=80, verbose=False)
                start.load_state_dict({key: value.float() for key, value in load_file(_start).items()})
                weights = start
            model.load(weights)
            return model

        def final_eval(self) -> None:
            """The last epoch has been validated already."""

    _start = weights
    last = folder / "run" / "weights" / "last.pt"
    settings = {
        "model": str(last) if last.exists() else "yolov8n.yaml", "data": str(folder / "data/data.yaml"),
        # A bare True would go on with the newest run of anyone below this folder.
        "project": str(folder), "name": "run", "exist_ok": True, "resume": str(last) if last.exists() else False,
        "epochs": training.epochs, "imgsz": training.size, "batch": training.batch, "nbs": training.batch,
        "device": "cpu", "workers": 0, "cache": "ram", "amp": False, "val": False, "plots": False, "seed": 0,
        "warmup_epochs": 1, "mosaic": 0.0, "flipud": 0.5, "fliplr": 0.5, "degrees": 0.0, "scale": 0.2,
    }  # fmt: skip
    done = folder / "trained"
    if not done.exists():
        Warm(overrides=settings).train()
        done.touch()
    model = YOLO(str(last))
    found: dict[str, list[list[Any]]] = {image: [] for image in asked}
    for result in model.predict(
        str(folder / "data/images/val"), imgsz=training.size, conf=training.floor, iou=_NMS_IOU, device="cpu",
        stream=True, verbose=False, project=str(folder),
    ):  # fmt: skip
        rows = result.boxes.data.tolist()
        found[Path(result.path).stem] = [[names[int(c)], score, x0, y0, x1, y1] for x0, y0, x1, y1, score, c in rows]
    return found

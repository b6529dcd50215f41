"""How much better does a student look when a split by lot cuts bursts? Planted bursts, one test, two trainings.

    .venv/bin/python scripts/student/measure_leak.py [--seeds 3] [--shared ../shared] [--work DIR] [--json]

Every raccoon photo gets two neighbours, as a burst has them: shifted by up to 4 %, a little brighter or darker,
encoded again. The whole is cut into train, val and test by lot, and by `labelstill split`; the audit counts the leaks
of either. Then two students learn from the same weights, for equally many epochs, from equally many images, and are
measured on the same test part of the split by lot: `leaky` has learned from neighbours of test images, as they lie in
train, `honest` has not, since they were taken out (as many others were taken out of the leaky train part, by lot). What
the first exceeds the second by is the inflation.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, cell, labelstill, mean_and_spread
from PIL import Image, ImageEnhance

from distill.curation.duplicates import duplicates
from distill.evaluate import evaluate
from distill.speakers import student as ask
from distill.speakers import truth
from distill.split import read_split
from distill.splitting.audit import audit
from distill.splitting.given import given_split
from distill.students import TrainSettings, student
from distill.training import Teaching, train
from labeling.core.store import Store
from labeling.core.store_splits import Part
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader

REPOSITORY = Path(__file__).resolve().parents[2]
NEIGHBOURS, LONGEST = 2, 400
SHIFT, LIGHT = 0.04, 0.08
EPOCHS, SIDE = 10, 224
WAYS = ("leaky", "honest")

Box = tuple[float, float, float, float]


class Bench:
    """The photos with their bursts, people's labels of them, and both splits."""

    def __init__(self, shared: Path, work: Path) -> None:
        """Plant the bursts and split, unless that was done before."""
        self.start = shared / "weights/yolov8n-coco-fp16.safetensors"
        folder = work / "project"
        if not (folder / "labels.db").exists():
            plant(shared / "data/raccoon", work / "photos")
            labels = str(work / "photos/labels.json")
            labelstill(
                "convert", "--from", "coco", "--in", labels, "--images", str(work / "photos"), "--project", str(folder)
            )
        self.project = Project.open(folder)
        with self.project.open_store() as store:
            self.names = {Path(one.paths[0]).stem: str(one.sha256) for one in store.iter_images("human")}

    def leaks(self, seed: int) -> Cell:
        """Return how many leaks the audit finds in a split by lot and in one by the command."""
        with self.project.open_store() as store:
            given_split(store, self._lists(seed), name=f"lot-{seed}")
            labelstill("split", "--project", str(self.project.root), "--name", f"ours-{seed}", "--seed", str(seed))
            alike = duplicates(store)
            return {way: audit(store, read_split(store, f"{way}-{seed}"), alike).leaks for way in ("lot", "ours")}

    def measure(self, way: str, seed: int) -> Cell:
        """Train on the split by lot, with or without the neighbours of its test part, and measure there."""
        name = f"{way}-{seed}"
        with self.project.open_store() as store:
            lists = self._lists(seed)
            tested = {stem.rpartition("-")[0] for stem in lists["test"]}
            # The val part chooses the epoch, so it knows none of the test part either.
            kin = [stem for stem in lists["train"] if stem.rpartition("-")[0] in tested]
            others = [stem for stem in lists["train"] if stem.rpartition("-")[0] not in tested]
            gone = kin if way == "honest" else random.Random(seed).sample(others, len(kin))
            taught = [stem for stem in lists["train"] if stem not in set(gone)]
            chosen = [stem for stem in lists["val"] if stem.rpartition("-")[0] not in tested]
            given_split(store, {"train": taught, "val": chosen, "test": lists["test"]}, name=name)
            split = read_split(store, name)
            settings = TrainSettings("yolov8n", self.start, EPOCHS, SIDE, 16, seed, "cpu")
            run = train(self.project, store, split, settings, Teaching(oversample=False))
            ap50 = self._ap50(store, run.weights, list(split.images("test")))
            return {"ap50": ap50, "train": len(taught), "test": len(lists["test"]), "kin": len(kin)}

    def _lists(self, seed: int) -> dict[Part, list[str]]:
        stems = sorted(self.names)
        random.Random(seed).shuffle(stems)
        first, second = round(0.7 * len(stems)), round(0.85 * len(stems))
        return {"train": stems[:first], "val": stems[first:second], "test": stems[second:]}

    def _ap50(self, store: Store, weights: Path, images: list[str]) -> float:
        pupil = student("ultralytics").load(weights, "cpu")
        names = self.project.ontology.names
        photos = StoredPhotos(store, loader(self.project.config.images))
        said = ask(pupil, images, photos.photo, names)
        ap50 = evaluate(truth(store, said.images, names), said.objects, names, resamples=0).ap50
        assert ap50 is not None
        return float(ap50)


def plant(source: Path, folder: Path) -> None:
    """Write photos, bursts and their labels as COCO."""
    folder.mkdir(parents=True, exist_ok=True)
    lot = random.Random(0)
    images: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    files = sorted((source / "annotations").glob("*.xml"))
    seen: set[bytes] = set()
    lot.shuffle(files)
    for number, file in enumerate(files):
        picture = source / "images" / f"{file.stem}.jpg"
        if picture.read_bytes() in seen:
            continue
        seen.add(picture.read_bytes())
        with Image.open(picture) as opened:
            photo = opened.convert("RGB")
        boxes = [tuple(float(one.find(f"bndbox/{side}").text) for side in ("xmin", "ymin", "xmax", "ymax"))  # type: ignore[union-attr, arg-type]
                 for one in ET.parse(file).getroot().iter("object")]  # fmt: skip
        for frame in range(1 + NEIGHBOURS):
            name = f"burst-{number:03d}-{frame}"
            shot, moved = neighbour(photo, boxes, lot if frame else None)  # type: ignore[arg-type]
            (folder / f"{name}.jpg").write_bytes(shot)
            width, height = Image.open(io.BytesIO(shot)).size
            images.append({"id": len(images), "file_name": f"{name}.jpg", "width": width, "height": height})
            for x0, y0, x1, y1 in moved:
                box = [x0, y0, x1 - x0, y1 - y0]
                labels.append(
                    {"id": len(labels), "image_id": images[-1]["id"], "category_id": 1, "bbox": box, "iscrowd": 0,
                     "area": box[2] * box[3]}
                )  # fmt: skip
    text = {"images": images, "annotations": labels, "categories": [{"id": 1, "name": "raccoon"}]}
    (folder / "labels.json").write_text(json.dumps(text))


def neighbour(photo: Image.Image, boxes: list[Box], lot: random.Random | None) -> tuple[bytes, list[Box]]:
    """Return the next shot of a burst as JPEG, and where the objects are in it; without a lot the photo itself."""
    share = min(1.0, LONGEST / max(photo.size))
    photo = photo.resize((round(photo.width * share), round(photo.height * share)))
    scaled = np.array(boxes, dtype=np.float64).reshape(-1, 4) * share
    dx = dy = 0
    if lot is not None:
        dx, dy = round(lot.uniform(0, SHIFT) * photo.width), round(lot.uniform(0, SHIFT) * photo.height)
        photo = photo.crop((dx, dy, photo.width, photo.height))
        photo = ImageEnhance.Brightness(photo).enhance(1 + lot.uniform(-LIGHT, LIGHT))
    scaled -= [dx, dy, dx, dy]
    scaled = scaled.clip(0, [photo.width, photo.height] * 2)
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=90 if lot is None else 85)
    return data.getvalue(), [tuple(box) for box in scaled.tolist() if box[2] - box[0] > 1 and box[3] - box[1] > 1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/student-leak")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.shared, options.work)
    leaks = [cell(options.work / "cells", f"leaks-{seed}", partial(bench.leaks, seed)) for seed in range(options.seeds)]
    found = {
        (way, seed): cell(options.work / "cells", f"{way}-{seed}", partial(bench.measure, way, seed))
        for seed in range(options.seeds)
        for way in WAYS
    }
    if options.json:
        rows = [{"way": way, "seed": seed, **one} for (way, seed), one in found.items()]
        print(json.dumps({"leaks": leaks, "trainings": rows}, indent=1))
        return
    first = found[WAYS[0], 0]
    print(
        f"YOLOv8n from COCO weights, {SIDE} px, {EPOCHS} epochs, {options.seeds} seeds, CPU; {first['train']} images "
        f"taught, {first['test']} tested\n\n"
        f"leaks found by the audit: {', '.join(str(one['lot']) for one in leaks)} in splits by lot, "
        f"{', '.join(str(one['ours']) for one in leaks)} in those of labelstill split\n\n"
        "| train part | AP50 on the test part of the split by lot |\n|---|---|"
    )
    values = {way: [found[way, seed]["ap50"] for seed in range(options.seeds)] for way in WAYS}
    print(f"| with neighbours of test images, as lot left them | {mean_and_spread(values['leaky'])} |")
    print(f"| without them, as many images | {mean_and_spread(values['honest'])} |")
    more = [one - other for one, other in zip(values["leaky"], values["honest"], strict=True)]
    print(f"| inflation | {mean_and_spread(more, '+.3f')} |")


if __name__ == "__main__":
    main()

"""Measure what INT8 costs on real photos, per class: ranges from some of them, accuracy on all others.

    .venv/bin/python scripts/edge/measure_int8.py [--photos ../shared/data/coco-photos] [--size 640] [--count 40]
        [--methods percentile entropy minmax] [--search] [--json FILE]

Needs the extras "student" and "edge". The photos are labelled as COCO does, the model is YOLOv8n with the weights that
were trained on all of COCO: figures of FP32 are no measure of that model, what INT8 loses on the same photos is. Photos
for the ranges are chosen as an export chooses them. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np

from distill import speakers
from distill.curation.photo_facts import look_of
from distill.evaluate import Evaluation, evaluate
from distill.objects import Objects
from export.calibration import choose
from export.int8_gate import Verdict, gate
from export.predictor import EdgePredictor
from export.qdq import METHOD, Method
from export.quantise import quantise, search
from export.runtime import Frame, Model, OnnxSession
from export.to_onnx import ExportSettings, to_onnx
from labeling.core.config import ImagesConfig
from labeling.images import LoadedImage
from labeling.stored_photos import loader

REPOSITORY = Path(__file__).resolve().parents[2]


class Photos:
    """Photos with labels of people in the format of COCO; crowds are left out.

    Attributes:
        truth: what people say, by file name.
        names: the classes.
    """

    def __init__(self, folder: Path) -> None:
        """Read instances.json; the photos lie in images/."""
        said = json.loads((folder / "instances.json").read_text())
        self._images, self._load = folder / "images", loader(ImagesConfig())
        self.names = tuple(one["name"] for one in said["categories"])
        ids = {one["id"]: place for place, one in enumerate(said["categories"])}
        labels: dict[int, list[Mapping[str, Any]]] = {}
        for one in said["annotations"]:
            if not one["iscrowd"]:
                labels.setdefault(one["image_id"], []).append(one)
        self.truth = {
            one["file_name"]: _objects(one, labels.get(one["id"], []), ids)
            for one in sorted(said["images"], key=lambda image: str(image["file_name"]))
        }

    def photo(self, name: str) -> LoadedImage:
        """Decode a photo."""
        return self._load(self._images / name)

    def frames(self, names: Sequence[str]) -> Iterator[Frame]:
        """Yield photos, BGR."""
        return (np.ascontiguousarray(self.photo(name).pixels[:, :, ::-1]) for name in names)

    def evaluation(self, onnx: Path, names: Sequence[str]) -> Evaluation:
        """Return how good a model file is on these photos."""
        said = speakers.student(EdgePredictor(Model(OnnxSession(onnx))), names, self.photo, self.names)
        return evaluate([self.truth[name] for name in names], said.objects, self.names, resamples=2)


def coco_model(folder: Path, size: int) -> Path:
    """Write YOLOv8n with the weights of COCO as folder/model.onnx, with its card."""
    from distill.students import WEIGHTS_FILE
    from distill.yolo.weights import write_student
    from labeling.teachers.detectors.ultralytics import as_yolo

    yolo = as_yolo(REPOSITORY.parent / "shared/weights/yolov8n-coco-fp16.safetensors")
    names = json.dumps(list(yolo.names.values()))
    about = {"kind": "ultralytics", "yaml": "yolov8n", "task": "detect", "imgsz": str(size), "names": names}
    about |= {"licence": "AGPL-3.0", "dataset": "", "ontology": ""}
    write_student(folder / WEIGHTS_FILE, yolo.model.state_dict(), about)
    to_onnx(folder / WEIGHTS_FILE, folder / "model.onnx", ExportSettings())
    return folder / "model.onnx"


def measure(folder: Path, photos: Photos, size: int, count: int, methods: Sequence[Method]) -> dict[str, Any]:
    """Return the verdict of each method, measured on the photos that are not calibrated on."""
    onnx = coco_model(folder, size)
    every = list(photos.truth)
    chosen = choose(every, np.array([look_of(photos.photo(name).pixels) for name in every], dtype=np.float32), count)
    others = sorted(set(every) - set(chosen))
    reference = photos.evaluation(onnx, others)
    verdicts = {}
    for method in methods:
        int8 = folder / f"{method}.onnx"
        quantise(onnx, int8, photos.frames(chosen), method=method)
        verdicts[method] = gate(reference, photos.evaluation(int8, others), photos.names)
    return {"calibrated_on": chosen, "measured_on": others, "verdicts": verdicts, "reference": reference}


def table(verdicts: Mapping[str, Verdict]) -> str:
    """Return a row for all classes and one for each class with enough objects, a column for each method."""
    first = next(iter(verdicts.values()))
    objects = sum(one.objects for one in first.classes)
    lines = [
        "| class | objects | FP32 | " + " | ".join(f"INT8 {method}" for method in verdicts) + " |",
        "|---|---:|---:|" + "---:|" * len(verdicts),
        _row("all, AP50-95", objects, first.fp32, [one.int8 for one in verdicts.values()]),
        _row("all, AP50", None, first.fp32_ap50, [one.int8_ap50 for one in verdicts.values()]),
    ]
    for place, one in enumerate(first.classes):
        if one.judged:
            lines.append(_row(one.name, one.objects, one.fp32, [v.classes[place].int8 for v in verdicts.values()]))
    return "\n".join(lines)


def _row(name: str, objects: int | None, fp32: float | None, int8: Sequence[float | None]) -> str:
    shares = [fp32, *int8]
    cells = ["not measured" if share is None else f"{100 * share:.1f}" for share in shares]
    return f"| {name} | {'' if objects is None else objects} | " + " | ".join(cells) + " |"


def _objects(image: Mapping[str, Any], labels: Sequence[Mapping[str, Any]], ids: Mapping[int, int]) -> Objects:
    corners = [(x, y, x + wide, y + high) for x, y, wide, high in (one["bbox"] for one in labels)]
    return Objects(
        image["file_name"],
        (image["width"], image["height"]),
        np.array(corners, dtype=np.float64).reshape(-1, 4),
        np.array([ids[one["category_id"]] for one in labels], dtype=np.int64),
        np.ones(len(labels)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=REPOSITORY.parent / "shared/data/coco-photos")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--count", type=int, default=40, help="photos for the ranges; all others are measured on")
    parser.add_argument("--methods", nargs="+", choices=get_args(Method), default=[METHOD])
    parser.add_argument("--search", action="store_true", help="also put the worst layers back until the gate passes")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    photos = Photos(asked.photos)
    with TemporaryDirectory(prefix="labelstill-measure-") as name:
        folder = Path(name)
        found = measure(folder, photos, asked.size, asked.count, asked.methods)
        print(table(found["verdicts"]))
        for method, verdict in found["verdicts"].items():
            print(f"\n{method}: {verdict.sentence}")
        written = {method: asdict(verdict) for method, verdict in found["verdicts"].items()}
        if asked.search:
            others, reference = found["measured_on"], found["reference"]
            result = search(
                folder / "model.onnx",
                folder / "int8.onnx",
                photos.frames(found["calibrated_on"]),
                lambda path: gate(reference, photos.evaluation(path, others), photos.names),
                tell=print,
            )
            print(f"\nsearch: {result.sentence}")
            written["search"] = asdict(result)
    print(f"\n{len(found['calibrated_on'])} photos for the ranges, {len(found['measured_on'])} measured on")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"cores": os.cpu_count(), "size": asked.size, **written}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Do torch, ONNX, ONNX with NMS, FP16 and INT8 see the same things? Two students of real photos, per class.

    .venv/bin/python scripts/edge/measure_parity.py [--models yolov8n yolov8s] [--shared ../shared] [--work DIR]

Students of bccd, trained for a few epochs at a small size: YOLOv8n from the weights of ../shared, YOLOv8s from random
ones. Every form is compared with torch on the photos of val, box by box at the score 0.25, and measured by people's
labels. Ranges of INT8 are of 128 varied photos of train; no layer is kept in float. What is trained is kept in the work
folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts/student"))

from cells import labelstill  # noqa: E402 (they lie beside the scripts of students)
from real_sets import project_of  # noqa: E402

from distill.evaluate import Evaluation, evaluate  # noqa: E402
from distill.run_folder import RunFolder  # noqa: E402
from distill.speakers import student as ask  # noqa: E402
from distill.speakers import truth  # noqa: E402
from distill.split import read_split  # noqa: E402
from export.calibration import frames_for  # noqa: E402
from export.parity import Parity, compare  # noqa: E402
from export.predictor import EdgePredictor, TorchSession  # noqa: E402
from export.quantise import quantise  # noqa: E402
from export.runtime import Frame, Model, OnnxSession, Session  # noqa: E402
from export.to_onnx import ExportSettings, to_half, to_onnx  # noqa: E402
from labeling.core.store import Store  # noqa: E402
from labeling.stored_photos import StoredPhotos, loader  # noqa: E402

EPOCHS, SIDE = 10, 192
FORMS = ("torch", "ONNX", "ONNX, NMS in the graph", "ONNX, FP16", "ONNX, INT8")


@dataclass(frozen=True)
class Seen:
    """One form of a student on the photos: agreement with torch (None for torch itself), and accuracy."""

    parity: Parity | None
    evaluation: Evaluation


class Bench:
    """The photos of val with the labels of people, and students of the photos of train."""

    def __init__(self, shared: Path, work: Path) -> None:
        """Import the labels unless that was done before."""
        self._start = shared / "weights/yolov8n-coco-fp16.safetensors"
        self.project = project_of("bccd", shared, work / "project")
        self.names = self.project.ontology.names

    def student(self, model: str) -> Path:
        """Return the weights of a student, trained now unless it was before."""
        run = self.project.runs_path / "train" / model
        if not (run / "run.json").exists():
            start = ["--start", str(self._start)] if model == "yolov8n" else []
            labelstill(
                "train", "--project", str(self.project.root), "--model", model, *start, "--epochs", str(EPOCHS),
                "--imgsz", str(SIDE), "--device", "cpu", "--name", model,
            )  # fmt: skip
        return RunFolder.open(run).weights

    def measure(self, weights: Path, folder: Path) -> Iterator[tuple[str, Seen]]:
        """Yield every form of a student."""
        with self.project.open_store() as store:
            images = read_split(store, "default").images("val")
            photos = StoredPhotos(store, loader(self.project.config.images))
            people = truth(store, images, self.names)
            card = to_onnx(weights, folder / "fp32.onnx", ExportSettings())
            reference = TorchSession(weights, card)
            for form, session in self._sessions(store, weights, folder, reference):
                said = ask(EdgePredictor(Model(session)), images, photos.photo, self.names)
                frames = ((image, _frame(photos, image)) for image in images)
                parity = None if session is reference else compare(reference, session, frames)
                yield form, Seen(parity, evaluate(people, said.objects, self.names, resamples=2))

    def _sessions(self, store: Store, weights: Path, folder: Path, reference: Session) -> Iterator[tuple[str, Session]]:
        yield FORMS[0], reference
        whole = folder / "fp32.onnx"
        yield FORMS[1], OnnxSession(whole)
        to_onnx(weights, folder / "nms.onnx", ExportSettings(nms=True))
        yield FORMS[2], OnnxSession(folder / "nms.onnx")
        to_half(whole, folder / "fp16.onnx")
        yield FORMS[3], OnnxSession(folder / "fp16.onnx")
        ranges = frames_for(self.project, store, read_split(store, "default"))
        quantise(whole, folder / "int8.onnx", ranges.frames())
        yield FORMS[4], OnnxSession(folder / "int8.onnx")


def table(seen: Mapping[str, Seen], names: tuple[str, ...]) -> str:
    """Return a row for each form."""
    heads = ["form", "pairs", "worst IoU", "median IoU", "worst score", "one alone", "AP50", "AP50-95", *names]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for form, one in seen.items():
        told = [""] * 5
        if one.parity is not None:
            all_ = one.parity.all
            ious = [f"{iou:.4f}" for iou in (all_.min_iou, all_.median_iou)]
            told = [str(all_.matched), *ious, f"{all_.max_score:.1e}", str(all_.alone)]
        by_class = [f"{100 * row.ap50_95:.1f}" for row in one.evaluation.classes]
        accuracy = [f"{100 * one.evaluation.ap50:.1f}", f"{100 * one.evaluation.ap50_95:.1f}"]
        lines.append(f"| {' | '.join([form, *told, *accuracy, *by_class])} |")
    return "\n".join(lines)


def _frame(photos: StoredPhotos, image: str) -> Frame:
    photo = photos.photo(image)
    assert photo is not None, image
    return np.ascontiguousarray(photo.pixels[:, :, ::-1])


def main() -> None:
    """Print one table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov8n", "yolov8s"])
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/edge-parity")
    options = parser.parse_args()
    bench = Bench(options.shared, options.work)
    for model in options.models:
        weights = bench.student(model)
        with TemporaryDirectory(prefix="labelstill-parity-") as folder:
            seen = dict(bench.measure(weights, Path(folder)))
        photos = next(iter(seen.values())).evaluation.images
        print(f"{model}, {SIDE} px, {EPOCHS} epochs of bccd, {photos} photos of val; AP per class is AP50-95 in %\n")
        print(table(seen, bench.names), end="\n\n")


if __name__ == "__main__":
    main()

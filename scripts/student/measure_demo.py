"""What is a student worth that learned from the teacher's labels? Four ways to teach it, on drawn scenes.

    .venv/bin/python scripts/student/measure_demo.py [--work DIR] [--seeds 3] [--json]

The bundled teacher labels 200 scenes; a YOLOv8n is trained from random weights, with the same budget, on

    truth       (a) the exact labels of the renderer
    raw         (b) the teacher's labels as they are
    corrected   (c) the teacher's labels, those of the 30 % least sure images replaced by the exact ones
    soft        (d) the teacher's labels weighted by score, what it half saw ignored
    weights, ring   the two halves of (d), each alone
    both            (c) and (d) together
    features        (b), and the features of a YOLOv8s that was trained on (b) before

AP50 is measured on 200 other scenes by their exact labels. The weights after the last epoch count; the 8 scenes of the
val part, which every training has to have, choose nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from cells import Cell, cell, labelstill, mean_and_spread

from distill.evaluate import evaluate
from distill.objects import Objects
from distill.run_folder import RunFolder
from distill.split import read_split
from distill.splitting.given import given_split
from distill.students import TrainSettings, student
from distill.training import Teaching, train
from labeling.core.records import Annotation, Provenance
from labeling.core.store import Store
from labeling.demo.scenes import Scene, all_pairs, render_scene
from labeling.project import Project
from labeling.queue import doubt

REPOSITORY = Path(__file__).resolve().parents[2]
TAUGHT, HELD_OUT, VAL = 200, 200, 8
FIRST_SEED, FIRST_HELD_OUT = 60_000_000, 70_000_000
CORRECTED = 0.3
"""This share of the images is corrected, the least sure first."""

EPOCHS, SIDE, BATCH = 30, 192, 8
NAMES = ("forklift", "pallet", "box", "barrel", "cone", "ladder", "person")
HARD = Teaching(weights=False, ring=False, oversample=False)
SOFT = replace(HARD, weights=True, ring=True)
WAYS: Mapping[str, tuple[float, Teaching]] = {
    "truth": (1.0, HARD),
    "raw": (0.0, HARD),
    "corrected": (CORRECTED, HARD),
    "soft": (0.0, SOFT),
    "weights": (0.0, replace(HARD, weights=True)),
    "ring": (0.0, replace(HARD, ring=True)),
    "both": (CORRECTED, SOFT),
    "features": (0.0, HARD),
}
"""Share of the images whose labels are replaced by the exact ones, and how the others are taught."""


class Bench:
    """The scenes, labelled by the teacher once, and one project per share that was corrected."""

    def __init__(self, work: Path) -> None:
        """Draw and label what is not there yet."""
        self.work = work
        self.scenes = {f"scene-{number:03d}": drawn(FIRST_SEED + number) for number in range(TAUGHT + VAL)}
        self.held_out = [drawn(FIRST_HELD_OUT + number) for number in range(HELD_OUT)]
        photos = work / "photos"
        photos.mkdir(parents=True, exist_ok=True)
        for name, scene in self.scenes.items():
            (photos / f"{name}.jpg").write_bytes(scene.jpeg)
        self.raw = work / "labelled"
        labelstill(
            "label", str(photos), "--project", str(self.raw), "--classes", ", ".join(NAMES), "--detector", "bundled",
            "--segmenter", "none",
        )  # fmt: skip

    def measure(self, way: str, seed: int) -> Cell:
        """Train one student and measure it on the held-out scenes."""
        share, teaching = WAYS[way]
        project = self.project(share)
        settings = TrainSettings("yolov8n", None, EPOCHS, SIDE, BATCH, seed, "cpu", extra={"val": False})
        if way == "features":
            larger = self._trained(project, replace(settings, model="yolov8s"), teaching)
            settings = replace(settings, distill_model=larger.weights)
        began = time.perf_counter(), time.process_time()
        run = self._trained(project, settings, teaching)
        seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        return {"ap50": self.ap50(run), "seconds": seconds, "cpu_seconds": cpu}

    def _trained(self, project: Project, settings: TrainSettings, teaching: Teaching) -> RunFolder:
        with project.open_store() as store:
            return train(project, store, read_split(store, "default"), settings, teaching)

    def ap50(self, run: RunFolder) -> float:
        """Return AP50 on the held-out scenes, mean over the classes."""
        pupil = student(run.facts["kind"]).load(run.weights, "cpu")
        found = [one for scene in self.held_out for one in pupil.predict([scene.picture])]
        ap50 = evaluate([exact(scene) for scene in self.held_out], found, NAMES, resamples=0).ap50
        assert ap50 is not None
        return float(ap50)

    def project(self, share: float) -> Project:
        """Return the project in which this share of the images is corrected."""
        folder = self.work / "projects" / f"{share:g}"
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(self.raw, part, ignore=shutil.ignore_patterns("runs", "datasets"))
            project = Project.open(part)
            with project.open_store() as store:
                self._correct(store, share)
            part.rename(folder)
        return Project.open(folder)

    def _correct(self, store: Store, share: float) -> None:
        """Give the least sure images, and val, their exact labels; write the split."""
        by_image = {hashlib.sha256(scene.jpeg).hexdigest(): scene for scene in self.scenes.values()}
        images = list(by_image)
        doubts = doubt(store, images[:TAUGHT])
        least_sure = sorted(doubts, key=lambda sha256: (-doubts[sha256], sha256))
        for sha256 in [*least_sure[: round(share * TAUGHT)], *images[TAUGHT:]]:
            labels = [
                Annotation(
                    hashlib.sha256(f"{sha256} {number}".encode()).hexdigest()[:32],
                    sha256,
                    thing.noun,
                    thing.box_xyxy,
                    Provenance("human", annotator="renderer"),
                )
                for number, thing in enumerate(by_image[sha256].things)
                if thing.noun in NAMES
            ]
            store.set_reviewed(sha256, labels, "reviewed" if labels else "reviewed-empty")
        names = list(self.scenes)
        given_split(store, {"train": names[:TAUGHT], "val": names[TAUGHT:]})


def drawn(seed: int) -> Scene:
    """Return one of the scenes."""
    return render_scene(seed, pairs=all_pairs(unseen=True))


def exact(scene: Scene) -> Objects:
    """Return what stands in a scene."""
    things = [thing for thing in scene.things if thing.noun in NAMES]
    height, width = scene.picture.shape[:2]
    return Objects(
        "",
        (width, height),
        np.array([thing.box_xyxy for thing in things], dtype=np.float64).reshape(-1, 4),
        np.array([NAMES.index(thing.noun) for thing in things], dtype=np.int64),
        np.ones(len(things)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/student-demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.work)
    found = {
        (way, seed): cell(options.work / "cells", f"{way}-{seed}", partial(bench.measure, way, seed))
        for seed in range(options.seeds)
        for way in options.ways
    }
    if options.json:
        print(json.dumps([{"way": way, "seed": seed, **one} for (way, seed), one in found.items()], indent=1))
        return
    print(f"YOLOv8n from random weights, {SIDE} px, {EPOCHS} epochs, {TAUGHT} scenes, {options.seeds} seeds, CPU\n")
    print("| taught with | AP50 on exact labels | minutes |\n|---|---|---|")
    for way in options.ways:
        cells = [found[way, seed] for seed in range(options.seeds)]
        minutes = max(one["seconds"] for one in cells) / 60
        print(f"| {way} | {mean_and_spread([one['ap50'] for one in cells])} | {minutes:.1f} |")


if __name__ == "__main__":
    main()

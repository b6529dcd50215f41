"""Students of real photos from a warm start, beside plain `yolo train` on the same data and budget.

    .venv/bin/python scripts/student/measure_real.py [--sets bccd raccoon deeppcb] [--seeds 3] [--json]

Labels are people's. The parts are those of scripts/student/splits. Both students start from the same weights, see the
same folder, at the same size, for equally many epochs; `plain` has no setting of its own beyond these. AP50 of both is
measured by `distill.evaluate` on the test part, with the weights that each way calls its best. Goals: BCCD 0.90,
raccoon 0.95, and our mean not below the plain mean minus one standard deviation, at most 5 % slower.

Every training runs in a process of its own, one after the other, ours and plain by turns. One JSON file per finished
training lies in the work folder; the same command after a stop goes on with the rest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from cells import Cell, cell, mean_and_spread
from real_sets import project_of

from distill.dataset import materialise
from distill.evaluate import evaluate
from distill.objects import Objects
from distill.speakers import truth
from distill.split import read_split
from distill.students import student
from labeling.stored_photos import StoredPhotos, loader

REPOSITORY = Path(__file__).resolve().parents[2]
WAYS = ("ours", "plain")


class Budget(NamedTuple):
    """Epochs and longer side of the input of one set, and the AP50 to reach; None where none is set."""

    epochs: int
    imgsz: int
    goal: float | None


BUDGETS = {"bccd": Budget(20, 320, 0.90), "raccoon": Budget(20, 320, 0.95), "deeppcb": Budget(20, 320, None)}


class Bench:
    """One set: a project with people's labels and its parts, and the dataset that both ways are taught with."""

    def __init__(self, name: str, shared: Path, work: Path) -> None:
        """Import the labels and write the dataset, unless that was done before."""
        self.name, self.work, self.budget = name, work, BUDGETS[name]
        self.start = shared / "weights/yolov8n-coco-fp16.safetensors"
        self.project = project_of(name, shared, work / "project")
        with self.project.open_store() as store:
            photos = StoredPhotos(store, loader(self.project.config.images))
            self.dataset = materialise(
                self.project, store, read_split(store, "default"), photos.photo, oversample=False
            )

    def measure(self, way: str, seed: int) -> Cell:
        """Train one student in a process of its own, and measure it."""
        began = time.perf_counter()
        weights = self._ours(seed) if way == "ours" else self._plain(seed)
        seconds = time.perf_counter() - began
        return {"ap50": self.ap50(weights), "seconds": seconds}

    def ap50(self, weights: Path) -> float:
        """Return AP50 on the test part, by the same predictor for both ways."""
        pupil = student("ultralytics").load(weights, "cpu")
        names = self.project.ontology.names
        with self.project.open_store() as store:
            images = read_split(store, "default").images("test")
            photos = StoredPhotos(store, loader(self.project.config.images))
            found: list[Objects] = []
            for sha256 in images:
                photo = photos.photo(sha256)
                assert photo is not None, sha256
                found += pupil.predict([photo.pixels])
            ap50 = evaluate(truth(store, images, names), found, names, resamples=0).ap50
        assert ap50 is not None
        return float(ap50)

    def _ours(self, seed: int) -> Path:
        name = f"ours-{seed}"
        _run(
            [
                str(Path(sys.executable).with_name("labelstill")), "train", "--project", str(self.project.root),
                "--model", "yolov8n", "--start", str(self.start), "--epochs", str(self.budget.epochs),
                "--imgsz", str(self.budget.imgsz), "--seed", str(seed), "--no-oversample", "--device", "cpu",
                "--name", name,
            ]
        )  # fmt: skip
        return self.project.runs_path / "train" / name / "student.safetensors"

    def _plain(self, seed: int) -> Path:
        folder = self.work / "plain"
        plain = Path(__file__).with_name("plain_yolo.py")
        _run(
            [
                sys.executable, str(plain), "--data", str(self.dataset.path), "--start", str(self.start), "--epochs",
                str(self.budget.epochs), "--imgsz", str(self.budget.imgsz), "--seed", str(seed), "--out", str(folder),
            ]
        )  # fmt: skip
        return folder / f"{seed}.safetensors"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[1]} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/student-real")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        bench = Bench(name, options.shared, options.work / name)
        for seed in range(options.seeds):
            for way in WAYS if seed % 2 == 0 else reversed(WAYS):
                done = cell(
                    options.work / "cells", f"{name}-{way}-{seed}", lambda b=bench, w=way, s=seed: b.measure(w, s)
                )
                rows.append({"set": name, "way": way, "seed": seed, **done})
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'set':<9}{'goal':>6}{'ours':>18}{'plain':>18}{'time, ours ÷ plain':>22}")
    for name in options.sets:
        mine, theirs = ([row for row in rows if (row["set"], row["way"]) == (name, way)] for way in WAYS)
        ratio = sum(row["seconds"] for row in mine) / sum(row["seconds"] for row in theirs)
        goal = BUDGETS[name].goal
        print(
            f"{name:<9}{'-' if goal is None else f'{goal:.2f}':>6}"
            f"{mean_and_spread([row['ap50'] for row in mine]):>18}"
            f"{mean_and_spread([row['ap50'] for row in theirs]):>18}{ratio:>22.2f}"
        )


if __name__ == "__main__":
    main()

"""Does `labelstill next` choose better than the lot? Students taught with 40, 80 and 120 photos chosen either way.

    .venv/bin/python scripts/curation/measure_next.py [--shared ../shared] [--work DIR] [--json] [--figure FILE]

The photos to choose from are the train part of BCCD; AP50 is measured on its test part. `random`: a lot per seed, each
larger set holds the smaller one. `next`: the first 40 by the look of the photos alone, since there is no student yet;
then a student is taught with what is labelled, its boxes are the machine labels of the rest, and the order that push
and next share names the next 40. All students start from the same weights and are taught for equally many epochs. Seeds
change the lot and the training; the first 40 of `next` are the same for every seed.

One JSON file per finished student lies in the work folder; the same command after a stop goes on with the rest.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import next_student
from next_pool import features_of, pick, read_photos
from next_student import Photo, ap50, predict, start_weights, train, write_dataset

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = (40, 80, 120)
WAYS = ("random", "next")
SEEDS = (0, 1, 2)

Cell = dict[str, Any]


class Bench:
    """What all students share: photos, features, start weights; made once in the work folder."""

    def __init__(self, shared: Path, work: Path) -> None:
        """Read the photos, look at them once, and write them as the students see them."""
        weights = shared / "weights/yolov8n-coco-fp16.safetensors"
        self.work = work
        self.names, splits = read_photos(shared / "data/bccd", work / "people")
        self.pool, self.test = splits["train"], splits["test"]
        self.features = features_of(self.pool, weights, work / "looked-at")
        self.dataset = work / "dataset"
        if not (self.dataset / "done").exists():
            write_dataset(self.dataset, [*self.pool, *self.test])
            (self.dataset / "done").touch()
        self.start = start_weights(weights, work / "start.pt")

    def cell(self, way: str, seed: int, size: int) -> Cell:
        """Return one student's photos and its AP50; taught now unless it was before."""
        file = self.work / "cells" / f"{way}-{seed}-{size}.json"
        if file.exists():
            read: Cell = json.loads(file.read_text())
            return read
        began = perf_counter()
        picked = self._picked(way, seed, size)
        folder = self.work / "students" / f"{way}-{seed}-{size}"
        student = train(self.start, self.dataset, picked, self.names, seed, folder)
        done: Cell = {"way": way, "seed": seed, "size": size, "picked": picked}
        done["ap50"] = ap50(self.test, predict(student, self.dataset, self.test), self.names)
        done["seconds"] = perf_counter() - began
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(done))
        part.rename(file)
        print(f"{way} seed {seed} N {size}: AP50 {done['ap50']['all']:.3f}, {done['seconds']:.0f} s", file=sys.stderr)
        return done

    def _picked(self, way: str, seed: int, size: int) -> list[str]:
        if way == "random":
            shuffled = sorted(photo.name for photo in self.pool)
            random.Random(seed).shuffle(shuffled)
            return shuffled[:size]
        smaller = SIZES[SIZES.index(size) - 1] if size != SIZES[0] else 0
        before: list[str] = []
        found: Mapping[str, list[next_student.Found]] = {}
        if smaller:
            before = self.cell(way, seed, smaller)["picked"]
            waiting: list[Photo] = [photo for photo in self.pool if photo.name not in before]
            student = self.work / "students" / f"{way}-{seed}-{smaller}/run/weights/last.pt"
            found = predict(student, self.dataset, waiting)
        database = self.work / f"{way}-{seed}-{size}.db"
        return before + pick(self.pool, self.features, found, before, self.names, size - smaller, database)


def table(cells: list[Cell]) -> str:
    """Return mean and spread of AP50 by size and way, all classes and each."""
    classes = list(cells[0]["ap50"])
    lines = [f"{'N':>4}  {'way':<7}" + "".join(f"{name:>18}" for name in classes)]
    for size in SIZES:
        for way in WAYS:
            values = [cell["ap50"] for cell in cells if (cell["way"], cell["size"]) == (way, size)]
            shown = [_mean_and_spread([value[name] for value in values]) for name in classes]
            lines.append(f"{size:>4}  {way:<7}" + "".join(f"{text:>18}" for text in shown))
    return "\n".join([*lines, "", *_differences(cells)])


def _differences(cells: list[Cell]) -> list[str]:
    value = {(cell["way"], cell["seed"], cell["size"]): cell["ap50"]["all"] for cell in cells}
    lines = []
    for size in SIZES:
        gains = [value["next", seed, size] - value["random", seed, size] for seed in SEEDS]
        won = sum(gain > 0 for gain in gains)
        lines.append(f"N {size}: next minus random {_mean_and_spread(gains, '+.3f')}, ahead in {won} of {len(gains)}")
    return lines


def _mean_and_spread(values: list[float], form: str = ".3f") -> str:
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):.3f}"


def draw(cells: list[Cell], file: Path) -> None:
    """Draw AP50 over the number of labelled photos: mean, spread and every student."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for way, colour, shift in zip(WAYS, ("#7a7a7a", "#1f77b4"), (-0.8, 0.8), strict=True):
        by_size = [[c["ap50"]["all"] for c in cells if (c["way"], c["size"]) == (way, size)] for size in SIZES]
        means = [statistics.mean(values) for values in by_size]
        places = [size + shift for size in SIZES]
        axes.errorbar(
            places, means, [statistics.stdev(values) for values in by_size], color=colour, capsize=4, label=way
        )
        for place, values in zip(places, by_size, strict=True):
            axes.plot([place] * len(values), values, "o", color=colour, alpha=0.45, markersize=4)
    axes.set(xticks=SIZES, xlabel="labelled photos", ylabel="AP50 on the BCCD test part")
    axes.set_title(f"Which photos to label: by lot, or by next ({len(SEEDS)} seeds, mean ± one deviation)", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(file, dpi=150)


def main() -> int:
    """Teach what is not taught yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="has data/ and weights/")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/next", help="where finished students lie")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--figure", type=Path, help="draw the curve there, too")
    parser.add_argument("--fresh", action="store_true", help="forget what is in the work folder")
    options = parser.parse_args()
    work = options.work.absolute()
    if options.fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    next_student.offline(work)
    bench = Bench(options.shared.absolute(), work)
    cells = [bench.cell(way, seed, size) for seed in SEEDS for size in SIZES for way in WAYS]
    if options.figure:
        draw(cells, options.figure)
    print(json.dumps(cells, indent=2) if options.json else table(cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Label mosaics of held-out scenes as one large image each, and the same scenes one by one: AP50, masks, peak memory.

Usage: python scripts/measure_tiling.py [--megapixels MP ...] [--tile PX] [--json]

Both go through `labelstill label` in a process of its own, whose peak memory is what the kernel says. A scene of the
mosaic is scored like a scene alone: boxes belong to the scene that holds their centre. Tiles of 360 px show objects to
the bundled detector as large as scenes of 480 x 360 do, and their seams cut scenes and objects everywhere. Goals:
peak below 2 GB at 100 MP, AP50 within 2 points of the scenes alone. With several sizes, a last run labels all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from measure_demo_teacher import FIRST_SEED, ap50
from PIL import Image

from labeling.core import geometry, masks
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.demo.objects import NOUNS
from labeling.demo.scenes import Scene, all_pairs, render_scene
from labeling.teachers.teacher import Labelled

WIDTH, HEIGHT = 480, 360
SCORE = 0.05
NAMES = list(NOUNS)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `labelstill label`: wall time, peak memory of its process, and what it labelled by file name."""

    seconds: float
    peak_bytes: int
    labels: dict[str, list[Annotation]]


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A picture of scenes side by side; scene number n is in row n // columns."""

    file: Path
    columns: int
    rows: int

    @property
    def pixels(self) -> int:
        """Its number of pixels."""
        return self.columns * WIDTH * self.rows * HEIGHT


def draw(count: int) -> list[Scene]:
    """Return the fixed held-out scenes; they show unseen pairs too."""
    return [render_scene(FIRST_SEED + i, size_wh=(WIDTH, HEIGHT), pairs=all_pairs(unseen=True)) for i in range(count)]


def grid(megapixels: float) -> tuple[int, int]:
    """Return columns and rows of a mosaic of at least so many pixels."""
    columns = max(1, round((megapixels * 1e6 / (WIDTH * HEIGHT)) ** 0.5))
    return columns, -(-int(megapixels * 1e6) // (columns * WIDTH * HEIGHT))


def mosaic(scenes: Sequence[Scene], megapixels: float, folder: Path) -> Mosaic:
    """Write a lossless picture of scenes side by side."""
    columns, rows = grid(megapixels)
    canvas = Image.new("RGB", (columns * WIDTH, rows * HEIGHT))
    for number, scene in enumerate(scenes[: columns * rows]):
        canvas.paste(Image.fromarray(scene.picture), (number % columns * WIDTH, number // columns * HEIGHT))
    file = folder / f"{columns}x{rows}.png"
    canvas.save(file, compress_level=1)
    return Mosaic(file, columns, rows)


def label(photos: Sequence[Path], project: Path, tile: int) -> Run:
    """Label files with the bundled teacher in a process of its own."""
    command = [str(Path(sys.executable).with_name("labelstill")), "label", *map(str, photos), "--project", str(project)]
    command += ["--classes", ", ".join(NAMES), "--detector", "bundled", "--score", str(SCORE), "--tile", str(tile)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        raise SystemExit(f"labelstill label ended with {code}")
    seconds = time.perf_counter() - began
    with Store.open(project / "labels.db") as store:
        labels = {
            Path(os.fsdecode(image.paths[0])).name: store.annotations_of(image.sha256 or "")
            for image in store.iter_images()
        }
    return Run(seconds, usage.ru_maxrss * 1024, labels)


def judge(
    scenes: Sequence[Scene], labels: Sequence[Sequence[Annotation]], at: Sequence[tuple[int, int]]
) -> list[float]:
    """Return AP50 over the nouns, and the mean mask IoU of the objects whose class and box were found.

    Args:
        scenes: what was shown.
        labels: of each scene.
        at: x and y of each scene in the picture that the labels belong to.
    """
    found, overlaps = [], []
    for scene, own, (x, y) in zip(scenes, labels, at, strict=True):
        boxes = np.array([one.box_xyxy for one in own], np.float32).reshape(-1, 4) - np.array([x, y, x, y], np.float32)
        scores = np.array([one.provenance.score for one in own], np.float32)
        classes = np.array([NAMES.index(one.class_name) for one in own], int)
        seen = sv.Detections(xyxy=boxes, confidence=scores, class_id=classes)
        found.append((scene, Labelled(seen, None, Counter(), sv.Detections.empty())))
        meeting = geometry.iou(np.array([thing.box_xyxy for thing in scene.things], np.float32).reshape(-1, 4), boxes)
        for row, thing in enumerate(scene.things):
            right = meeting[row] * (classes == NAMES.index(thing.noun))
            if len(right) and right.max() >= 0.5:
                rle = own[int(right.argmax())].rle
                if rle is None:
                    overlaps.append(0.0)
                    continue
                size = (rle["size"][0], rle["size"][1])
                truth = masks.placed(masks.encode(thing.mask), (x, y, x + WIDTH, y + HEIGHT), size)
                overlaps.append(masks.iou(rle, truth))
    return [float(np.mean(list(ap50(found, NAMES, by_colour=False).values()))), float(np.mean(overlaps))]


def judge_mosaic(one: Mosaic, scenes: Sequence[Scene], labels: Sequence[Annotation]) -> list[float]:
    """Return AP50 and mask IoU of a mosaic, scene by scene."""
    own: list[list[Annotation]] = [[] for _ in range(one.columns * one.rows)]
    for label in labels:
        x0, y0, x1, y1 = label.box_xyxy
        own[int((y0 + y1) / 2 // HEIGHT) * one.columns + int((x0 + x1) / 2 // WIDTH)].append(label)
    at = [(n % one.columns * WIDTH, n // one.columns * HEIGHT) for n in range(len(own))]
    return judge(scenes[: len(own)], own, at)


def measure(sizes: Sequence[float], tile: int, folder: Path) -> list[dict[str, Any]]:
    """Return one row per run."""
    counts = [columns * rows for columns, rows in map(grid, sizes)]
    scenes = draw(max(counts))
    (folder / "alone").mkdir()
    files = [folder / "alone" / f"{number:05}.jpg" for number in range(len(scenes))]
    for file, scene in zip(files, scenes, strict=True):
        file.write_bytes(scene.jpeg)
    alone = label(files[:1] if len(files) == 1 else [folder / "alone"], folder / "project-alone", 0)
    labels = [alone.labels[file.name] for file in files]
    rows = []
    mosaics = []
    for size, count in zip(sizes, counts, strict=True):
        one = mosaic(scenes, size, folder)
        mosaics.append(one)
        run = label([one.file], folder / f"project-{one.file.stem}", tile)
        expected = judge(scenes[:count], labels[:count], [(0, 0)] * count)
        rows.append(_row(f"{one.pixels / 1e6:.1f} MP", run, one.pixels, expected))
        rows[-1] |= dict(zip(("ap50", "mask_iou"), judge_mosaic(one, scenes, run.labels[one.file.name]), strict=True))
    if len(mosaics) > 1:
        run = label([one.file for one in mosaics], folder / "project-all", tile)
        rows.append(_row("all of them in one run", run, sum(one.pixels for one in mosaics), [None, None]))
    rows.append(_row(f"{len(scenes)} scenes alone", alone, len(scenes) * WIDTH * HEIGHT, [None, None]))
    return rows


def _row(what: str, run: Run, pixels: int, alone: Sequence[float | None]) -> dict[str, Any]:
    return {
        "what": what,
        "megapixels": pixels / 1e6,
        "seconds": run.seconds,
        "peak_mb": run.peak_bytes / 1e6,
        "decoded_mb": 3 * pixels / 1e6,
        "ap50_alone": alone[0],
        "mask_iou_alone": alone[1],
        "ap50": None,
        "mask_iou": None,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[100.0])
    parser.add_argument("--tile", type=int, default=360)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        rows = measure(options.megapixels, options.tile, folder)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    keys = ["seconds", "peak_mb", "decoded_mb", "ap50", "ap50_alone", "mask_iou", "mask_iou_alone"]
    print("| image | seconds | peak MB | decoded MB | AP50 | scenes alone | mask IoU | scenes alone |")
    print("|---|" + "---|" * len(keys))
    for row in rows:
        print(f"| {row['what']} | " + " | ".join(_shown(row[key]) for key in keys) + " |")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value <= 1 else f"{value:.0f}"


if __name__ == "__main__":
    main()

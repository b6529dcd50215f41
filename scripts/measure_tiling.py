"""Label mosaics as one large image each, and their parts one by one: AP50, masks, peak memory, what tiles cost.

Usage: python scripts/measure_tiling.py [--of scenes|photos] [--megapixels MP ...] [--tile PX] [--half look|final]

Scenes are labelled by the bundled teacher in tiles of 360 px, in which objects are as large as in scenes of 480 x 360;
photos of COCO by the YOLOv8n of ../shared in tiles of 640 px, its own input. The joining was made by looking at half of
the photos and at scenes of other seeds (``--half look``); figures to report are those of the ``final`` half. Parts
repeat where there are not enough of them, and no edge of one is an edge of a tile.

Everything goes through `labelstill label` in a process of its own, whose peak memory is what the kernel says. A part of
the mosaic is scored like the part alone: boxes belong to the part that holds their centre, and those in none are wrong.

``--tiles-too`` leaves the joining out. It scores what the detector says of each tile on the objects that lie wholly in
it (``in tiles``), beside what it says of the parts on the very same objects (``in tiles, parts alone``). Where the
first is lower, the detector minds where things stand in a picture or what is cut beside them; no joining mends that.

Goals: peak below 2 GB at 100 MP, AP50 within 2 points of the parts alone. With several sizes, a last run labels all.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiling_mosaics as mosaics
from PIL import Image
from tiling_mosaics import Mosaic, Part, Seen, Truth

from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.teachers import filters
from labeling.teachers.backends import TeacherSpec, build_detector
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.seams import ends_at_a_cut, is_coarse
from labeling.teachers.tiles import looks

REPOSITORY = Path(__file__).resolve().parents[1]
SCORE = 0.05
TILE = {"scenes": 360, "photos": 640}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `labelstill label`: wall time, peak memory of its process, and what it labelled by file name."""

    seconds: float
    peak_bytes: int
    labels: dict[str, list[Annotation]]


def label(photos: Sequence[Path], project: Path, spec: TeacherSpec, names: Sequence[str], tile: int) -> Run:
    """Label files in a process of its own."""
    ontology = project.with_suffix(".json")
    ontology.write_text(json.dumps({"classes": [{"name": name} for name in names]}))
    command = [str(Path(sys.executable).with_name("labelstill")), "label", *map(str, photos), "--project", str(project)]
    command += ["--ontology", str(ontology), "--detector", spec.detector, "--score", str(SCORE), "--tile", str(tile)]
    command += [] if spec.weights is None else ["--weights", spec.weights, "--segmenter", "none"]
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


def in_tiles(
    one: Mosaic, expected: Sequence[Sequence[Annotation]], spec: TeacherSpec, names: Sequence[str], tile: int
) -> tuple[float, float]:
    """Return two AP50 over the tiles of all levels: of what the detector says there, and of what it says of the parts.

    Both are scored on the objects that a tile shows whole and not too small; those it cuts count neither way.
    """
    detector, ontology = build_detector(spec), Ontology(tuple(OntologyClass(name, (name,)) for name in names))
    whole = one.truth()
    labels = [mosaics.seen(own, names, -at) for own, at in zip(expected, one.at, strict=True)]
    known = Seen(*(np.concatenate([getattr(part, key) for part in labels]) for key in ("boxes", "classes", "scores")))
    truths, there, alone = [], [], []
    for look, pixels in looks(np.array(Image.open(one.file)), tile):
        answer = detector.detect([pixels], ontology, SCORE)[0].detections
        size = (pixels.shape[1], pixels.shape[0])
        kept, _ = filters.apply(answer, size, names, [SCORE] * len(names), FilterSettings())
        x0, y0, x1, y1 = look.xyxy
        boxes = kept.xyxy * np.tile(look.scale_xy, 2) + (x0, y0, x0, y0)
        used = ~ends_at_a_cut(boxes, look.xyxy, look.inner) & ~is_coarse(boxes, look.finer_px)
        there.append(Seen(boxes[used], kept.class_id[used], kept.confidence[used].astype(np.float64)))
        used = (np.clip(known.boxes, (x0, y0, x0, y0), (x1, y1, x1, y1)) == known.boxes).all(axis=1)
        used &= ~is_coarse(known.boxes, look.finer_px)
        alone.append(Seen(known.boxes[used], known.classes[used], known.scores[used]))
        shown = np.clip(whole.boxes, (x0, y0, x0, y0), (x1, y1, x1, y1))
        met = (shown[:, 2:] > shown[:, :2]).all(axis=1)
        unfair = whole.crowd | (shown != whole.boxes).any(axis=1) | is_coarse(whole.boxes, look.finer_px)
        truths.append(Truth(shown[met], whole.classes[met], unfair[met]))
    return mosaics.ap50(truths, there, names), mosaics.ap50(truths, alone, names)


def measure(
    names: Sequence[str],
    parts: Sequence[Part],
    spec: TeacherSpec,
    sizes: Sequence[float],
    tile: int,
    folder: Path,
    *,
    detector_too: bool,
) -> list[dict[str, Any]]:
    """Return one row per run."""
    (folder / "alone").mkdir()
    for number, part in enumerate(parts):
        (folder / "alone" / f"{number:05}.jpg").write_bytes(part.file)
    alone = label([folder / "alone"], folder / "project-alone", spec, names, 0)
    known = {part.file: alone.labels[f"{number:05}.jpg"] for number, part in enumerate(parts)}
    rows = []
    made = []
    for size in sizes:
        one = mosaics.mosaic(parts, size, tile, folder)
        made.append(one)
        run = label([one.file], folder / f"project-{one.file.stem}", spec, names, tile)
        *own, stray = one.by_part(run.labels[one.file.name])
        truths = [part.truth for part in one.parts]
        found = [mosaics.seen(labels, names, at) for labels, at in zip(own, one.at, strict=True)]
        nothing = Truth(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))
        expected = [known[part.file] for part in one.parts]
        rows.append(
            _row(f"{one.size_wh[0] * one.size_wh[1] / 1e6:.1f} MP, {len(one.parts)} parts", run, one.size_wh)
            | {
                "ap50": mosaics.ap50([*truths, nothing], [*found, mosaics.seen(stray, names)], names),
                "ap50_alone": mosaics.ap50(truths, [mosaics.seen(labels, names) for labels in expected], names),
                "mask_iou": mosaics.mask_iou(one.parts, own, names, one.at),
                "mask_iou_alone": mosaics.mask_iou(one.parts, expected, names, np.zeros_like(one.at)),
            }
        )
        if detector_too:
            rows[-1] |= dict(
                zip(("ap50_tiles", "ap50_tiles_alone"), in_tiles(one, expected, spec, names, tile), strict=True)
            )
    if len(made) > 1:
        run = label([one.file for one in made], folder / "project-all", spec, names, tile)
        rows.append(_row("all of them in one run", run, *(one.size_wh for one in made)))
    rows.append(_row(f"{len(parts)} parts alone", alone, *(part.size_wh for part in parts)))
    return rows


def _row(what: str, run: Run, *sizes_wh: tuple[int, int]) -> dict[str, Any]:
    pixels = sum(width * height for width, height in sizes_wh)
    return {
        "what": what,
        "seconds": run.seconds,
        "peak_mb": run.peak_bytes / 1e6,
        "decoded_mb": 3 * pixels / 1e6,
        "ap50": None,
        "ap50_alone": None,
        "ap50_tiles": None,
        "ap50_tiles_alone": None,
        "mask_iou": None,
        "mask_iou_alone": None,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=("scenes", "photos"), default="scenes")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12.0, 25.0, 50.0, 100.0])
    parser.add_argument("--tile", type=int, help="side of a tile")
    parser.add_argument("--half", choices=("look", "final"), default="final")
    parser.add_argument("--tiles-too", action="store_true", help="ask the detector about the tiles themselves")
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="has data/ and weights/")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    spec = TeacherSpec(detector="bundled", device="cpu")
    if options.of == "scenes":
        names, parts = mosaics.scenes(options.half)
    else:
        names, parts = mosaics.photos(options.shared, options.half)
        spec = TeacherSpec("ultralytics", str(options.shared / "weights/yolov8n-coco-fp16.safetensors"), device="cpu")
    folder = Path(tempfile.mkdtemp())
    try:
        tile = options.tile or TILE[options.of]
        rows = measure(names, parts, spec, options.megapixels, tile, folder, detector_too=options.tiles_too)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    columns = {
        "seconds": "seconds", "peak_mb": "peak MB", "decoded_mb": "decoded MB",
        "ap50": "AP50", "ap50_alone": "parts alone", "ap50_tiles": "in tiles",
        "ap50_tiles_alone": "in tiles, parts alone",
        "mask_iou": "mask IoU", "mask_iou_alone": "parts alone",
    }  # fmt: skip
    print("| image | " + " | ".join(columns.values()) + " |")
    print("|---|" + "---|" * len(columns))
    for row in rows:
        print(f"| {row['what']} | " + " | ".join(_shown(row[key]) for key in columns) + " |")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value <= 1 else f"{value:.0f}"


if __name__ == "__main__":
    main()

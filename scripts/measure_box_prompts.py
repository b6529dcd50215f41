"""Give a segmenter the boxes of people on real photos and compare its masks with the masks of people.

    .venv/bin/python scripts/measure_box_prompts.py [--segmenter bundled] [--weights FOLDER] [--limit N] [--json]

Prints the mean and median IoU of the masks, overall and by the size of the object as COCO defines it. The figure is
printed whatever it is. Objects marked as crowds are left out: their boxes hold many objects.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO

from labeling import images
from labeling.core import masks
from labeling.core.errors import LabelstillError
from labeling.teachers.backends import TeacherSpec, build_segmenter, segmenter_weights
from labeling.teachers.interfaces import Segmenter

SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, float("inf")))
"""Names and areas in square pixels, from and below, of the human mask."""


def measure(segmenter: Segmenter, truth: Path, limit: int | None = None, batch: int = 4) -> dict[str, Any]:
    """Segment the human boxes of a COCO file whose photos lie in ``images`` beside it.

    Args:
        segmenter: gets the boxes of one photo as float32 corners in pixels.
        truth: COCO instances with masks.
        limit: at most this many photos, by id.
        batch: photos per call.

    Returns:
        ``photos``, ``seconds_per_photo``, ``all``, one key per size, and ``box_alone`` (the box itself taken for the
        mask); each of them with ``n``, ``mean``, ``median`` and ``share_above_0.75``, None where there is no object.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        people = COCO(str(truth))
    rows: list[tuple[float, float, float]] = []
    seconds = 0.0
    photos = people.loadImgs(sorted(people.getImgIds())[:limit])
    for start in range(0, len(photos), batch):
        shown = photos[start : start + batch]
        pixels = [images.load(truth.parent / "images" / photo["file_name"], max_pixels=10**8).pixels for photo in shown]
        objects = [people.loadAnns(people.getAnnIds(imgIds=[photo["id"]], iscrowd=False)) for photo in shown]
        boxes = [np.array([one["bbox"] for one in found], dtype=np.float32).reshape(-1, 4) for found in objects]
        for part in boxes:
            part[:, 2:] += part[:, :2]
        began = time.perf_counter()
        answers = segmenter.segment(pixels, boxes)
        seconds += time.perf_counter() - began
        for found, answer in zip(objects, answers, strict=True):
            for one, rle in zip(found, answer.rles, strict=True):
                drawn = masks.encode(people.annToMask(one).astype(bool))
                box = masks.polygons_to_rle([_corners(one["bbox"])], (drawn["size"][0], drawn["size"][1]))
                rows.append((masks.area(drawn), 0.0 if rle is None else masks.iou(rle, drawn), masks.iou(box, drawn)))
    figures: dict[str, Any] = {"photos": len(photos), "seconds_per_photo": seconds / max(len(photos), 1)}
    figures["all"] = _summary([iou for _, iou, _ in rows])
    figures["box_alone"] = _summary([iou for _, _, iou in rows])
    for name, low, high in SIZES:
        figures[name] = _summary([iou for area, iou, _ in rows if low <= area < high])
    return figures


def _corners(bbox: list[float]) -> npt.NDArray[np.float64]:
    x, y, width, height = bbox
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def _summary(ious: list[float]) -> dict[str, float | int | None]:
    if not ious:
        return {"n": 0, "mean": None, "median": None, "share_above_0.75": None}
    return {
        "n": len(ious),
        "mean": statistics.fmean(ious),
        "median": statistics.median(ious),
        "share_above_0.75": sum(iou > 0.75 for iou in ious) / len(ious),
    }


def main() -> int:
    """Print the figures."""
    shared = Path(__file__).resolve().parents[2] / "shared"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=shared, help="has data/coco-photos")
    parser.add_argument("--segmenter", default="bundled", help="bundled or sam2")
    parser.add_argument("--weights", help="folder or hub id; the segmenter's own where none is named")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="at most this many photos")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    spec = TeacherSpec(
        detector="bundled", segmenter=options.segmenter, segmenter_weights=options.weights, device=options.device
    )
    try:
        weights, segmenter = segmenter_weights(spec), build_segmenter(spec)
        if weights is None or segmenter is None:
            parser.error("--segmenter none has no masks to measure")
        figures = measure(segmenter, options.shared / "data/coco-photos/instances.json", options.limit)
    except LabelstillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"segmenter": options.segmenter, "weights": weights.name, **figures}, indent=2))
        return 0
    print(f"{options.segmenter} ({weights.name}) on the human boxes of {figures['photos']} photos,")
    print(f"{figures['seconds_per_photo']:.2f} s per photo")
    for name in ("all", *(size for size, _, _ in SIZES), "box_alone"):
        row = figures[name]
        said = "no objects" if not row["n"] else (
            f"mean IoU {row['mean']:.3f}   median {row['median']:.3f}   above 0.75: {row['share_above_0.75']:.0%}"
        )  # fmt: skip
        print(f"  {name.replace('_', ' '):<9} {row['n']:>5} objects   {said}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

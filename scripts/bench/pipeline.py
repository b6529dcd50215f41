"""The whole labelling run against the bare forward passes of the same teacher on the same photos, in one process.

Usage: python scripts/bench/pipeline.py [--photos N] [--rounds N] [--json]

Each round labels a fresh project (search, decode, detect, segment, write) and then runs only detector, filters and
segmenter on pixels that are in memory already; the order alternates. Reported: images per second of both, and the
ratio of their times, median and spread over the rounds. Both find the same number of objects, or the bench fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from labeling.demo.photos import CLASSES, write_photos
from labeling.images import load
from labeling.job import LabelJob, LabelRequest
from labeling.label_run import AUTO_BATCH

BATCH = AUTO_BATCH["cpu"]


def bench(photos: int, rounds: int) -> dict[str, Any]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_photos(root / "photos", photos)
        paths = sorted((root / "photos").iterdir())
        pixels = [load(path, max_pixels=10**8).pixels for path in paths]
        first = _job(root, "warm-up", photos)
        teacher = first.teacher

        def forward() -> int:
            batches = (pixels[i : i + BATCH] for i in range(0, photos, BATCH))
            return sum(len(one.detections) for batch in batches for one in teacher.label(batch))

        def whole(name: str) -> int:
            job = _job(root, name, photos)
            job.__dict__["teacher"] = teacher  # loaded once: the bench is about images, not about loading
            with job.open_project() as (project, store):
                summary = job.run(job.plan(store), project, store, Event(), lambda _: None)
            return summary.objects.total()

        found = {forward(), whole("warm-up")}
        rows = []
        for number in range(rounds):
            steps: list[tuple[str, Callable[[], int]]] = [
                ("whole", lambda number=number: whole(f"round-{number}")),  # type: ignore[misc]
                ("forward", forward),
            ]
            times = {}
            for name, step in steps if number % 2 else reversed(steps):
                began = time.perf_counter()
                found.add(step())
                times[name] = time.perf_counter() - began
            rows.append(times)
    if len(found) != 1:
        raise SystemExit(f"the two ways found different numbers of objects: {sorted(found)}")
    ratios = [row["whole"] / row["forward"] for row in rows]
    return {
        "photos": photos,
        "rounds": rounds,
        "batch": BATCH,
        "objects": found.pop(),
        "images_per_s_whole": round(photos / statistics.median(row["whole"] for row in rows), 2),
        "images_per_s_forward": round(photos / statistics.median(row["forward"] for row in rows), 2),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min_max": [round(min(ratios), 3), round(max(ratios), 3)],
        "device": f"{len(os.sched_getaffinity(0))} CPU cores, {platform.machine()}",
    }


def _job(root: Path, name: str, photos: int) -> LabelJob:
    request = LabelRequest((root / "photos",), root / name, CLASSES, detector="bundled", batch=str(BATCH), limit=photos)
    return LabelJob(request)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = bench(options.photos, options.rounds)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:22} {value}")


if __name__ == "__main__":
    main()

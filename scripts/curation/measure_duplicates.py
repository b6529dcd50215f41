"""Measure how well planted near duplicates are found, and what 10,000 images cost.

    .venv/bin/python scripts/curation/measure_duplicates.py planted DATA --weights YOLO.safetensors [--seeds 3]
    .venv/bin/python scripts/curation/measure_duplicates.py speed [--images 10000]

DATA holds folders of photos (bccd, coco-photos, raccoon), each with ``images`` inside. ``planted`` plants changed
copies as plant_duplicates.py does, labels everything with the detector, and prints recall by kind and precision, with
the detector's features and with the look of the pictures alone. A pair counts as right where both come from one photo,
or where it is in KNOWN: pairs among the photos as they came that were checked by eye. ``speed`` makes features
and thumbnails up, and prints seconds and the most memory of the whole process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from plant_duplicates import Plant, plant

from distill.curation.duplicates import Duplicates, duplicates
from distill.curation.photo_facts import observe
from labeling import cli, images
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.vectors import LOOK

KNOWN: dict[str, tuple[frozenset[str], ...]] = {
    "bccd": tuple(
        frozenset(f"BloodImage_00{number}.jpg" for number in same.split())
        for same in ("037 038", "227 260", "229 258", "230 257", "231 256", "382 395", "386 391")
    ),
    "coco-photos": (),
    "raccoon": tuple(
        frozenset(f"raccoon-{number}.jpg" for number in same.split())
        for same in ("11 116", "83 120", "65 98", "50 52 74", "21 45", "51 85", "9 122")
    ),
}
"""Photos that show the same before anything was planted, by set."""


def planted(photos: Path, weights: Path | None, share: float, seed: int) -> list[dict[str, Any]]:
    """Plant, label and look for duplicates; return one row with the detector's features and one without.

    Args:
        photos: folder with ``images`` inside.
        weights: of a YOLO detector; None goes without features, by the look alone.
        share: so many photos get a changed copy.
        seed: of the planting.
    """
    with tempfile.TemporaryDirectory() as folder:
        made, project = Path(folder, "set"), Path(folder, "project")
        truth = plant(photos / "images", made, share=share, seed=seed)
        _label(made, project, weights)
        with Store.open(project / "labels.db") as store:
            files = {sha256: store.files_of(sha256) for sha256 in store.states()}
            observe(store, lambda sha256: images.load(files[sha256][0], max_pixels=10**8))
            runs = [("detector", duplicates(store))] if weights else []
            with store.transaction() as db:
                db.execute("DELETE FROM features WHERE model <> ?", (LOOK,))
            runs.append(("look", duplicates(store)))
        names = {sha256: [file.name for file in under] for sha256, under in files.items()}
        return [
            {"set": photos.name, "share": share, "seed": seed, "features": name}
            | judged(found, names, truth, KNOWN[photos.name])
            for name, found in runs
        ]


def judged(
    found: Duplicates,
    names: Mapping[str, Sequence[str]],
    truth: Sequence[Plant],
    known: Sequence[frozenset[str]],
) -> dict[str, Any]:
    """Return recall over the copies by kind, precision over the pairs, and what was found besides.

    A copy is found where it makes a pair with its very photo; photos of the same bytes are one image.

    Args:
        found: the answer.
        names: file names by sha256.
        truth: which copies were planted.
        known: photos that show the same as they came.
    """
    image_of = {name: sha256 for sha256, under in names.items() for name in under}
    of = {image_of[one.copy]: image_of[one.of] for one in truth}
    same = [{image_of[name] for name in photos} for photos in known]
    there = {frozenset((pair.first, pair.second)) for pair in found.pairs}
    totals = Counter(one.kind for one in truth)
    right = Counter(one.kind for one in truth if {image_of[one.copy], image_of[one.of]} in there)
    wrong = []
    for pair in found.pairs:
        first, second = (of.get(image, image) for image in (pair.first, pair.second))
        if first != second and not any({first, second} <= photos for photos in same):
            wrong.append((names[pair.first][0], names[pair.second][0], round(pair.similarity, 3)))
    pairs = found.pairs
    return {
        "copies": len(truth),
        "recall": sum(right.values()) / max(len(truth), 1),
        "recall_by_kind": {kind: right[kind] / totals[kind] for kind in totals},
        "pairs": len(pairs),
        "precision": 1 - len(wrong) / max(len(pairs), 1),
        "wrong": wrong,
        "threshold": found.threshold,
        "rests_on": found.curve.rests_on,
        "sequences": sum(group.kind == "sequence" for group in found.groups),
        "largest_group": max((len(group.members) for group in found.groups), default=0),
    }


def _label(made: Path, project: Path, weights: Path | None) -> None:
    teacher = ["--detector", "ultralytics", "--weights", str(weights)] if weights else ["--detector", "bundled"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(
            ["label", str(made), "--project", str(project), "--classes", "person", *teacher, "--segmenter", "none"]
        )
    if code:
        raise SystemExit(f"labelling {made} ended with {code}: {said.getvalue()}")


def made_up(folder: Path, count: int, seed: int = 0) -> Path:
    """Write a labels.db with features and thumbnails of so many pictures, one in five a copy of the one before."""
    random = np.random.default_rng(seed)
    path = folder / "labels.db"
    with Store.open(path, create=True) as store:
        run = store.start_run("label", {})
        for start in range(0, count, 1000):
            rows = range(start, min(start + 1000, count))
            shas = [hashlib.sha256(f"{row}".encode()).hexdigest() for row in rows]
            # Smooth blots, like photos: most of the contrast lies in the large shapes.
            blots = sum(
                np.kron(random.normal(0, size, (len(shas), cells, cells)), np.ones((48 // cells, 48 // cells)))
                for cells, size in ((3, 30), (6, 20), (12, 12), (24, 6), (48, 3))
            )
            features = random.normal(0, 1, (len(shas), 256))
            for row in range(0, len(shas) - 1, 5):
                blots[row + 1] = 1.1 * blots[row] + random.normal(0, 1, (48, 48))
                features[row + 1] = features[row] + random.normal(0, 0.1, 256)
            thumbnails = np.clip(blots + 128, 0, 255).astype(np.uint8)
            files = [FileStamp(os.fsencode(f"/made/{sha256}.jpg"), 1, 1) for sha256 in shas]
            store.commit_batch(
                [
                    ImageOutcome((file,), sha256, 640, 480, done_key="k")
                    for file, sha256 in zip(files, shas, strict=True)
                ],
                run,
            )
            with store.transaction() as db:
                db.executemany(
                    "INSERT INTO photo_facts VALUES (?, 0.5, 0.2, 100, NULL, NULL, ?)",
                    [(sha256, grey.tobytes()) for sha256, grey in zip(shas, thumbnails, strict=True)],
                )
                db.executemany(
                    "INSERT INTO features VALUES (?, NULL, 'made', 256, ?)",
                    [(sha256, one.astype("<f2").tobytes()) for sha256, one in zip(shas, features, strict=True)],
                )
    return path


def speed(count: int) -> dict[str, Any]:
    """Return seconds and memory of the whole search among made-up pictures."""
    with tempfile.TemporaryDirectory() as folder, Store.open(made_up(Path(folder), count)) as store:
        before = _most_memory_mb()
        began, worked = time.perf_counter(), time.process_time()
        found = duplicates(store)
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
    return {
        "images": count,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(worked, 1),  # of all threads; less than the seconds where other programs run too
        "cores": os.cpu_count(),
        "memory_mb": round(_most_memory_mb()),
        "memory_before_mb": round(before),
        "pairs": len(found.pairs),
        "copies_made": sum(1 for start in range(0, count, 1000) for _ in range(0, min(1000, count - start) - 1, 5)),
        "threshold": found.threshold,
    }


def _most_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure as the command line says; every row is one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    by_plants = parts.add_parser("planted", help="recall and precision")
    by_plants.add_argument("data", type=Path, help="folder that holds the sets")
    by_plants.add_argument("--weights", type=Path, help="YOLO weights; without, the bundled detector")
    by_plants.add_argument("--sets", nargs="+", default=list(KNOWN), choices=list(KNOWN))
    by_plants.add_argument("--shares", nargs="+", type=float, default=[0.5])
    by_plants.add_argument("--seeds", type=int, default=3)
    by_speed = parts.add_parser("speed", help="seconds and memory")
    by_speed.add_argument("--images", type=int, default=10_000)
    asked = parser.parse_args()
    if asked.part == "speed":
        print(json.dumps(speed(asked.images)))
        return 0
    for name in asked.sets:
        for share in asked.shares:
            for seed in range(asked.seeds):
                for row in planted(asked.data / name, asked.weights, share, seed):
                    print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

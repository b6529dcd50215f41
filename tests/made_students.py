"""A student measured on made scenes, and the report on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distill.compare import compare
from distill.dataset import Dataset
from distill.evaluate import at_threshold, choose_threshold, evaluate
from distill.evaluation.latency import Device, Latency
from distill.ledger import Opening
from distill.objects import Objects
from distill.reporting.advice import CurvePoint, what_next
from distill.reporting.errors import worst_errors
from distill.reporting.evidence import BASELINE, PEOPLE, TEACHER
from distill.reporting.report import Closest, StudentReport
from distill.run_folder import RunFolder
from distill.splitting.audit import LeakAudit
from labeling.images import LoadedImage

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m$x^2$"
LONG = "w" * 300
NAMES = ("crate", HOSTILE, "ladder")
SIZE = (320, 240)


def objects(number: int, rows: Sequence[tuple[Sequence[float], int, float]]) -> Objects:
    """Return the objects of one image: box, class id, score each."""
    return Objects(
        f"{number:064x}",
        SIZE,
        np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64),
    )


def scenes(images: int, classes: int, seed: int = 0) -> list[Objects]:
    """Return what is there: one to four objects an image that do not touch each other; every tenth image is empty."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(images):
        rows = []
        for place in range(0 if number % 10 == 9 else random.integers(1, 5)):
            x, y = 10 + 160 * (place % 2), 10 + 120 * (place // 2)
            width, height = random.integers(20, 110), random.integers(20, 90)
            rows.append(((x, y, x + width, y + height), int(random.integers(classes)), 1.0))
        found.append(objects(number, rows))
    return found


def seen(truth: Sequence[Objects], *, misses: float = 0.08, wrong: float = 0.05, seed: int = 1) -> list[Objects]:
    """Return what a student finds: boxes nearly right, some missed, some of another class, some where nothing is."""
    random = np.random.default_rng(seed)
    said = []
    for number, one in enumerate(truth):
        rows = []
        for box, class_id in zip(one.boxes_xyxy, one.class_ids.tolist(), strict=True):
            if random.random() < misses:
                continue
            classes = max(int(other.class_ids.max(initial=0)) for other in truth) + 1
            other = int(random.integers(classes)) if random.random() < wrong else class_id
            rows.append((box + random.normal(0, 1.5, 4), other, float(random.uniform(0.5, 1.0))))
        if random.random() < 0.15:
            rows.append(((250, 200, 300, 235), 0, float(random.uniform(0.1, 0.7))))
        said.append(objects(number, rows))
    return said


def photo(sha256: str) -> LoadedImage | None:
    """Decode noise, the hardest to compress; one image has no file any more."""
    number = int(sha256, 16)
    if number == 3:
        return None
    pixels = np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return LoadedImage(sha256, pixels, "PNG")


def report(tmp_path: Path, names: Sequence[str] = NAMES, images: int = 80, **changes: Any) -> StudentReport:
    """Return everything that can be known about a student, measured on made scenes."""
    truth = scenes(images, len(names))
    found, teacher = seen(truth), seen(truth, misses=0.02, wrong=0.02, seed=2)
    baseline = seen(truth, misses=0.6, wrong=0.4, seed=3)
    point = choose_threshold(truth, found, names, resamples=40)
    said = [one.above(point.score) for one in found]
    test = evaluate(truth, found, names, resamples=40)
    at = at_threshold(truth, found, names, point.score, resamples=40)
    speakers = {"student": found, TEACHER: teacher, BASELINE: baseline, PEOPLE: truth[: images // 2]}
    noise = photo(f"{1:064x}")
    facts = {
        "kind": "ultralytics", "model": "yolov8n", "licence": "AGPL-3.0", "dataset": "0f" * 8, "ontology": "ab" * 8,
        "names": list(names), "split": "default", "seed": 0, "started_at": "2026-11-22T10:00:00+00:00",
        "finished_at": "2026-11-22T10:09:00+00:00", "versions": {"torch": "2.9.1", "numpy": "2.3.4"},
        "settings": {"epochs": 20, "imgsz": 320, "batch": 16, "device": "cpu"}, "teaching": {"weights": True},
    }  # fmt: skip
    whole = StudentReport(
        project="shop",
        run=RunFolder(tmp_path / "first-try", facts),
        dataset=Dataset(
            tmp_path, "0f" * 8, tuple(names), "detect", {"train": 300, "val": 60}, {"train": 12, "val": 3},
            {"train": 900, "val": 170}, {"not reviewed": 7}, {"a.jpg": 3, "b.jpg": 2}, True,
        ),
        split_left_out={"skipped by people": 2},
        point=point,
        val=test,
        val_at=at,
        test=test,
        test_at=at,
        latency=Latency(21.4, 24.0, 31.0, 22.0, 40.2, 60, 20, 320, Device("a CPU", 2, None, 2, "2.9.1"), np.ones(60)),
        comparison=compare(truth, speakers, names, thresholds={"student": point.score}, resamples=40),
        opening=Opening(1, "5" * 64, "6" * 64, "2026-11-22T11:00:00+00:00", None, None, 0),
        unreviewed=0,
        audit=LeakAudit(440, 0.9, (), (), (), None, None, 0),
        closest=Closest(("a.jpg", "b.jpg"), ("train", "test"), (noise.pixels if noise else None, None), 0.713),
        curve=[CurvePoint(75, 0.6, 0.5, 0.7), CurvePoint(150, 0.75, 0.7, 0.8), CurvePoint(300, 0.85, 0.82, 0.88)],
        licences={"student": "AGPL-3.0", "teacher": "Apache-2.0"},
        provenance={"Measured on": "cpu, 2 cores"},
        next_steps=what_next(test, at),
        worst=worst_errors(truth, said, photo, lambda sha256: f"{int(sha256, 16)}.png"),
        remarks=("The split was cut by time.",),
        command="--project shop",
    )  # fmt: skip
    return replace(whole, **changes)

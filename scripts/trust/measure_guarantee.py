"""Measure the guarantee of `labelstill accept`: its coverage, and how many images it lets skip review.

    .venv/bin/python scripts/trust/measure_guarantee.py [--shared ../shared] [--draws 500] [--json]

Two populations whose truth is known: coco-photos as YOLOv8n labels them, 600 drawn scenes as the bundled teacher does
(labelled once, kept in runs/trust). Audits are drawn from a population again and again. ``of all`` draws among all
images and judges the images outside the audit; ``surest`` draws among the surest half, 35 % or quarter, as
`push --only sure:SHARE` does, with replacement, and judges the population, since so few images leave none outside.

A draw is covered when the images that would skip have the promised precision, or none skips. The last table looks
again after every thirty audits, as `push --skip-accepted` does: how often a permission that breaks its promise stood at
any look, where it is granted once, and where it is granted again whenever the audits allow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from guarantee_data import Told, photos, scenes
from guarantee_methods import JUDGES

from labeling.trust.guarantee import Images, Judge, descend, likeness, p_value

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIDENCE = 0.95
TARGETS = (0.90, 0.95)
AUDITS = (30, 60, 100)
LOOKS = range(30, 301, 30)
LOOKED = 0.5
PARTS = (1.0, 0.5, 0.35, 0.25)
_MANY = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one draw: share of images and labels that skip, and their true precision; None where none does."""

    images: float
    labels: float
    precision: float | None


def images_of(told: Told) -> Images:
    """Return the images that have labels."""
    some = [one for one in told if one["scores"]]
    labels = np.array([len(one["right"]) for one in some])
    right = np.array([sum(one["right"]) for one in some])
    keys = np.array([min(one["scores"]) for one in some], dtype=np.float64)
    return Images(keys, labels, labels - right, np.zeros(len(some)))


def main() -> int:
    """Print the tables; 3 where the coverage of our method is too low to be chance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="has data/ and weights/")
    parser.add_argument("--draws", type=int, default=500, help="audits per row")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    kept = REPOSITORY / "runs/trust"
    populations = {"coco-photos": images_of(photos(options.shared, kept)), "scenes": images_of(scenes(600, kept))}
    rows = [row for name, images in populations.items() for row in measured(name, images, options.draws)]
    looks = [row for name, images in populations.items() for row in looked(name, images, options.draws)]
    ours = [row for row in rows if row["method"] == next(iter(JUDGES))]
    held = all(row["coverage"] >= CONFIDENCE - chance(options.draws) for row in ours)
    if options.json:
        print(json.dumps({"rows": rows, "looks": looks, "held": held}, indent=2))
    else:
        _print(rows, looks)
        print(f"coverage of our method {'holds' if held else 'FAILS'}: nominal {CONFIDENCE}, less chance of the draws")
    return 0 if held else 3


def measured(name: str, images: Images, draws: int) -> list[dict[str, Any]]:
    """Return one row per target, way to draw, number of audits and method."""
    rows = []
    for target in TARGETS:
        for part in PARTS:
            for audits in AUDITS:
                for method, judge in JUDGES.items():
                    random = np.random.default_rng(1)
                    found = [draw(images, audits, target, judge, random, part) for _ in range(draws)]
                    row = {"population": name, "target": target, "audits": audits, "method": method}
                    rows.append(
                        row | {"drawn": f"surest {part:.0%}" if part < 1 else "of all"} | summary(found, target)
                    )
        best = at_truth(images, target)
        rows.append({"population": name, "target": target, "audits": None, "method": "the truth"} | best)
    return rows


def draw(images: Images, audits: int, target: float, judge: Judge, random: np.random.Generator, part: float) -> Outcome:
    """Draw audits once, among the surest part of the images, and judge what would skip."""
    if part < 1:
        level = float(np.quantile(images.keys, 1 - part, method="lower"))
        pool = images.at(level)
        drawn = pool.of(random.integers(0, len(pool), audits))
        audited = Images(drawn.keys, drawn.labels, drawn.wrong, np.full(audits, level))
        rest, waiting = images, Images(images.keys, images.labels * _MANY, images.wrong, images.since)
    else:
        order = random.permutation(len(images))
        audited, rest = images.of(order[:audits]), images.of(order[audits:])
        waiting = rest
    passed = [one for one in descend(audited, waiting, target=target, confidence=CONFIDENCE, judge=judge) if one.passed]
    return outcome(rest, passed[-1].level) if passed else Outcome(0.0, 0.0, None)


def outcome(images: Images, level: float) -> Outcome:
    """Return what skips at a level."""
    skips = images.at(level)
    labels = int(skips.labels.sum())
    precision = 1 - float(skips.wrong.sum()) / labels if labels else None
    return Outcome(len(skips) / len(images), labels / int(images.labels.sum()), precision)


def summary(found: Sequence[Outcome], target: float) -> dict[str, float]:
    """Return coverage, the shares that skip on average, and how often none does."""
    broken = [one.precision is not None and one.precision < target for one in found]
    return {
        "coverage": 1 - float(np.mean(broken)),
        "images": float(np.mean([one.images for one in found])),
        "labels": float(np.mean([one.labels for one in found])),
        "none": float(np.mean([one.precision is None for one in found])),
    }


def at_truth(images: Images, target: float) -> dict[str, Any]:
    """Return the most that could skip if everything were known."""
    able = [outcome(images, float(level)) for level in np.unique(images.keys)]
    good = [one for one in able if one.precision is not None and one.precision >= target]
    best = max(good, key=lambda one: one.images, default=Outcome(0.0, 0.0, None))
    return {"drawn": "", "coverage": 1.0, "images": best.images, "labels": best.labels, "none": 0.0}


def looked(name: str, images: Images, draws: int) -> list[dict[str, Any]]:
    """Return how often a permission that breaks its promise stood at any look, and how long good ones lasted."""
    level = float(np.quantile(images.keys, 1 - LOOKED, method="lower"))
    pool = images.at(level)
    waiting = Images(images.keys, images.labels * _MANY, images.wrong, images.since)
    rows = []
    for target in TARGETS:
        for again in (False, True):
            random = np.random.default_rng(2)
            runs = [_run(images, pool, level, waiting, target, random, again=again) for _ in range(draws // 2)]
            broken, granted, lost = (float(np.mean([run[place] for run in runs])) for place in range(3))
            row = {"population": name, "target": target, "granted again": again, "broken at any look": broken}
            rows.append(row | {"ever granted": granted, "good one withdrawn": lost})
    return rows


def _run(
    images: Images,
    pool: Images,
    since: float,
    waiting: Images,
    target: float,
    random: np.random.Generator,
    *,
    again: bool,
) -> tuple[bool, bool, bool]:
    """Follow one project; return whether a broken promise stood, one was granted, and a good one was withdrawn."""
    drawn = pool.of(random.integers(0, len(pool), LOOKS[-1]))
    everything = Images(drawn.keys, drawn.labels, drawn.wrong, np.full(len(drawn), since))
    standing: float | None = None
    broken = granted = lost = False
    for count in LOOKS:
        audited = everything.of(np.arange(count))
        if standing is not None:
            left = int(waiting.at(standing).labels.sum())
            if p_value(audited.at(standing), left, target, likeness(audited)) > 1 - CONFIDENCE:
                lost |= (outcome(images, standing).precision or 0.0) >= target
                standing = None
        if standing is None and (again or not granted):
            passed = [one for one in descend(audited, waiting, target=target, confidence=CONFIDENCE) if one.passed]
            standing = passed[-1].level if passed else None
            granted |= bool(passed)
        broken |= standing is not None and (outcome(images, standing).precision or 0.0) < target
    return broken, granted, lost


def chance(draws: int) -> float:
    """Return by how much a coverage may miss its mean by chance, twice its standard error."""
    return float(2 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / draws))


def _print(rows: Sequence[dict[str, Any]], looks: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(
            f"{row['population']:<12} {row['target']:.2f}  {row['drawn']:<10} {row['audits'] or '':>4}  "
            f"{row['method']:<28} coverage {row['coverage']:.3f}  images {row['images']:6.1%}  "
            f"labels {row['labels']:6.1%}  none {row['none']:4.0%}"
        )
    print("after every 30 audits among the surest half, up to 300")
    for row in looks:
        print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    sys.exit(main())

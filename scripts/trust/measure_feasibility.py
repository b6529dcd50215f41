"""Does the verdict on a gold set match what the full truth says? Drawn scenes and real photos, many gold sets.

    .venv/bin/python scripts/trust/measure_feasibility.py [--draws 200] [--gold 60] [--shared ../shared] [--json]

The bundled teacher judges 400 drawn scenes, the YOLOv8n of the shared folder 156 photos of COCO; what they say is kept
in runs/. Gold sets are drawn at random. "Right" is the verdict on all images. Of each verdict on a gold set is counted
whether it is the right one, a more careful one (more work than needed) or a bolder one (mistakes would go unseen), and
how often a verdict that calls itself firm is not the right one.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from populations import Population, drawn_scenes, real_photos

from labeling.trust.verdicts import Feasibility, Seconds, Wanted, judge

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = Seconds(7.0, 2.0, 3.5, 2.0, 3.0)
BOLDNESS = {"dont": 0, "train": 1, "correct": 2, "ship": 3}
COMMON = 20
"""Classes with fewer objects in all are left out: nobody knows their right verdict either."""


def verdicts(population: Population, rows: np.ndarray, wanted: Wanted, resamples: int) -> Feasibility:
    """Judge some of the images of a population."""
    gold, said = [population.gold[row] for row in rows], [population.kept[row] for row in rows]
    return judge(gold, said, population.names, SECONDS, wanted, resamples=resamples)


def measure(population: Population, draws: int, size: int) -> dict[str, Any]:
    """Return how the verdicts of random gold sets compare with those of all images."""
    wanted = Wanted()
    everything = np.arange(len(population.gold))
    # Of all images the figures are known: their intervals play no part.
    right = {
        one.name: _of_the_figures(one, wanted)
        for one in verdicts(population, everything, wanted, 2).classes
        if one.objects >= COMMON
    }
    lot = np.random.default_rng(0)
    counted: Counter[str] = Counter()
    firm_wrong = firm = 0
    for _ in range(draws):
        rows = np.sort(lot.choice(everything, size, replace=False))
        for one in verdicts(population, rows, wanted, 300).classes:
            if one.name not in right or one.verdict == "unknown":
                continue
            step = BOLDNESS[one.verdict] - BOLDNESS[right[one.name]]
            counted["right" if step == 0 else "more careful" if step < 0 else "bolder"] += 1
            firm += one.firm
            firm_wrong += one.firm and step != 0
    total = sum(counted.values())
    return {
        "images": len(population.gold), "gold": size, "draws": draws, "classes": right,
        **{name: counted[name] / total for name in ("right", "more careful", "bolder")},
        "firm": firm / total, "firm but wrong": firm_wrong / max(firm, 1),
    }  # fmt: skip


def _of_the_figures(one: Any, wanted: Wanted) -> str:
    if one.precision is not None and min(one.precision, one.recall) >= wanted.good:
        return "ship"
    if one.seconds <= (1 - wanted.saving) * one.seconds_by_hand:
        return "correct"
    return "train" if one.expected >= wanted.objects else "dont"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--gold", type=int, default=60)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/trust")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {
        "drawn scenes": measure(drawn_scenes(options.work), options.draws, options.gold),
        "real photos": measure(real_photos(options.shared, options.work), options.draws, options.gold),
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{options.draws} gold sets of {options.gold} images each\n")
    print("| images | right | more careful | bolder | firm | firm but wrong |\n|---|---|---|---|---|---|")
    for name, one in found.items():
        shares = " | ".join(
            f"{100 * one[key]:.1f} %" for key in ("right", "more careful", "bolder", "firm", "firm but wrong")
        )
        print(f"| {name} ({one['images']}, {len(one['classes'])} classes) | {shares} |")
    for name, one in found.items():
        print(f"\n{name}, on all images: {', '.join(f'{key} {value}' for key, value in one['classes'].items())}")


if __name__ == "__main__":
    main()

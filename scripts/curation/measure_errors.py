"""How early the ranked list of label errors shows errors that were planted, beside FiftyOne's mistakenness and chance.

    .venv/bin/python scripts/curation/measure_errors.py [--seeds N] [--figure FILE] [--json] [--parts]

Two sets with labels of people: coco-photos, where a YOLOv8n for the 80 classes made the claims, and bccd, where a
YOLOv8n made them that was taught the other half of the planted labels. Of each kind 1 % of the boxes get an error.
Trained halves are kept under --work; with them a run takes minutes. Ends with 3 where the floor is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from errors_curves import ALL, Found, Row, at_random, mean, oracle, ranked
from errors_data import SETS, WEIGHTS, Photos, photos, planted_project
from errors_fiftyone import database, mistakenness_alone
from errors_folds import Training, out_of_sample
from errors_signals import doubts_of, suspects
from plant_errors import plant

from distill.curation.doubts import KINDS, Doubt
from distill.curation.mistakenness import mistaken
from distill.curation.scenes import scenes
from labeling.core.records import Annotation
from labeling.core.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
BUDGET = 0.2
FLOOR, GOAL = 3 * BUDGET, 4 * BUDGET
SCORE = 0.25
"""Lowest score of a claim: the default of the detector on the command line."""

OURS, WITH, ALONE = "labelstill", "labelstill + mistakenness", "FiftyOne mistakenness"

Results = dict[str, dict[str, list[Found]]]


def measure(options: argparse.Namespace) -> Results:
    """Return how every list did, by set and by method, one entry per planting."""
    results: Results = {}
    for name in options.sets:
        people = photos(name, options.shared, options.work, options.score)
        methods: dict[str, list[Found]] = defaultdict(list)
        for seed in range(options.seeds):
            for method, found in _planting(people, seed, options).items():
                methods[method].append(found)
        results[name] = dict(methods)
    return results


def _planting(people: Photos, seed: int, options: argparse.Namespace) -> dict[str, Found]:
    started = time.perf_counter()
    labels, planted = plant(people.labels, people.sizes, people.names, seed)
    claims = _claims(people, labels, options) if people.name == "bccd" else None
    path = planted_project(people, options.work / people.name / f"planted-{seed}", labels, claims)
    boxes = sum(map(len, labels.values()))
    with Store.open(path) as store:
        said = doubts_of(store, people.paths)
        everything = [doubt for some in said.values() for doubt in some]
        lists = {OURS: suspects(store, everything)}
        if not options.without_fiftyone:
            lists[WITH] = suspects(store, [*everything, *mistaken(scenes(store))])
            lists[ALONE] = mistakenness_alone(scenes(store), f"{people.name}-{seed}", seed)
        if options.parts:
            lists |= _parts(store, said)
    rows = lists[OURS]
    found = {method: ranked(some, planted, boxes) for method, some in lists.items()}
    both = {"random": at_random(rows, planted), "oracle": oracle(rows, planted, boxes)}
    _tell(f"{people.name}, planting {seed}: {time.perf_counter() - started:.0f} s")
    return found | both


def _claims(
    people: Photos, labels: dict[str, list[Annotation]], options: argparse.Namespace
) -> dict[str, list[Annotation]]:
    weights, folds = options.shared / WEIGHTS, options.work / "folds"
    answers = out_of_sample(labels, people, weights, folds, Training(epochs=options.epochs))
    return {
        image: [claim for claim in some if (claim.provenance.score or 0) >= options.score]
        for image, some in answers.items()
    }


def _parts(store: Store, said: dict[str, list[Doubt]]) -> dict[str, list[Row]]:
    """Return the lists of every signal alone, and of all but one."""
    alone = {f"only {name}": suspects(store, some) for name, some in said.items()}
    others = {
        f"without {name}": suspects(store, [doubt for other, some in said.items() if other != name for doubt in some])
        for name in said
    }
    return alone | others


def table(results: Results) -> str:
    """Return the figures for people: shares in percent of the planted errors seen in the first fifth of each list."""
    lines = []
    for name, methods in results.items():
        first = next(iter(methods.values()))
        lines += [f"{name}: {len(first)} plantings of {first[0].counts[ALL]} errors; seen in the first {BUDGET:.0%}, %"]
        lines += [
            f"{'':26}"
            + "".join(f"{kind:>15}" for kind in (*KINDS, ALL))
            + f"{'min–max':>12}{'rows':>7}{'by boxes':>10}"
        ]
        for method, some in methods.items():
            curves = mean(some)
            shares = [100 * curves[kind][round(BUDGET * 100) - 1] for kind in (*KINDS, ALL)]
            each = [100 * one.at(BUDGET) for one in some]
            strict = [one.by_boxes for one in some if one.by_boxes is not None]
            lines += [
                f"{method:26}" + "".join(f"{share:15.1f}" for share in shares)
                + f"{min(each):6.0f}–{max(each):<5.0f}{some[0].rows:7}"
                + (f"{100 * sum(strict) / len(strict):10.1f}" if strict else "")
            ]  # fmt: skip
        lines += [""]
    return "\n".join(lines)


def as_json(results: Results) -> dict[str, Any]:
    """Return every curve, by set and method: shares in [0, 1] at 1 to 100 % of the list."""
    return {
        name: {
            method: {
                "rows": [one.rows for one in some],
                "planted": some[0].counts,
                "seen_at_20_percent": [one.at(BUDGET) for one in some],
                "seen_in_as_many_rows_as_20_percent_of_the_boxes": [one.by_boxes for one in some],
                "curves": {kind: [round(float(share), 4) for share in curve] for kind, curve in mean(some).items()},
            }
            for method, some in methods.items()
        }
        for name, methods in results.items()
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 3 where the floor is missed in a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="has data/ and weights/")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build/errors", help="projects and trained halves")
    parser.add_argument("--seeds", type=int, default=3, help="how often errors are planted")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--epochs", type=int, default=Training().epochs, help="of the training on each half of bccd")
    parser.add_argument("--score", type=float, default=SCORE, help=f"lowest score of a claim [{SCORE}]")
    parser.add_argument("--parts", action="store_true", help="each signal alone, and all but each, too")
    parser.add_argument("--without-fiftyone", action="store_true")
    parser.add_argument("--figure", type=Path, help="file for the curves, .svg or .png")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    options.work, options.shared = options.work.resolve(), options.shared.resolve()
    with database(options.work) if not options.without_fiftyone else nullcontext():
        results = measure(options)
    if options.figure:
        from errors_figure import draw

        shown = {name: {key: some for key, some in methods.items() if not key.startswith(("only", "without"))}
                 for name, methods in results.items()}  # fmt: skip
        draw(shown, options.figure, BUDGET, FLOOR)
    print(json.dumps(as_json(results), indent=1) if options.json else table(results))
    reached = {name: float(mean(methods[OURS])[ALL][round(BUDGET * 100) - 1]) for name, methods in results.items()}
    for name, share in reached.items():
        verdict = "the goal is reached" if share >= GOAL else "the floor is reached" if share >= FLOOR else "too few"
        _tell(f"{name}: {share:.1%} of the planted errors in the first {BUDGET:.0%}: {share / BUDGET:.2f} x: {verdict}")
    return 0 if min(reached.values()) >= FLOOR else 3


if __name__ == "__main__":
    raise SystemExit(main())

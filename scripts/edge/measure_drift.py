"""Measure how surely drift is found, and how often an alarm is raised where there is none.

    .venv/bin/python scripts/edge/measure_drift.py [--seeds 100] [--scenes 300] [--frames 1000] [--rate 0.01] [--jobs 2]

The pictures are rendered warehouse scenes. Light, blur and sketch of each are the runtime's own, taken of the picture
as it is, darker and blurred. Its objects are the truth of the scene with simulated scores: no student looked at it.
For each seed a reference and windows are drawn from the scenes: as photos (each drawn by itself) and as a video (each
scene stays for some frames while the light wavers). Where nothing drifts, eight windows follow the reference; an alarm
in any of them is a false one. Where something does, two quiet windows are followed by one that shows it: the drift is
found if its alarm says which kind of statistic moved. "test alone" counts alarms without the smallest index that is
called drift, so it shows what the resampling promises. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy.signal import lfilter
from scipy.stats import binomtest

from export.monitoring.drift import LEAST, judge
from export.monitoring.log import LoggedFrame
from export.monitoring.reference import Reference, learn
from export.monitoring.resampling import Chance, chance
from export.monitoring.stretch import Stretch
from export.monitoring.windows import Windows
from export.runtime import frame_facts
from labeling.demo.scenes import RgbImage, all_pairs, render_scene

NAMES = ("barrel", "box", "forklift", "pallet", "person")
NEW, MISSING = "forklift", "person"
"""The reference of `new class` shows no forklift; the windows of `missing class` no person."""

SIZE_WH = (240, 180)
STAY = 8
"""Frames that a scene of the video stays, on average."""

VIDEO = 20_000
"""Frames of its reference at least: neighbours are alike, so it takes many."""

Change = Callable[[RgbImage], RgbImage]

EXPECTED = {
    "darker": {"light", "look"},
    "blurred": {"blur", "look"},
    "new class": {"classes"},
    "missing class": {"classes"},
}
"""Statistics of which one has to raise the alarm."""

WINDOWS = 8
"""Quiet windows that follow a reference."""

QUIET = {"false alarms": LEAST, "false alarms, test alone": 0.0}
"""By name, the smallest index that is called drift."""


def darker(picture: RgbImage) -> RgbImage:
    """Take a third of the light away."""
    return np.asarray(picture * 0.67, dtype=np.uint8)


def blurred(picture: RgbImage) -> RgbImage:
    """Move the lens out of focus: a Gaussian of 1.5 pixels at 240 pixels width."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), dtype=np.uint8)


def pool(nouns: Sequence[str], scenes: int, seed: int, change: Change = lambda picture: picture) -> Stretch:
    """Render scenes that show these nouns, and note what the runtime would; one frame each."""
    pairs = tuple(pair for pair in all_pairs(unseen=True) if pair[1] in nouns)
    rng = np.random.default_rng(seed)
    found = []
    for number in range(scenes):
        scene = render_scene(seed * 100_000 + number, size_wh=SIZE_WH, pairs=pairs)
        light, blur, sketch = frame_facts(np.ascontiguousarray(change(scene.picture)[..., ::-1]))
        scores = rng.normal(0.75, 0.1, len(scene.things)).clip(0.3, 0.99)
        rows = tuple(
            (NAMES.index(one.noun), float(s), *one.box_xyxy) for one, s in zip(scene.things, scores, strict=True)
        )
        found.append(LoggedFrame(0.0, number, "camera", light, blur, sketch, rows, 1.0, None, None))
    return Stretch.of(found)


def frames(scenes: Stretch, count: int, rng: np.random.Generator, *, video: bool) -> Stretch:
    """Return frames drawn from scenes, with a light that wavers and scores that differ from frame to frame."""
    keep = 1 - 1 / STAY if video else 0.0
    new = np.where(rng.random(count) >= keep, np.arange(count), 0)
    place = rng.integers(len(scenes), size=count)[np.maximum.accumulate(new)]
    fresh = rng.normal(size=count)
    fresh[1:] *= np.sqrt(1 - keep**2)
    gain = 1 + 0.03 * lfilter([1], [1, -keep], fresh)
    sketch = scenes.sketch[place].astype(np.float64)
    sketch[:, :48] *= gain[:, None]
    objects = scenes.count[place]
    starts = np.cumsum(scenes.count) - scenes.count
    within = np.arange(objects.sum()) - np.repeat(np.cumsum(objects) - objects, objects)
    which = np.repeat(starts[place], objects) + within
    scores = np.clip(scenes.scores[which] + 0.02 * rng.normal(size=len(which)), 0.3, 0.99)
    sure = np.ones(count)
    np.minimum.at(sure, np.repeat(np.arange(count), objects), (scores - 0.3) / 0.7)
    return Stretch(
        np.arange(count) / 10,
        np.asarray(scenes.light[place] * gain, dtype=np.float32),
        scenes.blur[place],
        np.asarray(sure, dtype=np.float32),
        np.clip(np.rint(sketch), 0, 255).astype(np.uint8),
        objects,
        scenes.class_ids[which],
        np.asarray(scores, dtype=np.float32),
    )


@dataclass(frozen=True)
class Asked:
    """One kind of frames, and how they are judged."""

    scenes: dict[str, Stretch]
    window: int
    rate: float
    video: bool


def alarmed(
    known: Reference, odds: Chance, rate: float, size: int, parts: Sequence[Stretch], least: float = LEAST
) -> set[str]:
    """Return which statistics raise an alarm."""
    windows = Windows(known, size)
    for part in parts:
        windows.add(part)
    return {one.statistic for one in judge(known, windows.found, rate, least=least, odds=odds).drifts}


def of_seed(asked: Asked, seed: int) -> dict[str, bool | None]:
    """Return whether each drift was found and whether quiet windows raised an alarm; None: reference too small."""
    rng = np.random.default_rng([seed, asked.video])
    long = max(VIDEO, 24 * asked.window) if asked.video else 6 * asked.window
    found: dict[str, bool | None] = {}
    for usual, drifts in (("every", ("darker", "blurred", "missing class")), ("without new", ("new class",))):
        before = asked.scenes[usual]
        known = learn(
            [frames(before, long, rng, video=asked.video)],
            {},
            model="",
            names=NAMES,
            window=asked.window,
            all_of_it=True,
        )
        names = (*drifts, *QUIET) if usual == "every" else drifts
        if known is None or known.slow or not known.enough(asked.window):
            found |= dict.fromkeys(names)
            continue
        size = known.window(asked.window)
        odds = chance(known, size, 1 - (1 - asked.rate) ** (1 / WINDOWS), int(rng.integers(2**31)))

        alarms = partial(alarmed, known, odds, asked.rate, size)
        for name in drifts:
            after = asked.scenes["every" if name == "new class" else name]
            parts = [frames(one, n * size, rng, video=asked.video) for one, n in ((before, 2), (after, 1))]
            found[name] = bool(alarms(parts) & EXPECTED[name])
        if usual == "every":
            quiet = [frames(before, WINDOWS * size, rng, video=asked.video)]
            found |= {name: bool(alarms(quiet, least)) for name, least in QUIET.items()}
    return found


def share(hits: Sequence[bool]) -> dict[str, float | int | None]:
    """Return how many there are, and the interval of their share."""
    if not hits:
        return {"of": 0, "share": None, "low": None, "high": None}
    within = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return {"of": len(hits), "share": sum(hits) / len(hits), "low": within.low, "high": within.high}


def render(scenes: int) -> dict[str, Stretch]:
    """Return the scenes of each world."""
    return {
        "every": pool(NAMES, scenes, 1),
        "without new": pool([name for name in NAMES if name != NEW], scenes, 2),
        "darker": pool(NAMES, scenes, 1, darker),
        "blurred": pool(NAMES, scenes, 1, blurred),
        "missing class": pool([name for name in NAMES if name != MISSING], scenes, 3),
    }


def measure(
    scenes: dict[str, Stretch], seeds: int, window: int, rate: float, *, video: bool, jobs: int = 1
) -> dict[str, object]:
    """Return the rates for photos or for a video."""
    one = partial(of_seed, Asked(scenes, window, rate, video))
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as workers:
            every = list(workers.map(one, range(seeds), chunksize=max(1, seeds // (4 * jobs))))
    else:
        every = [one(seed) for seed in range(seeds)]
    found: dict[str, object] = {
        name: share([hit for said in every if (hit := said[name]) is not None]) for name in (*EXPECTED, *QUIET)
    }
    return {**found, "references that were too small": sum(None in said.values() for said in every)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--frames", type=int, default=1000, help="per window, at least")
    parser.add_argument("--rate", type=float, default=0.01, help="of false alarms, per call")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    print("rendering", file=sys.stderr)
    scenes = render(asked.scenes)
    answer: dict[str, object] = {"seeds": asked.seeds, "rate": asked.rate, "frames per window": asked.frames}
    for name, video in (("photos", False), ("video", True)):
        print(f"measuring {name}", file=sys.stderr)
        answer[name] = measure(scenes, asked.seeds, asked.frames, asked.rate, video=video, jobs=asked.jobs)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()

"""Measure how surely drift is found, and how often an alarm is raised where there is none.

    .venv/bin/python scripts/edge/measure_drift.py [--seeds 200] [--scenes 300] [--frames 1000] [--rate 0.01]

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
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import cv2
import numpy as np
from scipy.stats import binomtest

from export.monitoring.drift import LEAST, judge
from export.monitoring.log import LoggedFrame
from export.monitoring.reference import learn
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

Facts = tuple[float, float, bytes, tuple[tuple[int, float, float, float, float, float], ...]]
Pool = Sequence[Facts]
Change = Callable[[RgbImage], RgbImage]

EXPECTED = {
    "darker": {"light", "look"},
    "blurred": {"blur", "look"},
    "new class": {"classes"},
    "missing class": {"classes"},
}
"""Statistics of which one has to raise the alarm."""


def darker(picture: RgbImage) -> RgbImage:
    """Take a third of the light away."""
    return np.asarray(picture * 0.67, dtype=np.uint8)


def blurred(picture: RgbImage) -> RgbImage:
    """Move the lens out of focus: a Gaussian of 1.5 pixels at 240 pixels width."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), dtype=np.uint8)


def pool(nouns: Sequence[str], scenes: int, seed: int, change: Change = lambda picture: picture) -> list[Facts]:
    """Render scenes that show these nouns, and note what the runtime would."""
    pairs = tuple(pair for pair in all_pairs(unseen=True) if pair[1] in nouns)
    rng = np.random.default_rng(seed)
    found = []
    for number in range(scenes):
        scene = render_scene(seed * 100_000 + number, size_wh=SIZE_WH, pairs=pairs)
        light, blur, sketch = frame_facts(np.ascontiguousarray(change(scene.picture)[..., ::-1]))
        scores = rng.normal(0.75, 0.1, len(scene.things)).clip(0.3, 0.99)
        rows = ((NAMES.index(one.noun), float(s), *one.box_xyxy) for one, s in zip(scene.things, scores, strict=True))
        found.append((light, blur, sketch, tuple(rows)))
    return found


def frames(facts: Pool, count: int, rng: np.random.Generator, *, video: bool) -> Iterator[LoggedFrame]:
    """Yield frames drawn from scenes, with a light that wavers and scores that differ from frame to frame."""
    keep = 1 - 1 / STAY if video else 0.0
    place, waver = int(rng.integers(len(facts))), float(rng.normal())
    for number in range(count):
        if rng.random() >= keep:
            place = int(rng.integers(len(facts)))
        waver = keep * waver + float(np.sqrt(1 - keep**2) * rng.normal())
        light, blur, sketch, objects = facts[place]
        gain = 1 + 0.03 * waver
        lit = np.frombuffer(sketch, dtype=np.uint8).astype(np.float64)
        lit[:48] *= gain
        bytes_ = np.clip(np.rint(lit), 0, 255).astype(np.uint8).tobytes()
        seen = tuple((row[0], float(np.clip(row[1] + 0.02 * rng.normal(), 0.3, 0.99)), *row[2:]) for row in objects)
        sure = min((abs(row[1] - 0.3) / 0.7 for row in seen), default=1.0)
        yield LoggedFrame(number / 10, number, "camera", light * gain, blur, bytes_, seen, sure, None, None)


def alarms(
    before: Pool,
    after: Pool,
    rng: np.random.Generator,
    *,
    reference: int,
    window: int,
    quiet: int,
    loud: int,
    rate: float,
    video: bool,
    least: float = LEAST,
) -> set[str] | None:
    """Return which statistics raise an alarm, or None where the reference is too small for the rate."""
    usual = frames(before, reference, rng, video=video)
    known = learn([Stretch.of(list(usual))], {}, model="", names=NAMES, window=window, all_of_it=True)
    if known is None or not known.enough(window):
        return None
    size = known.window(window)
    windows = Windows(known, size)
    later = chain(
        frames(before, quiet * size, rng, video=video),
        frames(after, loud * size, rng, video=video),
    )
    windows.add(Stretch.of(list(later)))
    verdict = judge(known, windows.found, rate, least=least, seed=int(rng.integers(2**31)))
    return {one.statistic for one in verdict.drifts}


def share(hits: Sequence[bool]) -> dict[str, float | int | None]:
    """Return how many there are, and the interval of their share."""
    if not hits:
        return {"of": 0, "share": None, "low": None, "high": None}
    within = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return {"of": len(hits), "share": sum(hits) / len(hits), "low": within.low, "high": within.high}


def measure(scenes: int, seeds: int, window: int, rate: float, *, video: bool) -> dict[str, object]:
    """Return the rates for photos or for a video."""
    every = pool(NAMES, scenes, 1)
    without_new = pool([name for name in NAMES if name != NEW], scenes, 2)
    pairs = {
        "darker": (every, pool(NAMES, scenes, 1, darker)),
        "blurred": (every, pool(NAMES, scenes, 1, blurred)),
        "new class": (without_new, every),
        "missing class": (every, pool([name for name in NAMES if name != MISSING], scenes, 3)),
    }
    common = {
        "reference": max(VIDEO, 24 * window) if video else 6 * window,
        "window": window,
        "rate": rate,
        "video": video,
    }
    found: dict[str, object] = {}
    small = 0
    for name, (before, after) in pairs.items():
        hits = []
        for seed in range(seeds):
            said = alarms(before, after, np.random.default_rng([seed, 1]), quiet=2, loud=1, **common)
            small += said is None
            if said is not None:
                hits.append(bool(said & EXPECTED[name]))
        found[name] = share(hits)
    for name, least in (("false alarms", LEAST), ("false alarms, test alone", 0.0)):
        hits = []
        for seed in range(seeds):
            said = alarms(every, every, np.random.default_rng([seed, 2]), quiet=8, loud=0, least=least, **common)
            small += said is None
            if said is not None:
                hits.append(bool(said))
        found[name] = share(hits)
    return {**found, "references that were too small": small}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--frames", type=int, default=1000, help="per window, at least")
    parser.add_argument("--rate", type=float, default=0.01, help="of false alarms, per call")
    asked = parser.parse_args()
    answer: dict[str, object] = {"seeds": asked.seeds, "rate": asked.rate, "frames per window": asked.frames}
    for name, video in (("photos", False), ("video", True)):
        print(f"measuring {name}", file=sys.stderr)
        answer[name] = measure(asked.scenes, asked.seeds, asked.frames, asked.rate, video=video)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()

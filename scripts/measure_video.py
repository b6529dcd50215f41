"""Label a made video of moving warehouse objects with the bundled teacher, and compare with what was drawn.

Usage: python scripts/measure_video.py [--seconds S] [--size W H] [--seed N] [--json]

Two shots with a cut between them; in the first, everything stands still for a quarter of the video. The truth of every
frame is exact: the box around the visible pixels of each object. Prints how many frames were taken, how many boxes are
right, how tracks and objects go together, and whether a split cuts a track.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.split import read_split
from labeling.cli import main as labelstill
from labeling.core.matching import match
from labeling.core.store import Store
from labeling.demo.objects import COLOURS, NOUNS, Brush
from labeling.demo.scenes import draw_room, thing_of
from labeling.video.ledger import FrameLedger

FPS = 10
SEED = 90_000_000
_MIN_VISIBLE, _MIN_SIDE = 0.45, 12
_NOUNS = ("forklift", "barrel", "person", "cone", "box", "ladder")


@dataclass(frozen=True)
class Truth:
    """One object of one frame; ``number`` is the same in all its frames and in no other shot."""

    number: int
    noun: str
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Mover:
    """An object whose foot goes from one place to another in the course of its shot, in shares of the picture."""

    number: int
    noun: str
    colour: str
    start_xy: tuple[float, float]
    end_xy: tuple[float, float]
    height: float
    mirror: float
    seed: int


def movers(rng: np.random.Generator, first: int, count: int) -> list[Mover]:
    """Return objects that walk across the floor at different depths, half of them each way."""
    found = []
    for place in range(count):
        depth = 0.55 + 0.4 * place / max(count - 1, 1)
        left, right = rng.uniform(0.12, 0.3), rng.uniform(0.7, 0.88)
        start, end = (left, right) if place % 2 else (right, left)
        noun = _NOUNS[(first + place) % len(_NOUNS)]
        colour = sorted(COLOURS)[int(rng.integers(len(COLOURS)))]
        found.append(
            Mover(
                first + place, noun, colour, (start, depth), (end, depth),
                NOUNS[noun].height * (0.2 + 0.35 * depth), 1.0 if start < end else -1.0, int(rng.integers(1 << 31)),
            )
        )  # fmt: skip
    return found


def shot(rng: np.random.Generator, actors: list[Mover], when: list[float], size_wh: tuple[int, int]) -> Iterator[Any]:
    """Yield (picture, truths) for each moment in [0, 1] of a shot."""
    width, height = size_wh
    room = draw_room(rng, width, height, height * 0.3)
    for moment in when:
        picture, ids = room.copy(), np.zeros((height, width), np.uint8)
        alone: dict[int, int] = {}
        for number, actor in enumerate(actors, start=1):
            x, y = (a + (b - a) * moment for a, b in zip(actor.start_xy, actor.end_xy, strict=True))
            own = np.zeros_like(ids)
            for target in (ids, own):
                brush = Brush(
                    picture if target is ids else picture.copy(), target, number, COLOURS[actor.colour],
                    (x * width, y * height), actor.height * height, actor.mirror,
                )  # fmt: skip
                NOUNS[actor.noun].draw(brush, np.random.default_rng(actor.seed))
            alone[number] = int((own == number).sum())
        noise = rng.normal(0, 3, (height, width, 1))
        yield np.clip(picture + noise, 0, 255).astype(np.uint8), _truths(actors, ids, alone)


def _truths(actors: list[Mover], ids: npt.NDArray[np.uint8], alone: dict[int, int]) -> list[Truth]:
    truths = []
    for number, actor in enumerate(actors, start=1):
        mask = ids == number
        if mask.sum() < _MIN_VISIBLE * alone[number] or min(mask.any(0).sum(), mask.any(1).sum()) < _MIN_SIDE:
            continue
        truths.append(Truth(actor.number, actor.noun, thing_of(actor.noun, actor.colour, mask).box_xyxy))
    return truths


def write_video(path: Path, seconds: float, size_wh: tuple[int, int], seed: int = 0) -> list[list[Truth]]:
    """Encode the video and return what is in each frame."""
    import av

    rng = np.random.default_rng(SEED + seed)
    frames = round(seconds * FPS)
    still, first = frames // 4, frames * 5 // 8
    moving = np.linspace(0, 1, first - still)
    stop = len(moving) // 2
    when = [*moving[:stop], *[moving[stop]] * still, *moving[stop:]]
    shots = [
        shot(rng, movers(rng, 0, 4), [float(one) for one in when], size_wh),
        shot(rng, movers(rng, 4, 4), [float(one) for one in np.linspace(0, 1, frames - first)], size_wh),
    ]
    truth: list[list[Truth]] = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "threads": "1"}
        for one in shots:
            for picture, there in one:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = len(truth), Fraction(1, FPS)
                truth.append(there)
                for packet in stream.encode(frame):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return truth


def measure(seconds: float, size_wh: tuple[int, int], seed: int = 0) -> dict[str, Any]:
    """Make the video, label it, split it, and return every figure."""
    with tempfile.TemporaryDirectory(prefix="labelstill-video-") as folder:
        root = Path(folder)
        truth = write_video(root / "moving.mp4", seconds, size_wh, seed)
        began = monotonic()
        told = _told("label", str(root / "moving.mp4"), "--project", folder, "--classes", ", ".join(_NOUNS),
                     "--detector", "bundled", "--json")  # fmt: skip
        took = monotonic() - began
        _told("split", "--project", folder, "--unreviewed", "--json")
        with Store.open(root / "labels.db") as store:
            found = _compare(store, truth)
            parts = read_split(store).parts
            groups = FrameLedger(store).groups()
            cut = sum(len({parts[image] for image in group if image in parts}) > 1 for group in groups)
    film = told["videos"][0]
    return {
        "frames": film["frames"],
        "taken": film["taken"],
        "near_identical": film["near_identical"],
        "too_soon": film["too_soon"],
        "label_seconds": round(took, 1),
        **found,
        "tracks_cut_by_split": cut,
        "parts": dict(Counter(parts.values())),
    }


def _compare(store: Store, truth: list[list[Truth]]) -> dict[str, Any]:
    (video,) = (one for (one,) in store.rows("SELECT DISTINCT video FROM frames"))
    ledger = FrameLedger(store)
    track_of = {label: track for track, seen in ledger.tracks(video).items() for _, label in seen}
    right = claimed = there = switches = 0
    tracks_of: dict[int, list[int]] = defaultdict(list)
    objects_of: dict[int, set[int]] = defaultdict(set)
    for frame in ledger.frames(video):
        labels, true = store.annotations_of(frame.sha256), truth[frame.number]
        boxes, others = [one.box_xyxy for one in labels], [one.box_xyxy for one in true]
        same = np.array([[a.class_name == b.noun for b in true] for a in labels], dtype=bool).reshape(len(labels), -1)
        pairs = match(boxes, others, prefer=same) if labels and true else []
        claimed, there = claimed + len(labels), there + len(true)
        for i, j, _iou in pairs:
            if not same[i, j]:
                continue
            right += 1
            track = track_of.get(labels[i].id)
            if track is not None:
                seen = tracks_of[true[j].number]
                switches += bool(seen) and seen[-1] != track
                seen.append(track)
                objects_of[track].add(true[j].number)
    tracks = set(track_of.values())
    return {
        "precision": round(right / claimed, 3) if claimed else None,
        "recall": round(right / there, 3) if there else None,
        "boxes": claimed,
        "true_boxes": there,
        "tracks": len(tracks),
        "true_objects": len({one.number for frame in truth for one in frame}),
        "objects_with_a_track": len(tracks_of),
        "identity_switches": switches,
        "tracks_with_two_objects": sum(len(one) > 1 for one in objects_of.values()),
        "tracks_of_no_object": len(tracks - objects_of.keys()),
    }


def _told(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = labelstill(list(arguments))
    if code not in (0, 2):
        raise SystemExit(f"labelstill {arguments[0]} ended with {code}: {out.getvalue()}")
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def main() -> None:
    """Read the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("W", "H"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    figures = measure(asked.seconds, tuple(asked.size), asked.seed)
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):24} {'not measured' if value is None else value}")


if __name__ == "__main__":
    main()

"""Logs as a device writes them, from drawn numbers: a steady world, one that drifts, one that moves slowly."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes import draw

NAMES = ("person", "forklift", "pallet")


@dataclass(frozen=True, slots=True)
class World:
    """What a camera sees: mean light, sharpness, objects per frame, the mix of the classes, and mean score.

    ``memory`` is the correlation of a frame with the one before; 0 for photos of different places.
    """

    light: float = 0.5
    blur: float = 5.0
    objects: float = 3.0
    mix: tuple[float, ...] = (0.6, 0.3, 0.1)
    score: float = 0.7
    colour: float = 120.0
    memory: float = 0.0


def frames(world: World, count: int, seed: int = 0, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield lines of a log as mappings; each kind of number follows an autoregression of order one."""
    rng = np.random.default_rng([seed, start])
    fresh = np.sqrt(1 - world.memory**2)
    state = rng.normal(size=4)
    for number in range(start, start + count):
        state = world.memory * state + fresh * rng.normal(size=4)
        light, blur, crowd, sure = state
        sketch = rng.normal(world.colour, 6, 48) + 10 * light
        shape = rng.dirichlet(np.full(8, 20.0)) * 255
        n = rng.poisson(world.objects * np.exp(0.2 * crowd - 0.02))
        classes = rng.choice(len(world.mix), n, p=world.mix)
        scores = np.clip(rng.normal(world.score + 0.03 * sure, 0.1, n), 0.3, 0.99)
        corners = rng.uniform(0, 300, (n, 2))
        yield {
            "t": 1_700_000_000 + number / 10,
            "n": number,
            "source": "camera",
            "wh": [640, 480],
            "light": round(float(np.clip(world.light + 0.05 * light, 0, 1)), 4),
            "blur": round(float(world.blur + 0.3 * blur), 4),
            "sketch": sketched(np.concatenate([sketch, shape])),
            "objects": [
                [int(k), round(float(s), 3), int(x), int(y), int(x) + 40, int(y) + 60]
                for k, s, (x, y) in zip(classes, scores, corners, strict=True)
            ],
            "sure": round(float(np.clip(0.5 + 0.1 * sure, 0, 1)), 4),
            "second": False,
            "ms": [1.0, 8.0, 1.0],
        }


def drifting(world: World, quiet: int, loud: int, seed: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Return lines of a world that changes after so many frames."""
    return [*frames(world, quiet, seed), *frames(replace(world, **changes), loud, seed, start=quiet)]


def sketched(values: Sequence[float] | np.ndarray[Any, Any]) -> str:
    """Return 56 numbers as a log holds them."""
    return base64.b64encode(np.clip(np.asarray(values), 0, 255).astype(np.uint8).tobytes()).decode()


def header(**changes: Any) -> dict[str, Any]:
    """Return the first line of a log."""
    return {
        "labelstill": "edge-log",
        "format": 1,
        "model": "a" * 64,
        "precision": "fp16",
        "names": list(NAMES),
        "thresholds": dict.fromkeys(NAMES, 0.3),
        "device": "drawn",
        "started": "2026-03-01T08:00:00+00:00",
        **changes,
    }


def write(path: Path, lines: Iterable[dict[str, Any]], **changes: Any) -> Path:
    """Write a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for line in (header(**changes), *lines):
            file.write(json.dumps(line) + "\n")
    return path


def drawn_log(folder: Path, count: int) -> Path:
    """Write a log whose first frames were kept as pictures of rectangles; four more were not kept."""
    lines = list(frames(World(), count + 4))
    for number, line in enumerate(lines[:count]):
        draw(folder / "kept" / f"{number}.png", [("red", (10, 10, 30 + number, 30))], salt=number)
        line |= {"kept": f"kept/{number}.png", "sure": number / 100}
    return write(folder / "a.jsonl", lines)

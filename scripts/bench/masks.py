"""B4: from the decoder's small logits to encoded masks of the full frame, against what SAM2ImagePredictor does.

Usage: python scripts/bench/masks.py [--boxes N] [--peer-boxes N] [--rounds N] [--json]

The peer upsamples each mask to the full frame (torch's interpolate), compares with the threshold, copies it to numpy
and encodes it with pycocotools. It does so box by box, which costs it the least memory and no time. Both get the same
logits of objects between 0.2 % and 15 % of the frame, and both give the same bytes, or the bench fails. The peer keeps
specks; we remove them in `label`, so that is timed beside it and not instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco
from rounds import Row, arguments, interleave, measured, publish, ratio, spread

from labeling.core.records import Rle
from labeling.teachers.segmenters.sam2 import encode_masks

SIZES = {"1080p": (1080, 1920), "12 MP": (3000, 4000)}
GRID = 256
SHARES = (0.002, 0.15)
_CHUNK = 64
_PEAK = "LABELSTILL_BENCH_PEAK"
_SMALL_FRAME = "the peer's frame is small at 1080p; ours costs what the outline costs, about the same at every size"


def logits_of(count: int, share: float | None = None, seed: int = 0) -> torch.Tensor:
    """Return (count, 256, 256) float32 logits of blobs with a wavy outline and grain, as a decoder gives them.

    Args:
        count: number of masks.
        share: area of each as a share of the frame; None draws it between ``SHARES``, evenly on a logarithmic scale.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    yy, xx = np.mgrid[:GRID, :GRID] / GRID
    masks = np.empty((count, GRID, GRID), dtype=np.float32)
    for mask in masks:
        radius = np.sqrt((share or np.exp(random.uniform(*np.log(SHARES)))) / np.pi)
        x, y = random.uniform(radius, 1 - radius, 2)
        waves = torch.from_numpy(random.normal(size=(1, 1, 10, 10)))
        outline = torch.nn.functional.interpolate(waves, (GRID, GRID), mode="bicubic")[0, 0].numpy()
        distance = 1 - np.hypot(xx - x, yy - y) / radius
        mask[:] = np.clip(15 * distance + 2 * outline + random.normal(0, 0.05, (GRID, GRID)), -32, 32)
    return torch.from_numpy(masks)


def peer(logits: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Return the masks as SAM2ImagePredictor and pycocotools make them."""
    rles: list[Rle] = []
    for one in logits:
        full = torch.nn.functional.interpolate(one[None, None], size_hw, mode="bilinear", align_corners=False)
        mask = (full > 0.0).cpu().numpy()[0, 0]
        encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        rles.append({"size": list(encoded["size"]), "counts": encoded["counts"].decode()})
    return rles


def bench(boxes: int, peer_boxes: int, rounds: int) -> list[Row]:
    """Return the rows."""
    rows: list[Row] = []
    logits = logits_of(boxes)
    large = logits_of(4, share=0.1, seed=1)
    for name, size_hw in SIZES.items():
        sample = logits[:peer_boxes]
        for some in (sample, large):
            if encode_masks(some, size_hw, islands=True) != peer(some, size_hw):
                raise SystemExit(f"{name}: the two ways gave different masks")
        times = interleave(_steps(logits, sample, large, size_hw), rounds)
        times["peer per box"] = [seconds / peer_boxes for seconds in times["peer"]]
        times["ours per box"] = [seconds / boxes for seconds in times["ours, all"]]
        goals = (">= 15", ">= 5", _SMALL_FRAME)
        rows += [
            measured(f"{name}: peer ÷ ours, 1 box", ratio(times, "peer, 1", "ours, 1"), *goals),
            measured(f"{name}: peer ÷ ours, the same {peer_boxes} boxes", ratio(times, "peer", "ours"), *goals),
            measured(
                f"{name}: peer per box ÷ ours per box, {boxes} boxes",
                ratio(times, "peer per box", "ours per box"),
                *goals,
            ),
            measured(f"{name}: the same with specks removed by us alone", ratio(times, "peer", "ours, cleaned")),
            measured(f"{name}: objects of 10 % of the frame", ratio(times, "peer, 10 %", "ours, 10 %"), *goals),
            measured(f"{name}: ms per box, peer", spread([1000 * one for one in times["peer per box"]])),
            measured(f"{name}: ms per box, ours", spread([1000 * one for one in times["ours per box"]])),
        ]
        rows += _memory(name, boxes)
    return rows


def _steps(
    logits: torch.Tensor, sample: torch.Tensor, large: torch.Tensor, size_hw: tuple[int, int]
) -> dict[str, Callable[[], object]]:
    return {
        "peer": lambda: peer(sample, size_hw),
        "ours": lambda: encode_masks(sample, size_hw, islands=True),
        "ours, cleaned": lambda: encode_masks(sample, size_hw),
        "ours, all": lambda: encode_masks(logits, size_hw, islands=True),
        "peer, 1": lambda: peer(sample[:1], size_hw),
        "ours, 1": lambda: encode_masks(sample[:1], size_hw, islands=True),
        "peer, 10 %": lambda: peer(large, size_hw),
        "ours, 10 %": lambda: encode_masks(large, size_hw, islands=True),
    }


def _memory(name: str, boxes: int) -> list[Row]:
    """Return how the peak of a process of its own grows with the number of boxes."""
    one, many = (_peak_of(name, count) for count in (1, boxes))
    return [
        Row(f"{name}: peak memory, {boxes} boxes ÷ 1 box", many[0] / one[0], None, "<= 1.5"),
        Row(f"{name}: MB that encoding {boxes} boxes adds to the process", many[1]),
    ]


def _peak_of(name: str, count: int) -> tuple[float, float]:
    """Return the peak of a new process in MB, and how much of it encoding added."""
    environment = {**os.environ, _PEAK: f"{name}:{count}"}
    done = subprocess.run([sys.executable, __file__], env=environment, check=True, capture_output=True, text=True)
    peak, added = done.stdout.split()
    return float(peak), float(added)


def _print_peak(name: str, count: int) -> None:
    def memory(key: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

    small = logits_of(1)[0]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # what the imports took at most is forgotten
    before = memory("VmRSS")
    for start in range(0, count, _CHUNK):  # the decoder gives 64 masks at a time
        encode_masks(small.expand(min(_CHUNK, count - start), GRID, GRID).clone(), SIZES[name])
    print(memory("VmHWM"), memory("VmHWM") - before)


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)  # one mask at a time leaves nothing to share out at 1080p, and both get the same
    if _PEAK in os.environ:
        name, _, count = os.environ[_PEAK].partition(":")
        _print_peak(name, int(count))
        return
    options = arguments(__doc__, boxes=300, peer_boxes=12).parse_args()
    notes = ["Every mask of both was compared byte for byte before the clock ran."]
    publish("masks", bench(options.boxes, options.peer_boxes, options.rounds), options, notes)


if __name__ == "__main__":
    main()

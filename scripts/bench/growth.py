"""Growth: images 100 to 10,000 at a teacher that costs nothing, and photos of 0.3 to 50 megapixels.

Usage: python scripts/bench/growth.py [--images N] [--megapixels N] [--rounds N] [--json]

Images: `label` in a process of its own on tiny JPEGs, so that only what grows with their number is left: search, plan,
hand-over, labels.db. Linear means that an image of the largest run costs what one of the run before costs, start of the
process taken off; flat means that the peak memory of the process stays what it was. Processor seconds are compared,
which other programs on the machine disturb less than the clock.

Megapixels: the gate alone (read, hash, decode, upright RGB) in a process per size; time per megapixel, and peak memory
beside the bytes of the pixels.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sleepy
from photos import scenes, tiny
from processes import run_to_end
from rounds import Row, arguments, measured, publish, spread

BATCH = 16
SIZES = {0.3: (640, 480), 1: (1280, 800), 3: (2048, 1536), 12: (4000, 3000), 50: (8192, 6144)}
_LOAD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from rounds import peak_mb
from labeling.images import load
began = time.process_time()
for path in sys.argv[2:]:
    load(Path(path), max_pixels=10**8)
print(time.process_time() - began, peak_mb())
"""


def bench(images: int, megapixels: int, rounds: int) -> list[Row]:
    """Return the rows."""
    return _images(images, rounds) + _megapixels(megapixels, rounds)


def _images(most: int, rounds: int) -> list[Row]:
    counts = sorted({max(most // 100, 1), max(most // 4, 2), most})
    cpu: dict[int, list[float]] = {count: [] for count in counts}
    memory: dict[int, list[float]] = {count: [] for count in counts}
    folders = {count: tiny(count) for count in counts}
    for number in range(rounds):
        for count in counts if number % 2 == 0 else reversed(counts):
            with tempfile.TemporaryDirectory(dir=folders[count].parent) as folder:
                root = Path(folder)
                flags = sleepy.flags(folders[count], root / "project", root / "weights", batch=BATCH)
                seconds, _ = _process([str(Path(sleepy.__file__)), *flags], peak=root / "peak")
                cpu[count].append(seconds)
                memory[count].append(float((root / "peak").read_text(encoding="utf-8")))
    few, some, many = counts
    per_image = {
        count: [1000 * (high - low) / (count - few) for low, high in zip(cpu[few], cpu[count], strict=True)]
        for count in (some, many)
    }
    slope = [late / early for early, late in zip(per_image[some], per_image[many], strict=True)]
    flat = [late / early for early, late in zip(memory[few], memory[many], strict=True)]
    rows = [measured(f"{count:,} images: CPU s, whole process", spread(cpu[count])) for count in counts]
    for count in (some, many):
        rows.append(measured(f"{count:,} images: CPU ms per image beyond the first {few:,}", spread(per_image[count])))
    shared = "other programs shared the processor"
    rows.append(measured(f"cost of an image at {many:,} ÷ at {some:,}", spread(slope), "<= 1.1", "", shared))
    rows += [measured(f"{count:,} images: peak MB", spread(memory[count])) for count in counts]
    plan = "the plan holds name, size and time of every file"
    rows.append(measured(f"peak memory at {many:,} ÷ at {few:,}", spread(flat), "<= 1.1", "", plan))
    return rows


def _megapixels(largest: int, rounds: int) -> list[Row]:
    rows = []
    for megapixels, size_wh in SIZES.items():
        if megapixels > largest:
            continue
        (photo,) = scenes(1, size_wh)
        exact = size_wh[0] * size_wh[1] / 1e6
        repeats = max(1, round(6 / exact))
        taken, peaks = [], []
        for _ in range(rounds):
            _, said = _process(["-c", _LOAD, str(Path(__file__).parent), *[str(photo.path)] * repeats])
            seconds, peak_mb = map(float, said.split())
            taken.append(1000 * seconds / repeats / exact)
            peaks.append(peak_mb)
        rows.append(measured(f"{megapixels:g} MP photo: CPU ms per megapixel", spread(taken)))
        rows.append(measured(f"{megapixels:g} MP photo: peak MB ({3 * exact:.0f} MB are the pixels)", spread(peaks)))
    return rows


def _process(arguments: Sequence[str], peak: Path | None = None) -> tuple[float, str]:
    """Run Python; return the processor seconds of the process and what it printed. See sleepy for ``peak``."""
    said, seconds = run_to_end([sys.executable, *arguments], {f"{sleepy.PREFIX}PEAK": str(peak)} if peak else None)
    return seconds, said


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, images=10_000, megapixels=50).parse_args()
    publish("growth", bench(options.images, options.megapixels, options.rounds), options, [f"batch {BATCH}"])


if __name__ == "__main__":
    main()

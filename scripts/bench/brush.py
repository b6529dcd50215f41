"""B5: masks as Label Studio's brush regions, against `mask2rle` of the Label Studio SDK.

Usage: python scripts/bench/brush.py [--masks N] [--rounds N] [--json]

Both give the same numbers for every mask, or the bench fails. The SDK starts from pixels (0 or 255, made beforehand).
We are timed twice: from the same pixels, and from the run lengths that labels.db holds, for which the SDK would have to
decode them first (not counted against it). Noise, where every run is a pixel or two long, is the worst case of both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from label_studio_sdk.converter.brush import mask2rle
from rounds import Row, arguments, interleave, measured, publish, ratio, spread

from labeling.core import masks
from labeling.core.brush import decode_brush, encode_brush

CASES = {
    "720p, 2 %": (720, 1280, 0.02),
    "1080p, 10 %": (1080, 1920, 0.10),
    "12 MP, 10 %": (3000, 4000, 0.10),
}
_WHY = "what is left is a few dozen calls into numpy for each mask, whatever its size"
NOISE_HW = (360, 640)


def blob(height: int, width: int, share: float, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return a blob with a wavy outline that covers about that share of the frame."""
    radius = np.sqrt(share * height * width / np.pi)
    y, x = (random.uniform(radius, side - radius) for side in (height, width))
    yy, xx = np.ogrid[:height, :width]
    angle = np.arctan2(yy - y, xx - x)
    waves = sum(random.uniform(0, 0.05) * np.cos(k * angle + random.uniform(0, 6)) for k in range(2, 9))
    inside: npt.NDArray[np.bool_] = np.hypot(yy - y, xx - x) < radius * (1 + waves)
    return inside


def bench(count: int, rounds: int) -> list[Row]:
    """Return the rows."""
    random = np.random.default_rng(0)
    cases = {
        name: ([blob(height, width, share, random) for _ in range(count)], True)
        for name, (height, width, share) in CASES.items()
    }
    cases["360p noise"] = ([random.random(NOISE_HW) < 0.5], False)
    rows: list[Row] = []
    for name, (drawn, judged) in cases.items():
        rows += _rows(name, drawn, rounds, (">= 15", ">= 12", _WHY) if judged else ())
    return rows


def _rows(name: str, drawn: list[npt.NDArray[np.bool_]], rounds: int, goals: tuple[str, ...]) -> list[Row]:
    pixels = [mask.astype(np.uint8) * 255 for mask in drawn]
    at_rest = [masks.encode(mask) for mask in drawn]
    wanted = [mask2rle(each) for each in pixels]
    for mask, rle, numbers in zip(drawn, at_rest, wanted, strict=True):
        if not encode_brush(mask) == encode_brush(rle) == numbers:
            raise SystemExit(f"{name}: the two ways gave different numbers")
        if (decode_brush(numbers, (mask.shape[0], mask.shape[1])) != mask).any():
            raise SystemExit(f"{name}: the mask did not come back")
    times = interleave(
        {
            "sdk": lambda: [mask2rle(each) for each in pixels],
            "pixels": lambda: [encode_brush(mask) for mask in drawn],
            "runs": lambda: [encode_brush(rle) for rle in at_rest],
        },
        rounds,
    )
    each = {step: spread([len(drawn) / seconds for seconds in taken]) for step, taken in times.items()}
    return [
        measured(f"{name}: SDK ÷ ours, both from pixels", ratio(times, "sdk", "pixels"), *goals),
        measured(f"{name}: SDK ÷ ours from run lengths", ratio(times, "sdk", "runs"), *goals),
        measured(f"{name}: masks/s, SDK", each["sdk"]),
        measured(f"{name}: masks/s, ours from pixels", each["pixels"]),
        measured(f"{name}: masks/s, ours from run lengths", each["runs"]),
    ]


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, masks=12).parse_args()
    notes = ["Every mask of both was compared number for number before the clock ran."]
    publish("brush", bench(options.masks, options.rounds), options, notes)


if __name__ == "__main__":
    main()

"""Plant near duplicates among photos: the photos, copies of some of them that were changed a little, and the truth.

    .venv/bin/python scripts/curation/plant_duplicates.py PHOTOS OUT [--share 0.5] [--seed 0]

OUT gets ``photos/`` (the photos as they are), ``copies/`` (changed copies under names that say nothing) and
``truth.json``: a list of ``{"copy", "of", "kind"}``. The same photos, share and seed give the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

WORST_BORDER = 0.08
"""A crop takes at most so much of each border, as a share of the side."""

_QUALITY = 92
"""JPEG quality of every copy that is not about quality."""


class Plant(NamedTuple):
    """One changed copy: the names of both files, without folders, and what was done."""

    copy: str
    of: str
    kind: str


def reencoded(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, int]:
    """Return the pixels and a JPEG quality of 50 to 90."""
    return pixels, int(random.integers(50, 91))


def resized(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, int]:
    """Return 50 to 150 % of the size, one factor for both sides, at least a tenth away from 100 %."""
    factor = float(random.choice([random.uniform(0.5, 0.9), random.uniform(1.1, 1.5)]))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how).astype(np.uint8), _QUALITY


def cropped(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, int]:
    """Return the picture without up to 8 % of each border; at least one border loses 5 %."""
    shares = random.uniform(0, WORST_BORDER, 4)
    shares[random.integers(4)] = random.uniform(0.05, WORST_BORDER)
    height, width = pixels.shape[:2]
    top, bottom, left, right = (round(s * n) for s, n in zip(shares, (height, height, width, width), strict=True))
    return pixels[top : height - bottom, left : width - right], _QUALITY


def brightened(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, int]:
    """Return the picture brighter or darker by 5 to 20 %; what would be brighter than white is white."""
    factor = 1 + float(random.uniform(0.05, 0.2) * random.choice([-1, 1]))
    return np.clip(np.rint(pixels * factor), 0, 255).astype(np.uint8), _QUALITY


def changed_in_every_way(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, int]:
    """Return a copy that was cropped, made brighter or darker, resized and encoded anew."""
    for change in (cropped, brightened, resized):
        pixels, _ = change(pixels, random)
    return reencoded(pixels, random)


KINDS: dict[str, Callable[[Pixels, np.random.Generator], tuple[Pixels, int]]] = {
    "re-encoded": reencoded,
    "resized": resized,
    "cropped": cropped,
    "brightness": brightened,
    "all of them": changed_in_every_way,
}


def plant(photos: Path, out: Path, *, share: float = 0.5, seed: int = 0) -> list[Plant]:
    """Write a set with planted duplicates and return the truth.

    Args:
        photos: a folder of pictures, read only.
        out: a folder that is made.
        share: so many of the photos get one changed copy each; the kinds take turns.
        seed: another one changes other photos in other ways.
    """
    (out / "photos").mkdir(parents=True)
    (out / "copies").mkdir()
    files = sorted(file for file in photos.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for file in files:
        shutil.copyfile(file, out / "photos" / file.name)
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(files))[: round(share * len(files))]
    plants = [
        _copy(files[row], out / "copies", list(KINDS)[turn % len(KINDS)], seed) for turn, row in enumerate(chosen)
    ]
    (out / "truth.json").write_text(json.dumps([one._asdict() for one in plants], indent=1) + "\n", encoding="utf-8")
    return plants


def _copy(file: Path, folder: Path, kind: str, seed: int) -> Plant:
    digest = hashlib.sha256(f"{seed} {kind} {file.name}".encode()).digest()
    pixels = cv2.imread(str(file))
    assert pixels is not None, file
    changed, quality = KINDS[kind](pixels.astype(np.uint8), np.random.default_rng(list(digest)))
    name = f"{digest.hex()[:16]}.jpg"
    cv2.imwrite(str(folder / name), changed, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return Plant(name, file.name, kind)


def main() -> int:
    """Plant as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of pictures, read only")
    parser.add_argument("out", type=Path, help="folder that is made")
    parser.add_argument("--share", type=float, default=0.5, help="share of the photos that get a changed copy")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    plants = plant(asked.photos, asked.out, share=asked.share, seed=asked.seed)
    print(f"{len(plants)} changed copies: {asked.out / 'truth.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

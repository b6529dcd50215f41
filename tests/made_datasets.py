"""Small dataset folders in the layout that trainings read, drawn and written by hand."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from distill.dataset import Dataset

NAMES = ("red", "blue")
_COLOURS = ((220, 30, 30), (30, 60, 220))
_GREY = 128

Shape = tuple[int, float, float, float, float]
"""Class id, centre x, centre y, width, height; shares of the image."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One image of a dataset.

    Attributes:
        shapes: rectangles that are drawn and labelled.
        weights: of the labels; None writes no file.
        ring: boxes to ignore, drawn too, not labelled; None writes no file.
    """

    shapes: tuple[Shape, ...] = ()
    weights: tuple[float, ...] | None = None
    ring: tuple[Shape, ...] | None = None


def scattered(count: int, seed: int = 0, backgrounds: int = 0) -> list[Photo]:
    """Return photos with one or two rectangles each, then photos without any."""
    rng = np.random.default_rng(seed)
    photos = []
    for _ in range(count):
        sides = rng.uniform(0.25, 0.4, size=(2, 2))
        places = [(0.27, 0.3), (0.73, 0.7)][: rng.integers(1, 3)]
        shapes = tuple(
            (int(rng.integers(2)), x + float(rng.uniform(-0.05, 0.05)), y, float(w), float(h))
            for (x, y), (w, h) in zip(places, sides, strict=False)
        )
        photos.append(Photo(shapes))
    return photos + [Photo()] * backgrounds


def written(
    folder: Path,
    train: Sequence[Photo],
    val: Sequence[Photo],
    *,
    task: str = "detect",
    side: int = 64,
    repeats: dict[str, int] | None = None,
    hash: str = "0123456789abcdef",
) -> Dataset:
    """Write a dataset, make it read-only, and return what it says of itself. Files are called 000.png and so on."""
    path = folder / hash
    for part, photos in (("train", train), ("val", val)):
        for row, photo in enumerate(photos):
            _write_photo(path, part, f"{row:03d}", photo, task, side)
    shown = [f"./images/train/{row:03d}.png" for row in range(len(train))]
    shown = [line for line in shown for _ in range((repeats or {}).get(Path(line).name, 1))]
    (path / "train.txt").write_text("".join(f"{line}\n" for line in shown))
    names = "".join(f"  {row}: {name}\n" for row, name in enumerate(NAMES))
    (path / "data.yaml").write_text(f"train: train.txt\nval: images/val\nnames:\n{names}")
    for entry in [path, *path.rglob("*")]:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    parts = {"train": train, "val": val}
    return Dataset(
        path,
        hash,
        NAMES,
        task,
        images={part: len(photos) for part, photos in parts.items()},
        backgrounds={part: sum(not one.shapes for one in photos) for part, photos in parts.items()},
        objects={part: sum(len(one.shapes) for one in photos) for part, photos in parts.items()},
        repeats=repeats or {},
        soft=any(one.weights is not None or one.ring is not None for one in train),
    )


def unlocked(path: Path) -> Path:
    """Allow writing to one file of a dataset, and to its folder."""
    for entry in (path.parent, path):
        if entry.exists():
            entry.chmod(entry.stat().st_mode | stat.S_IWUSR)
    return path


def _write_photo(path: Path, part: str, name: str, photo: Photo, task: str, side: int) -> None:
    rng = np.random.default_rng(int(name) + 1000 * (part == "val"))
    pixels = np.clip(rng.normal(_GREY, 6, size=(side, side, 3)), 0, 255).astype(np.uint8)
    for class_id, x, y, w, h in (*photo.shapes, *(photo.ring or ())):
        x0, x1 = round((x - w / 2) * side), round((x + w / 2) * side)
        y0, y1 = round((y - h / 2) * side), round((y + h / 2) * side)
        pixels[max(y0, 0) : y1, max(x0, 0) : x1] = _COLOURS[class_id]
    image = path / "images" / part / f"{name}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image)
    _write_lines(path / "labels" / part, name, [_line(one, task) for one in photo.shapes])
    if photo.weights is not None:
        _write_lines(path / "weights" / part, name, [f"{weight:g}" for weight in photo.weights])
    if photo.ring is not None:
        _write_lines(path / "ignore" / part, name, [_line(one, "detect") for one in photo.ring])


def _line(shape: Shape, task: str) -> str:
    class_id, x, y, w, h = shape
    if task == "segment":
        corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
        return f"{class_id} " + " ".join(f"{u:.6f} {v:.6f}" for u, v in corners)
    return f"{class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f}"


def _write_lines(folder: Path, name: str, lines: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))

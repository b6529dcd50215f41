"""Photos for the benches, drawn once and kept: warehouse scenes with their truth, and tiny files in great number."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rounds import CACHE

NOUNS = ("forklift", "pallet", "box", "barrel", "cone")
COLOURS = ("red", "yellow", "green", "blue")
HD = (1280, 720)
_FIRST_SEED = 8_000_000
_LONGEST_DRAWN = 2560
_TINY = (32, 24)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a photo; the names are those of ``labeling.demo.scenes``."""

    noun: str
    colour: str
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Photo:
    """A JPEG file and what stands in it."""

    path: Path
    things: tuple[Thing, ...]


def cache(name: str) -> Path:
    """Return a folder of the cache, made where it is missing; git is told to leave the cache alone."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder


def scenes(count: int, size_wh: tuple[int, int] = HD) -> list[Photo]:
    """Return warehouse photos of the given size; they show the nouns above in the colours above and nothing else.

    Larger ones than 2560 pixels are drawn smaller and enlarged.
    """
    from labeling.demo.scenes import render_scene

    width, height = size_wh
    folder = cache(f"scenes-{width}x{height}")
    shrink = max(1.0, max(size_wh) / _LONGEST_DRAWN)
    drawn_wh = (round(width / shrink), round(height / shrink))
    photos = []
    for number in range(count):
        path = folder / f"scene-{number:04d}.jpg"
        truth = path.with_suffix(".json")
        if not truth.exists():
            scene = render_scene(_FIRST_SEED + number, size_wh=drawn_wh, pairs=tuple(product(COLOURS, NOUNS)))
            path.write_bytes(scene.jpeg if shrink == 1.0 else _enlarged(scene.picture, size_wh))
            things = [(t.noun, t.colour, [edge * shrink for edge in t.box_xyxy]) for t in scene.things]
            truth.write_text(json.dumps(things), encoding="utf-8")
        things = json.loads(truth.read_text(encoding="utf-8"))
        photos.append(Photo(path, tuple(Thing(noun, colour, tuple(box)) for noun, colour, box in things)))
    return photos


def folder_of(photos: Sequence[Photo], folder: Path) -> Path:
    """Fill a folder with hard links to the photos and return it."""
    folder.mkdir(parents=True)
    for photo in photos:
        os.link(photo.path, folder / photo.path.name)
    return folder


def tiny(count: int) -> Path:
    """Return a folder with exactly that many JPEGs of 32 x 24 pixels, all with different bytes."""
    folder = cache(f"tiny-{count}")
    jpeg = _tiny_jpeg()
    for number in range(len(os.listdir(folder)), count):
        comment = b"%08d" % number  # a comment segment: other bytes, same picture
        (folder / f"photo-{number:06d}.jpg").write_bytes(jpeg[:2] + b"\xff\xfe\x00\x0a" + comment + jpeg[2:])
    return folder


def sha256(path: str) -> str:
    """Return the identity of an image file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _tiny_jpeg() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", _TINY, (90, 120, 60)).save(file, "JPEG")
    return file.getvalue()


def _enlarged(picture: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> bytes:
    import cv2

    large = cv2.resize(picture[..., ::-1], size_wh, interpolation=cv2.INTER_CUBIC)
    ok, jpeg = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not ok:
        raise RuntimeError("OpenCV could not write the photo as JPEG")
    return jpeg.tobytes()

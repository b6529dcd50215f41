"""A varied sample of photos, chosen from small thumbnails: the same files give the same sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from .core.errors import InputError
from .image_files import FoundFile
from .image_formats import HEAD_BYTES, reader, sniff
from .images import LoadedImage, read

CANDIDATES_PER_PHOTO = 12
MOST_CANDIDATES = 240
"""So many thumbnails at most; a sample that is asked for is never smaller for it."""

_SIDE = 32
_CELLS = 4

Item = TypeVar("Item")
Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """The answer of ``varied_sample``, each part in the order of the files.

    Attributes:
        chosen: photos that differ from each other.
        unusable: files that were looked at and are no usable image.
    """

    chosen: tuple[FoundFile, ...]
    unusable: tuple[FoundFile, ...]


def varied_sample(
    files: Sequence[FoundFile], count: int, load: Callable[[Path], LoadedImage], *, max_pixels: int
) -> Sample:
    """Choose photos that differ in colours and edges.

    Candidates are spread over all folders; of those, the first is the most ordinary one and each further one is the
    farthest from those before it (Gonzalez, 1985, "Clustering to minimize the maximum intercluster distance").

    Args:
        files: sorted, as ``image_files.scan`` gives them.
        count: so many photos, or all usable ones where there are fewer.
        load: decodes a file in full, for those whose thumbnail is not to be had; raises InputError.
        max_pixels: larger images are not decoded.
    """
    if len(files) <= count:
        return Sample(tuple(files), ())
    candidates = spread(files, max(count, min(MOST_CANDIDATES, CANDIDATES_PER_PHOTO * count)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda file: _features(file.path, load, max_pixels), candidates))
    usable = [(file, feature) for file, feature in zip(candidates, found, strict=True) if feature is not None]
    picked = farthest(np.array([feature for _, feature in usable]), count) if usable else []
    return Sample(
        chosen=tuple(usable[i][0] for i in sorted(picked)),
        unusable=tuple(file for file, feature in zip(candidates, found, strict=True) if feature is None),
    )


def spread(files: Sequence[FoundFile], most: int) -> list[FoundFile]:
    """Return at most so many files, in order: as many from each folder as it has room for, evenly within it."""
    by_folder = sorted(files, key=lambda file: os.fsencode(file.path.parent))
    folders = _evenly([list(group) for _, group in groupby(by_folder, key=lambda file: file.path.parent)], most)
    kept: list[FoundFile] = []
    # The smallest folders first: what they cannot give is left to the others.
    for waiting, folder in zip(range(len(folders), 0, -1), sorted(folders, key=len), strict=True):
        kept += _evenly(folder, (most - len(kept)) // waiting)
    return sorted(kept, key=lambda file: os.fsencode(file.path))


def farthest(features: Features, count: int) -> list[int]:
    """Return the rows of (n, d) features in the order in which farthest-point sampling takes them."""
    nearest = ((features - features.mean(axis=0)) ** 2).sum(axis=1)
    picked = [int(nearest.argmin())]
    nearest = np.full(len(features), np.inf)
    while len(picked) < min(count, len(features)):
        nearest = np.minimum(nearest, ((features - features[picked[-1]]) ** 2).sum(axis=1))
        nearest[picked] = -1.0
        picked.append(int(nearest.argmax()))
    return picked


def features_of(pixels: npt.NDArray[np.uint8]) -> Features:
    """Return colours and edges of a small square picture, each in 4 x 4 cells, as one vector of 80 numbers.

    Args:
        pixels: (32, 32, 3) uint8, RGB.
    """
    colours = pixels.astype(np.float32) / 255
    grey = colours.mean(axis=2)
    # Edges are rarer and weaker than colours; four times their strength weighs about as much.
    across, down = (4 * np.abs(np.gradient(grey, axis=axis)) for axis in (1, 0))
    step = _SIDE // _CELLS
    planes = np.concatenate([colours, across[..., None], down[..., None]], axis=2)
    cells = planes.reshape(_CELLS, step, _CELLS, step, 5).mean(axis=(1, 3))
    return np.asarray(cells.ravel(), dtype=np.float32)


def _features(path: Path, load: Callable[[Path], LoadedImage], max_pixels: int) -> Features | None:
    """Return the features of a file, or None where it is no usable image."""
    try:
        thumbnail = _quick_thumbnail(path, max_pixels)
    except Exception:  # whatever it is, the gate knows better, and knows formats that have no quick way
        try:
            thumbnail = _small(Image.fromarray(load(path).pixels))
        except InputError:
            return None
    return features_of(np.asarray(thumbnail))


def _quick_thumbnail(path: Path, max_pixels: int) -> Image.Image:
    data = read(path, max_pixels)
    image_format = sniff(data[:HEAD_BYTES])
    if image_format is None:
        raise InputError(f"{path}: no known image")
    picture = reader(image_format)(BytesIO(data))
    if picture.width * picture.height > max_pixels:
        raise InputError(f"{path}: too large")
    # A JPEG is decoded at an eighth of its size where that is enough; other formats ignore this.
    picture.draft("RGB", (_SIDE, _SIDE))
    return _small(picture)


def _small(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many items at equal distances."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]

"""Pictures as examples of classes that no word describes: one folder per class, each picture one example or more."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.errors import InputError
from ..core.strict import did_you_mean
from ..image_formats import FORMAT_OF_SUFFIX
from ..images import ImageRejected, load
from .interfaces import RgbImage

_MAX_PIXELS = 100_000_000
_SIDECAR = ".txt"
_MAX_BYTES = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """One picture.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, upright.
        boxes_xyxy: (n, 4) float32 pixels, where the object is; the whole picture where nothing else is said.
    """

    pixels: RgbImage
    boxes_xyxy: npt.NDArray[np.float32]


def find_exemplars(folder: Path, names: Sequence[str]) -> list[list[Path]]:
    """Return the pictures of each class, sorted by name: ``folder/CLASS/*.jpg``. Hidden files do not count.

    Links are refused, so that nothing outside the folder is read. Beside NAME.jpg may lie NAME.txt with the box of
    the object, or several, one per line: x0 y0 x1 y1 in pixels of the upright picture.

    Args:
        folder: with one folder per class.
        names: the classes.

    Raises:
        InputError: no such folder, a folder that is no class, a class without a picture, or a file that is neither.
    """
    if not folder.is_dir():
        raise InputError(f"exemplars {folder}: no such folder; expected one with a folder of pictures per class")
    found: dict[str, list[Path]] = {}
    for entry in _visible(folder):
        name = unicodedata.normalize("NFC", entry.name)
        if not entry.is_dir():
            raise InputError(f"exemplars {folder}: {entry.name!r} is no folder; put pictures into a folder per class")
        if name not in names:
            raise InputError(f"exemplars {folder}: the folder {name!r} is no class{did_you_mean(name, names)}")
        found[name] = _pictures(entry)
    empty = next((name for name in names if not found.get(name)), None)
    if empty is not None:
        raise InputError(
            f"exemplars {folder}: no picture for the class {empty!r}; put one or more into {folder / empty}"
        )
    return [found[name] for name in names]


def read_exemplar(path: Path) -> Exemplar:
    """Decode one picture and read its boxes.

    Raises:
        InputError: it is no usable image, or its boxes are none or lie outside.
    """
    try:
        pixels = load(path, max_pixels=_MAX_PIXELS).pixels
    except ImageRejected as error:
        raise InputError(f"exemplar {path} cannot be used: {error}") from error
    height, width = pixels.shape[:2]
    sidecar = path.with_suffix(_SIDECAR)
    if not sidecar.exists():
        return Exemplar(pixels, np.array([[0, 0, width, height]], dtype=np.float32))
    boxes = [_box(line, sidecar, number, (width, height)) for number, line in _lines(sidecar)]
    if not boxes:
        raise InputError(
            f"{sidecar}: expected a line x0 y0 x1 y1 per object; without the file the whole picture counts"
        )
    return Exemplar(pixels, np.array(boxes, dtype=np.float32))


def _visible(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    link = next((entry for entry in entries if entry.is_symlink()), None)
    if link is not None:
        raise InputError(f"exemplars: {link} is a link, and none is followed; put the file itself there")
    return entries


def _pictures(folder: Path) -> list[Path]:
    pictures: list[Path] = []
    boxes: list[Path] = []
    for entry in _visible(folder):
        suffix = entry.suffix.lower()
        if (suffix not in FORMAT_OF_SUFFIX and entry.suffix != _SIDECAR) or not entry.is_file():
            raise InputError(f"exemplars: {entry} is neither a picture nor the {_SIDECAR} file of one: take it away")
        (boxes if entry.suffix == _SIDECAR else pictures).append(entry)
    stems = {picture.stem for picture in pictures}
    alone = next((file for file in boxes if file.stem not in stems), None)
    if alone is not None:
        raise InputError(f"exemplars: {alone} has boxes, but there is no picture {alone.stem} beside it")
    return pictures


def _lines(sidecar: Path) -> list[tuple[int, str]]:
    try:
        if sidecar.stat().st_size > _MAX_BYTES:
            raise InputError(f"{sidecar} has more than {_MAX_BYTES} bytes: expected a line x0 y0 x1 y1 per object")
        text = sidecar.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{sidecar} cannot be read ({error}): expected a line x0 y0 x1 y1 per object") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _box(line: str, sidecar: Path, number: int, size_wh: tuple[int, int]) -> tuple[float, ...]:
    try:
        box = tuple(float(word) for word in line.replace(",", " ").split())
    except ValueError:
        box = ()
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise InputError(f"{sidecar}:{number}: expected x0 y0 x1 y1 in pixels, got {line.strip()[:80]!r}")
    x0, y0, x1, y1 = box
    width, height = size_wh
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"{sidecar}:{number}: the box {line.strip()[:80]!r} does not lie inside its picture of {width} x {height}: "
            "expected x0 < x1 and y0 < y1 in pixels"
        )
    return box

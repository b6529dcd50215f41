"""One image of a dataset, opened: its picture has passed the gate and its labels fit it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import geometry, masks
from ..core.errors import InputError
from ..images import LoadedImage
from .datasets import Entry
from .items import Item, LabelledImage
from .names import as_text
from .together import together

LoadImage = Callable[[Path], LoadedImage]
"""Decodes a picture; raises InputError where it is no usable image."""

SizeWh = tuple[int, int]

_FAR_PX = 1e9


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that passed the gate: where it lies, its hash, its upright size in pixels, remarks of the gate."""

    path: Path
    sha256: str
    size_wh: SizeWh
    notes: tuple[str, ...] = ()


def open_picture(path: Path, load: LoadImage) -> Picture:
    """Decode a picture. Raises InputError."""
    loaded = load(path)
    height, width = loaded.pixels.shape[:2]
    return Picture(path, loaded.sha256, (width, height), loaded.notes)


def labelled_image(entry: Entry, size_wh: SizeWh, sha256: str | None) -> LabelledImage:
    """Return an image with its objects.

    Args:
        entry: of the dataset.
        size_wh: of its picture.
        sha256: of its picture.

    Raises:
        InputError: the label file says another size, a label is broken, or a box has no area.
    """
    check_size(entry, size_wh)
    objects = tuple(entry.objects(size_wh))
    with together(len(objects)):
        check_objects(objects)
    return LabelledImage(as_text(entry.name), size_wh, objects, sha256, entry.reviewed, entry.number)


def without_empty_masks(image: LabelledImage) -> tuple[LabelledImage, int]:
    """Return an image whose objects have a mask with a pixel or none, and how many masks had not one pixel."""
    empty = [item.rle is not None and not masks.area(item.rle) for item in image.objects]
    kept = (replace(item, rle=None) if none else item for item, none in zip(image.objects, empty, strict=True))
    return replace(image, objects=tuple(kept)), sum(empty)


def check_bytes(entry: Entry, sha256: str) -> None:
    """Raise InputError where the labels were made for other bytes than the picture that was found has."""
    if entry.exact and entry.sha256 not in (None, sha256):
        raise InputError(
            f"other bytes: the label file says sha256 {entry.sha256}, the photo has {sha256}; "
            "bring back the photo that was labelled"
        )


def check_size(entry: Entry, size_wh: SizeWh) -> None:
    """Raise InputError where the label file says another size than the picture has."""
    if entry.size_wh not in (None, size_wh):
        assert entry.size_wh is not None
        hint = "; its labels were drawn on the photo as stored, not upright" if entry.size_wh == size_wh[::-1] else ""
        said, has = ("{} x {}".format(*size) for size in (entry.size_wh, size_wh))
        raise InputError(f"other size: the label file says {said} px, the photo has {has} px{hint}")


def check_objects(objects: Sequence[Item]) -> None:
    """Raise InputError for a class without a name, and a box without an area or beyond all pictures."""
    for number, item in enumerate(objects, start=1):
        if not item.class_name.strip() or as_text(item.class_name) != item.class_name:
            raise InputError(f"object {number}: expected a class name, got {item.class_name!r}")
        if not geometry.area([item.box_xyxy])[0] > 0 or max(map(abs, item.box_xyxy)) >= _FAR_PX:
            raise InputError(f"object {number} ({item.class_name!r}): expected a box with an area, got {item.box_xyxy}")

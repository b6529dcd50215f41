"""A folder of Pascal VOC files to read: one entry per XML file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..core.errors import InputError
from ..core.strict import read_text
from . import voc
from .datasets import (
    Dataset,
    Entry,
    Found,
    PathRefused,
    Refused,
    find_picture,
    folders_in,
    inside,
    relative_name,
)
from .items import Item, LabelledImage

_MAX_BYTES = 16 * 2**20


def open_voc(path: Path, images: Path | None) -> Dataset:
    """List the XML files of a folder, those in Annotations/ where there is such a folder.

    Photos lie in ``images``, else in JPEGImages/ or images/ or beside the XML file, in the same subfolder where there
    are subfolders. Raises InputError: no XML file.
    """
    if not path.is_dir():
        raise InputError(f"--in {path}: expected a folder with Annotations/*.xml, found {_what(path)}")
    labels = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(labels.rglob("*.xml"), key=os.fsencode)
    if not files:
        raise InputError(f"--in {path}: expected a Pascal VOC folder with XML files in it, found none")

    unread: Counter[str] = Counter()

    def entries() -> Iterator[Found]:
        unread.clear()
        for file in files:
            try:
                yield _entry(file, labels, path, images, unread)
            except InputError as error:
                yield Refused(relative_name(file, path), str(error))

    return Dataset(path.resolve().name, entries, notes=tuple(_segmentation(path)), unread=unread)


def _segmentation(root: Path) -> Iterator[str]:
    """Say which pictures of masks lie beside the boxes."""
    for name in ("SegmentationObject", "SegmentationClass"):
        if number := sum(file.suffix.lower() == ".png" for file in (root / name).glob("*")):
            yield f"{number} pictures of masks in {name} are not read, only boxes are"


def _entry(file: Path, labels: Path, root: Path, images: Path | None, unread: Counter[str]) -> Entry:
    inside(root, relative_name(file, root))
    image = voc.read(read_text(file, _MAX_BYTES), str(file), unread)
    below = relative_name(file.parent, labels)
    homes = [images] if images is not None else [*folders_in(root, "JPEGImages", "images", labels.name), root]
    picture = partial(_picture, homes, below, image.name, named=images is not None)
    return Entry(image.name, picture, image.size_wh, partial(_objects, image))


def _picture(homes: list[Path], below: str, name: str, *, named: bool) -> Path:
    try:
        return find_picture(homes, name if below == "." else f"{below}/{name}")
    except PathRefused:
        raise
    except InputError:
        return find_picture(homes, name, named=named)


def _what(path: Path) -> str:
    return "a file" if path.exists() else "nothing"


def _objects(image: LabelledImage, _size_wh: tuple[int, int]) -> Sequence[Item]:
    return image.objects

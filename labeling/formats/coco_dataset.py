"""A COCO file to read: which file, which photos belong to it, and one entry per image.

The file is read into memory whole, as its annotations stand in any order; pictures are not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from . import coco_read
from .datasets import Dataset, Entry, Found, Refused, doubled_names, find_picture, folders_in, inside, not_read
from .items import Item
from .json_files import read_json, the_json_file
from .known_photos import KnownPhotos
from .together import together

_NAMES = ("annotations.json", "_annotations.coco.json", "labels.json")

_READ_OF_OBJECTS = frozenset(
    {"id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd", "score", "source"}
)
_READ_AT_THE_TOP = frozenset({"images", "annotations", "categories"})
_OF_THE_WHOLE = frozenset({"info", "licenses"})
_READ_OF_IMAGES = frozenset({"id", "file_name", "width", "height", "sha256", "reviewed"})
_SHA256 = re.compile("[0-9a-f]{64}")

Places = list[tuple[str, dict[str, Any]]]


def open_coco(path: Path, images: Path | None) -> Dataset:
    """Read a COCO file, or the one in a folder.

    Photos are looked for in ``images``; without it beside the file, in ``images`` there, and, where the file lies in a
    folder ``annotations``, beside that. A photo that was renamed by an export is found by its sha256, where the file
    says it.

    Raises:
        InputError: no such file, or it is no COCO file.
    """
    file = the_json_file(path, _NAMES, "a COCO file")
    document = read_json(file)
    where = str(file)
    if not isinstance(document, dict) or not {"images", "annotations", "categories"} <= document.keys():
        raise InputError(
            f"{where}: expected a COCO file with images, annotations and categories, got {_keys(document)}"
        )
    names = coco_read.category_names(document, where)
    folder = file.parent.parent if file.parent.name == "annotations" else file.parent
    folders = [images] if images is not None else [folder, *folders_in(folder, "images", file.parent.name)]
    ids: dict[str, int] = {}
    for number, name in names.items():
        ids.setdefault(name, number)
    return Dataset(
        title=file.name,
        entries=partial(_entries, document, where, names, folders, named=images is not None),
        class_names=tuple(ids),
        category_ids=ids,
        supercategories=coco_read.supercategories(document),
        notes=(*doubled_names(tuple(names.values())), *_notes(document)),
    )


def _notes(document: Mapping[str, Any]) -> Iterator[str]:
    of_objects = _unread(document["annotations"], _READ_OF_OBJECTS)
    of_images = _unread(document["images"], _READ_OF_IMAGES)
    of_file = _unread([document], _READ_AT_THE_TOP)
    yield from not_read("objects", of_objects)
    images = document["images"] if isinstance(document["images"], list) else []
    names = [str(image.get("file_name")) for image in images if isinstance(image, dict)]
    if twice := len(names) - len(set(names)):
        yield f"{twice} images have the file_name of another one, so each has a part of the labels"
    yield from not_read("images", of_images)
    # Every COCO file has these two, so they alone are no news.
    if of_objects or of_images or of_file.keys() - _OF_THE_WHOLE:
        yield from not_read("the file", of_file)


def _unread(entries: object, known: frozenset[str]) -> Counter[str]:
    """Count what images or objects say beyond what is read, such as keypoints, attributes and licences."""
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return Counter(name for entry in listed for name in entry.keys() - known if _says_something(entry[name]))


def _says_something(value: object) -> bool:
    # CVAT writes {"occluded": false, "rotation": 0.0} behind every object, and keypoints that nobody set are zeros.
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return any(parts)


def _entries(
    document: Mapping[str, Any], where: str, names: Mapping[int, str], folders: list[Path], *, named: bool
) -> Iterator[Found]:
    by_image: dict[int, Places] = defaultdict(list)
    for place, entry in coco_read.elements(document, "annotations", where):
        try:
            by_image[coco_read.whole(entry.get("image_id"), f"{place}: image_id")].append((place, entry))
        except InputError as error:
            yield Refused(place, str(error))
    known = KnownPhotos(folders[0])
    images = coco_read.elements(document, "images", where)
    times = Counter(entry["id"] for _, entry in images if isinstance(entry.get("id"), int | float))
    doubled = {number for number, count in times.items() if count > 1}
    for place, entry in images:
        name = entry.get("file_name")
        try:
            number = coco_read.whole(entry.get("id"), f"{place}: id")
            found = by_image.pop(number, []) if number not in doubled else []
            if not isinstance(name, str) or not coco_read.is_text(name) or not name:
                raise InputError(f"{place}: file_name: expected text, got {coco_read.shown(name)}")
            if number in doubled:
                raise InputError(f"{place}: id {number} belongs to several images, so its labels cannot be told apart")
            size = coco_read.read_size(entry, place)
            sha256 = entry.get("sha256")
            sha256 = sha256.lower() if isinstance(sha256, str) and _SHA256.fullmatch(sha256.lower()) else None
        except InputError as error:
            yield Refused(name if isinstance(name, str) and coco_read.is_text(name) else place, str(error))
            continue
        yield Entry(
            name,
            partial(_picture, known, folders, name, sha256, named=named),
            size,
            partial(_objects, found, names),
            sha256,
            entry.get("reviewed") is not False,
            exact=True,
            number=number,
        )
    for number, left in by_image.items():
        if number not in doubled:
            yield Refused(left[0][0], f"{left[0][0]}: image_id {number} is none of the images ({len(left)} labels)")


def _picture(known: KnownPhotos, folders: list[Path], name: str, sha256: str | None, *, named: bool) -> Path:
    inside(folders[0], name)
    return (known.find(name, sha256) if sha256 else None) or find_picture(folders, name, named=named)


def _objects(found: Places, names: Mapping[int, str], size_wh: tuple[int, int]) -> list[Item]:
    with together(len(found)):
        return [coco_read.read_annotation(entry, place, names, size_wh) for place, entry in found]


def _keys(document: object) -> str:
    if isinstance(document, dict):
        return "keys " + ", ".join(sorted(document)[:6]) if document else "no keys"
    return "a list" if isinstance(document, list) else type(document).__name__

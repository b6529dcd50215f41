"""COCO instances read from plain dictionaries: pure functions, no files.

A file is taken as a hint, never as true: whatever does not fit is an InputError that names the place in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as pycoco

from ..core import masks
from ..core.errors import InputError
from ..core.records import Rle
from .items import Item

_MACHINE = ("teacher", "student", "machine")
_HUMAN = ("human", "imported")


def category_names(document: Mapping[str, Any], where: str) -> dict[int, str]:
    """Return the name of each category id, in the order of the file. Raises InputError."""
    names: dict[int, str] = {}
    for place, entry in elements(document, "categories", where):
        number, name = whole(entry.get("id"), f"{place}: id"), entry.get("name")
        if not isinstance(name, str) or not is_text(name) or not name.strip():
            raise InputError(f"{place}: name: expected text, got {shown(name)}")
        if names.setdefault(number, name) != name:
            raise InputError(f"{place}: id {number} belongs to {names[number]!r} already: give each category its own")
    return names


def supercategories(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the supercategory of each class that has one, of a document whose categories were read already."""
    groups: dict[str, str] = {}
    for entry in document["categories"]:
        group = entry.get("supercategory")
        if isinstance(group, str) and is_text(group) and group:
            groups.setdefault(entry["name"], group)
    return groups


def elements(document: Mapping[str, Any], key: str, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (place, entry) of each element of a list of mappings. Raises InputError."""
    found = document.get(key)
    if not isinstance(found, list):
        raise InputError(f"{where}: {key}: expected a list, got {shown(found)}")
    named = [(f"{where}: {key}[{number}]", entry) for number, entry in enumerate(found)]
    for place, entry in named:
        if not isinstance(entry, dict):
            raise InputError(f"{place}: expected a mapping, got {shown(entry)}")
    return named


def read_size(entry: Mapping[str, Any], place: str) -> tuple[int, int] | None:
    """Return width and height of an element of ``images``, None where neither is said. Raises InputError."""
    if entry.get("width") is None and entry.get("height") is None:
        return None
    width, height = whole(entry.get("width"), f"{place}: width"), whole(entry.get("height"), f"{place}: height")
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise InputError(f"{place}: expected a size in pixels, got {width} x {height}")
    return width, height


def read_annotation(entry: Mapping[str, Any], place: str, names: Mapping[int, str], size_wh: tuple[int, int]) -> Item:
    """Return one object.

    A ``segmentation`` may be polygons (several are one object), or run lengths, compressed or not; an empty one is
    none. Without ``bbox`` the box is the one around the mask.

    Args:
        entry: element of ``annotations``.
        place: for messages.
        names: of the categories.
        size_wh: of its image.

    Raises:
        InputError: anything that is not as COCO describes it, or a box without an area.
    """
    category = whole(entry.get("category_id"), f"{place}: category_id")
    if category not in names:
        raise InputError(f"{place}: category_id: {category} is none of the {len(names)} categories")
    crowd = entry.get("iscrowd", 0)
    if not isinstance(crowd, int | float) or crowd not in (0, 1):
        raise InputError(f"{place}: iscrowd: expected 0 or 1, got {shown(crowd)}")
    rle = _mask(entry.get("segmentation"), f"{place}: segmentation", (size_wh[1], size_wh[0]))
    score = entry.get("score")
    if score is not None and not 0 <= number(score, f"{place}: score") <= 1:
        raise InputError(f"{place}: score: expected a number in [0, 1], got {shown(score)}")
    source = entry.get("source")
    return Item(
        names[category],
        _box(entry.get("bbox"), f"{place}: bbox", rle),
        rle,
        crowd=bool(crowd),
        score=None if score is None else float(score),
        source="machine" if source in _MACHINE else "human" if source in _HUMAN else None,
    )


def whole(value: object, place: str) -> int:
    """Return a whole number, which some programs write as ``3.0``. Raises InputError."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**53) <= value <= 2**53:
        raise InputError(f"{place}: expected a whole number, got {shown(value)}")
    return value


def number(value: object, place: str) -> float:
    """Return a finite number of a sensible size. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
        raise InputError(f"{place}: expected a number, got {shown(value)}")
    return float(value)


def is_text(value: str) -> bool:
    """Say whether a text can be written as UTF-8: JSON can spell halves of characters."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    if value is None:
        return "nothing"
    text = ascii(value) if isinstance(value, str) and not is_text(value) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _box(value: object, place: str, rle: Rle | None) -> tuple[float, float, float, float]:
    if value is None or value == []:
        around = None if rle is None else masks.box(rle)
        if around is None:
            raise InputError(f"{place}: expected [x, y, width, height], got {shown(value)} and no mask to take it from")
        return around
    if not isinstance(value, list) or len(value) != 4:
        raise InputError(f"{place}: expected [x, y, width, height], got {shown(value)}")
    x, y, width, height = (number(edge, place) for edge in value)
    if not (x + width > x and y + height > y):
        raise InputError(f"{place}: expected a width and a height above 0, got {shown(value)}")
    return x, y, x + width, y + height


def _mask(value: object, place: str, size_hw: tuple[int, int]) -> Rle | None:
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return masks.polygons_to_rle([_polygon(part, f"{place}[{i}]") for i, part in enumerate(value)], size_hw)
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected polygons or run lengths, got {shown(value)}")
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or [whole(side, place) for side in size] != list(size_hw):
        raise InputError(f"{place}: size: expected {list(size_hw)} as the image, got {shown(size)}")
    if isinstance(counts, list):
        rle = _compressed([whole(count, place) for count in counts], place, size_hw)
    elif isinstance(counts, str):
        rle = Rle(size=list(size_hw), counts=counts)
    else:
        raise InputError(f"{place}: counts: expected a list or text, got {shown(counts)}")
    try:
        masks.area(rle)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    return rle


def _polygon(value: object, place: str) -> masks.Polygon:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        raise InputError(f"{place}: expected [x, y, x, y, …] with three points or more, got {shown(value)}")
    return np.array([number(edge, place) for edge in value]).reshape(-1, 2)


def _compressed(counts: Sequence[int], place: str, size_hw: tuple[int, int]) -> Rle:
    if any(count < 0 for count in counts) or sum(counts) != size_hw[0] * size_hw[1]:
        raise InputError(f"{place}: counts: expected runs that fill {size_hw[1]} x {size_hw[0]} px, got {sum(counts)}")
    packed = pycoco.frPyObjects({"size": list(size_hw), "counts": list(counts)}, *size_hw)
    return Rle(size=list(size_hw), counts=packed["counts"].decode("ascii"))

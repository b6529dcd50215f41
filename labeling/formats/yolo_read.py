"""Lines of YOLO label files read back, and what data.yaml says: pure functions, no files.

A line is ``id cx cy w h``, with a score behind it or not, or ``id x y x y …`` with three points or more; both may stand
in one file. Everything is a fraction of the upright image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core import masks
from ..core.errors import InputError
from .items import Item
from .together import read_each

SLACK = 0.01
"""How far outside [0, 1] a number may be, as ultralytics has it."""

SPLITS = ("train", "val", "test")


def read_lines(text: str, where: str, class_names: Sequence[str], size_wh: tuple[int, int]) -> list[Item]:
    """Return the objects of one label file.

    Args:
        text: of the file; blank lines are left out.
        where: name of the file for messages.
        class_names: by position.
        size_wh: width and height of the image in pixels.

    Raises:
        InputError: a line of another form, numbers that are no fractions, a class that is not named, or no area.
    """
    return read_each(text, where, lambda fields, place: _read_line(fields, place, class_names, size_wh))


def read_boxes(text: str, where: str, class_names: Sequence[str], size_wh: tuple[int, int]) -> list[Item]:
    """Return the boxes of a label file whose lines go on with keypoints, ``id cx cy w h x y v …``; see read_lines."""
    boxes = "\n".join(" ".join(line.split()[:5]) for line in text.splitlines())
    return read_lines(boxes, where, class_names, size_wh)


def class_names(document: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names in data.yaml, a list or a mapping of numbers. Raises InputError."""
    found = document.get("names")
    if isinstance(found, list):
        found = dict(enumerate(found))
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{where}: names: expected a list of names or a mapping of numbers to names, got {found!r:.80}"
        )
    names: dict[int, str] = {}
    for key, name in found.items():
        place = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 9 else key
        if not isinstance(place, int) or isinstance(place, bool) or not isinstance(name, str | int | float):
            raise InputError(f"{where}: names: expected a number and a name, got {key!r:.40}: {name!r:.40}")
        names[place] = str(name)
    if sorted(names) != list(range(len(names))):
        raise InputError(f"{where}: names: expected the numbers 0 to {len(names) - 1}, got {sorted(names)!r:.80}")
    return tuple(names[place] for place in range(len(names)))


def split_places(document: Mapping[str, Any], where: str) -> list[str]:
    """Return what ``train``, ``val`` and ``test`` name, in this order: folders or lists. Raises InputError."""
    places: list[str] = []
    for key in (*SPLITS, "validation"):
        found = document.get(key)
        listed = found if isinstance(found, list) else [] if found is None or found == "" else [found]
        for place in listed:
            if not isinstance(place, str):
                raise InputError(f"{where}: {key}: expected a folder or a list of folders, got {place!r:.80}")
            places.append(place)
    return places


def label_name(picture: str) -> str:
    """Return where the labels of a picture lie: its last folder ``images`` becomes ``labels``, its suffix ``.txt``.

    Args:
        picture: path below the dataset, with ``/``.
    """
    # As ultralytics does it (img2label_paths), which works on the whole path.
    moved = "/labels/".join(f"/{picture}".rsplit("/images/", 1)).removeprefix("/")
    return moved.rsplit(".", 1)[0] + ".txt"


def _read_line(fields: list[str], where: str, names: Sequence[str], size_wh: tuple[int, int]) -> Item:
    try:
        class_id, values = float(fields[0]), np.array([float(field) for field in fields[1:]])
    except ValueError:
        raise InputError(f"{where}: expected numbers, got {' '.join(fields)[:80]!r}") from None
    is_box = len(values) in (4, 5)
    if not is_box and (len(values) < 6 or len(values) % 2):
        raise InputError(
            f"{where}: expected 'id cx cy w h' or 'id x y x y …' with three points or more, "
            f"got {len(fields)} numbers: {' '.join(fields)[:80]!r}"
        )
    if class_id not in range(len(names)):
        raise InputError(f"{where}: class id {fields[0]!r} is not one of the {len(names)} classes, 0 to n - 1")
    if not ((values >= -SLACK) & (values <= 1 + SLACK)).all():
        raise InputError(f"{where}: expected fractions of the image in [0, 1], got {' '.join(fields)[:80]!r}")
    name = names[int(class_id)]
    width, height = size_wh
    if is_box:
        cx, cy, w, h = (values[:4] * (width, height, width, height)).tolist()
        box, rle = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), None
    else:
        points = values.reshape(-1, 2) * (width, height)
        (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        box, rle = (x0, y0, x1, y1), masks.polygons_to_rle([points], (height, width))
    if not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(f"{where}: expected an object with an area, got {' '.join(fields)[:80]!r}")
    score = float(np.clip(values[4], 0, 1)) if len(values) == 5 else None
    return Item(name, box, rle, score=score)

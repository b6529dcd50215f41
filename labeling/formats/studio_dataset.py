"""A JSON export of Label Studio to read: one entry per task; predictions are marked, they are no labels of people."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.strict import MAX_BYTES, read_text
from . import labelstudio
from .datasets import (
    Dataset,
    Entry,
    Found,
    PathRefused,
    Refused,
    Unlabelled,
    find_picture,
    folders_in,
    inside,
    not_read,
)
from .items import Item, LabelledImage
from .json_files import read_json, the_json_file
from .labelstudio_config import CONFIG, class_names
from .labelstudio_regions import ABOUT_THE_IMAGE

_UPLOADED = re.compile("^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""


def open_studio(path: Path, images: Path | None) -> Dataset:
    """Read a list of tasks. Photos lie in ``images``, else beside the file or in a folder images there.

    Raises:
        InputError: no such file, or it is no list of tasks.
    """
    file = the_json_file(path, ("tasks.json",), "a JSON export of Label Studio")
    tasks = read_json(file)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(f"{file}: expected a list of Label Studio tasks (export format JSON), got something else")
    if tasks and not any("data" in task for task in tasks):
        raise InputError(f"{file}: expected Label Studio tasks with 'data' (export format JSON, not JSON-MIN)")
    folders = [images] if images is not None else [file.parent, *folders_in(file.parent, "images")]
    names, notes = _classes(file.parent)
    entries = partial(_entries, tasks, str(file), folders, named=images is not None)
    return Dataset(file.name, entries, names, notes=(*notes, *_notes(tasks)))


def _classes(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes of the configuration beside the tasks, and a note where it cannot be read."""
    if not os.path.lexists(folder / CONFIG):
        return (), ()
    try:
        return class_names(read_text(inside(folder, CONFIG), MAX_BYTES), CONFIG), ()
    except InputError as error:
        return (), (f"{error}; classes are taken in the order in which the tasks name them",)


def _notes(tasks: list[dict[str, Any]]) -> Iterator[str]:
    """Say what the newest annotation of each task does not hold."""
    annotations = [_mappings(task.get("annotations")) for task in tasks]
    if older := sum(sum(not one.get("was_cancelled") for one in each) > 1 for each in annotations):
        yield f"{older} tasks have several annotations, of which the newest is read"
    if predicted := sum(
        bool(each and _mappings(task.get("predictions"))) for task, each in zip(tasks, annotations, strict=True)
    ):
        yield f"{predicted} tasks have predictions beside an annotation, which are not read"
    if drafts := sum(bool(task.get("drafts")) for task in tasks):
        yield f"{drafts} tasks have drafts that nobody submitted, which are not read"
    results = [result for each in annotations for one in each for result in _mappings(one.get("result"))]
    kinds = Counter(kind for one in results if (kind := str(one.get("type"))) in ABOUT_THE_IMAGE)
    yield from not_read("annotations", kinds)


def _mappings(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _entries(tasks: list[dict[str, Any]], where: str, folders: list[Path], *, named: bool) -> Iterator[Found]:
    for number, task in enumerate(tasks):
        name = f"{where}: task {task.get('id', number)!r:.40}"
        try:
            image = labelstudio.read_task(task, where)
            reviewed = image is not None
            image = image or labelstudio.read_task(task, where, predictions=True)
            if image is None:
                yield Unlabelled(name)
                continue
        except InputError as error:
            yield Refused(name, str(error))
            continue
        picture = partial(_picture, folders, image.name, named=named)
        yield Entry(image.name, picture, image.size_wh, partial(_objects, image), image.sha256, reviewed)


def _objects(image: LabelledImage, _size_wh: tuple[int, int]) -> Sequence[Item]:
    return image.objects


def _picture(folders: list[Path], name: str, *, named: bool) -> Path:
    """Return the picture; a folder that people name need not have the folders of the address, nor uploaded names."""
    last = name.rsplit("/", 1)[-1]
    for candidate in dict.fromkeys((name, last, _UPLOADED.sub("", last))):
        try:
            return find_picture(folders, candidate)
        except PathRefused:
            raise
        except InputError:
            continue
    return find_picture(folders, name, named=named)

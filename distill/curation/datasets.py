"""The datasets of one project in FiftyOne: their names, which are complete, and the tags that people wrote in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labeling.core.errors import InputError, StateError
from labeling.project import Project

from ..fiftyone_server import make_folder
from .samples import LABEL_FIELDS

COMPLETE = "labelstill_complete"
"""Key in dataset.info: everything was written."""

NEW = "new "

_CARRIED = "labelstill_carried"
_WAITING = "labelstill_waiting"
_PREFIX = "labelstill"
_SLUG_CHARACTERS = 40
_WAIT_FOR_ANOTHER_S = 600.0

Key = tuple[str, str]
"""sha256 of an image, and id of one of its labels, "" for the image itself."""


@dataclass(slots=True)
class Tagged:
    """The tags on one image or label, and those that were in step with labels.db.

    Attributes:
        tags: what stands there now.
        decided: what stood there when the dataset and labels.db said the same.
        places: field, id of the sample and id of the label in FiftyOne; the field is "" for the sample itself.
    """

    tags: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    places: list[tuple[str, str, str]] = field(default_factory=list)


def prefix(project: Project) -> str:
    """Return how the names of all datasets of a project begin."""
    slug = re.sub(r"[^a-z0-9]+", "-", project.root.name.lower()).strip("-")[:_SLUG_CHARACTERS].strip("-")
    root = hashlib.sha256(os.fsencode(project.root)).hexdigest()[:8]
    return f"{_PREFIX}-{slug or 'project'}-{root}-"


@contextlib.contextmanager
def one_at_a_time(project: Project) -> Iterator[None]:
    """Hold the datasets of a project; others wait. Raises StateError after ten minutes."""
    from filelock import FileLock, Timeout

    path = make_folder(project) / ".datasets.lock"
    lock = FileLock(path, timeout=_WAIT_FOR_ANOTHER_S)
    try:
        lock.acquire()
    except Timeout:
        raise StateError(f"{path}: another process works on the datasets of this project: wait for it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}: check the project folder") from error
    try:
        yield
    finally:
        lock.release()


def names(project: Project) -> list[str]:
    """Return the datasets of a project, complete or not, the newest last."""
    import fiftyone as fo

    found = [name for name in fo.list_datasets() if name.startswith(prefix(project))]
    return sorted(found, key=lambda name: fo.load_dataset(name).created_at)


def load(name: str) -> Any | None:
    """Return a dataset as it is in the database now, or None where it is not complete or not there."""
    import fiftyone as fo

    if not fo.dataset_exists(name):
        return None
    dataset = fo.load_dataset(name, reload=True)
    return dataset if dataset.info.get(COMPLETE) else None


def delete(name: str) -> None:
    """Remove a dataset if it is there."""
    import fiftyone as fo

    if fo.dataset_exists(name):
        fo.delete_dataset(name)


def read_tags(dataset: Any) -> dict[Key, Tagged]:
    """Return everything that is tagged or was: images, labels, and what waits for its image to come back.

    A label without an id of ours was drawn in the app; its id begins with ``NEW``.
    """
    from fiftyone import ViewField as F

    found: dict[Key, Tagged] = {}

    def add(key: Key, tags: Sequence[str] | None, decided: Sequence[str] | None, *place: str) -> None:
        if tags or decided:
            one = found.setdefault(key, Tagged())
            one.tags.update(tags or ())
            one.decided.update(decided or ())
            if place:
                one.places.append((place[0], place[1], place[2]))

    # An expression belongs to the place where it is used.
    def touched() -> Any:
        return (F("tags").length() > 0) | (F("decided").length() > 0)

    for sha256, tags, decided, sample_id in _rows(dataset.match(touched()), ("labelstill_id", "tags", "decided", "id")):
        add((sha256, ""), tags, decided, "", sample_id, "")
    for name in LABEL_FIELDS:
        boxes = f"{name}.detections"
        view = dataset.match(F(boxes).filter(touched()).length() > 0)
        columns = [f"{boxes}.{one}" for one in ("labelstill_id", "id", "tags", "decided")]
        for sha256, sample_id, *parts in _rows(view, ("labelstill_id", "id", *columns)):
            for label_id, mongo_id, tags, decided in zip(*(part or () for part in parts), strict=True):
                add((sha256, label_id or f"{NEW}{mongo_id}"), tags, decided, name, sample_id, mongo_id)
    for sha256, label_id, tags, decided in dataset.info.get(_WAITING, ()):
        add((sha256, label_id), tags, decided)
    return found


def bring_up(dataset: Any, decided: Mapping[Key, tuple[Tagged, set[str]]]) -> None:
    """Note in the dataset which tags labels.db knows by now.

    Args:
        dataset: see ``read_tags``.
        decided: what was read there, and the tags that are in step now, by image and label.
    """
    of_samples: dict[str, list[str]] = {}
    of_labels: dict[str, list[dict[str, Any]]] = {}
    for read, known in decided.values():
        for name, sample_id, label_id in read.places:
            if name:
                row = {"sample_id": sample_id, "label_id": label_id, "value": sorted(known)}
                of_labels.setdefault(name, []).append(row)
            else:
                of_samples[sample_id] = sorted(known)
    for name, rows in of_labels.items():
        dataset.set_label_values(f"{name}.detections.decided", rows)
    if of_samples:
        dataset.set_values("decided", of_samples, key_field="id")
    waiting = [
        [*key, sorted(read.tags), sorted(decided[key][1]) if key in decided else sorted(read.decided)]
        for key, read in read_tags(dataset).items()
        if not read.places
    ]
    _remember(dataset, _WAITING, [row for row in waiting if set(row[2]) != set(row[3])])


def carry_over(old: Any, new: Any) -> None:
    """Take the tags that were written or removed in an older dataset, and never applied, over to a newer one.

    Doing so again changes nothing. What has no place in the newer dataset waits in it for ``read_tags``.
    """
    if old.name in new.info.get(_CARRIED, ()):
        return
    there = _places(new)
    of_samples: dict[str, list[str]] = {}
    of_labels: dict[str, list[dict[str, Any]]] = {}
    waiting = list(new.info.get(_WAITING, ()))
    for key, read in read_tags(old).items():
        written, removed = read.tags - read.decided, read.decided - read.tags
        if not written and not removed:
            continue
        place = there.get(key)
        if place is None:
            waiting.append([*key, sorted(read.tags), sorted(read.decided)])
            continue
        name, sample_id, label_id, tags = place
        value = sorted((set(tags) | written) - removed)
        if name:
            row = {"sample_id": sample_id, "label_id": label_id, "value": value}
            of_labels.setdefault(name, []).append(row)
        else:
            of_samples[sample_id] = value
    for name, rows in of_labels.items():
        new.set_label_values(f"{name}.detections.tags", rows)
    if of_samples:
        new.set_values("tags", of_samples, key_field="id")
    _remember(new, _WAITING, waiting)
    _remember(new, _CARRIED, [*new.info.get(_CARRIED, ()), old.name])


def _places(dataset: Any) -> dict[Key, tuple[str, str, str, Sequence[str]]]:
    """Return the first place of every image and label: field, ids of sample and label in FiftyOne, and its tags."""
    found: dict[Key, tuple[str, str, str, Sequence[str]]] = {}
    for sha256, sample_id, tags in _rows(dataset, ("labelstill_id", "id", "tags")):
        found[(sha256, "")] = ("", sample_id, "", tags or ())
    for name in LABEL_FIELDS:
        columns = [f"{name}.detections.{one}" for one in ("labelstill_id", "id", "tags")]
        for sha256, sample_id, *parts in _rows(dataset, ("labelstill_id", "id", *columns)):
            for label_id, mongo_id, tags in zip(*(part or () for part in parts), strict=True):
                found.setdefault((sha256, label_id), (name, sample_id, mongo_id, tags or ()))
    return found


def _remember(dataset: Any, key: str, value: object) -> None:
    if dataset.info.get(key, []) != value:
        dataset.info[key] = value
        dataset.save()


def _rows(view: Any, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*view.values(list(fields)), strict=True)

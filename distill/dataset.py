"""A dataset for training: a folder in the YOLO layout, made from labels.db and a split, hashed and read-only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.image_files import display
from labeling.project import Project

from .material.files import write_labels, write_lists, write_pictures
from .material.folder import MANIFEST, Facts, check, new_folder
from .material.labels import Examples, Taken, examples
from .material.photos import DatasetPhotos, PhotoOf
from .material.plan import Plan, plan, remarks

if TYPE_CHECKING:
    from labeling.core.store_splits import Part

    from .split import Split


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder that was written.

    Attributes:
        path: ``datasets/HASH`` of the project, with data.yaml, train.txt, images/PART, labels/PART, and where labels
            are soft weights/train and ignore/train, which then have a file for every image of part train.
        hash: of everything that is taught: 16 hex digits.
        names: the classes, in the order of the ontology.
        task: detect, or segment.
        images: how many images each part has, by part.
        backgrounds: how many of them hold no object, by part.
        objects: how many labels each part has, by part.
        left_out: how many images are in no part although the split has them, by reason.
        repeats: how often an image of the train part is shown per epoch, by name of its file; once where not named.
        soft: labels have weights, or there are boxes to ignore.
        left_out_objects: how many labels of the images are not taught, by reason.
        altered: how many labels say something else than in labels.db, by what became of them.
        remarks: what is odd, one sentence each.
    """

    path: Path
    hash: str
    names: tuple[str, ...]
    task: str
    images: Mapping[str, int]
    backgrounds: Mapping[str, int]
    objects: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    repeats: Mapping[str, int] = field(default_factory=dict)
    soft: bool = False
    left_out_objects: Mapping[str, int] = field(default_factory=dict)
    altered: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def materialise(
    project: Project,
    store: Store,
    split: Split,
    photo_of: PhotoOf,
    *,
    task: Literal["detect", "segment"] = "detect",
    fold: int | None = None,
    pseudo: bool = True,
    weights: bool = True,
    ring: bool = True,
    oversample: bool = True,
    seed: int = 0,
    subtle: Collection[str] = (),
    parts: Sequence[Part] = ("train", "val"),
) -> Dataset:
    """Write the dataset of a split, or return the one that is there already because nothing of it has changed.

    The folder appears as a whole or not at all. Whoever calls holds the lock of the project. Photos are only read; one
    that is not what was labelled any more is left out and counted.

    Args:
        project: gets the folder.
        store: labels.db; only read.
        split: see ``make_split``.
        photo_of: decodes a photo by its sha256, None where no file holds it; several threads call it at once.
        task: detect writes boxes, segment polygons.
        fold: which fold is val, where the split has folds.
        pseudo: teach labels of the teacher in images that nobody has reviewed.
        weights: let these count by their score.
        ring: ignore boxes that the teacher was not sure enough of.
        oversample: list images of thin classes several times, see ``readiness.repeat_factor``.
        seed: decides where a repeat factor between two whole numbers goes.
        subtle: classes that are hard to see, for the remarks.
        parts: of the split; the test part is not where a trainer could read it unless it is asked for.

    Raises:
        StateError: no image to teach, or the disk is full.
        InputError: the folder cannot be written, or the project has no classes.
    """
    names, gate = project.ontology.names, project.config.images
    places = {sha256: part for part in parts for sha256 in split.images(part, fold)}
    photos = DatasetPhotos(store, places, gate, photo_of)
    taken = Taken(task, pseudo, weights, ring, split.settings.unreviewed)
    gone = photos.gone()
    while True:
        found = examples(store, {image: part for image, part in places.items() if image not in gone}, names, taken)
        found.left_out.update(gone.values())
        made = plan(found.all, names, parts, task, gate, oversample=oversample, seed=seed)
        if "train" in parts and not made.of("train"):
            raise StateError(_nothing_to_teach(split.name, found.left_out))
        path = project.datasets_path / made.hash
        lost = {}
        if not _is_there(path, made.hash):
            settings = {"split": split.name, "fold": fold, **asdict(taken), "oversample": oversample, "seed": seed}
            about = {"ontology": project.ontology.hash, "settings": settings | {"images": gate.model_dump()}}
            lost = _write(path, made, found, photos, about | {"remarks": list(remarks(made, subtle))})
        if not lost:
            break
        gone |= lost
    return replace(
        read_dataset(path),
        left_out=dict(found.left_out),
        left_out_objects=_counted(found.left_out_objects),
        altered=_counted(found.altered),
        remarks=tuple(remarks(made, subtle)),
    )


def read_dataset(path: Path) -> Dataset:
    """Return a dataset that was written; its files are not read, see ``verify``.

    Raises:
        StateError: there is none, or its manifest is damaged.
    """
    manifest = _manifest(path)
    found = {name: manifest[name] for name in ("hash", "task", *_COUNTED, "soft")}
    return Dataset(path, names=tuple(manifest["names"]), remarks=tuple(manifest["remarks"]), **found)


def verify(path: Path) -> Dataset:
    """Read every file of a dataset, compare it with what was written, and return the dataset.

    Raises:
        StateError: there is none, or a file is missing, differs or was added; names the first.
    """
    dataset = read_dataset(path)
    check(path, _files(_manifest(path)))
    return dataset


HASH = r"^[0-9a-f]{16}$"
"""How the hash of a dataset is written; it is also the name of its folder."""

_COUNTED = ("images", "backgrounds", "objects", "left_out", "repeats", "left_out_objects", "altered")


def _write(path: Path, made: Plan, found: Examples, photos: DatasetPhotos, about: Mapping[str, Any]) -> dict[str, str]:
    """Write the folder; where photos turn out to be gone, return why by sha256 and write nothing."""
    with new_folder(path.parent) as folder:
        pictures = write_pictures(folder, made, photos)
        lost = {image: photos.why(image) for image, name in pictures.items() if name is None}
        if lost:
            return lost
        files = {image: str(name) for image, name in pictures.items()}
        write_labels(folder, made)
        write_lists(folder, made, files)
        repeats = {files[image].rpartition("/")[2]: times for image, times in made.repeats.items() if times > 1}
        manifest = {
            "hash": made.hash,
            "task": made.task,
            "names": list(made.names),
            "images": {part: len(made.of(part)) for part in made.parts},
            "backgrounds": {part: sum(not one.lines for one in made.of(part)) for part in made.parts},
            "objects": {part: sum(len(one.lines) for one in made.of(part)) for part in made.parts},
            "left_out": dict(found.left_out),
            "left_out_objects": _counted(found.left_out_objects),
            "altered": _counted(found.altered),
            "repeats": repeats,
            "soft": made.weighted or made.ringed,
            **about,
            "sources": files,
            "files": folder.files,
        }
        folder.write(MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
        folder.publish(path)
    return {}


def _is_there(path: Path, hash_: str) -> bool:
    """Say whether a dataset is there with every byte as it was written; where it is not, it is written anew."""
    try:
        return verify(path).hash == hash_
    except StateError:
        return False


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(f"{display(path)}: is no dataset (no {MANIFEST}): labelstill train makes one") from None
    except (OSError, ValueError) as error:
        raise StateError(f"{display(path / MANIFEST)}: cannot be read ({error}): remove the folder") from error
    try:
        return _Manifest.model_validate(manifest).model_dump()
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "what it holds"
        raise StateError(
            f"{display(path / MANIFEST)}: is damaged ({where}): remove the folder {display(path)}, and the next "
            "labelstill train makes it anew"
        ) from None


class _Manifest(BaseModel):
    """What is read of a manifest."""

    model_config = ConfigDict(strict=True)

    hash: Annotated[str, Field(pattern=HASH)]
    task: Literal["detect", "segment"]
    names: list[str]
    images: dict[str, int]
    backgrounds: dict[str, int]
    objects: dict[str, int]
    left_out: dict[str, int]
    repeats: dict[str, int]
    left_out_objects: dict[str, int]
    altered: dict[str, int]
    soft: bool
    remarks: list[str]
    files: dict[str, Annotated[list[int | str], Field(min_length=2, max_length=2)]]


def _files(manifest: Mapping[str, Any]) -> dict[str, Facts]:
    return {name: (size, sha256) for name, (size, sha256) in manifest["files"].items()}


def _counted(found: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(found.items()) if count}


def _nothing_to_teach(split: str, left_out: Mapping[str, int]) -> str:
    why = "; ".join(f"{count:,} left out: {reason}" for reason, count in sorted(left_out.items()))
    return (
        f"part train of the split {split!r} has no image to teach{f' ({why})' if why else ''}: label or review some "
        "and run labelstill split again"
    )

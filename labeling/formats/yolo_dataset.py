"""A YOLO or autodistill folder to read: its classes, its images, and the label file of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..core.errors import InputError
from ..core.ontology import from_autodistill
from ..core.strict import MAX_BYTES, parse_yaml, read_text
from ..image_files import scan
from . import yolo_obb, yolo_read
from .datasets import (
    MAX_TEXT_BYTES,
    Dataset,
    Entry,
    Found,
    Refused,
    Unlabelled,
    doubled_names,
    folders_in,
    inside,
    relative_name,
)
from .items import Item
from .json_files import read_json

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LIST_NAMES = ("classes.txt", "labels/classes.txt", "obj.names")
_SPLIT_FOLDERS = ("train", "valid", "val", "test")

ReadLines = Callable[[str, str, Sequence[str], tuple[int, int]], list[Item]]


@dataclass(frozen=True, slots=True)
class _Folder:
    """What is being read: its root, where ``path:`` or ``--images`` leads, what its splits name, how a file is read."""

    root: Path
    base: Path
    places: tuple[str, ...]
    names: tuple[str, ...]
    read_lines: ReadLines
    named: bool


def open_yolo(path: Path, images: Path | None, *, rotated: bool = False) -> Dataset:
    """Read the classes and splits of a YOLO folder.

    ``path`` is a data.yaml, or a folder with one, or a folder with classes.txt. Splits are folders, lists of them, or
    text files that list images; all of them are read. ``images`` stands in for ``path:``. Labels lie where ultralytics
    looks for them: the last folder ``images`` of the image becomes ``labels``.

    Args:
        path: file or folder.
        images: folder that the splits lie in, where that is not the one of data.yaml.
        rotated: lines are rotated rectangles (yolo-obb).

    Raises:
        InputError: neither data.yaml nor classes.txt, no names, or a split that leads elsewhere or is not there.
    """
    read_lines = yolo_obb.read_lines if rotated else yolo_read.read_lines
    file = _yaml_of(path)
    root = _root(path)
    if file is None:
        folder = _Folder(root, images or root, ("",), _listed_classes(root), read_lines, images is not None)
        return Dataset(root.resolve().name, partial(_entries, folder), folder.names, notes=doubled_names(folder.names))
    document = parse_yaml(read_text(file, MAX_BYTES), str(file)).data
    if not isinstance(document, dict):
        raise InputError(f"{file}: expected a data.yaml with train, val and names, got {document!r:.80}")
    names = yolo_read.class_names(document, str(file))
    places = yolo_read.split_places(document, str(file))
    base, notes = (images, ()) if images is not None else _base(document.get("path"), file, places)
    if images is not None and not any(_exists(images, place) for place in places):
        places = [""]
    if not places:
        raise InputError(f"{file}: expected train, val or test with the folder of the images, found none of them")
    if document.get("kpt_shape") is not None:
        read_lines = yolo_read.read_boxes
        notes = (*notes, f"{file.name} has kpt_shape: keypoints are not read, only the boxes before them")
    folder = _Folder(root, base, tuple(places), names, read_lines, images is not None)
    return Dataset(root.resolve().name, partial(_entries, folder), names, notes=(*notes, *doubled_names(names)))


def open_autodistill(path: Path, images: Path | None) -> Dataset:
    """Read what autodistill's ``label()`` leaves: train/ and valid/ with images and labels, and data.yaml.

    The folders of data.yaml are not used: they are absolute, of the machine where it was written. An
    ``ontology.json`` beside it says the prompts. Raises InputError.
    """
    file = _yaml_of(path)
    root = _root(path)
    places = tuple(f"{split}/images" for split in _SPLIT_FOLDERS if (root / split / "images").is_dir())
    if file is None or not places:
        missing = "data.yaml" if file is None else "train/images or valid/images"
        raise InputError(f"--in {path}: expected the folder that autodistill wrote, found no {missing}")
    document = parse_yaml(read_text(file, MAX_BYTES), str(file)).data
    names = yolo_read.class_names(document if isinstance(document, dict) else {}, str(file))
    if images is not None and not any(_exists(images, place) for place in places):
        places = ("",)
    folder = _Folder(root, images or root, places, names, yolo_read.read_lines, images is not None)
    return Dataset(
        root.resolve().name,
        partial(_entries, folder),
        names,
        prompts=_prompts(root / "ontology.json"),
        notes=doubled_names(names),
    )


def _root(path: Path) -> Path:
    """Return the folder of the labels without links, so that a label file has one name however it is reached."""
    return Path(os.path.realpath(path if path.is_dir() else path.parent))


def _yaml_of(path: Path) -> Path | None:
    if path.is_file():
        if path.suffix.lower() in (".yaml", ".yml"):
            return path
        raise InputError(f"--in {path}: expected a YOLO folder or its data.yaml")
    if not path.is_dir():
        raise InputError(f"--in {path}: expected a YOLO folder or its data.yaml, found nothing")
    found = [path / name for name in _YAML_NAMES if (path / name).is_file()] or sorted(path.glob("*.y*ml"))
    return found[0] if found else None


def _listed_classes(root: Path) -> tuple[str, ...]:
    for name in _LIST_NAMES:
        if (root / name).is_file():
            names = [line.strip() for line in read_text(root / name, MAX_BYTES).splitlines()]
            while names and not names[-1]:
                names.pop()
            if not names or not all(names):
                raise InputError(f"{root / name}: expected one class name per line, found an empty line or nothing")
            return tuple(names)
    raise InputError(f"--in {root}: expected a YOLO folder with data.yaml or classes.txt, found neither")


def _base(said: object, file: Path, places: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that the splits lie in: what ``path:`` says, else that of data.yaml, which may have moved."""
    here = file.parent
    if said is None or said == "":
        return here, ()
    if not isinstance(said, str):
        raise InputError(f"{file}: path: expected a folder, got {said!r:.80}")
    base = Path(os.path.realpath(here / said))
    if base.is_dir() and (base == here.resolve() or base.is_relative_to(here.resolve())):
        return base, ()
    if any(_exists(here, place) for place in places):
        return here, (f"path: of {file.name} is another folder ({said}) and was not used; --images DIR takes one",)
    raise InputError(f"{file}: path: {said} is not in the folder of {file.name}: add --images {base} to read it there")


def _exists(base: Path, place: str) -> bool:
    try:
        return inside(base, place).exists()
    except InputError:
        return False


def _entries(folder: _Folder) -> Iterator[Found]:
    base = Path(os.path.realpath(folder.base))
    seen: set[Path] = set()
    used: set[Path] = set()
    for place in folder.places:
        for found in _images(folder, place):
            if isinstance(found, Refused):
                yield found
            elif found not in seen:
                seen.add(found)
                name = relative_name(found, base)
                label = _label_of(folder, base, name)
                if label is None:
                    yield Unlabelled(name)
                else:
                    used.add(label)
                    yield Entry(name, partial(Path, found), None, partial(_objects, folder, label))
    where = f" in {base}, which --images names" if folder.named else "; name the folder of the photos with --images"
    for labels in _label_folders(folder, base):
        for label in sorted(labels.rglob("*.txt"), key=os.fsencode):
            if label not in used and label.name != "classes.txt":
                used.add(label)
                name = relative_name(label, folder.root)
                yield Refused(name, f"missing: no photo of this name{where}")


def _label_folders(folder: _Folder, base: Path) -> list[Path]:
    """Return the folders of nothing but labels that go with splits that are folders."""
    names = {"labels"} if folder.places == ("",) else set()
    for place in folder.places:
        moved = yolo_read.label_name(f"{place.rstrip('/')}/x.jpg").removesuffix("/x.txt")
        if moved != place.rstrip("/") and _exists(base, place) and inside(base, place).is_dir():
            names.add(moved)
    return folders_in(base, *sorted(names)) + folders_in(folder.root, *sorted(names))


def _images(folder: _Folder, place: str) -> Iterator[Path | Refused]:
    """Yield the images of one split, in the order of its list or of their paths."""
    base = folder.base
    where = Path(os.path.realpath(base)) if place in ("", ".", "./") else _place(base, place)
    if where.is_dir():
        searched = scan([where])
        yield from (file.path for file in searched.files)
        yield from (Refused(relative_name(bad.path, where), f"{bad.reason}: {bad.detail}") for bad in searched.rejected)
        return
    for line in read_text(where, MAX_TEXT_BYTES).splitlines():
        if name := line.strip():
            try:
                # As ultralytics has it: what begins with ./ is beside the list.
                beside = relative_name(where.parent, Path(os.path.realpath(base)))
                yield inside(base, f"{beside}/{name}" if name.startswith("./") else name)
            except InputError as error:
                yield Refused(name[:200], str(error))


def _place(base: Path, place: str) -> Path:
    """Return where a split lies; ``../train`` of data.yaml means ``train`` where there is none above, as on export."""
    for name in (place, place.removeprefix("../")):
        if _exists(base, name):
            return inside(base, name)
    inside(base, place.removeprefix("../"))
    raise InputError(f"{base / place}: expected the images of a split there, found nothing; see --images")


def _label_of(folder: _Folder, base: Path, name: str) -> Path | None:
    moved = yolo_read.label_name(name)
    plain = name.rsplit(".", 1)[0] + ".txt"
    kept = ("labels", *(f"{split}/labels" for split in _SPLIT_FOLDERS), "")
    for place in (base / moved, folder.root / moved, *(folder.root / labels / plain for labels in kept)):
        if place.is_file():
            return place
    return None


def _objects(folder: _Folder, label: Path, size_wh: tuple[int, int]) -> list[Item]:
    real = os.path.realpath(label)
    if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in (folder.base, folder.root)):
        raise InputError(f"{label}: refused: the link leads out of the dataset")
    return folder.read_lines(read_text(label, MAX_TEXT_BYTES), str(label), folder.names, size_wh)


def _prompts(file: Path) -> dict[str, tuple[str, ...]]:
    if not file.is_file():
        return {}
    found = read_json(file)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(f"{file}: expected autodistill's {{prompt: class}}, got {found!r:.80}")
    return {entry.name: entry.prompts for entry in from_autodistill(found).classes} if found else {}

"""The files of a dataset, from its plan: pictures, labels, what softens them, train.txt and data.yaml."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from .folder import NewFolder
from .photos import DatasetPhotos
from .plan import Plan

_THREADS = 3


def write_pictures(folder: NewFolder, made: Plan, photos: DatasetPhotos) -> dict[str, str | None]:
    """Write the copies and return their names by sha256, None where no photo is left; one per thread is in memory."""

    def write(sha256: str, place: str) -> str | None:
        copy = photos.copy(sha256)
        if copy is None:
            return None
        folder.write(place + copy.suffix, copy.data)
        return place + copy.suffix

    for part in made.parts:
        folder.make(f"images/{part}")
    images = [one.sha256 for one in made.examples]
    places = [f"images/{one.part}/{made.stems[one.sha256]}" for one in made.examples]
    with ThreadPoolExecutor(_THREADS, "pictures") as pool:
        return dict(zip(images, pool.map(write, images, places), strict=True))


def write_labels(folder: NewFolder, made: Plan) -> None:
    """Write one file of labels for each image; where some weigh less or are to be ignored, those files, too."""
    for part in made.parts:
        folder.make(f"labels/{part}")
    softened = {"weights/train": made.weighted, "ignore/train": made.ringed}
    for name in (name for name, needed in softened.items() if needed):
        folder.make(name)
    for one in made.examples:
        name = f"{one.part}/{made.stems[one.sha256]}.txt"
        folder.write(f"labels/{name}", _text(one.lines))
        if one.part == "train" and made.weighted:
            folder.write(f"weights/{name}", _text([f"{weight:.4f}" for weight in one.weights]))
        if one.part == "train" and made.ringed:
            folder.write(f"ignore/{name}", _text(one.ignored))


def write_lists(folder: NewFolder, made: Plan, pictures: dict[str, str]) -> None:
    """Write train.txt, which names an image as often as it is shown per epoch, and data.yaml."""
    if "train" in made.parts:
        listed = [pictures[one.sha256] for one in made.of("train") for _ in range(made.repeats[one.sha256])]
        folder.write("train.txt", _text([f"./{name}" for name in listed]))
    folder.write("data.yaml", _data_yaml(made).encode())


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _data_yaml(made: Plan) -> str:
    # Without ``path`` the folder may be moved: a relative one would be looked up from where the trainer was started.
    places = {part: "train.txt" if part == "train" else f"images/{part}" for part in made.parts}
    # Quoted, because a bare `yes` or `12:30` is something else in YAML.
    names = {i: DoubleQuotedScalarString(name) for i, name in enumerate(made.names)}
    yaml, text = YAML(), io.StringIO()
    yaml.width = 2**16
    yaml.dump({**places, "names": names}, text)
    return "# Made by labelstill from labels.db: change labels there, not here.\n" + text.getvalue()

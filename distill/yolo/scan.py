"""What the library of a student finds in a dataset folder, compared with what was written there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labeling.core.errors import InputError, LabelstillError, StateError
from labeling.image_files import display

from ..dataset import Dataset


@dataclass(frozen=True, slots=True)
class Scan:
    """One part of a dataset as a library sees it.

    Attributes:
        names: the classes by id.
        files: every image that is shown in one epoch, repeats included.
        objects: how many labels each image has, by name of its file.
        missing: images without a label file.
        corrupt: images or label files that cannot be read.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    objects: dict[str, int]
    missing: int
    corrupt: int


def check_scan(dataset: Dataset, scan: Callable[[str], Scan]) -> None:
    """Compare what a library finds in the parts train and val with what was written.

    Args:
        dataset: what was written.
        scan: lets the library scan a part, by name.

    Raises:
        InputError: there is nothing to learn from, or nothing to measure on.
        StateError: the library finds something else, or cannot read the folder.
    """
    for part in ("train", "val"):
        if not dataset.images.get(part):
            raise InputError(f"dataset {dataset.hash}: part {part} has no image: review more images, then split")
    if not dataset.objects.get("train"):
        raise InputError(f"dataset {dataset.hash}: part train has no object to learn from: label more images")
    for part in ("train", "val"):
        try:
            found = scan(part)
        except LabelstillError:
            raise
        except Exception as error:  # whatever a library says of a damaged folder
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise StateError(f"{display(dataset.path)}: {part}: {lines[0]}: make the dataset anew") from error
        _compare(dataset, part, found)


def _compare(dataset: Dataset, part: str, found: Scan) -> None:
    shown = Counter(Path(file).name for file in found.files)
    repeats = dataset.repeats if part == "train" else {}
    pairs: list[tuple[str, object, object]] = [
        ("class names", found.names, dataset.names),
        ("files that cannot be read", found.corrupt, 0),
        ("images without a label file", found.missing, 0),
        ("images", len(found.objects), dataset.images[part]),
        ("backgrounds", sum(not count for count in found.objects.values()), dataset.backgrounds.get(part, 0)),
        ("objects", sum(found.objects.values()), dataset.objects[part]),
        ("repeated images", _above_one(shown), _above_one(repeats)),
    ]
    for what, seen, written in pairs:
        if seen != written:
            raise StateError(
                f"{display(dataset.path)}: {part}: {what}: expected {written}, found {seen}: the dataset "
                "is not what was written: make it anew"
            )


def _above_one(times: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in times.items() if count > 1}

"""What D-FINE is taught: the files of a dataset folder, read back and counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from labeling.core.errors import StateError
from labeling.image_files import display

from ..dataset import Dataset
from ..yolo.weights import read_ring, read_weights

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes of one image.

    Attributes:
        class_ids: (n,) positions in the ontology.
        cxcywh: (n, 4) fractions of the image.
    """

    class_ids: Ids
    cxcywh: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image of a part.

    Attributes:
        image: its file.
        labels: what is taught.
        weights: (n,) in (0, 1], how much each label counts.
        ignored: what is neither object nor background.
    """

    image: Path
    labels: Boxes
    weights: Floats
    ignored: Boxes


def samples(dataset: Dataset, part: str) -> list[Sample]:
    """Read a part of a dataset; images of the train part stand there as often as train.txt lists them.

    Raises:
        StateError: it is not what was written: a count or a class differs, or a file is missing or damaged.
    """
    files = _listed(dataset, part)
    known = {file: _sample(dataset, part, file) for file in dict.fromkeys(files)}
    found = {
        "images": (len(known), dataset.images.get(part, 0)),
        "labels": (sum(len(one.weights) for one in known.values()), dataset.objects.get(part, 0)),
    }
    for what, (there, expected) in found.items():
        if there != expected:
            raise StateError(
                f"{display(dataset.path)}: part {part}: expected {expected} {what}, found {there}: delete the folder "
                "and train again, which writes it anew"
            )
    return [known[file] for file in files]


def _listed(dataset: Dataset, part: str) -> list[Path]:
    listing = dataset.path / f"{part}.txt"
    if listing.is_file():
        lines = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines()]
        return [dataset.path / line for line in lines if line]
    return sorted(file for file in (dataset.path / "images" / part).glob("*") if file.is_file())


def _sample(dataset: Dataset, part: str, image: Path) -> Sample:
    label, weight, ignore = (
        dataset.path / kind / part / f"{image.stem}.txt" for kind in ("labels", "weights", "ignore")
    )
    if not label.is_file():
        raise StateError(f"{display(label)}: is missing: delete the dataset and train again, which writes it anew")
    # The lines of boxes that are taught and of those that are not have one form.
    labels, ignored = (_boxes(read_ring(file, len(dataset.names))) for file in (label, ignore))
    return Sample(image, labels, read_weights(weight, len(labels.class_ids)), ignored)


def _boxes(rows: Floats) -> Boxes:
    return Boxes(rows[:, 0].astype(np.int64), np.ascontiguousarray(rows[:, 1:]))

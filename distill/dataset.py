"""A dataset for training: a folder in the YOLO layout, made from labels.db and a split, hashed and read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder that was written.

    Attributes:
        path: ``datasets/HASH`` of the project, with data.yaml, images/PART, labels/PART, and where labels are soft
            weights/train and ignore/train.
        hash: of everything that is taught: 16 hex digits.
        names: the classes, in the order of the ontology.
        task: detect, or segment.
        images: how many images each part has, by part.
        backgrounds: how many of them hold no object, by part.
        objects: how many labels each part has, by part.
        left_out: how many images are in no part although the split has them, by reason.
        repeats: how often an image of the train part is shown per epoch, by name of its file; once where not named.
        soft: labels have weights, or there are boxes to ignore.
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

"""One COCO file, written as the images come; pictures stay where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO

from ..image_copies import ImageCopy
from . import coco
from .items import LabelledImage
from .writing import Target

INDEX = "annotations.json"


class CocoFile:
    """``annotations.json``; until the end the entries wait in two files without a name, one JSON text a line."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._images = TemporaryFile("w+", encoding="utf-8", dir=target.folder)  # noqa: SIM115
        self._annotations = TemporaryFile("w+", encoding="utf-8", dir=target.folder)  # noqa: SIM115

    def add(self, name: str, image: LabelledImage, copy: ImageCopy | None) -> int:
        done = self._target.written
        image_id = done.images + 1 if image.number is None else image.number
        self._images.write(coco.as_json(coco.image_entry(image_id, name, image)) + "\n")
        for item in image.objects:
            done.objects[item.class_name] += 1
            done.losses["to_masks"] += item.corners is not None
            category = self._target.classes.of(item.class_name)
            entry = coco.annotation_entry(item, done.objects.total(), image_id, category)
            self._annotations.write(coco.as_json(entry) + "\n")
        return len(image.objects)

    def close(self) -> None:
        head = {
            "info": {"description": self._target.title, "version": "1.0"},
            "licenses": [],
            "categories": coco.categories(self._target.classes.items(), self._target.supercategories),
        }
        with (
            self._images as images,
            self._annotations as annotations,
            (self._target.folder / INDEX).open("w", encoding="utf-8") as file,
        ):
            file.writelines(coco.document(head, _lines(images), _lines(annotations)))
            file.flush()
            os.fsync(file.fileno())


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return (line.removesuffix("\n") for line in file)

"""Label Studio tasks in one JSON file, with the pictures in a folder beside it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from urllib.parse import quote

from ..image_copies import ImageCopy
from . import labelstudio
from .items import LabelledImage
from .writing import Target

INDEX = "tasks.json"


class StudioFile:
    """``tasks.json`` and ``images/``; labels of people are annotations, those of a machine are predictions.

    An address is one of Label Studio's local files, with the folder above the export as its document root.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        (target.folder / "images").mkdir()
        self._file = (target.folder / INDEX).open("w", encoding="utf-8")
        self._file.write("[")
        self._separator = "\n"

    def add(self, name: str, image: LabelledImage, copy: ImageCopy | None) -> int:
        assert copy is not None
        done = self._target.written
        place = f"images/{name}{copy.suffix}"
        kept = tuple(item for item in image.objects if not item.crowd)
        done.losses["crowd"] += len(image.objects) - len(kept)
        url = "/data/local-files/?d=" + quote(f"{self._target.out.name}/{place}", errors="surrogateescape")
        task = labelstudio.task(replace(image, name=place, objects=kept), url, reviewed=image.reviewed)
        (self._target.folder / place).write_bytes(copy.data)
        self._file.write(self._separator + json.dumps(task, ensure_ascii=False, allow_nan=False))
        self._separator = ",\n"
        for item in kept:
            self._target.classes.of(item.class_name)
            done.objects[item.class_name] += 1
        return len(kept)

    def close(self) -> None:
        with self._file as file:
            file.write("\n]\n")
            file.flush()
            os.fsync(file.fileno())

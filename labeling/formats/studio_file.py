"""Label Studio tasks in one JSON file, with the pictures in a folder beside it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from ..core import geometry
from ..core.errors import InputError
from ..image_copies import ImageCopy
from . import labelstudio
from .items import Corners, LabelledImage
from .labelstudio_config import CONFIG, config
from .voc import is_in_xml
from .writing import Target
from .written import SHIFTED_PX

INDEX = "tasks.json"


class StudioFile:
    """``tasks.json``, the configuration that it needs, and ``images/``.

    Labels of people are annotations, those of a machine are predictions.
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
        for item in kept:
            if not is_in_xml(item.class_name):
                raise InputError(f"class {item.class_name!r}: Label Studio's configuration cannot hold this name")
        done.losses["crowd"] += len(image.objects) - len(kept)
        url = "/data/local-files/?d=" + quote(f"{self._target.out.name}/{place}", errors="surrogateescape")
        task = labelstudio.task(replace(image, name=place, objects=kept), url)
        (self._target.folder / place).write_bytes(copy.data)
        self._file.write(self._separator + json.dumps(task, ensure_ascii=False, allow_nan=False))
        self._separator = ",\n"
        for item in kept:
            self._target.classes.of(item.class_name)
            done.objects[item.class_name] += 1
            done.losses["squared"] += item.corners is not None and not _is_rectangle(item.corners)
        return len(kept)

    def close(self) -> None:
        with self._file as file:
            file.write("\n]\n")
            file.flush()
            os.fsync(file.fileno())
        text = config(self._target.classes.names)
        (self._target.folder / CONFIG).write_text(text, encoding="utf-8")


def _is_rectangle(corners: Corners) -> bool:
    """Say whether four corners come back from the turned rectangle that Label Studio holds, wherever they start."""
    back = geometry.rotated_to_corners(*geometry.corners_to_rotated(corners))
    return all(np.abs(back - corner).max(axis=1).min() <= SHIFTED_PX for corner in corners)

"""Formats that are a folder of pictures with one label file each: YOLO's, autodistill's and Pascal VOC's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ..image_copies import ImageCopy
from . import voc, yolo
from .counting import count_box
from .items import LabelledImage
from .writing import Target
from .yolo_lines import LinesOf, mixed_lines

VALID_SHARE = 0.2
"""Share of the images that autodistill's layout keeps for validation."""


class YoloFolder:
    """``images/``, ``labels/`` and ``data.yaml``; an image without objects gets an empty label file."""

    def __init__(self, target: Target, lines: LinesOf) -> None:
        self._target = target
        self._lines = lines
        for part in ("images", "labels"):
            (target.folder / part).mkdir()

    def add(self, name: str, image: LabelledImage, copy: ImageCopy | None) -> int:
        assert copy is not None
        lines = self._lines(image, self._target.classes, self._target.written)
        _write_pair(self._target.folder, name, copy, lines)
        return len(lines)

    def close(self) -> None:
        text = yolo.data_yaml(str(self._target.out), self._target.classes.names)
        (self._target.folder / "data.yaml").write_text(text, encoding="utf-8")


class AutodistillFolder:
    """``train/`` and ``valid/``, each with images and labels, ``data.yaml``, and ``ontology.json``.

    The part of an image follows from its hash alone, so it stays where it is when the dataset grows. Where one part
    would stay empty, the image nearest to the border is moved there.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._nearest: dict[str, tuple[float, str, str]] = {}
        for part in ("train", "valid"):
            for kind in ("images", "labels"):
                (target.folder / part / kind).mkdir(parents=True)

    def add(self, name: str, image: LabelledImage, copy: ImageCopy | None) -> int:
        assert copy is not None
        place = int(copy.sha256[:8], 16) / 2**32
        part = "valid" if place < VALID_SHARE else "train"
        lines = mixed_lines(image, self._target.classes, self._target.written)
        _write_pair(self._target.folder / part, name, copy, lines)
        self._target.written.splits[part] += 1
        nearest = (abs(place - VALID_SHARE), name, copy.suffix)
        self._nearest[part] = min(nearest, self._nearest.get(part, nearest))
        return len(lines)

    def close(self) -> None:
        target = self._target
        splits = target.written.splits
        if splits.total() > 1 and len(self._nearest) == 1:
            (full,) = self._nearest
            self._move(full, "valid" if full == "train" else "train")
        text = yolo.split_yaml(str(target.out), target.classes.names, VALID_SHARE)
        (target.folder / "data.yaml").write_text(text, encoding="utf-8")
        prompts = dict(target.prompts)
        prompts.update({name: name for name in target.classes.names if name not in prompts.values()})
        ontology = json.dumps(prompts, ensure_ascii=False, indent=2)
        (target.folder / "ontology.json").write_text(ontology + "\n", encoding="utf-8")

    def _move(self, full: str, empty: str) -> None:
        _, name, suffix = self._nearest[full]
        for kind, file in (("images", name + suffix), ("labels", name + ".txt")):
            folder = self._target.folder
            (folder / full / kind / file).rename(folder / empty / kind / file)
        self._target.written.splits.update({full: -1, empty: 1})


class VocFolder:
    """``Annotations/``, ``JPEGImages/`` and a list of all images as the devkit has it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (target.folder / part).mkdir(parents=True)
        self._names: list[str] = []

    def add(self, name: str, image: LabelledImage, copy: ImageCopy | None) -> int:
        assert copy is not None
        assert image.size_wh is not None
        written = self._target.written
        counted = [item for item in image.objects if not item.crowd]
        boxes = [voc.kept_box(item.box_xyxy, image.size_wh) for item in counted]
        kept = [item for item, box in zip(counted, boxes, strict=True) if box is not None]
        text = voc.write(replace(image, name=name + copy.suffix, objects=tuple(kept)))
        written.losses["crowd"] += len(image.objects) - len(counted)
        written.losses["outside"] += len(counted) - len(kept)
        for item, box in zip(kept, filter(None, boxes), strict=True):
            count_box(written, item, image.size_wh, box)
            written.losses["scores"] += item.score is not None
            written.losses["masks"] += item.rle is not None
            written.losses["turned"] += item.corners is not None
            written.objects[item.class_name] += 1
        (self._target.folder / "JPEGImages" / (name + copy.suffix)).write_bytes(copy.data)
        (self._target.folder / "Annotations" / (name + ".xml")).write_text(text, encoding="utf-8")
        self._names.append(name)
        return len(kept)

    def close(self) -> None:
        written = self._target.written
        written.losses["empty_classes"] = sum(not number for number in written.objects.values())
        text = "".join(f"{name}\n" for name in self._names)
        (self._target.folder / "ImageSets/Main/trainval.txt").write_text(text, encoding="utf-8")


def _write_pair(folder: Path, name: str, copy: ImageCopy, lines: list[str]) -> None:
    (folder / "images" / (name + copy.suffix)).write_bytes(copy.data)
    (folder / "labels" / (name + ".txt")).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

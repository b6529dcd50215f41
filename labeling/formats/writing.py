"""One loop that writes any format: images in, one at a time; a folder, and what it could not hold, out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.errors import InputError
from ..image_copies import ImageCopy
from .class_ids import ClassIds
from .folder import export_folder
from .items import LabelledImage
from .names import UniqueNames, safe_stem, split_name
from .written import Written


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One image to write.

    Attributes:
        image: with its size; ``name`` is what the export calls it unless that name is taken.
        shown: where its picture lies, for people.
        copy: gives the picture for formats that hold pictures; raises InputError where there is none.
    """

    image: LabelledImage
    shown: str
    copy: Callable[[], ImageCopy]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a writer writes.

    Attributes:
        folder: an empty folder to write into.
        out: absolute path that the folder will have in the end.
        classes: numbers of the classes.
        title: what the export is, for formats that have a place for it.
        prompts: prompt to class name, as far as they are known.
        supercategories: class name to the group that it belongs to, as far as they are known.
        written: counts, kept by the writer as far as objects, losses and splits go.
    """

    folder: Path
    out: Path
    classes: ClassIds
    title: str
    prompts: dict[str, str]
    supercategories: Mapping[str, str]
    written: Written


class Writer(Protocol):
    """Writes one format into one folder; made from a Target."""

    def add(self, name: str, image: LabelledImage, copy: ImageCopy | None) -> int:
        """Write one image and return the number of objects written.

        Args:
            name: unique; without suffix where the format holds pictures.
            image: with its size.
            copy: the picture, where the format holds pictures.

        Raises:
            InputError: the format cannot say this image at all; nothing is written and counted then.
        """

    def close(self) -> None:
        """Write what stands once for all images."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A format to write.

    Attributes:
        index: the file that readers open first, relative to the folder.
        pictures: whether the format holds copies of the pictures.
        first_id: number of the first class.
        writer: makes the writer.
        category_ids: whether the format is free to choose the numbers of classes.
        supercategories: whether the format holds groups of classes.
    """

    index: str
    pictures: bool
    first_id: int
    writer: Callable[[Target], Writer]
    category_ids: bool = False
    supercategories: bool = False


def write_images(
    images: Iterable[Outgoing],
    layout: Layout,
    out: Path,
    *,
    class_names: Iterable[str],
    kept_ids: Mapping[str, int],
    title: str,
    prompts: dict[str, str],
    supercategories: Mapping[str, str],
    force: bool,
) -> Written:
    """Write images as they come; an image whose picture cannot be had is noted and left out.

    Args:
        images: consumed once.
        layout: the format.
        out: new or empty folder, or with ``force`` one with an earlier export.
        class_names: known from the start, in order; others are added as they come.
        kept_ids: category ids of COCO, which stay where the format is free to choose.
        title, prompts, supercategories: see Target.
        force: allow a folder with something in it.

    Raises:
        InputError: not one image could be written, or ``out`` cannot be used.
    """
    out = Path(os.path.abspath(out))
    known = list(dict.fromkeys(class_names))
    classes = ClassIds(known, kept_ids if layout.category_ids else {}, first=layout.first_id)
    done = Written(out, out / layout.index, Counter(dict.fromkeys(classes.names, 0)))
    names = UniqueNames()
    with export_folder(out, layout.index, force=force) as folder:
        writer = layout.writer(Target(folder, out, classes, title, prompts, supercategories, done))
        for outgoing in images:
            image = outgoing.image
            name = names.take(*_name_parts(image, whole=not layout.pictures))
            try:
                copy = outgoing.copy() if layout.pictures else None
                done.empty += not writer.add(name, image, copy)
            except InputError as error:
                done.missing.append((outgoing.shown, str(error)))
                continue
            done.images += 1
            done.losses["copies"] += copy is not None and hashlib.sha256(copy.data).hexdigest() != copy.sha256
        if not done.images and done.missing:
            path, reason = done.missing[0]
            raise InputError(f"none of the {len(done.missing)} labelled photos can be read: {path}: {reason}")
        writer.close()
    done.losses["supercategories"] = 0 if layout.supercategories else len(supercategories)
    if not layout.category_ids:
        told = (kept_ids.get(name, place) != place for place, name in enumerate(known, start=1))
        done.losses["category_ids"] = sum(told)
    return done


def _name_parts(image: LabelledImage, *, whole: bool) -> tuple[str, str, str]:
    stem, suffix = split_name(image.name)
    identity = image.sha256 or hashlib.sha256(image.name.encode("utf-8", "surrogatepass")).hexdigest()
    if whole:
        return image.name.removesuffix(suffix), suffix, identity
    return safe_stem(stem), "", identity

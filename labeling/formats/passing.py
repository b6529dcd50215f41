"""From one label format to another without a project: image by image, and nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..core.errors import InputError
from ..image_copies import ImageCopy
from ..image_files import display
from .datasets import Dataset, Entry, PathRefused, Refused, Unlabelled
from .reading import LoadImage, check_bytes, labelled_image, open_picture, without_empty_masks
from .targets import TARGETS
from .writing import Outgoing, write_images
from .written import Written

_MAX_PIXELS_UNSEEN = 100_000_000
"""Masks of an image whose picture nobody opens may be this large."""

_NEW_IN_COCO = ("ids of annotations are given anew, and area is that of the mask or box as it is drawn here",)


@dataclass(slots=True)
class Passed:
    """What was read and what was not.

    Attributes:
        refused: (name, reason) of what could not be used.
        unlabelled: images that nobody has labelled.
        empty_masks: masks without a pixel, whose boxes are kept.
        notes: what people should know about how the dataset was read and written.
    """

    refused: list[tuple[str, str]] = field(default_factory=list)
    unlabelled: int = 0
    empty_masks: int = 0
    notes: tuple[str, ...] = ()


def pass_labels(
    dataset: Dataset, to: str, out: Path, load: LoadImage, copy_image: Callable[[Path], ImageCopy], *, force: bool
) -> tuple[Written, Passed]:
    """Write a dataset in another format; ids of categories and images of a COCO file stay as they are.

    Pictures are opened where the new format holds them or the old one does not say their size.

    Args:
        dataset: to read.
        to: name of the format, see TARGETS.
        out: folder for the export.
        load: the gate.
        copy_image: gives the picture that trainers shall read.
        force: allow a folder with an earlier export.

    Raises:
        InputError: not one image could be used, or ``out`` cannot be used.
    """
    passed = Passed()
    layout = TARGETS[to]
    written = write_images(
        _outgoing(dataset, passed, load, copy_image, pictures=layout.pictures),
        layout,
        out,
        class_names=dataset.class_names,
        kept_ids=dataset.category_ids,
        title=f"labelstill, from {dataset.title}",
        prompts={prompt: name for name, prompts in dataset.prompts.items() for prompt in prompts},
        supercategories=dataset.supercategories,
        force=force,
    )
    passed.notes = (*dataset.said(), *_NEW_IN_COCO) if to == "coco" and dataset.category_ids else dataset.said()
    return written, passed


def _outgoing(
    dataset: Dataset, passed: Passed, load: LoadImage, copy_image: Callable[[Path], ImageCopy], *, pictures: bool
) -> Iterator[Outgoing]:
    some = False
    for found in dataset.entries():
        if isinstance(found, Unlabelled):
            passed.unlabelled += 1
        elif isinstance(found, Refused):
            passed.refused.append((found.name, found.reason))
        else:
            try:
                outgoing = _open(found, load, copy_image, pictures=pictures)
                image, empty = without_empty_masks(outgoing.image)
            except InputError as error:
                passed.refused.append((found.name, str(error)))
                continue
            some = True
            passed.empty_masks += empty
            yield replace(outgoing, image=image)
    if not some:
        raise nothing_usable(dataset, passed.refused, passed.unlabelled)


def nothing_usable(dataset: Dataset, refused: list[tuple[str, str]], unlabelled: int, machine: int = 0) -> InputError:
    """Return the error for a dataset of which not one image could be used."""
    if refused:
        name, reason = refused[0]
        first = reason if reason.startswith(name) else f"{name}: {reason}"
        return InputError(f"{dataset.title}: none of its images can be used; the first of {len(refused)}: {first}")
    why = f"nobody has labelled its {unlabelled} images" if unlabelled else "it holds no image"
    if machine:
        why = f"a machine made the labels of {machine} images: only what people have reviewed is taken over"
    return InputError(f"{dataset.title}: has nothing to read: {why}")


def _open(entry: Entry, load: LoadImage, copy_image: Callable[[Path], ImageCopy], *, pictures: bool) -> Outgoing:
    size, sha256, copy = entry.size_wh, entry.sha256, _no_copy
    shown = entry.name
    if pictures or size is None:
        picture = open_picture(entry.picture(), load)
        size, sha256, shown = picture.size_wh, picture.sha256, display(picture.path)
        check_bytes(entry, sha256)
        copy = partial(_copy, picture.path, picture.sha256, copy_image)
    else:
        _check_name(entry)
        if size[0] * size[1] > _MAX_PIXELS_UNSEEN:
            raise InputError(f"too_large: the label file says {size[0]} x {size[1]} px")
    return Outgoing(labelled_image(entry, size, sha256), shown, copy)


def _check_name(entry: Entry) -> None:
    """Raise PathRefused for a name that leads out of the images folder; the picture itself may be elsewhere."""
    try:
        entry.picture()
    except PathRefused:
        raise
    except InputError:
        pass


def _copy(path: Path, sha256: str, copy_image: Callable[[Path], ImageCopy]) -> ImageCopy:
    copy = copy_image(path)
    if copy.sha256 != sha256:
        raise InputError("changed: the file holds another image than a moment ago")
    return copy


def _no_copy() -> ImageCopy:
    raise AssertionError("a format without pictures asks for none")

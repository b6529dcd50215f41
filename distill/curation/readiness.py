"""Whether there is enough of a class to train on, and what to do where there is not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from math import sqrt
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..balance import Balance, ClassBalance

Verdict = Literal["none", "too few", "enough to start", "ready"]

START_IMAGES = 150
"""With so many images of a class a detector begins to work."""

SUBTLE_IMAGES = 500
"""So many it takes where a class is hard to tell from others or from the background, and for a class to be ready."""

OVERSAMPLE_BELOW = 0.1
"""Classes that fewer images hold are repeated in training. LVIS, with 1,203 classes, takes 0.001."""

_ONE_SIDED = 0.99
_ENOUGH = 100
_MOST_CLASSES = 6
_BACKGROUND_SHARE = 0.1


def target_of(subtle: bool) -> int:
    """Return how many images of a class are needed to start."""
    return SUBTLE_IMAGES if subtle else START_IMAGES


def verdict(images: int, reviewed_images: int, *, subtle: bool = False) -> Verdict:
    """Judge one class.

    Args:
        images: that hold it.
        reviewed_images: those of them that people have reviewed.
        subtle: it is hard to see.
    """
    if not images:
        return "none"
    if images < target_of(subtle):
        return "too few"
    return "ready" if reviewed_images >= SUBTLE_IMAGES else "enough to start"


def repeat_factor(share: float, below: float = OVERSAMPLE_BELOW) -> float:
    """Return how often images of a class are shown in training, max(1, sqrt(below / share)); 1 for a class without any.

    Gupta et al. (2019), "LVIS: A Dataset for Large Vocabulary Instance Segmentation". An image is repeated by the
    largest factor of its classes.

    Args:
        share: of the images that hold the class, in [0, 1].
        below: classes of a smaller share are repeated.
    """
    return max(1.0, sqrt(below / share)) if share > 0 else 1.0


def remarks(found: Balance) -> Iterator[str]:
    """Yield what is odd about the whole set, one sentence each."""
    if found.images >= _ENOUGH and found.empty_images >= _ONE_SIDED * found.images:
        missed = "" if 2 * found.reviewed_images >= found.images else " (if the teacher has not missed them)"
        yield (
            f"{_share(found.empty_images, found.images)} of the images hold none of the classes{missed}: detection may "
            "be the wrong tool; anomaly detection learns from images of the ordinary alone"
        )
    if found.boxes >= _ENOUGH and len(found.classes) > 1:
        most = max(found.classes, key=lambda one: one.boxes)
        if most.boxes >= _ONE_SIDED * found.boxes:
            yield (
                f"{_share(most.boxes, found.boxes)} of the boxes are {most.name}: detection may be the wrong tool for "
                "the other classes; anomaly detection, or a model of their own, suits what is that rare"
            )
    yield from _always_together(found)
    for one in found.classes:
        if one.boxes >= _ENOUGH and 2 * one.small > one.boxes:
            yield (
                f"{_share(one.small, one.boxes)} of the boxes of {one.name} are smaller than 32 x 32 pixels: train on "
                "larger pictures or on tiles"
            )
    known = sum(found.cameras.values())
    if known >= _ENOUGH and max(found.cameras.values()) >= _ONE_SIDED * known:
        name = found.cameras.most_common(1)[0][0]
        yield f"nearly all photos that name their camera are from one, {name}: another camera may come as a surprise"


def plan(found: Balance, subtle: Collection[str] = ()) -> Iterator[str]:
    """Yield what to do next, the most urgent first: collect, label, collect under other conditions, oversample."""
    thin = sorted((one for one in found.classes if one.wanted_images), key=lambda one: -one.wanted_images)
    yield from _first(thin, _collect)
    yield from _label(found, thin, subtle)
    yield from islice(_conditions(found), _MOST_CLASSES)
    if found.images >= _ENOUGH and not found.empty_images:
        yield (
            f"collect images without any object, up to {_BACKGROUND_SHARE:.0%} of all: they teach what is no object, "
            "and there is none yet"
        )
    rare = sorted((one for one in found.classes if one.oversample > 1.05), key=lambda one: -one.oversample)
    yield from _first(
        rare, lambda one: f"oversample {one.name}: show its images {one.oversample:.1f} times as often in training"
    )


def _collect(one: ClassBalance) -> str:
    if not one.images:
        return f"collect {one.wanted_images:,} images of {one.name}: there is none yet"
    target = one.images + one.wanted_images
    return f"collect {one.wanted_images:,} more images of {one.name}: {one.images:,} of {target:,} are there"


def _label(found: Balance, thin: Sequence[ClassBalance], subtle: Collection[str]) -> Iterator[str]:
    waiting = found.images - found.reviewed_images
    if not waiting:
        return
    yield (
        f"label next: {waiting:,} of {found.images:,} images were never reviewed; labelstill next 50 names those that "
        "teach most"
    )
    seen = [one for one in thin if one.images > one.reviewed_images]
    if seen:
        named = ", ".join(f"{one.name} ({one.images - one.reviewed_images:,})" for one in seen[:_MOST_CLASSES])
        yield f"review first the images in which the teacher saw a rare class: {named}"
    short = [one for one in found.classes if not one.wanted_images]
    short = [one for one in short if one.reviewed_images < target_of(one.name in subtle)]
    yield from _first(
        short,
        lambda one: (
            f"review {target_of(one.name in subtle) - one.reviewed_images:,} more images of {one.name}: "
            f"{one.reviewed_images:,} of {one.images:,} are reviewed"
        ),
    )


def _conditions(found: Balance) -> Iterator[str]:
    """Yield kinds of photos that are missing, or in which a class that is common elsewhere is never seen."""
    looked_at = len(found.brightness)
    if looked_at < _ENOUGH:
        return
    missing = [one.name for one in found.slices if not one.images and one.name in ("dark", "bright", "blurred")]
    if missing:
        yield f"collect photos that are {' or '.join(missing)} if the camera will see such: there is none yet"
    for part in found.slices:
        for one, here in zip(found.classes, part.class_images, strict=True):
            # By chance alone fewer than 1 in 100 classes would be missing where 5 images are expected.
            if not here and one.images * part.images >= 5 * looked_at:
                yield f"collect {one.name} in photos that are {part.name}: none of {part.images:,} holds one"


def _always_together(found: Balance) -> Iterator[str]:
    for row, one in enumerate(found.classes):
        if one.images < _ENOUGH:
            continue
        for column, other in enumerate(found.classes):
            # A class that nearly every image holds says nothing about the others.
            common = other.images >= 0.9 * found.images
            if row != column and not common and found.together[row, column] >= _ONE_SIDED * one.images:
                yield (
                    f"{one.name} is hardly ever seen without {other.name}: a student may learn the one from the other; "
                    f"collect images with {one.name} alone"
                )


def _first(some: Sequence[ClassBalance], line: Callable[[ClassBalance], str]) -> Iterator[str]:
    yield from map(line, some[:_MOST_CLASSES])
    if len(some) > _MOST_CLASSES:
        yield f"the same for {len(some) - _MOST_CLASSES:,} more, such as {some[_MOST_CLASSES].name}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.4g} %"

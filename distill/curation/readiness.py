"""Whether there is enough of a class to train on, and what to do where there is not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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

NEXT = 20
"""So many images are proposed to be labelled next."""

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
    """Yield what to do next, the most urgent first: collect, label, collect under other conditions, oversample.

    A step that many classes need is one sentence.
    """
    thin = sorted((one for one in found.classes if one.wanted_images), key=lambda one: -one.wanted_images)
    for target in sorted({one.images + one.wanted_images for one in thin}):
        yield from _collect([one for one in thin if one.images + one.wanted_images == target], target)
    yield from _label(found, thin, subtle)
    yield from islice(_conditions(found), _MOST_CLASSES)
    if found.images >= _ENOUGH and not found.empty_images:
        yield (
            f"collect images without any object, up to {_BACKGROUND_SHARE:.0%} of all: they teach what is no object, "
            "and there is none yet"
        )
    rare = sorted((one for one in found.classes if one.oversample > 1.05), key=lambda one: -one.oversample)
    if rare:
        times = _named([f"{one.name} {one.oversample:.1f} times" for one in rare])
        yield f"oversample: show images of these classes more often in training: {times}"


def _collect(thin: Sequence[ClassBalance], target: int) -> Iterator[str]:
    absent = [one.name for one in thin if not one.images]
    few = [one for one in thin if one.images]
    if absent:
        yield f"collect {target:,} images of each class that has none yet: {_named(absent)}"
    if few:
        yield f"collect images until there are {target:,}: {_named([f'{one.name} has {one.images:,}' for one in few])}"


def _label(found: Balance, thin: Sequence[ClassBalance], subtle: Collection[str]) -> Iterator[str]:
    waiting = found.images - found.reviewed_images
    if not waiting:
        return
    yield (
        f"label next: {waiting:,} of {found.images:,} images were never reviewed; labelstill next {NEXT} names those "
        "that teach most"
    )
    seen = [one for one in thin if one.images > one.reviewed_images]
    if seen:
        waits = _named([f"{one.name} ({one.images - one.reviewed_images:,})" for one in seen])
        yield f"review first the images in which the teacher saw a rare class: {waits}"
    enough = [one for one in found.classes if not one.wanted_images]
    for target in sorted({target_of(one.name in subtle) for one in enough}):
        short = [one for one in enough if target_of(one.name in subtle) == target and one.reviewed_images < target]
        if short:
            counts = _named([f"{one.name} has {one.reviewed_images:,} of {one.images:,}" for one in short])
            yield f"review images until {target:,} of each class are reviewed: {counts}"


def _conditions(found: Balance) -> Iterator[str]:
    """Yield kinds of photos that are missing, or in which a class that is common elsewhere is never seen."""
    looked_at = len(found.brightness)
    if looked_at < _ENOUGH:
        return
    missing = [one.name for one in found.slices if not one.images and one.name in ("dark", "bright", "blurred")]
    if missing:
        yield f"collect photos that are {' or '.join(missing)} if the camera will see such: there is none yet"
    for part in found.slices:
        # By chance alone fewer than 1 in 100 classes would be missing where 5 images are expected.
        never = [
            one.name
            for one, here in zip(found.classes, part.class_images, strict=True)
            if not here and one.images * part.images >= 5 * looked_at
        ]
        if never:
            yield f"collect {_named(never)} in photos that are {part.name}: none of {part.images:,} holds one"


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


def _named(some: Sequence[str]) -> str:
    more = f" and {len(some) - _MOST_CLASSES:,} more" if len(some) > _MOST_CLASSES else ""
    return ", ".join(some[:_MOST_CLASSES]) + more


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.4g} %"

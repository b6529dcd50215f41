"""Seeded batches of square pictures for D-FINE, mirrored, scaled and recoloured by lot."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from labeling.core import geometry
from labeling.core.errors import StateError
from labeling.image_files import display
from labeling.images import ImageRejected, load
from labeling.teachers.interfaces import RgbImage

from .data import Boxes, Floats, Sample

_MAX_PIXELS = 2**30
_MIN_VISIBLE = 0.2
"""A box of which the crop leaves less than this share is ignored: neither an object nor background."""

_MIN_ZOOM = 0.1
_GREY = (114, 114, 114)


@dataclass(frozen=True, slots=True)
class Changes:
    """How pictures are changed at random in training.

    Attributes:
        flip: chance to be mirrored left to right.
        scale: a picture is shown from 1 - scale to 1 + scale of its size, but from a tenth on.
        colour: brightness, contrast and saturation are multiplied by 1 - colour to 1 + colour.
    """

    flip: float = 0.5
    scale: float = 0.3
    colour: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some pictures.

    Attributes:
        pixels: (b, 3, side, side) uint8, RGB.
        targets: one per picture, see ``dfine_loss.Targets``.
    """

    pixels: torch.Tensor
    targets: list[dict[str, torch.Tensor]]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        targets = [{key: value.to(device) for key, value in one.items()} for one in self.targets]
        return Batch(self.pixels.to(device), targets)


def batches(
    chosen: Sequence[Sample], imgsz: int, size: int, changes: Changes | None = None, seed: Sequence[int] = (0,)
) -> Generator[Batch, None, None]:
    """Yield pictures in batches: in order and as they are, or shuffled and changed by lot.

    Args:
        chosen: in order.
        imgsz: side of the pictures in pixels; sides of other shape are stretched.
        size: pictures per batch; the last batch may be smaller.
        changes: None leaves them as they are.
        seed: of order and changes; a picture's own luck depends on its place, not on what came before.
    """
    order = range(len(chosen)) if changes is None else np.random.default_rng(seed).permutation(len(chosen)).tolist()
    for first in range(0, len(chosen), size):
        rows = order[first : first + size]
        shown = []
        for place, row in enumerate(rows, start=first):
            sample = chosen[row]
            picture = squared(_pixels(sample.image), imgsz)
            if changes is not None:
                picture, sample = changed(picture, sample, changes, np.random.default_rng([*seed, place]))
            shown.append((picture, _target(sample)))
        yield Batch(as_tensor(picture for picture, _ in shown), [target for _, target in shown])


def squared(image: RgbImage, side: int) -> RgbImage:
    """Return an image stretched to a square, as the published D-FINE is fed."""
    smaller = image.shape[0] * image.shape[1] > side * side
    resized: RgbImage = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return resized


def as_tensor(pictures: Iterable[RgbImage]) -> torch.Tensor:
    """Return (b, 3, side, side) uint8 of square pictures."""
    return torch.from_numpy(np.stack(list(pictures)).transpose(0, 3, 1, 2).copy())


def changed(
    picture: RgbImage, sample: Sample, changes: Changes, random: np.random.Generator
) -> tuple[RgbImage, Sample]:
    """Return a square picture and its boxes mirrored, scaled and recoloured by lot."""
    side = picture.shape[0]
    mirrored = random.random() < changes.flip
    zoom = random.uniform(max(1 - changes.scale, _MIN_ZOOM), 1 + changes.scale)
    shift = random.random(2) * (1 - zoom)
    bright, contrast, saturation = random.uniform(1 - changes.colour, 1 + changes.colour, 3)
    if mirrored:
        picture = np.ascontiguousarray(picture[:, ::-1])
    # Fractions of pixel borders go to fractions times zoom plus shift; warpAffine counts from the centres of pixels.
    offset = shift * side + (zoom - 1) / 2
    matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    moved = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=_GREY).astype(np.float32)
    grey = moved.mean(axis=2, keepdims=True)
    coloured = ((grey + (moved - grey) * saturation - 128) * contrast + 128) * bright
    labels, whole = _moved(sample.labels, mirrored, zoom, shift)
    ignored, _ = _moved(sample.ignored, mirrored, zoom, shift)
    seen = whole >= _MIN_VISIBLE
    cut = Boxes(labels.class_ids[~seen & (whole > 0)], labels.cxcywh[~seen & (whole > 0)])
    return coloured.clip(0, 255).astype(np.uint8), Sample(
        sample.image,
        Boxes(labels.class_ids[seen], labels.cxcywh[seen]),
        sample.weights[seen],
        Boxes(np.concatenate([ignored.class_ids, cut.class_ids]), np.concatenate([ignored.cxcywh, cut.cxcywh])),
    )


def _moved(boxes: Boxes, mirrored: bool, zoom: float, shift: npt.NDArray[np.float64]) -> tuple[Boxes, Floats]:
    """Return boxes after a change, clipped, and the share of each that is still in the picture."""
    cxcywh = boxes.cxcywh.copy()
    if mirrored:
        cxcywh[:, 0] = 1 - cxcywh[:, 0]
    cxcywh *= zoom
    cxcywh[:, :2] += shift
    corners = np.concatenate([cxcywh[:, :2] - cxcywh[:, 2:] / 2, cxcywh[:, :2] + cxcywh[:, 2:] / 2], axis=1)
    clipped = geometry.clip_boxes(corners, (1, 1))
    share = geometry.area(clipped) / np.maximum(geometry.area(corners), 1e-12)
    return Boxes(boxes.class_ids, geometry.xyxy_to_cxcywhn(clipped, (1, 1)).astype(np.float32)), share.astype(
        np.float32
    )


def _target(sample: Sample) -> dict[str, torch.Tensor]:
    return {
        "class_labels": torch.from_numpy(sample.labels.class_ids),
        "boxes": torch.from_numpy(sample.labels.cxcywh),
        "weights": torch.from_numpy(sample.weights),
        "ignored_labels": torch.from_numpy(sample.ignored.class_ids),
        "ignored": torch.from_numpy(sample.ignored.cxcywh),
    }


def _pixels(image: Path) -> RgbImage:
    try:
        return load(image, max_pixels=_MAX_PIXELS).pixels
    except (ImageRejected, OSError) as error:
        raise StateError(f"{display(image)}: cannot be read any more ({error}): the dataset is damaged") from error

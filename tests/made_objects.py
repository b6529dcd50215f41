"""Objects made by hand or by lot: what is in images, and what somebody says of it; without a file or a store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.objects import Objects
from labeling.core import masks
from labeling.core.records import Rle
from tests.outcomes import digest

Box = tuple[float, float, float, float]
Said = tuple[int, Box, float]
"""Class, box and score."""

SIZE_WH = (640, 480)


def true(image: str, *labels: tuple[int, Box]) -> Objects:
    """Return what people say of one image: classes and boxes."""
    return said(image, *((class_id, box, 1.0) for class_id, box in labels))


def said(image: str, *objects: Said) -> Objects:
    """Return what somebody says of one image."""
    return Objects(
        digest(image),
        SIZE_WH,
        np.array([box for _, box, _ in objects], dtype=np.float64).reshape(-1, 4),
        np.array([class_id for class_id, _, _ in objects], dtype=np.int64),
        np.array([score for _, _, score in objects], dtype=np.float64),
    )


def ellipses(objects: Objects) -> Objects:
    """Return the same objects with a mask: the ellipse in each box."""
    width, height = objects.size_wh
    y, x = np.mgrid[0:height, 0:width] + 0.5
    rles: list[Rle] = []
    for x0, y0, x1, y1 in objects.boxes_xyxy:
        across, down = 2 * (x - (x0 + x1) / 2) / (x1 - x0), 2 * (y - (y0 + y1) / 2) / (y1 - y0)
        rles.append(masks.encode(across**2 + down**2 <= 1))
    return Objects(objects.sha256, objects.size_wh, objects.boxes_xyxy, objects.class_ids, objects.scores, tuple(rles))


def drawn(
    seed: int,
    images: int,
    *,
    classes: int = 3,
    most: int = 6,
    recall: float = 0.8,
    false: float = 1.0,
    shake: float = 0.08,
    swap: float = 0.1,
    coarse: bool = False,
    size_wh: tuple[int, int] = SIZE_WH,
) -> tuple[list[Objects], list[Objects]]:
    """Return truth drawn by lot and what an imperfect student says of it.

    Args:
        seed: of everything.
        images: how many; about one in ``most + 1`` is empty.
        classes: how many.
        most: objects in an image.
        recall: share of the objects that are found.
        false: mean of the false alarms in an image.
        shake: how far edges of found boxes move, as a share of their sides.
        swap: share of found objects that are called by a class drawn by lot.
        coarse: scores have one decimal place, so that many are equal.
        size_wh: of every image.
    """
    random = np.random.default_rng(seed)
    truth, found = [], []
    for place in range(images):
        boxes = _boxes(random, int(random.integers(0, most + 1)), size_wh)
        classes_there = random.integers(0, classes, len(boxes))
        seen = random.random(len(boxes)) < recall
        sides = (boxes[seen, 2:] - boxes[seen, :2])[:, [0, 1, 0, 1]]
        moved = boxes[seen] + shake * sides * random.standard_normal((int(seen.sum()), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        called = np.where(
            random.random(len(moved)) < swap, random.integers(0, classes, len(moved)), classes_there[seen]
        )
        made_up = _boxes(random, int(random.poisson(false)), size_wh)
        scores = np.concatenate([random.beta(4, 2, len(moved)), random.beta(2, 4, len(made_up))])
        name = digest(f"drawn {place}")
        truth.append(Objects(name, size_wh, boxes, classes_there, np.ones(len(boxes))))
        found.append(
            Objects(
                name,
                size_wh,
                np.concatenate([moved, made_up]),
                np.concatenate([called, random.integers(0, classes, len(made_up))]),
                np.round(scores, 1) if coarse else scores,
            )
        )
    return truth, found


def names(count: int) -> Sequence[str]:
    """Return names of so many classes."""
    return [f"class {place}" for place in range(count)]


def _boxes(
    random: np.random.Generator, count: int, size_wh: tuple[int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    width, height = size_wh
    sides = np.exp(random.uniform(np.log(6), np.log(min(size_wh) / 2), (count, 2)))
    corner = random.random((count, 2)) * (np.array([width, height]) - sides)
    return np.concatenate([corner, corner + sides], axis=1)

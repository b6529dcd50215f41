"""Two boxes around one object: nearly the same box twice, or one box inside another of its class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labeling.core.geometry import area, iou

from .doubts import Doubt
from .scenes import Scene

_SAME_CLASS = (0.5, 0.75)
_OTHER_CLASS = (0.7, 0.95)
_INSIDE = 0.95
_NESTED = 0.1
"""Strength of one box inside another: many objects do have parts of their own kind."""

_THE_OTHER = 0.6
"""Share of the strength that goes to the box of the two that more speaks for."""


def repeats(scene: Scene) -> Iterator[Doubt]:
    """Yield doubts about both boxes of a pair; the one that a machine's claim fits less is doubted more.

    Boxes of one class repeat each other from an IoU of 0.5, surely from 0.75; boxes of two classes are more often two
    objects (rider and horse), so that they take 0.7 and 0.95. Each label is doubted once, for its worst pair.
    """
    labels = scene.labels
    if len(labels) < 2:
        return
    boxes = np.array([label.box_xyxy for label in labels], dtype=np.float64)
    shared = iou(boxes, boxes)
    sizes = area(boxes)
    # Of a and b with IoU s, a and b share s / (1 + s) of the sum of their areas.
    inside = shared / (1 + shared) * (sizes[:, None] + sizes) / np.maximum(np.minimum(sizes[:, None], sizes), 1e-9)
    names = np.array([label.class_name for label in labels])
    alike = names[:, None] == names
    low, high = (np.where(alike, same, other) for same, other in zip(_SAME_CLASS, _OTHER_CLASS, strict=True))
    strengths = np.clip(0.2 + 0.8 * (shared - low) / (high - low), 0, 1) * (shared >= low) * np.where(alike, 1, 0.5)
    strengths = np.maximum(strengths, _NESTED * (alike & (inside >= _INSIDE)))
    np.fill_diagonal(strengths, 0)
    support = _support(scene, boxes)
    for i in np.flatnonzero(strengths.any(axis=1)).tolist():
        j = int(strengths[i].argmax())
        other = labels[j]
        weaker = (support[i], -i) < (support[j], -j)
        if shared[i, j] >= low[i, j]:
            reason = f"shares {shared[i, j]:.0%} with another box, of {other.class_name}"
        else:
            lying = "wholly" if inside[i, j] > 1 - 1e-6 else "nearly wholly"
            reason = f"the smaller box lies {lying} inside another, of {other.class_name}"
        strength = float(strengths[i, j]) * (1 if weaker else _THE_OTHER)
        yield Doubt(scene.sha256, "duplicate box", labels[i], other, strength, "repeats", reason)


def _support(scene: Scene, boxes: np.typing.NDArray[np.float64]) -> list[float]:
    """Return for each label the best IoU with a claim of its class; of machine labels without one, their score."""
    support = [(label.provenance.score or 0.0) / 2 for label in scene.labels]
    if scene.claims:
        shared = iou(boxes, [claim.box_xyxy for claim in scene.claims])
        for i, label in enumerate(scene.labels):
            same = [shared[i, j] for j, claim in enumerate(scene.claims) if claim.class_name == label.class_name]
            support[i] = max([support[i], *map(float, same)])
    return support

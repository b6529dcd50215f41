"""Labels and the claims of one machine about the same image: which is which, and what each case looks like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labeling.core.geometry import iou
from labeling.core.matching import Numbers, match
from labeling.core.records import Annotation

from .scenes import Scene

MACHINES = ("teacher", "student")

SAME_IOU = 0.5
NEAR_IOU = 0.1
_INSIDE = 0.8

Traits = dict[str, float]
"""What a case looks like: a number near 1 for each word; words that are not there are 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Meeting:
    """One machine and the labels of one image.

    Attributes:
        machine: "teacher" or "student".
        size_wh: of the image in pixels.
        labels: of the image.
        claims: of the machine, one at least.
        shared: (labels, claims) IoU.
        claim_of: position of the claim at the place of a label (IoU >= 0.5), by position of the label.
        label_of: the same from the other side.
        beside: claims of the label's class that overlap it less, where neither has a partner.
    """

    machine: str
    size_wh: tuple[int, int]
    labels: tuple[Annotation, ...]
    claims: tuple[Annotation, ...]
    shared: Numbers
    claim_of: dict[int, int]
    label_of: dict[int, int]
    beside: dict[int, int]

    def label_traits(self, i: int) -> Traits:
        """Return what may explain that the machine finds a label or not."""
        label = self.labels[i]
        own = self.claim_of.get(i)
        elsewhere = any(claim.class_name == label.class_name for j, claim in enumerate(self.claims) if j != own)
        return {
            f"class {label.class_name}": 1.0,
            "class elsewhere": float(elsewhere),
            "crowd": math.log(len(self.labels)),
            **_shape(label, self.size_wh),
        }

    def claim_traits(self, j: int) -> Traits:
        """Return what may explain that a claim is right or wrong."""
        own = self.label_of.get(j)
        return claim_traits(
            self.claims[j], tuple(label for i, label in enumerate(self.labels) if i != own), self.size_wh
        )

    def covered(self, j: int) -> bool:
        """Say whether a claim lies on labels: at the place of one, or inside one of its class."""
        if not self.labels:
            return False
        claim = self.claims[j]
        if self.shared[:, j].max() >= SAME_IOU:
            return True
        x0, y0, x1, y1 = claim.box_xyxy
        whole = max((x1 - x0) * (y1 - y0), 1e-9)
        for label in self.labels:
            a0, b0, a1, b1 = label.box_xyxy
            within = max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
            if label.class_name == claim.class_name and within / whole >= _INSIDE:
                return True
        return False


def claim_traits(claim: Annotation, others: tuple[Annotation, ...], size_wh: tuple[int, int]) -> Traits:
    """Return what may explain that a claim is right or wrong, beside the other labels of its image."""
    score = min(max(claim.provenance.score if claim.provenance.score is not None else 0.5, 0.01), 0.99)
    return {
        f"class {claim.class_name}": 1.0,
        "score": math.log(score / (1 - score)),
        "class elsewhere": float(any(label.class_name == claim.class_name for label in others)),
        **_shape(claim, size_wh),
    }


def meetings(scene: Scene) -> Iterator[Meeting]:
    """Yield what each machine that said something about an image makes of its labels. Raises MissingExtraError."""
    for machine in MACHINES:
        claims = tuple(claim for claim in scene.claims if claim.provenance.source == machine)
        if claims:
            yield _meeting(machine, scene, claims)


def _meeting(machine: str, scene: Scene, claims: tuple[Annotation, ...]) -> Meeting:
    labels = scene.labels
    if not labels:
        return Meeting(machine, scene.size_wh, labels, claims, np.zeros((0, len(claims))), {}, {}, {})
    boxes, others = ([one.box_xyxy for one in some] for some in (labels, claims))
    shared = iou(boxes, others)
    alike = np.array([label.class_name for label in labels])[:, None] == [claim.class_name for claim in claims]
    pairs = match(boxes, others, min_iou=SAME_IOU, prefer=alike)
    claim_of = {i: j for i, j, _ in pairs}
    label_of = {j: i for i, j, _ in pairs}
    free = np.where(alike, shared, 0.0)
    free[list(claim_of)] = 0
    free[:, list(label_of)] = 0
    beside: dict[int, int] = {}
    while free.max() >= NEAR_IOU:
        i, j = divmod(int(free.argmax()), len(claims))
        beside[i] = j
        free[i] = 0
        free[:, j] = 0
    return Meeting(machine, scene.size_wh, labels, claims, shared, claim_of, label_of, beside)


def _shape(one: Annotation, size_wh: tuple[int, int]) -> Traits:
    """Return size and place of a box, about 0 for a middling one."""
    x0, y0, x1, y1 = one.box_xyxy
    share = max((x1 - x0) * (y1 - y0) / (size_wh[0] * size_wh[1]), 1e-6)
    size = 1 + math.log10(share) / 2
    edge = x0 <= 1 or y0 <= 1 or x1 >= size_wh[0] - 1 or y1 >= size_wh[1] - 1
    return {"size": 2 * size, "squared size": size * size, "edge": float(edge)}

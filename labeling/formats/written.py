"""What an export holds, and what its format could not hold, kind by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

COARSE_IOU = 0.99
"""A polygon that stands for its mask less well than this is counted."""

SHIFTED_PX = 0.5
"""An edge of a box that is further off than this is counted."""

Loss = Literal[
    "outside",
    "clipped",
    "shifted",
    "crowd",
    "scores",
    "masks",
    "turned",
    "to_masks",
    "squared",
    "made_turned",
    "bridged",
    "coarse",
    "rectangles",
    "supercategories",
    "category_ids",
    "empty_classes",
    "copies",
]

LOSSES: dict[Loss, str] = {
    "outside": "objects outside their photo or too thin to write, left out",
    "clipped": "objects that reach over the edge of their photo, cut there",
    "shifted": f"objects whose box comes back more than {SHIFTED_PX} px off",
    "crowd": "crowd objects, left out: the format has no mark for them",
    "scores": "scores of a machine, left out",
    "masks": "masks, left out: the format has boxes only",
    "turned": "rotated rectangles, written as the upright boxes around them",
    "to_masks": "rotated rectangles, which come back as masks",
    "squared": "outlines of four corners, written as the rotated rectangles around them",
    "made_turned": "rotated rectangles made from masks",
    "bridged": "masks in several parts, each joined into one polygon",
    "coarse": f"masks that a polygon stands for with an IoU below {COARSE_IOU}",
    "rectangles": "objects without a mask, written as rectangles",
    "supercategories": "supercategories of classes, left out",
    "category_ids": "category ids of COCO, left out: the format counts its classes in order",
    "empty_classes": "classes without objects, which VOC files do not name",
    "copies": "photos written as upright copies, with other bytes than the original: "
    "another project knows them as other photos",
}
"""Kinds of loss, each in words that go behind a number."""

EMPTY_MASKS = "masks too thin for a pixel or outside their photo, whose boxes are kept"
"""What a reader does to them; likewise words that go behind a number."""


@dataclass(slots=True)
class Written:
    """The outcome of one export.

    Attributes:
        out: the folder.
        index: the file in it that readers open.
        objects: class name to number of objects written, every class named.
        images: number of images written.
        empty: images among them without objects.
        missing: (path, reason) of labelled images that could not be written.
        losses: how often the format could not hold something.
        splits: images per part, for formats that have parts.
    """

    out: Path
    index: Path
    objects: Counter[str]
    images: int = 0
    empty: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)
    losses: Counter[Loss] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

"""What every label format speaks: one image by name, with its objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.records import Provenance, Rle

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""Four corners of a rotated rectangle in order around it, x then y, absolute pixels of the upright image."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object as a label file can say it.

    Attributes:
        class_name: as the file names it.
        box_xyxy: x0, y0, x1, y1 in absolute pixels of the upright image, half-open.
        rle: mask of the whole image, or None.
        corners: the rotated rectangle, where the format has one; ``box_xyxy`` is the box around it then.
        crowd: one label for a group of things that nobody counted (``iscrowd`` of COCO).
        score: in [0, 1] where a machine made the label and the format keeps scores; None otherwise.
        source: who made it, where the format can tell; None otherwise.
        made: what labels.db knows about who made it; None where the object comes from a file.
    """

    class_name: str
    box_xyxy: tuple[float, float, float, float]
    rle: Rle | None = None
    corners: Corners | None = None
    crowd: bool = False
    score: float | None = None
    source: Literal["machine", "human"] | None = None
    made: Provenance | None = None


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image as a label file names it, with all its objects; none means: looked at, and nothing there.

    Attributes:
        name: path of the picture as the file says it, with ``/``; relative to the images folder unless absolute.
        size_wh: width and height in pixels where the file says them, or they were read from the picture.
        objects: in the order of the file.
        sha256: of the bytes of the picture where the file says it.
        reviewed: people have looked at it; False for what a machine alone has seen.
        number: its id in a COCO file; None where it comes from elsewhere.
    """

    name: str
    size_wh: tuple[int, int] | None
    objects: tuple[Item, ...]
    sha256: str | None = None
    reviewed: bool = True
    number: int | None = None

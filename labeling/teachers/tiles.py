"""Where a large image is cut: tiles that overlap, at several scales, so that some look shows each object whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..core.config import LEAST_TILE_PX
from ..core.errors import InputError
from .interfaces import RgbImage

AUTO_SIDE_PX = 1024
"""Near the 800 to 1,333 px that published detectors see, and SAM's own side."""

AUTO_ABOVE_PX = 4096
"""A detector that sees 1,333 px shrinks a longer side threefold and leaves 10 px of an object of 32 px.

Frames in 4K and photos of 12 MP stay below: cut into tiles they would take twenty times as long, which is for the user
to ask for.
"""

OVERLAP = 0.25
"""Share of a tile that its neighbour shows too: whatever is smaller is whole in one of them."""

#: Detectors fail on strips of a few pixels, which is what a panorama shrinks to.
_MOST_ASPECT = 4

#: Each level shows half the detail of the one before, and looks four times as large.
_STEP = 2


@dataclass(frozen=True, slots=True)
class Tiling:
    """Which images are cut, and into what.

    Attributes:
        side: of a tile, in pixels.
        above: images whose longer side is larger are cut.
    """

    side: int = AUTO_SIDE_PX
    above: int = AUTO_ABOVE_PX

    def cuts(self, image: RgbImage) -> bool:
        """Tell whether an image is cut."""
        return max(image.shape[:2]) > self.above


def tiling_of(tile: int | None) -> Tiling | None:
    """Return the tiling that ``TeacherSpec.tile`` asks for; None for none. Raises InputError for too small a tile."""
    if tile is None:
        return Tiling()
    if tile == 0:
        return None
    if tile < LEAST_TILE_PX:
        raise InputError(f"--tile is {tile}: expected 0 for no tiles, or a side of {LEAST_TILE_PX} pixels or more")
    return Tiling(tile, tile)


@dataclass(frozen=True, slots=True)
class Look:
    """A part of an image as a detector sees it.

    Attributes:
        level: 0 shows the image's own pixels; each further level half as many along each axis, the last one maybe more.
        xyxy: the part, in pixels of the image.
        scale_xy: pixels of the image per pixel shown.
        inner: which of its edges x0, y0, x1, y1 cut through the image.
        finer_px: objects up to this size, in pixels of the image, were whole in a look of the level before; 0 for none.
    """

    level: int
    xyxy: tuple[float, float, float, float]
    scale_xy: tuple[float, float]
    inner: tuple[bool, bool, bool, bool]
    finer_px: float


def looks(image: RgbImage, side: int) -> Iterator[tuple[Look, RgbImage]]:
    """Cut an image into squares of ``side`` that overlap by ``OVERLAP`` or more, again at half the size, and so on.

    The last look shows the whole image, shrunk no further than to ``side``; no other does. The pixels of a look are a
    contiguous copy, with black on the right or below where they would be a thin strip. Besides the image only one level
    is in memory at a time.
    """
    height, width = image.shape[:2]
    level, shown, finer_px = 0, image, 0.0
    while True:
        rows, columns = shown.shape[:2]
        scale_x, scale_y = width / columns, height / rows
        for y in starts(rows, side):
            for x in starts(columns, side):
                right, bottom = min(x + side, columns), min(y + side, rows)
                xyxy = (x * scale_x, y * scale_y, right * scale_x, bottom * scale_y)
                inner = (x > 0, y > 0, right < columns, bottom < rows)
                look = Look(level, xyxy, (scale_x, scale_y), inner, finer_px)
                yield look, _broad(np.ascontiguousarray(shown[y:bottom, x:right]), side // _MOST_ASPECT)
        if max(rows, columns) <= side:
            return
        level += 1
        finer_px = OVERLAP * side * min(scale_x, scale_y)
        step = min(_STEP, max(rows, columns) / side)
        size = (max(1, round(columns / step)), max(1, round(rows / step)))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _broad(pixels: RgbImage, least: int) -> RgbImage:
    height, width = pixels.shape[:2]
    missing = [(0, max(0, least - height)), (0, max(0, least - width)), (0, 0)]
    return np.pad(pixels, missing) if any(after for _, after in missing) else pixels


def starts(length: int, side: int) -> list[int]:
    """Return where tiles begin along an axis: the fewest that overlap enough, at even distances, edge to edge."""
    if length <= side:
        return [0]
    step = side - int(np.ceil(OVERLAP * side))
    count = 1 + -(-(length - side) // step)
    return [round(start) for start in np.linspace(0, length - side, count)]

"""How a photo gets onto the canvas of a YOLO model, and where on it the photo lies."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..interfaces import RgbImage

_GREY = 114


class Canvas(NamedTuple):
    """A photo on a canvas.

    Attributes:
        pixels: (h, w, 3) uint8 RGB; h and w are multiples of the stride.
        ratio_pad: (height, width) gains from photo to canvas, and (left, top) of the photo on it in pixels: what
            ``scale_boxes`` and ``scale_masks`` of ultralytics take.
    """

    pixels: npt.NDArray[np.uint8]
    ratio_pad: tuple[tuple[float, float], tuple[int, int]]


def on_canvas(image: RgbImage, side: int, stride: int, margin: int = 0) -> Canvas:
    """Put a photo onto the smallest canvas that holds it and its margin; without a margin as the library does.

    Args:
        image: any size.
        side: length of the longer side with its margins, in pixels; a multiple of the stride.
        stride: of the model in pixels.
        margin: grey pixels on every side, at least.
    """
    high, wide = image.shape[:2]
    gain = min((side - 2 * margin) / high, (side - 2 * margin) / wide)
    new_high, new_wide = max(1, round(high * gain)), max(1, round(wide * gain))
    to_high, to_wide = (ceil((length + 2 * margin) / stride) * stride for length in (new_high, new_wide))
    # The tenth decides where half a pixel goes, as in training.
    left, top = round((to_wide - new_wide) / 2 - 0.1), round((to_high - new_high) / 2 - 0.1)
    pixels = np.full((to_high, to_wide, 3), _GREY, dtype=np.uint8)
    pixels[top : top + new_high, left : left + new_wide] = (
        image if (new_high, new_wide) == (high, wide) else cv2.resize(image, (new_wide, new_high))
    )
    return Canvas(pixels, ((new_high / high, new_wide / wide), (left, top)))

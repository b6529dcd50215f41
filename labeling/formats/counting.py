"""What becomes of one object in a file, against what was meant: the differences, counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core import geometry, masks
from .items import Item
from .written import COARSE_IOU, SHIFTED_PX, Written


def count_box(done: Written, item: Item, size_wh: tuple[int, int], back: Sequence[float]) -> None:
    """Count a box that was cut at the edge of its image, or that comes back as another one.

    Args:
        done: gets the counts.
        item: as it was meant.
        size_wh: of its image.
        back: box that a reader of the file gets, x0, y0, x1, y1 in pixels.
    """
    inside = geometry.clip_boxes([item.box_xyxy], size_wh)[0]
    done.losses["clipped"] += is_apart(inside, item.box_xyxy)
    done.losses["shifted"] += is_apart(inside, back)


def count_mask(done: Written, item: Item, back: Item) -> None:
    """Count a mask that comes back as another one."""
    if item.rle is not None:
        done.losses["coarse"] += back.rle is None or masks.iou(item.rle, back.rle) < COARSE_IOU


def is_apart(points: npt.ArrayLike, others: npt.ArrayLike) -> bool:
    """Say whether numbers in pixels, of one shape, differ by more than rounding to whole pixels makes them."""
    return bool(np.abs(np.subtract(points, others)).max() > SHIFTED_PX + 1e-6)

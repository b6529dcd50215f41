"""How much grey a student wants around photos: tried on val, where its weights are chosen, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from labeling.teachers.interfaces import RgbImage

from ..evaluate import evaluate
from ..objects import Objects

MARGINS = (0, 8)
"""Grey pixels on every side of a photo, at least. Without them the outermost cells of the feature maps look at zeros,
which training seldom shows, and objects that the border of a photo cuts are lost first; with them everything else is
seen a little smaller. Which counts for more depends on the photos."""

_MOST = 500
_AT_ONCE = 16

Look = Callable[[Sequence[RgbImage], int], list[Objects]]
"""What is found in photos that have a margin of so many pixels."""


def choose_margin(
    look: Look, photos: Sequence[Path], truth: Sequence[Objects], names: Sequence[str]
) -> dict[int, float]:
    """Return AP50-95 by margin, the best first; equal ones in the order of MARGINS.

    Args:
        look: asks the student.
        photos: of val; of more than 500 every second, third and so on is taken.
        truth: what is there, in the same order.
        names: the classes.
    """
    step = -(-len(photos) // _MOST)
    photos, truth = photos[::step], truth[::step]
    found: dict[int, list[Objects]] = {margin: [] for margin in MARGINS}
    for start in range(0, len(photos), _AT_ONCE):
        images = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in photos[start : start + _AT_ONCE]]
        for margin in MARGINS:
            found[margin] += look(images, margin)
    measured = {margin: evaluate(truth, found[margin], names, resamples=0).ap50_95 or 0.0 for margin in MARGINS}
    return dict(sorted(measured.items(), key=lambda one: -one[1]))

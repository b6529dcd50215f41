"""How much grey a student wants around photos: tried on val, where its weights are chosen, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from labeling.teachers.interfaces import RgbImage

from ..evaluation.paired import Difference, paired_difference
from ..objects import Objects

MARGIN = 8
"""Grey pixels on every side of a photo, at least. Without them the outermost cells of the feature maps look at zeros,
which training seldom shows, and objects that the border of a photo cuts are lost first; with them everything else is
seen a little smaller. Which counts for more depends on the photos."""

_MOST = 500
_AT_ONCE = 16

Look = Callable[[Sequence[RgbImage], int], list[Objects]]
"""What is found in photos that have a margin of so many pixels."""


def gain_of_margin(look: Look, photos: Sequence[Path], truth: Sequence[Objects], names: Sequence[str]) -> Difference:
    """Return AP50-95 with the margin minus that without, and how sure it is.

    Args:
        look: asks the student.
        photos: of val; of more than 500 every second, third and so on is taken.
        truth: what is there, in the same order.
        names: the classes.
    """
    step = -(-len(photos) // _MOST)
    photos, truth = photos[::step], truth[::step]
    found: dict[int, list[Objects]] = {0: [], MARGIN: []}
    for start in range(0, len(photos), _AT_ONCE):
        images = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in photos[start : start + _AT_ONCE]]
        for margin, seen in found.items():
            seen += look(images, margin)
    return paired_difference(truth, found[MARGIN], found[0], names, metric="ap50_95")


def pays(gain: Difference) -> bool:
    """Say whether the margin is taken: only where it helps by more than chance, at 95 %."""
    return gain.low is not None and gain.low > 0

"""Settings of the filters and words for what they drop, apart from the filters so that neither needs numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_WORDS = {
    "score": "score too low",
    "nms": "same object found twice",
    "min_area": "too small",
    "outside": "outside the photo",
    "not_finite": "not a number",
    "inverted": "turned inside out",
    "part_of_an_object_at_the_edge_of_a_tile": "part of an object that a tile cuts",
    "seen_more_closely_in_a_smaller_tile": "small thing that a closer look shows better",
}


def drop_words(reason: str) -> str:
    """Return why a box was dropped, as people say it."""
    return _WORDS.get(reason, reason.replace("_", " "))


def in_words(dropped: Mapping[str, int]) -> Counter[str]:
    """Return the counts of dropped boxes by reason in words."""
    return Counter({drop_words(reason): count for reason, count in dropped.items()})


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """Settings of the filters.

    Attributes:
        nms_iou: IoU above which the lower-scored of two boxes of one class is dropped.
        class_agnostic_nms: whether boxes of different classes suppress each other too.
        min_area_px: smallest area kept, in square pixels of the upright image, after clipping.
        full_image_share: share of the image's area from which on a box is flagged, in (0, 1].
        faint_share: share of a class's score from which on a box below it is remembered as faint, in (0, 1]; 1
            remembers none. Labels do not depend on it.
    """

    nms_iou: float = 0.5
    class_agnostic_nms: bool = False
    min_area_px: float = 4.0
    full_image_share: float = 0.95
    faint_share: float = 0.8

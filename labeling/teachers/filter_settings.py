"""Settings of the filters, apart from the filters so that they can be compared without numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """Settings of the filters.

    Attributes:
        nms_iou: IoU above which the lower-scored of two boxes of one class is dropped.
        class_agnostic_nms: whether boxes of different classes suppress each other too.
        min_area_px: smallest area kept, in square pixels of the upright image, after clipping.
        full_image_share: share of the image's area from which on a box is flagged, in (0, 1].
    """

    nms_iou: float = 0.5
    class_agnostic_nms: bool = False
    min_area_px: float = 4.0
    full_image_share: float = 0.95

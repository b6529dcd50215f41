"""Masks of a photo from the prototypes of its canvas, which holds grey margins besides the photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from labeling.teachers.detectors.yolo_canvas import Canvas


def photo_masks(
    protos: torch.Tensor, coefficients: torch.Tensor, boxes: torch.Tensor, canvas: Canvas, size_hw: Sequence[int]
) -> torch.Tensor:
    """Return (n, h, w) masks, 0 or 1: what ``process_mask_native`` of the library does where there are no margins.

    Args:
        protos: (k, mh, mw), a fraction of the canvas.
        coefficients: (n, k).
        boxes: (n, 4) in pixels of the photo.
        canvas: on which the photo was seen.
        size_hw: of the photo.
    """
    from ultralytics.utils.ops import crop_mask, scale_masks

    count, high, wide = protos.shape
    stride = canvas.pixels.shape[0] // high
    gains, (left, top) = canvas.ratio_pad
    inside = [round(length * gain) for length, gain in zip(size_hw, gains, strict=True)]
    bars = [left, top, *(side - length for side, length in zip(canvas.pixels.shape[:2], inside, strict=True))]
    # Bars are cut off where they are whole pixels, so prototypes grow first where needed.
    grown = next(factor for factor in (1, 2, stride) if not any(bar * factor % stride for bar in bars))
    logits = (coefficients @ protos.float().view(count, -1)).view(1, -1, high, wide)
    if grown > 1:
        logits = torch.nn.functional.interpolate(logits, scale_factor=grown, mode="bilinear")
    share = grown / stride
    ratio_pad = (gains[0] * share, gains[1] * share), (left * share, top * share)
    drawn: torch.Tensor = crop_mask(scale_masks(logits, size_hw, ratio_pad)[0].gt(0).to(torch.uint8), boxes)
    return drawn

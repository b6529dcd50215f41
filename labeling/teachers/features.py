"""Pooled features of an image encoder, per image and per box, as a by-product of detection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import roi_align


def pool_image(feature_map: torch.Tensor) -> npt.NDArray[np.float16]:
    """Return the mean of one (channels, height, width) feature map as (channels,) float16."""
    return _half(feature_map.mean(dim=(1, 2)))


def pool_boxes(feature_map: torch.Tensor, boxes: torch.Tensor) -> npt.NDArray[np.float16]:
    """Return the mean of a feature map inside each box as (n, channels) float16.

    Args:
        feature_map: (channels, height, width), covering the image edge to edge.
        boxes: (n, 4) xyxy as shares of the image's width and height; clipped to the image, never empty.
    """
    height, width = feature_map.shape[1:]
    scale = boxes.new_tensor([width, height, width, height])
    inside = boxes.nan_to_num(nan=0.0).clamp(0.0, 1.0) * scale
    rois = torch.cat([inside.new_zeros(len(inside), 1), inside], dim=1)
    pooled = roi_align(feature_map[None].float(), rois.float(), output_size=1, aligned=True)
    return _half(pooled.flatten(1))


def _half(values: torch.Tensor) -> npt.NDArray[np.float16]:
    limit = torch.finfo(torch.float16).max
    array: npt.NDArray[np.float16] = values.clamp(-limit, limit).to("cpu", torch.float16).numpy()
    return array

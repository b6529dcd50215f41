"""Pooling of feature maps."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.torch


def test_features_are_means_over_the_image_and_over_the_box() -> None:
    import torch

    from labeling.teachers.features import pool_boxes, pool_image

    ramp = torch.arange(8.0).expand(4, 8)
    feature_map = torch.stack([ramp, torch.full((4, 8), 3.0)])
    assert pool_image(feature_map).tolist() == [3.5, 3.0]
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 0.5], [-3.0, 0.0, 0.5, 9.0]])
    pooled = pool_boxes(feature_map, boxes)
    assert pooled.dtype == np.float16
    assert pooled.tolist() == [[1.5, 3.0], [5.5, 3.0], [1.5, 3.0]]


def test_empty_and_broken_boxes_have_finite_features() -> None:
    import torch

    from labeling.teachers.features import pool_boxes, pool_image

    feature_map = torch.full((2, 4, 8), 1e9)
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [float("nan"), 0.0, float("inf"), 1.0]])
    assert np.isfinite(pool_boxes(feature_map, boxes)).all()
    assert np.isfinite(pool_image(feature_map)).all()
    assert pool_boxes(feature_map, boxes[:0]).shape == (0, 2)

"""Boxes: hand-computed values, shapely as a second opinion, and round trips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from labeling.core import geometry

EDGE = st.floats(0, 4000, width=32)
BOX = st.tuples(EDGE, EDGE, EDGE, EDGE).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)
BOXES = st.lists(BOX, max_size=5).map(lambda boxes: np.array(boxes, dtype=np.float64).reshape(-1, 4))
SIZE = st.tuples(st.integers(1, 4000), st.integers(1, 3000))


def test_yolo_form_of_a_box_in_a_wide_image() -> None:
    normalised = geometry.xyxy_to_cxcywhn([[10, 20, 50, 40]], (200, 100))
    assert normalised.tolist() == [[0.15, 0.3, 0.2, 0.2]]


def test_coco_form_of_a_box() -> None:
    assert geometry.xyxy_to_xywh([[1, 2, 4, 8]]).tolist() == [[1, 2, 3, 6]]


def test_iou_by_hand() -> None:
    found = geometry.iou([[0, 0, 10, 10], [0, 0, 0, 0]], [[5, 0, 15, 10], [20, 20, 30, 30], [10, 0, 20, 10]])
    assert found == pytest.approx(np.array([[1 / 3, 0, 0], [0, 0, 0]]))


def test_a_box_turned_inside_out_has_no_area() -> None:
    assert geometry.area([[10, 10, 5, 20], [0, 0, 2, 3]]).tolist() == [0, 6]


def test_clipping_leaves_boxes_outside_without_area() -> None:
    clipped = geometry.clip_boxes([[-5, -5, 5, 5], [30, 0, 40, 5]], (20, 10))
    assert clipped.tolist() == [[0, 0, 5, 5], [20, 0, 20, 5]]


def test_no_boxes_stay_no_boxes() -> None:
    assert geometry.iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    for empty in (geometry.xyxy_to_xywh([]), geometry.clip_boxes([], (4, 4)), geometry.xyxy_to_cxcywhn([], (4, 4))):
        assert empty.shape == (0, 4)


@given(BOXES, SIZE)
def test_corners_can_be_had_back_from_every_form(boxes: npt.NDArray[np.float64], size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    cx, cy, w, h = geometry.xyxy_to_cxcywhn(boxes, size_wh).T
    corners = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
    np.testing.assert_allclose(np.stack(corners, axis=1), boxes, atol=1e-6)
    x, y, w, h = geometry.xyxy_to_xywh(boxes).T
    np.testing.assert_allclose(np.stack([x, y, x + w, y + h], axis=1), boxes, atol=1e-6)


@given(BOXES, BOXES)
def test_iou_agrees_with_shapely(boxes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> None:
    found = geometry.iou(boxes, others)
    assert found.shape == (len(boxes), len(others))
    for row, one in enumerate(shapely.box(*boxes.T)):
        for column, other in enumerate(shapely.box(*others.T)):
            union = one.union(other).area
            expected = one.intersection(other).area / union if one.area + other.area > 0 else 0
            assert found[row, column] == pytest.approx(expected, abs=1e-6)


@given(BOXES, SIZE)
def test_clipped_boxes_lie_inside_and_clip_to_themselves(
    boxes: npt.NDArray[np.float64], size_wh: tuple[int, int]
) -> None:
    clipped = geometry.clip_boxes(boxes, size_wh)
    assert (clipped >= 0).all()
    assert (clipped[:, [0, 2]] <= size_wh[0]).all()
    assert (clipped[:, [1, 3]] <= size_wh[1]).all()
    assert (clipped == geometry.clip_boxes(clipped, size_wh)).all()

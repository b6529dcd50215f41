"""Boxes: hand-computed values, shapely as a second opinion, and round trips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import shapely
import shapely.affinity
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


def test_rotation_about_the_upper_left_corner_by_hand() -> None:
    # On a 1000 x 500 picture, turned in percent instead of pixels, this box would come out as [0, 100, 200, 250].
    corners = geometry.rotated_to_corners(200, 100, 300, 100, 90)
    np.testing.assert_allclose(corners, [[200, 100], [200, 400], [100, 400], [100, 100]], atol=1e-9)
    assert geometry.box_around(corners) == pytest.approx((100, 100, 200, 400))


@given(EDGE, EDGE, st.floats(0.01, 3000), st.floats(0.01, 3000), st.floats(-720, 720))
def test_rotation_agrees_with_shapely(x: float, y: float, width: float, height: float, degrees: float) -> None:
    corners = geometry.rotated_to_corners(x, y, width, height, degrees)
    # shapely turns anticlockwise with y pointing up, which is clockwise with y pointing down.
    expected = shapely.affinity.rotate(shapely.box(x, y, x + width, y + height), degrees, origin=(x, y))
    assert shapely.Polygon(corners).hausdorff_distance(expected) < 1e-6
    assert geometry.box_around(corners) == pytest.approx(expected.bounds, abs=1e-6)


@given(EDGE, EDGE, st.floats(0.5, 3000), st.floats(0.5, 3000), st.floats(0, 360), st.integers(0, 3), st.booleans())
def test_corners_give_the_rotated_rectangle_back(
    x: float, y: float, width: float, height: float, degrees: float, first: int, backwards: bool
) -> None:
    corners = np.roll(geometry.rotated_to_corners(x, y, width, height, degrees), first, axis=0)
    if backwards:
        corners = corners[::-1]
    found = geometry.corners_to_rotated(corners)
    assert 0 <= found[4] < 360
    again = geometry.rotated_to_corners(*found)
    # The same corners, from the same one on; which way round is the other's choice.
    np.testing.assert_allclose(again[0], corners[0], atol=1e-6)
    np.testing.assert_allclose(again[np.lexsort(again.round(4).T)], corners[np.lexsort(corners.round(4).T)], atol=1e-3)


def test_upright_corners_are_not_turned() -> None:
    found = geometry.corners_to_rotated(geometry.corners_of_box([1, 2, 4, 8]))
    assert found == (1, 2, 3, 6, 0)
    assert geometry.corners_to_rotated([[5, 5]] * 4) == (5, 5, 0, 0, 0)


def test_four_points_that_are_no_rectangle_have_one_around_them() -> None:
    crooked = [[0, 0], [10, 1], [11, 9], [1, 8]]
    around = shapely.Polygon(geometry.rotated_to_corners(*geometry.corners_to_rotated(crooked)))
    assert around.buffer(1e-9).covers(shapely.Polygon(crooked))
    assert around.area == pytest.approx(shapely.oriented_envelope(shapely.Polygon(crooked)).area)


@given(st.lists(st.tuples(EDGE, EDGE), min_size=1, max_size=8))
def test_the_smallest_rectangle_holds_its_points(points: list[tuple[float, float]]) -> None:
    corners = geometry.minimum_rectangle(points)
    assert corners.shape == (4, 2)
    hull = shapely.convex_hull(shapely.multipoints(corners))
    assert max(hull.distance(point) for point in shapely.points(points)) < 1e-2
    x0, y0, x1, y1 = geometry.box_around(points)
    assert hull.area <= (x1 - x0) * (y1 - y0) * (1 + 1e-6) + 1e-2


def test_fractions_are_of_each_axis_of_its_own() -> None:
    assert geometry.to_fractions([[50, 50]], (200, 100)).tolist() == [[0.25, 0.5]]
    assert geometry.from_fractions([[0.25, 0.5]], (200, 100)).tolist() == [[50, 50]]


@given(st.tuples(*[st.floats(-50, 900)] * 4), st.tuples(st.integers(1, 800), st.integers(1, 800)))
def test_one_box_in_percent_is_what_arrays_of_boxes_give(
    box: tuple[float, float, float, float], size_wh: tuple[int, int]
) -> None:
    x0, y0, x1, y1 = geometry.clip_boxes([box], size_wh)[0]
    ((x, y), (width, height)) = 100 * geometry.to_fractions([(x0, y0), (x1 - x0, y1 - y0)], size_wh)
    assert geometry.box_to_percent(box, size_wh) == pytest.approx((x, y, width, height), abs=1e-9)

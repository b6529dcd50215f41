"""Masks: pycocotools and drawn shapes as oracles; encodings that lie about their image are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from labeling.core import masks
from labeling.core.errors import InputError
from labeling.core.outlines import trace
from labeling.core.records import Rle

Mask = npt.NDArray[np.bool_]
MASK = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def drawn(*rows: str) -> Mask:
    """Return the mask that '#' draws."""
    return np.array([[c == "#" for c in row] for row in rows])


def test_encoding_of_an_asymmetric_mask_by_hand() -> None:
    # Down the columns: 1 off, 1 on | 1 off, 1 on | 2 on -> runs 1 1 1 3.
    mask = drawn("..#", "###")
    rle = masks.encode(mask)
    assert rle["size"] == [2, 3]
    runs = coco.frPyObjects({"size": [2, 3], "counts": [1, 1, 1, 3]}, 2, 3)
    assert rle["counts"] == runs["counts"].decode()
    assert masks.area(rle) == 4


@given(MASK)
def test_encode_and_decode_agree_with_pycocotools(mask: Mask) -> None:
    rle = masks.encode(mask)
    assert (masks.decode(rle) == mask).all()
    assert (coco.decode(rle) == mask).all()
    assert masks.area(rle) == mask.sum() == coco.area(rle)


@given(MASK)
def test_edges_say_the_whole_mask(mask: Mask) -> None:
    rle = masks.encode(mask)
    assert masks.encode_edges(masks.edges(rle), (mask.shape[0], mask.shape[1])) == rle
    again = np.zeros(mask.size, dtype=int)
    again[masks.edges(rle)] = 1
    assert (again.cumsum() % 2 == mask.T.ravel()).all()


@given(st.lists(st.integers(0, 1 << 22), min_size=1, max_size=40, unique=True), st.integers(1, 3))
def test_run_lengths_of_any_size_are_written_as_pycocotools_writes_them(places: list[int], width: int) -> None:
    height = (1 << 22) + 1
    edges = np.array(sorted(places))
    counts = np.diff(edges, prepend=0, append=height * width).tolist()
    runs = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    assert masks.encode_edges(edges, (height, width)) == {"size": [height, width], "counts": runs["counts"].decode()}


def test_edges_of_a_large_image_need_no_large_memory() -> None:
    rle = masks.encode_edges(np.array([70_000_000, 70_000_006]), (30_000, 40_000))
    assert masks.area(rle) == 6
    assert masks.area(masks.encode_edges(np.zeros(0, dtype=np.int64), (30_000, 40_000))) == 0


def test_an_edge_that_stands_twice_is_none() -> None:
    assert masks.odd_ones(np.array([1, 1, 2, 3, 3, 3, 5, 5, 5, 5])).tolist() == [2, 3]
    assert masks.odd_ones(np.zeros(0, dtype=np.int64)).tolist() == []


@given(MASK)
def test_runs_box_and_corners_agree_with_the_pixels(mask: Mask) -> None:
    rle = masks.encode(mask)
    again = np.zeros_like(mask)
    for column, start, end in zip(*masks.column_runs(rle), strict=True):
        assert not again[start:end, column].any()
        again[start:end, column] = True
    assert (again == mask).all()
    if not mask.any():
        assert masks.box(rle) is None
        assert len(masks.corners(rle)) == 0
        return
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert masks.box(rle) == box
    corners = masks.corners(rle)
    assert (*corners.min(axis=0), *corners.max(axis=0)) == box
    pixels = shapely.union_all(shapely.box(columns, rows, columns + 1, rows + 1))
    assert shapely.multipoints(corners).convex_hull.equals(pixels.convex_hull)


def test_a_run_of_no_length_changes_nothing() -> None:
    runs = coco.frPyObjects({"size": [4, 3], "counts": [3, 0, 2, 4, 0, 1, 2]}, 4, 3)
    rle: Rle = {"size": [4, 3], "counts": runs["counts"].decode()}
    assert masks.edges(rle).tolist() == [5, 10]
    assert masks.encode_edges(masks.edges(rle), (4, 3)) == masks.encode(masks.decode(rle))
    assert np.subtract(*masks.column_runs(rle)[:0:-1]).sum() == 5


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 4), (4, 0)])
def test_what_is_no_mask_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a mask of shape"):
        masks.encode(np.zeros(shape, dtype=bool))


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [4, 5], "counts": "0"},  # too short: pycocotools would read past the end
        {"size": [4, 5], "counts": ""},
        {"size": [4, 5], "counts": "T1"},  # too long
        {"size": [4, 5], "counts": "oooooooooooo1"},
        {"size": [4, 5], "counts": "d"},  # ends in the middle of a number
        {"size": [4, 5], "counts": "\x7f"},
        {"size": [4, 5], "counts": "é"},
        {"size": [0, 0], "counts": "0"},
        {"size": [-4, -5], "counts": "d0"},
        {"size": [4], "counts": "d0"},
        {"size": [4, 5], "counts": [0, 20]},
        {"size": [4, 5]},
    ],
)
def test_malformed_encodings_are_refused(rle: Any) -> None:
    for read in (masks.decode, masks.area, masks.rle_to_polygons):
        with pytest.raises(InputError, match="mask"):
            read(rle)


@given(st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmno", max_size=12))
def test_any_text_is_refused_or_fills_its_image(counts: str) -> None:
    try:
        mask = masks.decode({"size": [4, 5], "counts": counts})
    except InputError:
        return
    assert mask.shape == (4, 5)
    assert (coco.decode({"size": [4, 5], "counts": counts}) == mask).all()


def test_rectangle_becomes_its_four_corners() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:10, 5:25] = True
    polygons, iou = masks.rle_to_polygons(masks.encode(mask))
    assert iou == 1.0
    (polygon,) = polygons
    assert polygon.shape == (4, 2)
    assert {tuple(corner) for corner in polygon} == {(5, 3), (25, 3), (25, 10), (5, 10)}


def test_ring_keeps_its_hole() -> None:
    yy, xx = np.mgrid[:60, :80]
    distance = (yy - 30) ** 2 + (xx - 40) ** 2
    ring = (distance < 25**2) & (distance > 12**2)
    polygons, iou = masks.rle_to_polygons(masks.encode(ring))
    assert len(polygons) == 1
    assert iou > 0.99
    assert not masks.decode(masks.polygons_to_rle(polygons, (60, 80)))[30, 40]


def test_parts_are_polygons_of_their_own_the_largest_first() -> None:
    mask = drawn("#....", ".###.", ".###.", "....#")
    polygons, iou = masks.rle_to_polygons(masks.encode(mask))
    assert [len(polygon) for polygon in polygons] == [4, 4, 4]
    assert iou == 1.0
    assert np.ptp(polygons[0], axis=0).tolist() == [3, 2]


def test_slanted_outline_is_smoothed() -> None:
    triangle = np.tri(300, dtype=bool)
    polygons, iou = masks.rle_to_polygons(masks.encode(triangle))
    assert iou > 0.99
    assert sum(len(polygon) for polygon in polygons) < 20


@settings(max_examples=300)
@given(MASK)
def test_outlines_are_the_union_of_the_pixels(mask: Mask) -> None:
    """Oracle: shapely's union of the pixels, whose parts are the 4-connected ones."""
    rows, columns = np.nonzero(mask)
    expected = shapely.union_all(shapely.box(columns, rows, columns + 1, rows + 1))
    parts = trace(*masks.column_runs(masks.encode(mask)))
    areas = [part.area for part in parts]
    assert areas == sorted(areas, reverse=True)
    assert areas == sorted((part.area for part in shapely.get_parts(expected)), reverse=True)
    # A ring that touches itself at a corner is not valid for shapely, and covers the same pixels.
    again = shapely.union_all([shapely.make_valid(part) for part in parts])
    assert shapely.symmetric_difference(again, expected).area == 0


def test_part_in_a_hole_of_a_part_keeps_its_own_hole() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[0:9, 0:9] = True
    mask[1:8, 1:8] = False
    mask[2:7, 2:7] = True
    mask[3:6, 3:6] = False
    outer, inner = trace(*masks.column_runs(masks.encode(mask)))
    assert [len(outer.interiors), len(inner.interiors)] == [1, 1]
    assert [outer.area, inner.area] == [81 - 49, 25 - 9]
    assert len(outer.exterior.coords) == len(inner.exterior.coords) == 5


def test_empty_mask_has_no_polygons() -> None:
    empty = masks.encode(np.zeros((4, 5), dtype=bool))
    assert masks.rle_to_polygons(empty) == ([], 1.0)
    assert masks.polygons_to_rle([], (4, 5)) == empty


@settings(max_examples=200)
@given(MASK)
def test_polygons_stand_for_their_mask(mask: Mask) -> None:
    assume(mask.any())
    rle = masks.encode(mask)
    polygons, iou = masks.rle_to_polygons(rle)
    again = masks.decode(masks.polygons_to_rle(polygons, (mask.shape[0], mask.shape[1])))
    assert iou >= 0.99
    assert iou == pytest.approx((again & mask).sum() / (again | mask).sum())
    for polygon in polygons:
        assert polygon.shape[0] >= 3
        assert polygon.min() >= 0
        assert (polygon.max(axis=0) <= mask.shape[::-1]).all()


def test_iou_of_two_masks_by_hand() -> None:
    one, other = masks.encode(drawn("##..")), masks.encode(drawn(".##."))
    assert masks.iou(one, other) == pytest.approx(1 / 3)
    empty = masks.encode(drawn("...."))
    assert masks.iou(empty, empty) == 0
    assert masks.iou(one, empty) == 0


@pytest.mark.parametrize(
    "polygon",
    [
        [[0, 0], [1, 1]],  # pycocotools would take four numbers for a box
        [[0, 0, 1], [1, 1, 1], [2, 2, 2]],
        [[0, 0], [1, float("nan")], [2, 2]],
        [[0, 0], [float("inf"), 1], [2, 2]],
        [[0, 0], [1e9, 1], [2, 2]],
    ],
)
def test_unusable_polygons_are_refused(polygon: list[list[float]]) -> None:
    with pytest.raises(InputError, match="polygon 0: expected"):
        masks.polygons_to_rle([np.array(polygon, dtype=np.float64)], (10, 10))


def test_polygon_half_outside_is_cut_at_the_border() -> None:
    square = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]], dtype=np.float64)
    expected = np.zeros((10, 12), dtype=bool)
    expected[:5, :5] = True
    assert masks.polygons_to_rle([square], (10, 12)) == masks.encode(expected)

"""Masks: pycocotools and drawn shapes as oracles; encodings that lie about their image are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from labeling.core import masks
from labeling.core.errors import InputError

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


@given(MASK, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_window_encodes_as_the_whole_image_does(mask: Mask, left: int, top: int, right: int, bottom: int) -> None:
    whole = np.pad(mask, ((top, bottom), (left, right)))
    assert masks.encode_window(mask, left, top, (whole.shape[0], whole.shape[1])) == masks.encode(whole)


def test_empty_window_is_an_empty_mask() -> None:
    empty = masks.encode(np.zeros((5, 7), dtype=bool))
    for shape in ((0, 0), (0, 3), (2, 0), (2, 3)):
        assert masks.encode_window(np.zeros(shape, dtype=bool), 1, 1, (5, 7)) == empty


def test_window_outside_the_image_is_refused() -> None:
    for x0, y0 in ((-1, 0), (0, -1), (6, 0), (0, 4)):
        with pytest.raises(ValueError, match="is not inside an image of 7 x 5"):
            masks.encode_window(np.ones((2, 2), dtype=bool), x0, y0, (5, 7))


def test_window_of_a_large_image_needs_no_large_memory() -> None:
    rle = masks.encode_window(np.ones((3, 2), dtype=bool), 30_000, 20_000, (30_000, 40_000))
    assert masks.area(rle) == 6


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

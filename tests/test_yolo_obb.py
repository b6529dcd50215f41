"""Rotated rectangles in YOLO label files: ultralytics' own reader, shapely, and lines that are no rectangles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from labeling.core import geometry, masks
from labeling.core.errors import InputError
from labeling.formats import yolo_obb
from labeling.formats.items import Item

CLASSES = ["cat", "dog", "car"]
TILTED = ((30.0, 10.0), (60.0, 20.0), (57.0, 29.0), (27.0, 19.0))

SIZE = st.tuples(st.integers(8, 3000), st.integers(8, 3000))


def corners_of(item: Item, size_wh: tuple[int, int]) -> np.ndarray:
    line = yolo_obb.line(2, item, size_wh)
    assert line is not None
    (again,) = yolo_obb.read_lines(line, "a.txt", CLASSES, size_wh)
    assert again.class_name == "car"
    return yolo_obb.corners_in(line, size_wh)


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the corners of a rectangle inside an image, and the size of the image."""
    width, height = draw(SIZE)
    reach = min(width, height) / 2
    x, y = draw(st.floats(reach, width - reach)), draw(st.floats(reach, height - reach))
    long, turn = draw(st.floats(0.1, 1)) * reach, draw(st.floats(0, 6.3))
    wide, high = long * np.cos(draw(st.floats(0.05, 1.5))), long * 0.5
    along, down = np.array([np.cos(turn), np.sin(turn)]) * wide, np.array([-np.sin(turn), np.cos(turn)]) * high
    half = max(np.hypot(wide, high), 1e-9)
    along, down = along * min(1, reach / half) / 1.01, down * min(1, reach / half) / 1.01
    centre = np.array([x, y])
    return np.array([centre - along - down, centre + along - down, centre + along + down, centre - along + down]), (
        width,
        height,
    )


def test_corners_are_written_in_their_order_as_fractions() -> None:
    item = Item("car", (27, 10, 60, 29), corners=TILTED)
    line = yolo_obb.line(2, item, (100, 50))
    assert line is not None
    assert [float(field) for field in line.split()] == [2, 0.3, 0.2, 0.6, 0.4, 0.57, 0.58, 0.27, 0.38]
    (again,) = yolo_obb.read_lines(f"\n{line}\n\n", "a.txt", CLASSES, (100, 50))
    assert again.class_name == "car"
    assert again.box_xyxy == pytest.approx((27, 10, 60, 29))


@pytest.mark.parametrize(
    ("corners", "upright"),
    [
        ([(10, 5), (40, 5), (40, 25), (10, 25)], True),
        ([(40, 25), (40, 5), (10, 5), (10, 25)], True),  # from another corner, the other way round
        ([(10, 5), (40, 5.4), (39.7, 25), (10, 24.6)], True),
        ([(10, 5), (40, 5.6), (40, 25.6), (10, 25)], False),
        ([(10, 5), (40, 25), (40, 5), (10, 25)], False),  # a bow tie
    ],
)
def test_an_upright_rectangle_is_read_as_its_box(corners: list[tuple[float, float]], upright: bool) -> None:
    numbers = " ".join(f"{x / 100:.8f} {y / 50:.8f}" for x, y in corners)
    (item,) = yolo_obb.read_lines(f"0 {numbers}", "a.txt", CLASSES, (100, 50))
    assert (item.corners is None) == upright
    assert item.rle is None
    assert item.box_xyxy == pytest.approx(geometry.box_around(corners), abs=1e-5)


@settings(max_examples=200)
@given(rectangles())
def test_rectangles_come_back_within_half_a_pixel(drawn: tuple[np.ndarray, tuple[int, int]]) -> None:
    corners, size_wh = drawn
    item = Item("car", geometry.box_around(corners), corners=tuple(map(tuple, corners.tolist())))
    np.testing.assert_allclose(corners_of(item, size_wh), corners, atol=0.001)


def test_a_mask_has_the_smallest_rectangle_around_its_pixels() -> None:
    rle = masks.polygons_to_rle([np.array(TILTED) * 4], (200, 400))
    found = shapely.Polygon(corners_of(Item("car", (0, 0, 400, 200), rle=rle), (400, 200)))
    pixels = shapely.multipoints(masks.corners(rle))
    assert found.buffer(1e-3).covers(pixels)
    assert found.area == pytest.approx(shapely.oriented_envelope(pixels).area, rel=1e-4)
    truth = shapely.Polygon(np.array(TILTED) * 4)
    assert found.intersection(truth).area / found.union(truth).area > 0.93


def test_without_corners_and_mask_it_is_the_box_clipped() -> None:
    empty = masks.encode(np.zeros((50, 100), dtype=bool))
    for item in (Item("car", (-10, 5, 20, 70)), Item("car", (-10, 5, 20, 70), rle=empty)):
        np.testing.assert_allclose(corners_of(item, (100, 50)), [[0, 5], [20, 5], [20, 50], [0, 50]], atol=1e-5)


@pytest.mark.parametrize(
    "item",
    [
        Item("car", (100, 0, 120, 10)),
        Item("car", (5, 5, 5, 9)),
        Item("car", (0, 0, 1, 1), corners=((110, 0), (120, 10), (115, 20), (105, 10))),
        Item("car", (0, 0, 1, 1), corners=((5, 5), (5, 5), (5, 5), (5, 5))),
    ],
)
def test_what_lies_outside_has_no_line(item: Item) -> None:
    assert yolo_obb.line(0, item, (100, 50)) is None


def test_a_rectangle_over_the_border_keeps_its_angle() -> None:
    corners = ((-3.0, 10.0), (27.0, 20.0), (24.0, 29.0), (-6.0, 19.0))
    np.testing.assert_allclose(
        corners_of(Item("car", (-6, 10, 27, 29), corners=corners), (100, 50)), corners, atol=1e-5
    )


@settings(max_examples=200)
@given(SIZE, st.tuples(*[st.floats(-2, 2)] * 2), st.tuples(*[st.floats(0.01, 3)] * 2), st.floats(0, 360))
def test_what_reaches_far_over_the_border_is_cut_so_that_trainers_take_it(
    size_wh: tuple[int, int], at: tuple[float, float], sides: tuple[float, float], degrees: float
) -> None:
    (x, y), (width, height) = np.multiply(at, size_wh), np.multiply(sides, size_wh)
    corners = geometry.rotated_to_corners(x, y, width, height, degrees)
    item = Item("car", geometry.box_around(corners), corners=tuple(map(tuple, corners.tolist())))
    seen = shapely.Polygon(corners).intersection(shapely.box(0, 0, *size_wh))
    assume(seen.area > 1)
    found = corners_of(item, size_wh)
    box = geometry.xyxy_to_cxcywhn(geometry.box_around(found), size_wh)
    assert (box >= -1e-6).all()
    assert (box <= 1 + 1e-6).all()
    assert shapely.Polygon(found).intersection(shapely.box(0, 0, *size_wh)).area > 0


def test_ultralytics_reads_the_lines(tmp_path: Path) -> None:
    """Oracle: the label check of ultralytics' datasets, and its own conversion to centre, sides and angle."""
    cv2, torch = pytest.importorskip("cv2"), pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from ultralytics.data.utils import verify_image_label
    from ultralytics.utils.ops import xyxyxyxy2xywhr

    width, height = 400, 200
    items = [
        Item("dog", (0, 0, 1, 1), corners=tuple((4 * x, 4 * y) for x, y in TILTED)),  # type: ignore[arg-type]
        Item("cat", (10, 20, 110, 60)),
        Item("car", (0, 0, 1, 1), corners=((-12, 40), (108, 80), (96, 116), (-24, 76))),
        Item("dog", (0, 0, 1, 1), corners=((300, 150), (500, 190), (480, 290), (280, 250))),
    ]
    lines = [yolo_obb.line(CLASSES.index(item.class_name), item, (width, height)) for item in items]
    (tmp_path / "a.txt").write_text("\n".join(str(line) for line in lines))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((height, width, 3), dtype=np.uint8))
    arguments = (str(tmp_path / "a.png"), str(tmp_path / "a.txt"), "", False, 3, 0, 0, False)
    _, labels, shape, segments, _, _, _, _, corrupt, message = verify_image_label(arguments)
    assert (corrupt, message, tuple(shape)) == (0, "", (height, width))
    assert sorted(labels[:, 0]) == [0, 1, 1, 2]
    found = {(int(label[0]), round(float(seg[0, 0]), 3)): seg for label, seg in zip(labels, segments, strict=True)}
    tilted = found[(1, 0.3)]
    x, y, long, short, turn = xyxyxyxy2xywhr(torch.from_numpy(tilted[None] * [width, height]).float())[0].tolist()
    truth = np.array(TILTED) * 4
    assert (x, y) == pytest.approx(tuple(truth.mean(axis=0)), abs=0.1)
    assert sorted((long, short)) == pytest.approx(sorted((np.hypot(120, 40), np.hypot(12, 36))), abs=0.1)
    assert np.rad2deg(turn) % 90 == pytest.approx(np.rad2deg(np.arctan2(40, 120)) % 90, abs=0.2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.1 0.2 0.3 0.4", r"a\.txt:2: expected a class id and the four corners"),
        ("0 0 0 1 0 1 1 0 nan", "four corners"),
        ("0 0 0 1 0 1 1 0 inf", "four corners"),
        ("0 0 0 1 0 1 1 0 1e30", "four corners"),
        ("cat 0 0 1 0 1 1 0 1", "four corners"),
        ("3 0 0 1 0 1 1 0 1", "class id '3' is not one of the 3 classes"),
        ("-1 0 0 1 0 1 1 0 1", "class id '-1'"),
        ("0.5 0 0 1 0 1 1 0 1", "class id '0.5'"),
        ("nan 0 0 1 0 1 1 0 1", "class id 'nan'"),
    ],
)
def test_unusable_lines_are_named(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        yolo_obb.read_lines(f"0 0 0 1 0 1 1 0 1\n{line}", "a.txt", CLASSES, (10, 10))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        yolo_obb.read_lines(text, "a.txt", CLASSES, (10, 10))
    except InputError:
        return
    assert not text.strip()

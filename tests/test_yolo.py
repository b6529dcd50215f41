"""The YOLO codec against hand-computed lines, OpenCV as the painter, and PyYAML as the reader."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labeling.core import masks
from labeling.formats import yolo

SIZE_WH = (200, 100)


def painted(polygon: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    canvas = np.zeros((SIZE_WH[1], SIZE_WH[0]), dtype=np.uint8)
    cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], 1)
    return canvas.astype(bool)


def test_box_line_is_centre_and_size_as_fractions() -> None:
    assert yolo.box_line(3, (20, 10, 60, 50), SIZE_WH) == "3 0.20000000 0.30000000 0.20000000 0.40000000"


def test_box_that_sticks_out_is_clipped_and_one_outside_has_no_line() -> None:
    assert yolo.box_line(0, (-50, -50, 100, 50), SIZE_WH) == "0 0.25000000 0.25000000 0.50000000 0.50000000"
    assert yolo.box_line(0, (300, 10, 400, 50), SIZE_WH) is None


@given(st.lists(st.floats(-50, 250, width=32), min_size=4, max_size=4))
def test_box_comes_back_within_a_hundredth_of_a_pixel(values: list[float]) -> None:
    x0, x1 = sorted(values[:2])
    y0, y1 = sorted(values[2:])
    line = yolo.box_line(0, (x0, y0, x1, y1), SIZE_WH)
    inside = np.clip([x0, y0, x1, y1], 0, [200, 100, 200, 100])
    if line is None:
        assert (inside[2:] - inside[:2]).min() <= 2e-6  # eight digits of a fraction say nothing thinner
        return
    cx, cy, w, h = (float(v) for v in line.split()[1:])
    assert all(0 <= v <= 1 for v in (cx, cy, w, h))
    back = np.array([(cx - w / 2) * 200, (cy - h / 2) * 100, (cx + w / 2) * 200, (cy + h / 2) * 100])
    assert np.abs(back - inside).max() < 0.01


def test_segment_line_is_clipped_points_as_fractions() -> None:
    polygon = np.array([[-1, 0], [100, 0], [200, 101]])
    assert yolo.segment_line(0, polygon * (1, 0), SIZE_WH) is None
    assert yolo.segment_line(1, polygon, SIZE_WH) == "1 0.000000 0.000000 0.500000 0.000000 1.000000 1.000000"


def test_solid_mask_is_one_polygon_without_loss() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[20:60, 30:90] = True
    one = yolo.segment(masks.encode(mask))
    assert one is not None
    assert one.parts == 1
    assert one.iou >= 0.99


def test_mask_in_three_parts_is_bridged_into_one_polygon() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[10:40, 10:50] = mask[60:90, 20:70] = mask[30:70, 120:190] = True
    one = yolo.segment(masks.encode(mask))
    assert one is not None
    assert one.parts == 3
    assert one.iou >= 0.97
    back = painted(one.polygon)
    assert (back & mask).sum() / (back | mask).sum() >= 0.9


def test_hole_survives_in_one_polygon() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[10:90, 10:190] = True
    mask[30:70, 50:150] = False
    one = yolo.segment(masks.encode(mask))
    assert one is not None
    assert one.parts == 1
    assert one.iou >= 0.99
    back = painted(one.polygon)
    assert (back & mask).sum() / (back | mask).sum() >= 0.9


def test_polygon_that_cannot_stand_for_its_mask_says_so() -> None:
    checker = np.zeros((100, 200), dtype=bool)
    checker[10:20:2, 10:20:2] = True
    one = yolo.segment(masks.encode(checker))
    assert one is not None
    assert one.parts == 25
    assert one.iou == masks.iou(masks.polygons_to_rle([one.polygon], (100, 200)), masks.encode(checker))


def test_empty_mask_has_no_segment() -> None:
    assert yolo.segment(masks.encode(np.zeros((100, 200), dtype=bool))) is None


def test_data_yaml_survives_yaml_1_1_words_unicode_and_quotes() -> None:
    names = ["yes", "no", "12:30", "1_000", "größe 北京 🚜", 'say "hi": #1', "null", "- x"]
    read = yaml.safe_load(yolo.data_yaml("/out/é [1]: x", names))
    assert read == {"path": "/out/é [1]: x", "train": "images", "val": "images", "names": dict(enumerate(names))}

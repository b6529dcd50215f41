"""Pictures with labels: where boxes, masks and tags land in the frame."""

from __future__ import annotations

import re

import numpy as np
import pytest

from labeling.core import masks
from labeling.core.records import Annotation, Provenance, Rle
from labeling.pictures import FRAME_WH, class_colour, outline, picture, window_around

IDS = {"box": 0}


def label(box: tuple[float, float, float, float], score: float | None = 0.5, rle: Rle | None = None) -> Annotation:
    return Annotation(f"{box}{score}", "a" * 64, "box", box, Provenance("teacher", score=score), rle)


def pixels(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def test_box_is_scaled_with_its_photo_and_centred_in_the_frame() -> None:
    shown = picture(pixels(630, 315), [label((63, 63, 315, 189))], IDS)
    assert (shown.x, shown.y, shown.width, shown.height) == (0, 52.5, 420, 210)
    (mark,) = shown.marks
    assert (mark.x, mark.y, mark.width, mark.height) == pytest.approx((42, 52.5 + 42, 168, 84))
    assert mark.tag is not None
    assert mark.tag.text == "box 0.50"


def test_window_shows_what_lies_inside_it_only() -> None:
    inside, cut, outside = label((40, 40, 60, 60)), label((0, 0, 50, 50), 0.4), label((0, 0, 20, 20), 0.3)
    shown = picture(pixels(200, 100), [inside, cut, outside], IDS, (30, 30, 110, 90))
    assert sorted((mark.x, mark.y, mark.width, mark.height) for mark in shown.marks) == [
        (0, 0, 105, 105),
        (52.5, 52.5, 105, 105),
    ]


def test_window_around_a_box_holds_it_and_stays_inside_the_image() -> None:
    for box, size in (
        ((0.0, 0.0, 5.0, 5.0), (4000, 3000)),
        ((3990.0, 10.0, 4000.0, 2900.0), (4000, 3000)),
        ((1.5, 2.5, 9.5, 8.5), (10, 10)),
    ):
        x0, y0, x1, y1 = window_around(box, size)
        assert 0 <= x0 <= box[0]
        assert 0 <= y0 <= box[1]
        assert box[2] <= x1 <= size[0]
        assert box[3] <= y1 <= size[1]


def test_outline_follows_the_mask_and_keeps_its_hole() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[20:80, 40:160] = True
    mask[40:60, 80:120] = False
    path = outline(masks.encode(mask), (0, 0, 200, 100), (10.0, 5.0), (400, 200))
    assert path.count("M") == path.count("Z") == 2
    points = np.array([[float(v) for v in point.split()] for point in re.findall(r"[-\d.]+ [-\d.]+", path)])
    assert np.abs(points.min(axis=0) - [90, 45]).max() <= 1.5
    assert np.abs(points.max(axis=0) - [330, 165]).max() <= 1.5
    assert outline(masks.encode(mask), (0, 0, 30, 15), (0.0, 0.0), (60, 30)) == ""


def test_tags_never_cover_each_other_and_the_surest_come_first() -> None:
    crowd = [label((50 + i, 50 + i, 80 + i, 90 + i), score=i / 40) for i in range(40)]
    tags = [mark.tag for mark in picture(pixels(*FRAME_WH), crowd, IDS).marks if mark.tag]
    assert 1 < len(tags) < 40
    assert any(tag.text == "box 0.97" for tag in tags)
    for i, one in enumerate(tags):
        for other in tags[i + 1 :]:
            apart = one.x + one.width <= other.x or other.x + other.width <= one.x or abs(one.y - other.y) >= 17
            assert apart
        assert 0 <= one.x <= one.x + one.width <= FRAME_WH[0]
        assert 0 <= one.y <= FRAME_WH[1] - 17


def test_colours_of_many_classes_differ() -> None:
    colours = [class_colour(i) for i in range(100)]
    assert len(set(colours)) == 100
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colour in colours)

"""The margin around photos that a student gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.objects import Objects
from distill.yolo.margin import gain_of_margin, pays
from labeling.teachers.interfaces import RgbImage

pytestmark = pytest.mark.torch

NAMES = ("cell",)
INNER, CUT = (20.0, 20.0, 40.0, 40.0), (0.0, 50.0, 10.0, 60.0)


def objects(*boxes: tuple[float, ...]) -> Objects:
    return Objects(
        "", (64, 64), np.array(boxes, dtype=np.float64).reshape(-1, 4), np.zeros(len(boxes), dtype=np.int64),
        np.linspace(0.9, 0.8, len(boxes)),
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.png" for number in range(20)]
    for number, file in enumerate(files):
        cv2.imwrite(str(file), np.full((64, 64, 3), (number, 0, 200), dtype=np.uint8))
    return files


def test_a_margin_with_which_more_is_found_pays(photos: list[Path]) -> None:
    def look(images: Sequence[RgbImage], margin: int) -> list[Objects]:
        assert all(image[0, 0, 0] == 200 for image in images)  # red comes first
        return [objects(INNER, CUT) if margin else objects(INNER) for _ in images]

    gain = gain_of_margin(look, photos, [objects(INNER, CUT)] * 20, NAMES)

    assert gain.difference == pytest.approx(0.5, abs=0.02)
    assert pays(gain)


@pytest.mark.parametrize("boxes", [(INNER,), ()])
def test_where_it_makes_no_difference_it_does_not(photos: list[Path], boxes: Sequence[tuple[float, ...]]) -> None:
    gain = gain_of_margin(lambda images, _: [objects(INNER)] * len(images), photos, [objects(*boxes)] * 20, NAMES)

    assert not pays(gain)


def test_a_gain_in_one_photo_of_many_is_chance(photos: list[Path]) -> None:
    truth = [objects(INNER, CUT), *[objects(INNER)] * 19]

    def look(images: Sequence[RgbImage], margin: int) -> list[Objects]:
        return [objects(INNER, CUT) if margin and image[0, 0, 2] == 0 else objects(INNER) for image in images]

    gain = gain_of_margin(look, photos, truth, NAMES)

    assert gain.difference is not None
    assert gain.difference > 0
    assert not pays(gain)


def test_of_many_photos_some_are_looked_at(photos: list[Path]) -> None:
    seen: list[int] = []

    def look(images: Sequence[RgbImage], margin: int) -> list[Objects]:
        seen.extend(int(image[0, 0, 2]) for image in images if margin == 0)
        return [objects(INNER)] * len(images)

    gain_of_margin(look, photos * 30, [objects(INNER)] * 600, NAMES)

    assert len(seen) == 300
    assert set(seen) == set(range(0, 20, 2))

"""A photo on the canvas of a YOLO model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.teachers.detectors.yolo_canvas import on_canvas

pytestmark = pytest.mark.torch


def photo(high: int, wide: int) -> np.ndarray:
    return np.random.default_rng(high * 301 + wide).integers(0, 256, (high, wide, 3), dtype=np.uint8)


@given(high=st.integers(1, 300), wide=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_without_a_margin_it_is_the_letterbox_of_the_library(high: int, wide: int) -> None:
    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.data.augment import LetterBox

    image = photo(high, wide)
    assert np.array_equal(on_canvas(image, 160, 32).pixels, LetterBox((160, 160), auto=True, stride=32)(image=image))


@given(high=st.integers(1, 300), wide=st.integers(1, 300), side=st.sampled_from([32, 64, 320]))
@settings(max_examples=60, deadline=None)
def test_a_margin_is_grey_on_all_sides_and_the_canvas_grows_no_longer_than_the_side(
    high: int, wide: int, side: int
) -> None:
    image = np.zeros((high, wide, 3), dtype=np.uint8)
    pixels, ((gain_high, gain_wide), (left, top)) = on_canvas(image, side, 32, 8)

    rows, columns = np.nonzero((pixels == 0).all(axis=2))
    assert max(pixels.shape[:2]) == side
    assert not any(length % 32 for length in pixels.shape[:2])
    assert (columns.min(), rows.min()) == (left, top)
    below, right = pixels.shape[0] - rows.max() - 1, pixels.shape[1] - columns.max() - 1
    assert min(left, top, below, right) >= 8
    assert (rows.max() - top + 1, columns.max() - left + 1) == (round(high * gain_high), round(wide * gain_wide))
    grey = np.ones(pixels.shape[:2], dtype=bool)
    grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
    assert (pixels[grey] == 114).all()

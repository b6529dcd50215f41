"""Curves of a student's report: drawn where the figures lie, light and dark, small, nothing where is nothing."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from distill.curation.plots import Plot
from distill.reporting.plots import Line, calibration, costs, learning, precision_recall

BLUE, ORANGE, RED = (0x1F, 0x6F, 0xEB), (0xB4, 0x53, 0x09), (0xFF, 0x00, 0x00)


def painted(plot: Plot | None, colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return where the light plot has this colour, nearly, (height, width)."""
    assert plot is not None
    data = base64.b64decode(plot.light.removeprefix("data:image/png;base64,"))
    seen = np.asarray(Image.open(BytesIO(data)).convert("RGBA")).astype(int)
    assert len(data) <= 60_000
    return np.asarray((np.abs(seen[..., :3] - colour).max(axis=-1) < 24) & (seen[..., 3] > 200))


def test_the_chosen_threshold_is_marked_where_it_lies() -> None:
    scores = np.linspace(0, 1, 201)
    places = []
    for chosen in (0.2, 0.4, 0.8):
        columns = painted(costs(scores, np.abs(scores - 0.4) + 0.1, chosen), ORANGE).sum(axis=0)
        places.append(int(columns.argmax()))
    assert (places[2] - places[1]) / (places[1] - places[0]) == pytest.approx(2, abs=0.05)


def test_a_better_curve_lies_higher_and_classes_in_the_background_have_no_colour() -> None:
    recall = np.linspace(0, 1, 101)
    heights = []
    for power in (1, 4):
        there = painted(precision_recall([Line(recall, 1 - recall**power, "#ff0000")], ""), RED)
        heights.append(np.argwhere(there)[:, 0].mean())
    assert heights[1] < heights[0]  # rows count from the top
    assert not painted(precision_recall([Line(recall, 1 - recall, None)], ""), RED).any()


def test_a_student_as_sure_as_right_has_its_dots_on_the_diagonal() -> None:
    scores = np.linspace(0.1, 0.9, 9)
    rows, columns = np.nonzero(painted(calibration(scores, scores, np.full(9, 10), ""), BLUE))
    assert np.corrcoef(rows, columns)[0, 1] == pytest.approx(-1, abs=0.01)


def test_a_learning_curve_names_its_points_and_goes_on_dashed() -> None:
    figures = ([300, 75], [0.8, 0.6], [0.75, 0.5], [0.85, 0.7])
    plain, ahead = learning(*figures), learning(*figures, [(300, 0.8), (600, 0.85)])
    assert plain is not None
    assert plain.alt == "AP50 by number of training images. 75 images: 0.60, 300 images: 0.80."
    assert not painted(plain, ORANGE).any()
    assert painted(ahead, ORANGE).any()


def test_nothing_is_drawn_of_nothing_and_the_same_figures_make_the_same_picture() -> None:
    none = np.zeros(0)
    assert precision_recall([Line(none, none, None)], "") is None
    assert calibration(none, none, none, "") is None
    assert costs(none, none, 0.5) is None
    assert costs(np.array([0.1, 0.2]), np.full(2, np.nan), 0.5) is None
    assert learning([], [], [], []) is None
    one, other = (learning([10, 20], [0.5, 0.6], [0.4, 0.5], [0.6, 0.7]) for _ in range(2))
    assert one == other
    assert one is not None
    assert one.light != one.dark

"""Plots of curation: what is drawn is what was counted, for light and dark pages, and nothing is left behind."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from distill.curation.plots import Plot, curve, heat, histogram, hours

BLUE, ORANGE = (0x1F, 0x6F, 0xEB), (0xB4, 0x53, 0x09)


def pixels_of(uri: str) -> npt.NDArray[np.uint8]:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGBA"))


def painted(plot: Plot, colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return where the light plot has exactly this colour, (height, width)."""
    seen = pixels_of(plot.light)
    return np.asarray((seen[..., :3] == colour).all(axis=-1) & (seen[..., 3] == 255))


def drawn(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


def test_bars_are_as_high_as_the_counts_say() -> None:
    plot = drawn(histogram(np.array([0.0] * 10 + [1.0] * 5), "value", "ten and five"))
    heights = painted(plot, BLUE).sum(axis=0)
    columns = np.flatnonzero(heights)
    assert heights[columns[0] + 3] / heights[columns[-1] - 3] == pytest.approx(2, rel=0.03)
    assert columns[-1] - columns[0] > 0.7 * 2 * plot.width  # one bar at either end
    assert plot.alt == "ten and five"


def test_kinds_stand_out_in_their_own_colour() -> None:
    values = np.linspace(0, 1, 100)
    plain, marked = (drawn(histogram(values, "", "", kinds=kinds)) for kinds in (None, {"dark": values < 0.3}))
    assert not painted(plain, ORANGE).any()
    share = painted(marked, ORANGE).sum() / painted(plain, BLUE).sum()
    assert share == pytest.approx(0.3, abs=0.04)  # the word takes a few pixels too
    assert (
        np.flatnonzero(painted(marked, ORANGE).any(axis=0)).max() < np.flatnonzero(painted(marked, BLUE).any(0)).max()
    )


@pytest.mark.parametrize("values", [[], [np.nan, np.inf], [0.0, -1.0]])
def test_nothing_to_count_is_no_plot(values: list[float]) -> None:
    assert histogram(np.array(values), "", "", log=True) is None


def test_one_value_and_one_odd_value_are_plots() -> None:
    assert histogram(np.full(7, 0.4), "", "") is not None
    assert histogram(np.full(7, 0.4), "", "", log=True) is not None
    assert histogram(np.array([np.nan, 3.0]), "", "") is not None


def test_curve_says_how_many_pairs_its_threshold_finds() -> None:
    plot = drawn(curve(np.array([0.5, 0.7, 0.9, 1.0]), np.array([100, 40, 3, 1]), 0.9))
    assert "3 pairs are at least 0.900 alike" in plot.alt
    dashes = painted(plot, ORANGE)
    at = int(dashes.sum(axis=0).argmax())
    assert dashes[:, at].sum() > 0.3 * dashes.shape[0]
    line = np.flatnonzero(painted(plot, BLUE).any(axis=0))
    assert (at - line[0]) / (line[-1] - line[0]) == pytest.approx(0.8, abs=0.02)  # 0.9 between 0.5 and 1


def test_curve_without_any_pair_is_no_plot() -> None:
    assert curve(np.linspace(0.5, 1, 100), np.zeros(100, int), 0.88) is None
    assert curve([], [], 0.88) is None


def test_heat_is_where_the_boxes_are() -> None:
    counts = np.zeros((16, 16))
    counts[1, 14], counts[12, 3] = 9, 4
    plot = drawn(heat(counts))
    assert "top right" in plot.alt
    rows, columns = np.nonzero(painted(plot, BLUE))
    assert rows.mean() / (2 * plot.height) == pytest.approx(1.5 / 16, abs=0.03)
    assert columns.mean() / (2 * plot.width) == pytest.approx(14.5 / 16, abs=0.03)
    assert heat(np.zeros((16, 16))) is None


def test_hours_are_named_for_those_who_do_not_see_them() -> None:
    assert drawn(hours({9: 1200, 23: 4})).alt == "Images by hour of the day. 9:00: 1,200, 23:00: 4."
    assert hours({}) is None


def test_both_versions_have_no_ground_of_their_own_and_twice_the_pixels() -> None:
    plot = drawn(hours({9: 3}))
    light, dark = pixels_of(plot.light), pixels_of(plot.dark)
    assert light.shape == dark.shape == (2 * plot.height, 2 * plot.width, 4)
    assert light[0, 0, 3] == dark[0, 0, 3] == 0
    assert (light != dark).any()


def test_threads_draw_the_same_bytes_and_no_figure_stays() -> None:
    from matplotlib import pyplot

    values = [np.random.default_rng(seed).random(500) for seed in range(3)]
    alone = [histogram(one, "value", "") for one in values]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda one: histogram(one, "value", ""), values))
    assert alone == together
    assert pyplot.get_fignums() == []

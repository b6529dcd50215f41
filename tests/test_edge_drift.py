"""The index is what a calculator says, chance is what simulation says, and planted drift raises the right alarm."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from export.monitoring.bins import NUMERIC, STATISTICS, Bins
from export.monitoring.correlation import correlation_time
from export.monitoring.drift import LEAST, judge
from export.monitoring.psi import expected_psi, psi
from export.monitoring.reference import Reference, learn
from export.monitoring.resampling import chance, indices
from export.monitoring.stretch import Stretch, joined
from export.monitoring.windows import MOST_WINDOWS, Windows
from tests.paths import ROOT

COUNTS = st.lists(st.integers(0, 500), min_size=3, max_size=3)


def wave(rng: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """Draw an autoregression of order one with spread 1."""
    fresh = rng.normal(size=count)
    fresh[1:] *= math.sqrt(1 - memory**2)
    return np.asarray(lfilter([1], [1, -memory], fresh))


def world(count: int, seed: int, *, memory: float = 0.0, light: float = 0.5) -> Stretch:
    """Draw frames whose light, crowd and sureness waver, with objects of three classes."""
    rng = np.random.default_rng([seed, count])
    lit, crowd, sure = (wave(rng, count, memory) for _ in range(3))
    objects = rng.poisson(3 * np.exp(0.3 * crowd - 0.045))
    where = np.repeat(np.arange(count), objects)
    return Stretch(
        np.arange(count) / 10,
        np.asarray(light + 0.05 * lit, dtype=np.float32),
        np.asarray(5 + 0.3 * wave(rng, count, memory), dtype=np.float32),
        np.asarray(0.5 + 0.1 * sure, dtype=np.float32),
        np.clip(120 + 10 * lit[:, None] + rng.normal(0, 6, (count, 56)), 0, 255).astype(np.uint8),
        objects,
        rng.choice(3, len(where), p=(0.6, 0.3, 0.1)),
        np.clip(0.7 + 0.05 * sure[where] + 0.1 * rng.normal(size=len(where)), 0, 1).astype(np.float32),
    )


def reference_of(stretch: Stretch, window: int) -> Reference:
    found = learn([stretch], {}, model="m", names=("a", "b", "c"), window=window, all_of_it=True)
    assert found is not None
    return found


def windows_of(reference: Reference, stretch: Stretch, window: int) -> Windows:
    found = Windows(reference, reference.window(window))
    found.add(stretch)
    return found


def test_the_index_is_what_a_calculator_says() -> None:
    # One more observation per cell, half of it on each side since both have 100: p = 50.5/101, q = 80.5/101.
    p, q = 50.5 / 101, 80.5 / 101
    by_hand = (q - p) * math.log(q / p) + ((1 - q) - (1 - p)) * math.log((1 - q) / (1 - p))
    assert float(psi([50, 50], [80, 20])) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.4063, abs=1e-4)


def test_a_cell_that_is_empty_on_both_sides_says_nothing() -> None:
    assert float(psi([700, 300, 0], [70, 30, 0])) == pytest.approx(0, abs=1e-12)
    assert float(psi([700, 300, 0], [0, 0, 0])) == 0
    assert 0 < float(psi([700, 300, 0], [70, 29, 1])) < 0.05


@given(COUNTS, COUNTS)
def test_the_index_is_never_negative_and_has_no_direction(first: list[int], second: list[int]) -> None:
    one, other = float(psi(first, second)), float(psi(second, first))
    assert one == pytest.approx(other)
    assert one >= -1e-12
    assert math.isfinite(one)


def test_without_drift_the_index_comes_to_what_the_formula_says() -> None:
    rng = np.random.default_rng(0)
    drawn = psi(rng.multinomial(4000, np.full(10, 0.1), 3000), rng.multinomial(500, np.full(10, 0.1), 3000))
    assert float(drawn.mean()) == pytest.approx(expected_psi(10, 4000, 500), rel=0.05)


def test_the_correlation_time_of_an_autoregression_is_known() -> None:
    rng = np.random.default_rng(1)
    assert correlation_time(rng.normal(size=20_000)) == pytest.approx(1, abs=0.2)
    assert correlation_time(wave(rng, 40_000, 0.9)) == pytest.approx(19, rel=0.25)
    assert correlation_time(np.full(100, 3.0)) == 1


def test_cells_hold_a_tenth_of_the_reference_each() -> None:
    bins = Bins.learn(world(5000, 3), 3)
    counts = bins.counts(world(5000, 3), 5000)[0]
    assert counts[bins.places["light"]].tolist() == pytest.approx([500] * 10, abs=1)
    assert counts[bins.places["objects"]].sum() == 5000
    assert counts[bins.places["classes"]].sum() == world(5000, 3).count.sum()


def test_counting_by_steps_adds_up_to_counting_at_once() -> None:
    stretch = world(400, 4)
    bins = Bins.learn(stretch, 3)
    assert (bins.counts(stretch, 20).sum(axis=0) == bins.counts(stretch, 400)[0]).all()


def test_a_class_that_was_never_seen_has_a_cell_of_its_own() -> None:
    bins = Bins.learn(world(1000, 5), 5)
    assert bins.cell_of_class[3] == bins.cell_of_class[4] > bins.cell_of_class[:3].max()


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_what_chance_comes_to_is_what_simulation_says(memory: float) -> None:
    long = 6000 if not memory else 16_000
    seen, said = [], []
    for seed in range(12):
        reference = reference_of(world(long, seed, memory=memory), 500)
        assert reference.enough(500)
        windows = windows_of(reference, world(5000, 900 + seed, memory=memory), 500).found
        counts = np.stack([window.counts for window in windows])
        seen.append(indices(reference.total, counts, reference.bins.places).mean(axis=0))
        said.append(chance(reference, windows[0].frames, 0.05).expected)
    assert np.mean(said, axis=0) == pytest.approx(np.mean(seen, axis=0), rel=0.3)
    formula = expected_psi(10, long, windows[0].frames)
    light = float(np.mean(said, axis=0)[STATISTICS.index("light")])
    assert light == pytest.approx(formula, rel=0.1) if not memory else light > 2 * formula


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_windows_without_drift_raise_alarms_at_the_stated_rate(memory: float) -> None:
    rate, false, total = 0.05, 0, 0
    for seed in range(16):
        reference = reference_of(world(6000 if not memory else 16_000, seed, memory=memory), 500)
        windows = windows_of(reference, world(6000, 500 + seed, memory=memory), 500).found
        odds = chance(reference, windows[0].frames, rate, seed)
        counts = np.stack([window.counts for window in windows])
        heights = odds.standardised(indices(reference.total, counts, reference.bins.places))
        false, total = false + int((heights.max(axis=1) > odds.limit(rate)).sum()), total + len(windows)
    # Windows of one reference share its error, so the spread is wider than a coin's.
    assert total >= 150
    assert 0.005 < false / total < 2 * rate


def test_drift_is_told_with_its_time_its_size_and_its_sureness() -> None:
    reference = reference_of(world(6000, 1), 500)
    later = joined([world(2000, 2), world(1000, 3, light=0.4)])
    windows = windows_of(reference, later, 500).found
    verdict = judge(reference, windows, 0.01)
    found = next(one for one in verdict.drifts if one.statistic == "light")
    assert found.since == windows[4].since
    assert found.windows == 2
    assert found.still
    assert found.before == pytest.approx(0.5, abs=0.01)
    assert found.now == pytest.approx(0.4, abs=0.01)
    assert found.index > 1
    assert found.chance < 0.001


def test_a_difference_that_is_sure_but_tiny_raises_no_alarm() -> None:
    reference = reference_of(world(20_000, 1), 5000)
    windows = windows_of(reference, world(6000, 2, light=0.507), 5000).found
    assert {one.statistic for one in judge(reference, windows, 0.01, least=0).drifts} >= {"light"}
    assert not judge(reference, windows, 0.01, least=LEAST).drifts


def test_ever_more_frames_never_make_more_windows_than_fit() -> None:
    reference = reference_of(world(6000, 1), 100)
    windows = Windows(reference, reference.window(100))
    first, frames = windows.size, 0
    for seed in range(40):
        windows.add(world(701, seed))
        frames += 701
    assert len(windows.found) < MOST_WINDOWS
    assert windows.size in (2 * first, 4 * first, 8 * first)
    assert {window.frames for window in windows.found} == {windows.size}
    assert sum(window.frames for window in windows.found) + windows.left_over == frames == windows.frames


def test_a_long_reference_is_thinned_and_windows_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.monitoring.reference.MOST_FRAMES", 4000)
    assert reference_of(world(12_000, 1), 500).stride == 4
    parts = [world(3000, seed) for seed in range(4)]
    thinned = learn(parts, {}, model="m", names=("a", "b", "c"), window=500, all_of_it=True)
    assert thinned is not None
    assert thinned.stride == 4
    assert thinned.frames == 3000
    windows = Windows(thinned, thinned.window(500))
    for seed in range(4):
        windows.add(world(1001, seed))
    assert sum(window.frames for window in windows.found) + windows.left_over == 1001


def test_means_of_a_window_are_those_of_its_frames() -> None:
    reference, stretch = reference_of(world(6000, 1), 500), world(500, 8)
    window = windows_of(reference, stretch, 500).found[0]
    means = dict(zip(NUMERIC, window.means, strict=True))
    assert means["light"] == pytest.approx(float(stretch.light.mean()), rel=1e-4)
    assert means["objects"] == pytest.approx(stretch.count.mean())
    assert means["scores"] == pytest.approx(float(stretch.scores.mean()), rel=1e-4)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "edge"))
    return importlib.import_module("measure_drift")


@pytest.mark.parametrize("video", [False, True])
def test_darker_blurred_new_and_missing_are_found_on_rendered_scenes(measuring: ModuleType, video: bool) -> None:
    found = measuring.measure(measuring.render(30), 2, 400, 0.01, video=video)
    for name in measuring.EXPECTED:
        assert found[name] == found[name] | {"of": 2, "share": 1.0}, name
    assert found["false alarms"]["share"] == 0
    assert found["references that were too small"] == 0

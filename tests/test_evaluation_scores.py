"""What scores are worth: planted miscalibration, recall at a precision by trying every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.evaluation.scores import calibration, recall_at_precision
from distill.evaluation.table import matched
from distill.objects import Objects
from tests.made_objects import drawn, said, true

A, B = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 300.0, 300.0)


def _with_precision(seed: int, images: int, of_score: float) -> tuple[list[Objects], list[Objects]]:
    """One object in each image; a found object of score s is right with probability s to the power ``of_score``."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.05, 1, images)
    right = random.random(images) < scores**of_score
    truth = [true(f"{k}", (0, A)) for k in range(images)]
    return truth, [said(f"{k}", (0, A if right[k] else B, float(scores[k]))) for k in range(images)]


def test_honest_scores_have_next_to_no_calibration_error() -> None:
    found = calibration(matched(*_with_precision(0, 4000, of_score=1), 1))
    assert found.error is not None
    assert found.bias is not None
    assert found.error < 0.03
    assert abs(found.bias) < 0.03
    inside = [
        one.precision_interval[0] <= one.score <= one.precision_interval[1]
        for one in found.bins
        if one.precision_interval and one.score is not None
    ]
    assert len(inside) == 10
    assert sum(inside) >= 8


def test_scores_that_promise_too_much_have_the_error_that_was_planted() -> None:
    # Right with probability s^2: the gap s - s^2 has the mean 1/2 - 1/3 over [0, 1]; from 0.05 on a little more.
    found = calibration(matched(*_with_precision(1, 4000, of_score=2), 1))
    assert found.error == pytest.approx(0.175, abs=0.02)
    assert found.bias == pytest.approx(0.175, abs=0.02)


def test_bins_are_worked_out_by_hand() -> None:
    truth = [true("a", (0, A), (0, B))]
    found = [said("a", (0, A, 0.92), (0, B, 0.98), (0, A, 0.5), (0, A, 0.01))]
    measured = calibration(matched(truth, found, 1))
    assert [(one.n, one.score, one.precision) for one in measured.bins if one.n] == [
        (1, 0.5, 0.0),
        (2, pytest.approx(0.95), 1.0),
    ]
    assert (measured.bins[5].low, measured.bins[9].high) == (0.5, 1.0)
    assert measured.n == 3  # 0.01 is left out
    assert measured.error == pytest.approx((0.5 + 2 * 0.05) / 3)
    assert measured.bias == pytest.approx((0.92 + 0.98 + 0.5) / 3 - 2 / 3)


def test_score_of_exactly_one_is_in_the_last_bin() -> None:
    measured = calibration(matched([true("a", (0, A))], [said("a", (0, A, 1.0))], 1))
    assert [one.n for one in measured.bins] == [0] * 9 + [1]
    assert measured.error == 0


def test_nothing_found_is_not_measured() -> None:
    measured = calibration(matched([true("a", (0, A))], [said("a")], 1))
    assert (measured.n, measured.error, measured.bias) == (0, None, None)
    assert all(one.precision is None for one in measured.bins)


@given(seed=st.integers(0, 10**6), coarse=st.booleans(), least=st.sampled_from([0.3, 0.5, 0.75, 0.9, 1.0]))
@settings(max_examples=80, deadline=None)
def test_recall_at_a_precision_is_the_best_of_all_thresholds(seed: int, coarse: bool, least: float) -> None:
    truth, found = drawn(seed, 5, classes=1, false=2, coarse=coarse)
    table = matched(truth, found, 1)
    there = sum(len(one) for one in truth)
    best = 0.0
    for score in {*table.score.tolist()}:
        counted = table.score >= score
        right = int(table.right[0, counted].sum())
        if there and right / counted.sum() >= least - 1e-12:
            best = max(best, right / there)
    reached = recall_at_precision(table, 0, least)
    assert (reached is None) == (there == 0)
    if reached is not None:
        recall, score = reached
        assert recall == pytest.approx(best)
        assert (score is None) == (best == 0)
        if score is not None:
            counted = table.score >= score
            assert table.right[0, counted].sum() == pytest.approx(recall * there)


def test_recall_at_a_precision_goes_past_an_early_false_alarm() -> None:
    truth = [true("a", *((0, (100.0 * k, 0.0, 100.0 * k + 50, 50.0)) for k in range(5)))]
    objects = [(0, (100.0 * k, 0.0, 100.0 * k + 50, 50.0), 0.8 - 0.1 * k) for k in range(5)]
    table = matched(truth, [said("a", (0, (0.0, 300.0, 50.0, 350.0), 0.9), *objects)], 1)
    # Precision 0/1, 1/2, 2/3, 3/4, 4/5, 5/6.
    assert recall_at_precision(table, 0, 0.8) == (1.0, pytest.approx(0.4))
    assert recall_at_precision(table, 0, 0.9) == (0.0, None)

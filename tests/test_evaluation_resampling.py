"""Intervals and differences: resamples that are spelt out as oracle, coverage on simulated data, planted gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.evaluate import evaluate
from distill.evaluation.coco import coco_numbers
from distill.evaluation.paired import paired_difference
from distill.evaluation.resampling import average_precisions, bounds, draws, mean_of, resampled
from distill.evaluation.table import LEVELS, matched
from tests.made_objects import drawn, names, said, true

A, B = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 300.0, 300.0)


@given(seed=st.integers(0, 10**6), images=st.integers(1, 15), classes=st.integers(1, 3), coarse=st.booleans())
@settings(max_examples=60, deadline=None)
def test_weights_of_one_give_the_numbers_of_faster_coco_eval(
    seed: int, images: int, classes: int, coarse: bool
) -> None:
    truth, found = drawn(seed, images, classes=classes, coarse=coarse)
    ours = average_precisions(matched(truth, found, classes), np.ones((1, images)))[0]
    theirs = coco_numbers(truth, found, classes)
    for level in (0, 5, 9):
        for class_id in range(classes):
            known = theirs.ap(level=level, class_id=class_id)
            assert ours[level, class_id] == pytest.approx(np.nan if known is None else known, abs=1e-9, nan_ok=True)


@given(seed=st.integers(0, 10**6), times=st.lists(st.integers(0, 3), min_size=1, max_size=10))
@settings(max_examples=40, deadline=None)
def test_image_of_weight_three_counts_as_if_it_were_there_three_times(seed: int, times: list[int]) -> None:
    truth, found = drawn(seed, len(times))
    rows = np.repeat(np.arange(len(times)), times)
    spelt_out = coco_numbers([truth[row] for row in rows], [found[row] for row in rows], 3)
    weighed = average_precisions(matched(truth, found, 3), np.array([times], dtype=np.float64))[0]
    for class_id in range(3):
        known = spelt_out.ap(level=0, class_id=class_id)
        assert weighed[0, class_id] == pytest.approx(np.nan if known is None else known, abs=1e-9, nan_ok=True)


def test_all_rows_of_weights_are_computed_as_if_alone() -> None:
    truth, found = drawn(4, 12)
    table = matched(truth, found, 3)
    weights = np.concatenate(list(draws(12, 20, 7, 20)))
    together = average_precisions(table, weights)
    for row in range(20):
        np.testing.assert_allclose(together[row], average_precisions(table, weights[[row]])[0], rtol=1e-12)


def test_blocks_of_any_size_are_the_same_draws() -> None:
    one, other = (np.concatenate(list(draws(9, 50, 3, at_once))) for at_once in (50, 7))
    np.testing.assert_array_equal(one, other)
    assert (one.sum(axis=1) == 9).all()


def test_part_of_a_table_is_the_table_of_the_part() -> None:
    truth, found = drawn(6, 20, false=3)
    members = np.arange(20) % 3 == 0
    part = matched(truth, found, 3).of(members)
    rows = np.flatnonzero(members)
    alone = matched([truth[row] for row in rows], [found[row] for row in rows], 3)
    for name in ("truth_image", "truth_class", "truth_area", "image", "class_id", "score", "partner", "mistaken"):
        np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
    assert (part.images, part.classes) == (alone.images, alone.classes)


def test_interval_is_nothing_where_nothing_is_known_of_the_spread() -> None:
    assert bounds(np.array([0.5, 0.5]), images=1) is None
    assert bounds(np.array([0.5, np.nan, np.nan]), images=9) is None
    assert bounds(np.linspace(0, 1, 1001), images=9) == pytest.approx((0.025, 0.975))
    one_image = evaluate([true("a", (0, A))], [said("a", (0, A, 0.9))], ["x"], resamples=20)
    assert one_image.ap50_interval is None


def test_interval_of_ninety_five_percent_holds_the_truth_about_so_often() -> None:
    # What holds in the long run, from many images of the same kind.
    truth, found = drawn(99, 3000, classes=1, false=2)
    long_run = float(mean_of(average_precisions(matched(truth, found, 1), np.ones((1, 3000)), LEVELS[:1]))[0])
    held = 0
    for start in range(0, 3000, 40):
        part = matched(truth[start : start + 40], found[start : start + 40], 1)
        interval = bounds(mean_of(resampled(part, levels=LEVELS[:1], resamples=200)), 40)
        assert interval is not None
        held += interval[0] <= long_run <= interval[1]
    # 75 trials: about 71 are expected; 64 or fewer would happen once in 500 times.
    assert 65 <= held <= 75, held


def test_better_student_is_told_from_a_worse_one_and_equal_ones_are_not() -> None:
    truth, good = drawn(1, 80, recall=0.9, false=0.5)
    _, bad = drawn(1, 80, recall=0.9, false=0.5, shake=0.25)
    apart = paired_difference(truth, good, bad, names(3), resamples=300)
    assert apart.difference is not None
    assert apart.low is not None
    assert apart.difference > apart.low > 0
    assert apart.share_above_zero == 1
    turned = paired_difference(truth, bad, good, names(3), resamples=300)
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-apart.difference, -apart.high, -apart.low))  # type: ignore[operator]
    assert turned.share_above_zero == 0
    same = paired_difference(truth, good, good, names(3), metric="ap50_95", resamples=50)
    assert (same.difference, same.low, same.high, same.share_above_zero) == (0, 0, 0, 0.5)


def test_pairs_are_told_apart_more_finely_than_two_intervals_of_their_own() -> None:
    truth, one = drawn(2, 60, false=2)
    other = [replace(each, scores=each.scores * (0.9 if place % 4 else 1)) for place, each in enumerate(one)]
    apart = paired_difference(truth, one, other, names(3), resamples=300)
    alone = evaluate(truth, one, names(3), resamples=300).ap50_interval
    assert apart.low is not None
    assert apart.high is not None
    assert alone is not None
    assert apart.high - apart.low < 0.5 * (alone[1] - alone[0])


def test_difference_is_that_of_two_evaluations() -> None:
    truth, one = drawn(3, 30)
    _, other = drawn(3, 30, recall=0.6)
    for metric in ("ap50", "ap50_95"):
        first, second = (getattr(evaluate(truth, found, names(3), resamples=2), metric) for found in (one, other))
        apart = paired_difference(truth, one, other, names(3), metric=metric, resamples=2)
        assert apart.difference == pytest.approx(first - second)
        assert apart.images == 30


def test_difference_without_images_or_truth_was_not_measured() -> None:
    for truth in ([], [true("a"), true("b")]):
        apart = paired_difference(truth, truth, truth, ["x"], resamples=5)
        assert (apart.difference, apart.low, apart.high, apart.share_above_zero) == (None, None, None, None)


def test_class_in_one_image_alone_is_left_out_of_resamples_without_it() -> None:
    truth = [true("a", (0, A), (1, B)), *(true(f"{k}", (0, A)) for k in range(5))]
    found = [said("a", (0, A, 0.9)), *(said(f"{k}", (0, A, 0.9)) for k in range(5))]
    values = mean_of(resampled(matched(truth, found, 2), levels=LEVELS[:1], resamples=400))
    assert set(np.round(values, 6)) == {0.5, 1.0}
    # The image is not drawn in (1 - 1/6)^6 = 33 % of the resamples.
    assert (values == 1).mean() == pytest.approx(0.335, abs=0.08)

"""The operating threshold: every threshold tried as oracle, plateaus by hand, costs that pull it up and down."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.evaluate import at_threshold, choose_threshold, to_json
from distill.evaluation.table import matched
from labeling.core.errors import InputError
from tests.made_objects import drawn, names, said, true

A, B, C = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 300.0, 300.0), (400.0, 300.0, 500.0, 400.0)


@given(
    seed=st.integers(0, 10**6),
    coarse=st.booleans(),
    cost_miss=st.sampled_from([0.1, 1.0, 3.0]),
    cost_false=st.sampled_from([0.1, 1.0, 7.0]),
)
@settings(max_examples=80, deadline=None)
def test_no_threshold_is_cheaper(seed: int, coarse: bool, cost_miss: float, cost_false: float) -> None:
    truth, found = drawn(seed, 4, false=3, coarse=coarse)
    chosen = choose_threshold(truth, found, names(3), cost_miss=cost_miss, cost_false=cost_false, resamples=2)
    table = matched(truth, found, 3, most=None)

    def cost(score: float) -> float:
        counted = table.score >= score
        right = int(table.right[0, counted].sum())
        return cost_miss * (len(table.truth_class) - right) + cost_false * (int(counted.sum()) - right)

    tried = [0.0, *table.score.tolist(), 2.0]
    assert cost(chosen.score) == pytest.approx(min(cost(score) for score in tried))
    assert chosen.cost == pytest.approx(cost(chosen.score) / 4)
    assert chosen.cost == pytest.approx((cost_miss * chosen.misses + cost_false * chosen.false_alarms) / 4)
    for k in range(0, 201, 20):
        assert chosen.costs[k] == pytest.approx(cost(float(chosen.scores[k])) / 4)
    held = at_threshold(truth, found, names(3), chosen.score, resamples=2).overall
    assert (held.missed, held.false) == (chosen.misses, chosen.false_alarms)


def test_threshold_lies_in_the_middle_between_right_and_wrong() -> None:
    truth = [true("a", (0, A), (0, B))]
    found = [said("a", (0, A, 0.9), (0, B, 0.7), (0, C, 0.3))]
    assert choose_threshold(truth, found, ["x"], resamples=2).score == pytest.approx(0.5)


def test_widest_of_several_equal_stretches_is_taken_and_neighbours_are_one() -> None:
    truth = [true("a", (0, A), (0, B))]
    # Right at 0.9; wrong at 0.8, right at 0.6: either side of this pair costs the same. (0.8, 0.9] is narrow,
    # (0.1, 0.6] is wide.
    found = [said("a", (0, A, 0.9), (0, C, 0.8), (0, B, 0.6), (0, (500.0, 0.0, 600.0, 90.0), 0.1))]
    assert choose_threshold(truth, found, ["x"], resamples=2).score == pytest.approx(0.35)
    # A right and a wrong one of one score cost nothing together: (0.5, 0.9] and (0.2, 0.5] are one stretch.
    found = [said("a", (0, A, 0.9), (0, C, 0.5), (0, B, 0.5), (0, (500.0, 0.0, 600.0, 90.0), 0.2))]
    assert choose_threshold(truth, found, ["x"], resamples=2).score == pytest.approx(0.55)


def test_dear_misses_lower_it_and_dear_false_alarms_raise_it() -> None:
    truth, found = drawn(3, 200, false=3)
    scores = [
        choose_threshold(truth, found, names(3), cost_miss=miss, cost_false=false, resamples=2).score
        for miss, false in ((20.0, 1.0), (1.0, 1.0), (1.0, 20.0))
    ]
    assert scores == sorted(scores)
    assert scores[2] - scores[0] > 0.2


def test_nothing_is_worth_its_cost_where_all_is_wrong() -> None:
    truth = [true("a", (0, A))]
    assert choose_threshold(truth, [said("a", (0, B, 0.6))], ["x"], resamples=2).score == pytest.approx(0.8)
    certain = choose_threshold(truth, [said("a", (0, B, 1.0))], ["x"], resamples=2)
    assert certain.score > 1
    assert (certain.misses, certain.false_alarms) == (1, 0)


def test_class_with_too_few_objects_takes_the_threshold_of_all() -> None:
    # 60 of class 0, right from 0.2 on; 10 of class 1, right from 0.8 on.
    truth = [true(f"{k}", (0, A), *([(1, B)] if k < 10 else [])) for k in range(60)]
    found = [said(f"{k}", (0, A, 0.3), (0, C, 0.1), *([(1, B, 0.9), (1, C, 0.7)] if k < 10 else [])) for k in range(60)]
    chosen = choose_threshold(truth, found, ["many", "few"], resamples=20)
    assert chosen.own == ("many",)
    assert chosen.by_class == {"many": pytest.approx(0.2), "few": chosen.score}
    assert chosen.score == pytest.approx(0.2)


def test_class_with_enough_objects_has_a_threshold_of_its_own() -> None:
    truth = [true(f"{k}", (0, A), (1, B)) for k in range(50)]
    found = [said(f"{k}", (0, A, 0.3), (0, C, 0.1), (1, B, 0.9), (1, C, 0.7)) for k in range(50)]
    chosen = choose_threshold(truth, found, ["low", "high"], resamples=2)
    assert chosen.by_class == {"low": pytest.approx(0.2), "high": pytest.approx(0.8)}
    held = at_threshold(truth, found, ["low", "high"], [chosen.by_class["low"], chosen.by_class["high"]], resamples=2)
    assert (held.overall.missed, held.overall.false) == (0, 0)


def test_interval_holds_the_score_and_is_narrower_with_more_images() -> None:
    widths = []
    for images in (15, 600):
        chosen = choose_threshold(*drawn(1, images, false=2), names(3), resamples=200)
        assert chosen.score_interval is not None
        low, high = chosen.score_interval
        assert low <= chosen.score <= high
        widths.append(high - low)
    assert widths[1] < widths[0]
    assert choose_threshold(*drawn(1, 1, false=2), names(3), resamples=20).score_interval is None


def test_curve_has_recall_and_precision_of_every_score() -> None:
    truth = [true("a", (0, A), (0, B))]
    chosen = choose_threshold(truth, [said("a", (0, A, 0.9), (0, C, 0.3))], ["x"], resamples=2)
    at = {round(float(score), 3): k for k, score in enumerate(chosen.scores)}
    assert chosen.recalls[[at[0.2], at[0.5], at[0.95]]] == pytest.approx([0.5, 0.5, 0])
    assert chosen.precisions[[at[0.2], at[0.5]]] == pytest.approx([0.5, 1])
    assert np.isnan(chosen.precisions[at[0.95]])
    assert chosen.costs[[at[0.2], at[0.5], at[0.95]]] == pytest.approx([2, 1, 2])


@pytest.mark.parametrize("truth", [[], [true("a")]], ids=["no images", "nothing"])
def test_nothing_to_choose_from_gives_the_middle(truth: list) -> None:  # type: ignore[type-arg]
    chosen = choose_threshold(truth, truth, ["x"], resamples=5)
    assert chosen.score == 0.5
    assert chosen.by_class == {"x": 0.5}
    json.dumps(to_json(chosen), allow_nan=False)


def test_cost_that_is_none_is_refused() -> None:
    for cost in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="the cost of a miss is"):
            choose_threshold([], [], ["x"], cost_miss=cost, cost_false=1)
    with pytest.raises(InputError, match="the cost of a false alarm is 0"):
        choose_threshold([], [], ["x"], cost_miss=1, cost_false=0)

"""The guarantee by hand-computed bounds, by simulation where the truth is known, and by what must never matter."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from labeling.trust.guarantee import Images, descend, design_effect, fewest, levels, likeness, lower_bound, p_value

MANY = 10**6


def images(keys: list[float], labels: list[int], wrong: list[int], since: float = 0.0) -> Images:
    return Images(np.array(keys), np.array(labels), np.array(wrong), np.full(len(keys), since))


def alone(count: int, wrong: int, key: float = 0.9) -> Images:
    """Return images of one label each, the first ones wrong."""
    return images([key] * count, [1] * count, [1] * wrong + [0] * (count - wrong))


# One level


def test_59_right_labels_show_95_percent_and_58_do_not() -> None:
    # 0.95 ** 59 = 0.0485, 0.95 ** 58 = 0.0510
    assert fewest(0.95, 0.95) == 59
    assert p_value(alone(59, 0), MANY, 0.95, 0.1) == pytest.approx(0.95**59)
    assert p_value(alone(58, 0), MANY, 0.95, 0.1) > 0.05


def test_one_wrong_label_takes_93() -> None:
    # 0.95 ** 93 + 93 * 0.05 * 0.95 ** 92 = 0.0500 (Clopper and Pearson)
    assert p_value(alone(93, 1), MANY, 0.95, 0.1) <= 0.05
    assert p_value(alone(92, 1), MANY, 0.95, 0.1) > 0.05


def test_the_bound_is_that_of_clopper_and_pearson_where_images_have_one_label() -> None:
    assert lower_bound(alone(100, 3), confidence=0.95, alike=0.5) == pytest.approx(beta.ppf(0.05, 97, 4))
    assert lower_bound(alone(3, 3), confidence=0.95, alike=0.5) == 0.0


def test_of_few_waiting_labels_the_statement_is_about_those() -> None:
    # 100 of 120 were seen, none is wrong; broken is the promise with 2 wrong of the 20: 20*19 / (120*119)
    found = p_value(alone(100, 0), 20, 0.95, 0.0)
    assert found == pytest.approx(20 * 19 / (120 * 119))


def test_labels_of_one_image_count_less_the_more_alike_its_errors_are() -> None:
    assert design_effect(np.array([5, 5, 5]), 0.25) == pytest.approx(2.0)
    crowd = images([0.9] * 20, [5] * 20, [0] * 20)
    assert p_value(crowd, MANY, 0.95, 0.0) < p_value(crowd, MANY, 0.95, 0.25) < p_value(crowd, MANY, 0.95, 1.0)
    assert p_value(crowd, MANY, 0.95, 1.0) == pytest.approx(0.95**20)


def test_likeness_is_one_where_images_are_wrong_as_a_whole_and_least_where_nothing_is_wrong() -> None:
    whole = images([0.9] * 40, [4] * 40, [4] * 10 + [0] * 30)
    assert likeness(whole) == pytest.approx(1.0, abs=0.05)
    assert likeness(alone(40, 5)) == 0.1
    assert likeness(images([0.9] * 9, [3] * 9, [0] * 9)) == 0.1


def test_without_audits_nothing_is_shown() -> None:
    assert p_value(alone(0, 0), MANY, 0.95, 0.1) == 1.0
    assert descend(alone(0, 0), alone(50, 0), target=0.95, confidence=0.95) == []


# All levels


def stairs(per_step: int) -> Images:
    """Return images whose labels are all right from 0.7 on and half wrong below."""
    keys = [0.9] * per_step + [0.8] * per_step + [0.7] * per_step + [0.4] * per_step
    wrong = [0] * 3 * per_step + [0, 1] * (per_step // 2)
    return images(keys, [1] * 4 * per_step, wrong)


def test_the_region_ends_where_labels_begin_to_be_wrong() -> None:
    found = descend(stairs(60), stairs(1000), target=0.95, confidence=0.95)
    assert [one.level for one in found if one.passed][-1] == 0.7
    assert (found[-1].level, found[-1].passed) == (0.4, False)


def test_levels_follow_from_scores_alone() -> None:
    some = stairs(10)
    others = Images(some.keys, some.labels, 1 - some.wrong, some.since)
    assert levels(some).tolist() == levels(others).tolist() == [0.9, 0.8, 0.7, 0.4]


def test_sure_labels_beside_a_doubtful_one_say_nothing_about_images_that_skip() -> None:
    # 100 images whose lowest score is 0.3 hold sure labels, all right; of those that would skip 20 % are wrong.
    beside = images([0.3] * 100, [10] * 100, [0] * 100)
    skipping = alone(60, 12)
    both = Images(*(np.concatenate(pair) for pair in zip(_columns(beside), _columns(skipping), strict=True)))
    found = descend(both, alone(1000, 0), target=0.9, confidence=0.95)
    assert not any(one.passed for one in found)


def test_an_audit_among_sure_images_says_nothing_about_levels_below() -> None:
    some = images([0.9] * 100, [1] * 100, [0] * 100, since=0.8)
    waiting = images([0.9] * 50 + [0.5] * 50, [1] * 100, [0] * 100)
    assert len(some.at(0.8)) == 100
    assert len(some.at(0.5)) == 0
    assert [one.level for one in descend(some, waiting, target=0.95, confidence=0.95) if one.passed] == [0.9]


def _columns(some: Images) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    return some.keys, some.labels, some.wrong, some.since


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 20), st.floats(0.6, 0.98), st.floats(0, 1))
def test_a_further_wrong_label_never_makes_it_surer(count: int, wrong: int, target: float, alike: float) -> None:
    wrong = min(wrong, count - 1)
    assert p_value(alone(count, wrong), 5000, target, alike) <= p_value(alone(count, wrong + 1), 5000, target, alike)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80))
def test_what_passes_is_an_unbroken_run_of_falling_levels(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(1, 6, count)
    some = Images(random.random(count), labels, random.binomial(labels, 0.05), np.zeros(count))
    found = descend(some, some, target=0.6, confidence=0.8)
    assert [one.passed for one in found] == sorted((one.passed for one in found), reverse=True)
    assert all(a.level > b.level for a, b in pairwise(found))


@pytest.mark.parametrize("alike", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("target", [0.9, 0.95])
def test_a_teacher_just_below_the_target_is_let_through_in_one_of_twenty_at_most(target: float, alike: float) -> None:
    """The worst case: every level is a little too bad, and errors of one image are alike (beta-binomial)."""
    random = np.random.default_rng(7)
    draws, granted = 400, 0
    for _ in range(draws):
        labels = random.integers(1, 6, 80)
        share = 1 - target + 0.002
        each = random.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), 80) if alike else np.full(80, share)
        some = Images(random.random(80), labels, random.binomial(labels, each), np.zeros(80))
        waiting = Images(random.random(400), np.full(400, 300), np.zeros(400, dtype=np.int64), np.zeros(400))
        granted += any(one.passed for one in descend(some, waiting, target=target, confidence=0.95))
    assert granted / draws <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)

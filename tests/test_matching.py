"""Matching of two sets of boxes: a search through all pairings as oracle, then properties, then what follows."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core.geometry import iou
from labeling.core.matching import Counts, bootstrap, counts, interval, match

_SIDE = st.integers(0, 12)
_BOX = st.tuples(_SIDE, _SIDE, st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
_BOXES = st.lists(_BOX, max_size=5)
_IOU = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 1.0])


def _best_total(boxes: list[tuple[int, ...]], others: list[tuple[int, ...]], min_iou: float) -> float:
    """Try every way to give each box of the smaller set one of the larger, or none."""
    table = iou(boxes, others)
    table = np.where((table >= min_iou) & (table > 0), table, 0)
    table = table if len(boxes) <= len(others) else table.T
    rows = range(table.shape[0])
    return max(sum(table[i, j] for i, j in zip(rows, way, strict=False)) for way in permutations(range(table.shape[1])))


@given(_BOXES, _BOXES, _IOU)
@settings(max_examples=150, deadline=None)
def test_total_iou_is_that_of_the_best_of_all_pairings(
    boxes: list[tuple[int, ...]], others: list[tuple[int, ...]], min_iou: float
) -> None:
    total = sum(shared for _i, _j, shared in match(boxes, others, min_iou=min_iou))
    assert total == pytest.approx(_best_total(boxes, others, min_iou))


@given(_BOXES, _BOXES, _IOU)
@settings(max_examples=100, deadline=None)
def test_pairs_are_one_to_one_ascending_and_none_is_below_the_limit(
    boxes: list[tuple[int, ...]], others: list[tuple[int, ...]], min_iou: float
) -> None:
    pairs = match(boxes, others, min_iou=min_iou)
    firsts, seconds = [i for i, _j, _iou in pairs], [j for _i, j, _iou in pairs]
    assert firsts == sorted(set(firsts))
    assert len(set(seconds)) == len(seconds)
    assert all(shared >= min_iou and shared > 0 for _i, _j, shared in pairs)
    assert all(shared == iou([boxes[i]], [others[j]])[0, 0] for i, j, shared in pairs)


@given(_BOXES, _BOXES, _IOU)
@settings(max_examples=100, deadline=None)
def test_the_other_way_round_the_total_is_the_same(
    boxes: list[tuple[int, ...]], others: list[tuple[int, ...]], min_iou: float
) -> None:
    there, back = match(boxes, others, min_iou=min_iou), match(others, boxes, min_iou=min_iou)
    assert sum(pair[2] for pair in there) == pytest.approx(sum(pair[2] for pair in back))


def test_the_best_total_may_not_take_the_best_single_pair() -> None:
    # The first box overlaps both others; greedy would take (0, 1) and leave box 1 alone.
    boxes = [(0, 0, 10, 10), (2, 0, 12, 10)]
    others = [(-2.5, 0, 7.5, 10), (0.5, 0, 10.5, 10)]
    assert iou(boxes, others)[0, 1] == iou(boxes, others).max()
    assert [(i, j) for i, j, _iou in match(boxes, others)] == [(0, 0), (1, 1)]


def test_of_equal_boxes_those_are_paired_that_are_preferred() -> None:
    box = (0.0, 0.0, 4.0, 4.0)
    for prefer, pairs in (([[0, 1], [1, 0]], [(0, 1), (1, 0)]), ([[1, 0], [0, 1]], [(0, 0), (1, 1)])):
        assert [(i, j) for i, j, _iou in match([box, box], [box, box], prefer=prefer)] == pairs
    better = (0.0, 0.0, 4.0, 4.1)
    assert match([box], [better, box], prefer=[[True, False]]) == [(0, 1, 1.0)]


def test_sets_without_boxes_have_no_pairs() -> None:
    none = np.empty((0, 4))
    assert match(none, none) == match([], [(0, 0, 1, 1)]) == match([(0, 0, 1, 1)], none, prefer=np.empty((1, 0))) == []
    assert match([(0, 0, 0, 0)], [(0, 0, 0, 0)], min_iou=0) == []  # without area, without overlap


def test_a_pair_of_two_classes_is_a_false_claim_and_a_miss() -> None:
    claimed, true = ["cup", "cup", "mug", "fork"], ["cup", "mug", "mug", "spoon"]
    assert counts(claimed, true, [(0, 0, 0.9), (1, 1, 0.8), (2, 2, 0.7)]) == {
        "cup": Counts(1, 1, 0),
        "fork": Counts(0, 1, 0),
        "mug": Counts(1, 0, 1),
        "spoon": Counts(0, 0, 1),
    }
    assert counts([], [], []) == {}
    assert (Counts(3, 1, 2).precision, Counts(3, 1, 2).recall) == (0.75, 0.6)
    assert (Counts(0, 0, 1).precision, Counts(0, 1, 0).recall) == (None, None)


def test_wilson_interval_equals_the_hand_computed_one() -> None:
    # Wilson 1927 with z = 1.959964: centre (p + z²/2n) / (1 + z²/n), half width z √(p(1-p)/n + z²/4n²) / (1 + z²/n).
    assert interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert interval(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert interval(0, 0) is None
    narrow, wide = interval(40, 50, 0.9), interval(40, 50, 0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < 0.8 < narrow[1] < wide[1]


def _ratio(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[:, :1] / sums[:, 1:]


def test_bootstrap_agrees_with_scipy() -> None:
    from scipy import stats

    random = np.random.default_rng(3)
    n = random.integers(1, 12, 200)
    parts = np.stack([random.binomial(n, 0.7), n], axis=1)
    low, high = bootstrap(parts, _ratio, resamples=4000)
    theirs = stats.bootstrap(
        (parts[:, 0], parts[:, 1]),
        lambda found, of, axis=-1: found.sum(axis=axis) / of.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_bootstrap_repeats_itself_in_whatever_pieces_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = np.random.default_rng(1).integers(1, 9, (30, 2))
    once = bootstrap(parts, _ratio, seed=5)
    monkeypatch.setattr("labeling.core.matching._CELLS", 30 * 7)
    assert np.array_equal(bootstrap(parts, _ratio, seed=5), once)
    assert not np.array_equal(bootstrap(parts, _ratio, seed=6), once)


def test_bootstrap_leaves_undefined_resamples_out_and_says_nothing_without_two_images() -> None:
    # One image of four has a denominator: 32 % of the resamples are undefined, all others are exactly 2.
    assert [bound.tolist() for bound in bootstrap([[2, 1], [0, 0], [0, 0], [0, 0]], _ratio)] == [[2.0], [2.0]]
    assert all(np.isnan(bound).all() for bound in bootstrap([[0, 0]] * 5, _ratio))
    # Defined only where the first of four images was drawn twice or more: 26 % of the resamples.
    rare = bootstrap([[1], [0], [0], [0]], lambda sums: np.where(sums >= 2, sums, np.nan))
    assert all(np.isnan(bound).all() for bound in rare)
    assert all(np.isnan(bound).all() and bound.shape == (1,) for bound in bootstrap([[1, 2]], _ratio))
    assert all(np.isnan(bound).all() for bound in bootstrap(np.empty((0, 2)), _ratio))

"""What holds at a threshold: confusion that was planted, counts worked out by hand, then what must add up."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.curation.photo_facts import PhotoFacts
from distill.evaluate import at_threshold, to_json
from labeling.core.errors import InputError
from labeling.core.matching import interval
from tests.made_objects import drawn, ellipses, names, said, true

A, B, C = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 300.0, 300.0), (400.0, 300.0, 500.0, 400.0)
ELSEWHERE = (550.0, 10.0, 600.0, 60.0)


def test_counts_at_a_threshold_are_worked_out_by_hand() -> None:
    truth = [true("a", (0, A), (0, B), (1, C)), true("b", (0, A))]
    found = [
        said("a", (0, A, 0.9), (0, ELSEWHERE, 0.8), (1, C, 0.49)),  # right, false, below the threshold
        said("b", (0, A, 0.5), (0, A, 0.6)),  # one of the two is once too often
    ]
    measured = at_threshold(truth, found, ["x", "y"], 0.5, resamples=50)
    x, y = measured.classes
    assert (x.objects, x.right, x.false, x.missed) == (3, 2, 2, 1)
    assert (x.precision, x.recall, x.f1) == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert (y.objects, y.right, y.false, y.missed) == (1, 0, 0, 1)
    assert (y.precision, y.recall, y.f1) == (None, 0.0, 0.0)
    assert (measured.overall.objects, measured.overall.right, measured.overall.false) == (4, 2, 2)
    assert measured.overall.score == 0.5
    np.testing.assert_array_equal(measured.confusion, [[2, 0, 1], [0, 0, 1], [2, 0, 0]])


def test_score_that_is_exactly_the_threshold_counts() -> None:
    measured = at_threshold([true("a", (0, A))], [said("a", (0, A, 0.5))], ["x"], 0.5, resamples=2)
    assert measured.overall.right == 1


def test_every_class_may_have_its_own_threshold() -> None:
    truth = [true("a", (0, A), (1, B))]
    found = [said("a", (0, A, 0.5), (1, B, 0.5))]
    measured = at_threshold(truth, found, ["x", "y"], (0.4, 0.6), resamples=2)
    assert [(one.score, one.right) for one in measured.classes] == [(0.4, 1), (0.6, 0)]
    assert measured.overall.score is None
    with pytest.raises(InputError, match="one for each of 2 classes"):
        at_threshold(truth, found, ["x", "y"], (0.4, 0.6, 0.1))


def test_confusion_that_was_planted_is_found() -> None:
    # Of ten dogs seven are called dogs, two cats, one nothing; of five cats all are called cats; one dog is made up.
    truth = [true(f"dog {k}", (0, A)) for k in range(10)] + [true(f"cat {k}", (1, A)) for k in range(5)]
    called = [0] * 7 + [1] * 2 + [None] + [1] * 5
    found = [
        said(one, *(() if class_id is None else ((class_id, A, 0.9),)))
        for one, class_id in zip([f"dog {k}" for k in range(10)] + [f"cat {k}" for k in range(5)], called, strict=True)
    ]
    found[0] = said("dog 0", (0, A, 0.9), (0, ELSEWHERE, 0.7))
    measured = at_threshold(truth, found, ["dog", "cat"], 0.5, resamples=2)
    np.testing.assert_array_equal(measured.confusion, [[7, 2, 1], [0, 5, 0], [1, 0, 0]])


def test_object_called_by_two_names_is_right_once_and_false_once() -> None:
    # The wrong name has the higher score; the object is answered all the same.
    measured = at_threshold([true("a", (0, A))], [said("a", (1, A, 0.9), (0, A, 0.8))], names(2), 0.5, resamples=2)
    np.testing.assert_array_equal(measured.confusion, [[1, 0, 0], [0, 0, 0], [0, 1, 0]])


def test_best_of_two_wrong_names_takes_the_object() -> None:
    measured = at_threshold([true("a", (0, A))], [said("a", (1, A, 0.8), (2, A, 0.9))], names(3), 0.5, resamples=2)
    assert measured.confusion[0].tolist() == [0, 0, 1, 0]
    assert measured.confusion[3].tolist() == [0, 1, 0, 0]


def test_what_lies_below_the_threshold_is_mistaken_for_nothing() -> None:
    found = [said("a", (2, A, 0.4), (1, A, 0.9))]
    measured = at_threshold([true("a", (0, A))], found, names(3), 0.5, resamples=2)
    assert measured.confusion[0].tolist() == [0, 1, 0, 0]
    assert measured.confusion.sum() == 1


@given(seed=st.integers(0, 10**6), images=st.integers(0, 10), score=st.sampled_from([0.0, 0.3, 0.6, 1.0]))
@settings(max_examples=60, deadline=None)
def test_confusion_adds_up_to_objects_and_names(seed: int, images: int, score: float) -> None:
    truth, found = drawn(seed, images, swap=0.5)
    measured = at_threshold(truth, found, names(3), score, resamples=2)
    there = np.bincount(np.concatenate([[0] * 0, *(one.class_ids for one in truth)]).astype(int), minlength=3)
    claimed = np.bincount(
        np.concatenate([[0] * 0, *(one.above(score).class_ids for one in found)]).astype(int), minlength=3
    )
    np.testing.assert_array_equal(measured.confusion.sum(axis=1)[:3], there)
    np.testing.assert_array_equal(measured.confusion.sum(axis=0)[:3], claimed)
    assert measured.confusion[3, 3] == 0
    for k, one in enumerate(measured.classes):
        assert one.right == measured.confusion[k, k]
        assert one.right + one.missed == there[k]
        assert one.right + one.false == claimed[k]
    sizes = [part for part in measured.parts if part.about == "size"]
    assert sum(part.objects for part in sizes) == measured.overall.objects
    assert sum(part.found for part in sizes) == measured.overall.right
    json.dumps(to_json(measured), allow_nan=False)


def test_false_alarms_on_empty_images_are_counted_with_their_intervals() -> None:
    truth = [true(f"{k}") for k in range(10)] + [true("full", (0, A))]
    found = [
        *(said(f"{k}", (0, A, 0.9), (0, B, 0.8), (0, C, 0.1)) for k in range(2)),
        *(said(f"{k}") for k in range(2, 10)),
        said("full", (0, B, 0.9)),  # a false alarm, but not on an empty image
    ]
    empty = at_threshold(truth, found, ["x"], 0.5, resamples=2).backgrounds
    assert (empty.images, empty.alarms, empty.per_image) == (10, 4, 0.4)
    # Exact Poisson interval of a count of 4: 1.0899 to 10.2416 (Garwood's table).
    assert empty.per_image_interval == pytest.approx((0.10899, 1.02416), abs=1e-4)
    assert (empty.alarmed, empty.share, empty.share_interval) == (2, 0.2, interval(2, 10))


def test_empty_images_without_an_alarm_still_allow_for_some() -> None:
    truth = [true(f"{k}") for k in range(30)]
    empty = at_threshold(truth, truth, ["x"], 0.5, resamples=2).backgrounds
    assert empty.per_image_interval == pytest.approx((0, 3.6889 / 30), abs=1e-4)
    assert empty.share == 0


def test_without_empty_images_false_alarms_on_them_were_not_measured() -> None:
    empty = at_threshold([true("a", (0, A))], [said("a")], ["x"], 0.5, resamples=2).backgrounds
    assert (empty.images, empty.per_image, empty.share, empty.per_image_interval) == (0, None, None, None)


def test_parts_tell_where_objects_are_missed() -> None:
    small, large = (300.0, 0.0, 320.0, 20.0), A
    truth = [true(f"{k}", (0, large), (0, small)) for k in range(8)]
    found = [said(f"{k}", (0, large, 0.9), *([(0, B, 0.9)] if k < 2 else [(0, small, 0.9)])) for k in range(8)]
    facts = {
        one.sha256: PhotoFacts(
            one.sha256, 0.1 if k < 2 else 0.5, 0.25, 2000.0, None, None, np.zeros((48, 48), np.uint8)
        )
        for k, one in enumerate(truth)
    }
    parts = {one.name: one for one in at_threshold(truth, found, ["x"], 0.5, facts=facts, resamples=100).parts}
    assert (parts["small"].objects, parts["small"].found, parts["small"].recall) == (8, 6, 0.75)
    assert (parts["large"].recall, parts["large"].false_per_image, parts["large"].images) == (1.0, None, 8)
    assert (parts["medium"].objects, parts["medium"].recall, parts["medium"].recall_interval) == (0, None, None)
    assert (parts["dark"].images, parts["dark"].recall, parts["dark"].false_per_image) == (2, 0.5, 1.0)
    assert (parts["ordinary"].recall, parts["ordinary"].false_per_image) == (1.0, 0.0)
    assert parts["bright"].images == 0
    assert parts["small"].recall_interval is not None
    assert parts["small"].recall_interval[0] < 0.75 < parts["small"].recall_interval[1]


def test_masks_decide_where_they_are_asked_for() -> None:
    truth = [ellipses(true("a", (0, A)))]
    narrow = [said("a", (0, (0.0, 0.0, 52.0, 100.0), 0.9))]  # IoU of the boxes 0.52, of the ellipse with it 0.46
    assert at_threshold(truth, narrow, ["x"], 0.5, resamples=2).overall.right == 1
    assert at_threshold(truth, narrow, ["x"], 0.5, masks=True, resamples=2).overall.right == 0


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    widths = []
    for images in (20, 320):
        measured = at_threshold(*drawn(5, images), names(3), 0.4, resamples=300).overall
        for value, ends in (
            (measured.precision, measured.precision_interval),
            (measured.recall, measured.recall_interval),
            (measured.f1, measured.f1_interval),
        ):
            assert value is not None
            assert ends is not None
            assert ends[0] <= value <= ends[1]
        assert measured.recall_interval is not None
        widths.append(measured.recall_interval[1] - measured.recall_interval[0])
    assert widths[1] < 0.4 * widths[0]

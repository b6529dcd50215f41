"""Whether INT8 may be used: worked out by hand from how many objects of each class are still found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.evaluate import Evaluation, evaluate
from export.int8_gate import gate
from labeling.core.errors import InputError
from tests.made_objects import said, true

NAMES = ("crate", "drum", "ladder")
BOX = (100.0, 100.0, 200.0, 200.0)


def measured(found: Sequence[int], there: Sequence[int] = (100, 100, 100), images: int = 100) -> Evaluation:
    """Return an evaluation in which so many objects of each class are found, exactly, and nothing else.

    The AP of a class of which k of n are found is the share of the 101 recalls 0, 0.01 to 1 that k / n reaches.
    """
    truth = [true(str(image), *((k, BOX) for k, count in enumerate(there) if image < count)) for image in range(images)]
    answers = [
        said(str(image), *((k, BOX, 0.9) for k, count in enumerate(found) if image < count)) for image in range(images)
    ]
    return evaluate(truth, answers, NAMES, resamples=2)


def test_what_is_lost_is_the_difference_over_all_and_for_each_class() -> None:
    verdict = gate(measured((100, 90, 80)), measured((98, 90, 81)), NAMES)

    assert [one.lost for one in verdict.classes] == pytest.approx([2 / 101, 0, -1 / 101])
    assert verdict.fp32 == pytest.approx((101 + 91 + 81) / 303)
    assert verdict.lost == pytest.approx(1 / 303)
    assert verdict.passed
    assert verdict.precision == "int8"
    assert (
        verdict.sentence == "INT8 costs 0.3 points of AP50-95 on 100 val images, within the limits; INT8 is the default"
    )


def test_more_than_a_point_over_all_classes_is_refused_and_fp16_stays() -> None:
    verdict = gate(measured((100, 100, 100)), measured((98, 98, 98)), NAMES)

    assert verdict.faults == ("2.0 points lost over all classes, at most 1.0 are allowed",)
    assert verdict.precision == "fp16"
    assert verdict.sentence.endswith("at most 1.0 are allowed: FP16 stays the default")


def test_more_than_three_points_on_one_class_are_refused_although_the_mean_is_fine() -> None:
    verdict = gate(measured((96, 90, 90)), measured((92, 92, 92)), NAMES)

    assert verdict.lost == pytest.approx(0)
    assert verdict.faults == ("4.0 points lost on crate, at most 3.0 are allowed",)
    assert not verdict.passed


def test_a_class_with_few_objects_is_not_judged_alone_and_that_is_said() -> None:
    there = (100, 100, 33)
    verdict = gate(measured((90, 90, 33), there), measured((91, 91, 31), there), NAMES)

    ladder = verdict.classes[2]
    assert (ladder.objects, ladder.judged) == (33, False)
    assert ladder.lost is not None
    assert ladder.lost > 0.05
    assert verdict.fewest == 34
    assert not [fault for fault in verdict.faults if "ladder" in fault]
    passed = gate(measured((90, 90, 33), there), measured((92, 92, 31), there), NAMES, max_ap=0.05)
    assert "not judged alone, with fewer than 34 objects: ladder; INT8 is the default" in passed.sentence


def test_few_objects_let_int8_pass_but_not_become_the_default() -> None:
    there = (100, 60, 39)
    verdict = gate(measured((99, 59, 38), there), measured(there, there), NAMES, interval=(-0.034, 0.002))

    assert verdict.passed
    assert not verdict.enough
    assert verdict.precision == "fp16"
    assert verdict.sentence.startswith("INT8 adds ")
    assert "AP50-95 (-0.2 to 3.4) on" in verdict.sentence
    costs = gate(measured(there, there), measured((99, 60, 39), there), NAMES, interval=(-0.01, 0.02))
    assert "INT8 costs 0.3 points of AP50-95 (-1.0 to 2.0) on" in costs.sentence
    assert "FP16 stays the default: val holds 199 objects, 200 are needed" in verdict.sentence
    enough = (100, 60, 40)
    assert gate(measured(enough, enough), measured(enough, enough), NAMES).precision == "int8"


def test_one_object_more_makes_it_judged() -> None:
    there = (100, 100, 34)
    verdict = gate(measured((90, 90, 34), there), measured((95, 95, 32), there), NAMES)

    assert verdict.classes[2].judged
    assert verdict.faults == ("5.9 points lost on ladder, at most 3.0 are allowed",)


def test_a_class_that_is_not_there_is_not_measured_and_stops_nothing() -> None:
    there = (100, 100, 0)
    verdict = gate(measured((90, 90, 0), there), measured((90, 90, 0), there), NAMES)

    absent = verdict.classes[2]
    assert (absent.fp32, absent.int8, absent.lost, absent.judged) == (None, None, None, False)
    assert verdict.passed


def test_without_any_known_object_nothing_is_measured_and_fp16_stays() -> None:
    nothing = (0, 0, 0)
    verdict = gate(measured(nothing, nothing, 3), measured(nothing, nothing, 3), NAMES)

    assert verdict.lost is None
    assert verdict.precision == "fp16"
    assert verdict.sentence.startswith("INT8 was not measured")


def test_measurements_of_different_images_or_classes_are_not_compared() -> None:
    with pytest.raises(InputError, match="different images"):
        gate(measured((90, 90, 90)), measured((50, 50, 50), images=99), NAMES)
    with pytest.raises(InputError, match="different images or classes"):
        gate(measured((90, 90, 90)), measured((90, 90, 90)), NAMES[::-1])


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.5])
def test_limits_out_of_range_are_refused(limit: float) -> None:
    reference = measured((90, 90, 90))
    with pytest.raises(InputError, match="expected a share above 0"):
        gate(reference, reference, NAMES, max_ap=limit)
    with pytest.raises(InputError, match="expected a share above 0"):
        gate(reference, reference, NAMES, max_class=limit)


@given(st.lists(st.integers(60, 100), min_size=3, max_size=3))
def test_a_model_compared_with_itself_always_passes(found: list[int]) -> None:
    one = measured(found)
    verdict = gate(one, one, NAMES, max_ap=1e-9, max_class=1e-9)

    assert verdict.passed
    assert verdict.lost == 0

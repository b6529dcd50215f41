"""Words of a student's report: each rule of the verdict by hand, nothing claimed that was not measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.reporting.advice import TELLING_GAIN, CurvePoint, trend
from distill.reporting.words import (
    ENOUGH_IMAGES,
    Evidence,
    Measured,
    Rival,
    Target,
    beside,
    judged,
    percent,
    short,
    verdict,
)

GOOD = Measured("crate", 80, 200, 0.97, 0.98, (0.93, 0.99), (0.94, 0.99))
BASELINE = Rival("the baseline", 80, 0.9, 0.3, (0.5, 0.7), "better", baseline=True)


def evidence(*classes: Measured, **changes: Any) -> Evidence:
    """Return a student that is ready, but for the changes."""
    named = Evidence(classes or (GOOD,), GOOD, (BASELINE,), leaks=0, unreviewed=0, opening=())
    return replace(named, **changes)


def notes(on: Evidence) -> str:
    return " ".join(note.text for note in verdict(on).notes)


def test_a_student_is_ready_when_every_class_reaches_the_target_for_certain() -> None:
    found = verdict(evidence(GOOD, replace(GOOD, name="ladder")))
    assert found.state == "ready"
    assert "finds at least 90%" in found.headline
    assert all(note.good for note in found.notes)


@pytest.mark.parametrize(
    ("change", "state", "clause"),
    [
        ({"recall": 0.85, "recall_bounds": (0.78, 0.91)}, "missed", "recall of crate is 0.85 (0.78 to 0.91)"),
        ({"precision": 0.6, "precision_bounds": (0.5, 0.7)}, "missed", "precision of crate is 0.60"),
        ({"recall_bounds": (0.88, 0.99)}, "open", "recall of crate is 0.98 (0.88 to 0.99), and 0.9 is not certain"),
        ({"recall_bounds": None}, "open", "0.9 is not certain"),
        ({"precision": None, "precision_bounds": None}, "open", "precision of crate is not known"),
        ({"images": ENOUGH_IMAGES - 1}, "open", "only 49 test images hold crate, and 50 are needed"),
        ({"images": 1}, "open", "only 1 test image holds crate"),
        ({"images": 12, "recall": 0.8, "recall_bounds": (0.6, 0.95)}, "open", "only 12 test images"),
        ({"images": 12, "recall": 0.3, "recall_bounds": (0.1, 0.5)}, "missed", "recall of crate is 0.30"),
        ({"images": 0, "objects": 0, "recall": None, "recall_bounds": None}, "open", "no test image holds crate"),
        ({"images": ENOUGH_IMAGES}, "met", ""),
    ],
)
def test_each_class_is_judged_by_figures_intervals_and_images(change: dict[str, Any], state: str, clause: str) -> None:
    found, why = judged(replace(GOOD, **change), Target())
    assert found == state
    assert clause in why


def test_a_target_of_ones_own_is_what_counts() -> None:
    weak = replace(GOOD, recall=0.8, recall_bounds=(0.76, 0.84))
    assert verdict(evidence(weak)).state == "not ready"
    assert verdict(evidence(weak), Target(recall=0.75)).state == "ready"


def test_the_worst_class_is_named_and_the_others_are_counted() -> None:
    bad = replace(GOOD, name="ladder", recall=0.4, recall_bounds=(0.3, 0.5))
    worse = replace(GOOD, name="pallet", precision=0.2, precision_bounds=(0.1, 0.3))
    found = verdict(evidence(bad, GOOD, worse))
    assert found.headline == (
        "Not ready: precision of pallet is 0.20 (0.10 to 0.30), the target is 0.9; 1 more class is short of it."
    )
    assert "The weakest class is pallet: recall 0.98 (0.94 to 0.99), precision 0.20 (0.10 to 0.30), on 80 images." in [
        note.text for note in found.notes
    ]


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        ({"classes": None, "overall": None}, "cannot say", "the test part was not opened"),
        ({"unreviewed": 3}, "cannot say", "nobody has reviewed the labels of 3 test images"),
        ({"unreviewed": None}, "cannot say", "nobody has checked whether people reviewed the test part"),
        ({"leaks": 2}, "cannot say", "training has seen"),
        ({"leaks": None}, "cannot say", "nobody has checked that training has not seen the test part"),
        ({"classes": ()}, "cannot say", "the project names no class"),
        ({"rivals": (replace(BASELINE, difference=(-0.1, 0.2), outcome="no difference shown"),)}, "not ready", "beat"),
    ],
)
def test_what_takes_the_worth_from_the_figures_is_the_headline(change: dict[str, Any], state: str, said: str) -> None:
    found = verdict(evidence(**change))
    assert (found.state, said in found.headline) == (state, True), found.headline


FEW = replace(BASELINE, images=5, difference=(0.0, 0.0), outcome="too few images")


def test_too_few_images_to_compare_are_no_defeat() -> None:
    perfect = verdict(evidence(rivals=(FEW,)))
    assert perfect.headline == "Cannot say yet: there are too few images to tell whether it beats the baseline."
    assert perfect.state == "cannot say"
    thin = verdict(evidence(replace(GOOD, images=5), rivals=(FEW,)))
    assert thin.headline.startswith("Cannot say yet: only 5 test images hold crate")
    nothing = replace(FEW, ours=None, theirs=None, difference=None)
    assert "there is nothing to compare" in verdict(evidence(rivals=(nothing,))).headline


def test_why_the_test_part_was_not_measured_is_the_headline() -> None:
    assert verdict(Evidence(None, closed="the test part has no image")).headline == (
        "Cannot say: the test part has no image."
    )
    assert "the test part was not opened for this student" in verdict(Evidence(None)).headline


def test_val_is_not_called_test() -> None:
    said = notes(Evidence(None, leaks=0, unreviewed=2, part="val"))
    assert "of the val part are a machine's" in said
    assert "test" not in said
    assert "test" not in notes(Evidence(None, leaks=3, alike=1, part="val"))


def test_what_it_learned_from_and_left_the_split_takes_the_worth_from_the_figures() -> None:
    found = verdict(evidence(alike=2))
    assert (found.state, found.headline) == ("cannot say", "Cannot say: training has seen 2 test images in some form.")
    said = notes(evidence(alike=2))
    assert "show the same as 2 test images" in said
    assert "No copy" not in said


def test_reuse_leaks_and_unreviewed_images_are_said_aloud() -> None:
    assert "The test part is reused." in notes(evidence(opening=("The test part is reused.",)))
    again = verdict(evidence(opening=("The test part is reused.",)))
    assert again.state == "ready"
    assert "The test part was not new to it" in again.headline
    assert "2 leaks" in notes(evidence(leaks=2))
    assert "The labels of 3 images of the test part are a machine's" in notes(evidence(unreviewed=3))
    assert "may have been opened before" in notes(evidence(opening=None))
    assert "for the first time" in notes(evidence())


def test_nothing_is_claimed_that_was_not_measured() -> None:
    found = verdict(Evidence(None))
    assert found.state == "cannot say"
    assert found.notes == ()
    text = notes(evidence(leaks=None, rivals=()))
    assert "copy" not in text
    assert "baseline" not in text


@pytest.mark.parametrize(
    ("rival", "said", "good"),
    [
        (
            Rival("the teacher it learned from", 80, 0.91, 0.93, (-0.03, 0.01), "no difference shown"),
            "It does as well as the teacher it learned from: AP50 0.91 against 0.93, no difference shown "
            "(on 80 images, difference -0.03 to +0.01).",
            True,
        ),
        (
            Rival("people", 80, 0.91, 0.93, (-0.2, 0.15), "no difference shown"),
            "Beside people: AP50 0.91 against 0.93, no difference shown (on 80 images, difference -0.20 to +0.15).",
            False,  # so wide an interval shows nothing
        ),
        (
            Rival("the student before it", 80, 0.9, 0.8, (0.05, 0.15), "better"),
            "It does better than the student before it: AP50 0.90 against 0.80 (on 80 images, difference +0.05 to "
            "+0.15).",
            True,
        ),
        (
            Rival("the teacher", 80, 0.7, 0.8, (-0.15, -0.05), "worse"),
            "It does worse than the teacher: AP50 0.70 against 0.80 (on 80 images, difference -0.15 to -0.05).",
            False,
        ),
        (
            Rival("people", 1, None, None, None, "too few images"),
            "Beside people: no AP50 to compare on 1 image.",
            False,
        ),
    ],
)  # fmt: skip
def test_a_rival_is_said_as_its_interval_says(rival: Rival, said: str, good: bool) -> None:
    found = beside(rival)
    assert (found.text, found.good) == (said, good)


def test_more_data_helps_where_errors_fall_as_a_power_law() -> None:
    # 1 - AP50 = 2 / sqrt(images): 100, 400 and 1,600 images leave 0.2, 0.1 and 0.05, twice as many 0.05 / sqrt(2).
    points = [CurvePoint(n, ap, ap - 0.01, ap + 0.01) for n, ap in ((100, 0.8), (400, 0.9), (1600, 0.95))]
    found = trend(points)
    assert found.gain == pytest.approx(0.05 - 0.05 / 2**0.5)
    assert found.said.startswith("Yes: with twice the 1,600 images, AP50 would go from 0.95 to about 0.96")


def test_more_data_hardly_helps_on_a_flat_curve_and_nothing_is_said_of_wide_intervals() -> None:
    flat = [CurvePoint(n, 0.94, 0.935, 0.945) for n in (500, 1000, 2000)]
    assert trend(flat).said.startswith("Hardly")
    wide = [CurvePoint(n, 0.84 + n / 1e5, 0.7, 0.95) for n in (50, 100, 200)]
    assert trend(wide).said.startswith("Cannot say")
    assert trend(flat[:2]).gain is None
    assert "2 measured" in trend(flat[:2]).said
    assert "none measured" in trend([]).said


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=0, max_size=6
    )
)
def test_a_trend_never_promises_more_than_perfection(rows: list[tuple[int, float, float, float]]) -> None:
    points = [CurvePoint(n, ap, max(0, ap - low), min(1, ap + high)) for n, ap, low, high in rows]
    found = trend(points)
    assert trend(list(reversed(points))).said == found.said or len({one.images for one in points}) < len(points)
    if found.gain is not None and found.bounds is not None:
        last = max(points, key=lambda one: one.images)
        assert np.isfinite(found.gain)
        assert found.bounds[0] <= found.gain <= found.bounds[1]
        if found.said.startswith("Yes"):
            assert found.gain >= TELLING_GAIN
            assert last.ap50 <= 1


@given(st.text(max_size=300))
def test_names_in_sentences_are_short_and_command_nothing(name: str) -> None:
    said = short(name)
    assert len(said) <= 40
    assert said.isprintable()


def test_percents_are_whole_and_only_all_is_all() -> None:
    assert [percent(value) for value in (0.0, 0.004, 0.5, 0.996, 1.0)] == ["0%", "0.4%", "50%", "99.6%", "100%"]

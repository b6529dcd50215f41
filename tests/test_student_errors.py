"""Errors of a student: each kind told from the others, drawn where they lie, and what to label next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.evaluate import at_threshold, evaluate
from distill.objects import Objects
from distill.reporting.advice import what_next
from distill.reporting.errors import MOST_ERRORS, WorstError, said, worst_errors
from distill.reporting.pictures import FOUND_COLOUR, TRUTH_COLOUR, shown
from tests.made_students import NAMES, objects, photo, scenes

TRUTH = objects(1, [((10, 10, 60, 60), 0, 1.0), ((100, 10, 150, 60), 1, 1.0), ((200, 10, 250, 60), 2, 1.0)])
FOUND = objects(1, [((10, 10, 60, 60), 0, 0.9), ((100, 12, 150, 60), 2, 0.8), ((225, 10, 275, 60), 2, 0.7)])


def errors_of(*pairs: tuple[Objects, Objects], most: int = MOST_ERRORS) -> list[WorstError]:
    truth, found = zip(*pairs, strict=True)
    return worst_errors(truth, found, photo, str, most)


def test_each_kind_of_error_is_told_from_the_others() -> None:
    alone = [replace(TRUTH, sha256=f"{number:064x}") for number in range(5)]
    missed = replace(FOUND.above(2), sha256=alone[0].sha256)
    confused = objects(1, [((10, 10, 60, 60), 0, 0.9), ((100, 12, 150, 60), 2, 0.8), ((200, 10, 250, 60), 2, 0.7)])
    shifted = objects(2, [((10, 10, 60, 60), 0, 0.9), ((100, 12, 150, 60), 1, 0.8), ((225, 10, 275, 60), 2, 0.7)])
    more = objects(
        4, [*zip(TRUTH.boxes_xyxy.tolist(), (0, 1, 2), (1.0, 1.0, 1.0), strict=True), ((10, 150, 60, 200), 0, 0.6)]
    )
    found = errors_of((alone[0], missed), (alone[1], confused), (alone[2], shifted), (alone[4], more))
    assert [(one.kind, one.truth_row, one.found_row) for one in found] == [
        ("miss", found[0].truth_row, None),
        ("false alarm", None, 3),
        ("confusion", 1, 1),
        ("bad box", 2, 2),
    ]


def test_a_second_box_on_an_object_is_no_false_alarm() -> None:
    boxes = [*zip(TRUTH.boxes_xyxy.tolist(), (0, 1, 2), (1.0, 1.0, 1.0), strict=True)]
    (twice,) = errors_of((TRUTH, objects(1, [*boxes, ((12, 10, 62, 60), 0, 0.6)])))
    assert (twice.kind, twice.truth_row, twice.found_row) == ("found twice", 0, 3)
    assert said(twice, NAMES) == "crate found already, a second box on it, score 0.60"
    # Of another class, it is a false alarm.
    (alarm,) = errors_of((TRUTH, objects(1, [*boxes, ((12, 10, 62, 60), 2, 0.6)])))
    assert (alarm.kind, alarm.truth_row) == ("false alarm", None)


def test_right_answers_are_no_errors_and_each_image_is_shown_once() -> None:
    assert errors_of((TRUTH, TRUTH)) == []
    pairs = [(replace(TRUTH, sha256=f"{n:064x}"), replace(FOUND, sha256=f"{n:064x}")) for n in range(30)]
    found = errors_of(*pairs)
    assert len(found) == MOST_ERRORS
    assert len({one.truth.sha256 for one in found}) == MOST_ERRORS
    assert {one.kind for one in found} == {"confusion", "bad box"}


def test_truth_and_finding_are_drawn_in_two_colours_where_they_lie() -> None:
    pixels = np.full((240, 320, 3), 128, dtype=np.uint8)
    drawn = shown(WorstError("confusion", pixels, "a.png", TRUTH, FOUND, 1, 1), NAMES)
    assert drawn is not None
    marks = {mark.colour: mark for mark in drawn.picture.marks}
    assert marks.keys() == {TRUTH_COLOUR, FOUND_COLOUR}
    assert len(drawn.picture.marks) == 2  # objects elsewhere would only hide it
    assert marks[FOUND_COLOUR].dashed
    assert not marks[TRUTH_COLOUR].dashed
    # The same scale for both: 48 of 50 pixels high.
    assert marks[FOUND_COLOUR].height / marks[TRUTH_COLOUR].height == pytest.approx(0.96)
    assert shown(WorstError("miss", None, "a.png", TRUTH, FOUND, 1, None), NAMES) is None


def test_what_to_label_next_names_classes_confusions_and_commands() -> None:
    truth = scenes(120, 2)
    # Of the second class two of three are called the first.
    found = [
        replace(one, class_ids=np.where(np.arange(len(one)) % 3 < 2, 0, one.class_ids), scores=one.scores * 0.9)
        for one in truth
    ]
    names = ("bolt", "nut")
    steps = what_next(evaluate(truth, found, names, resamples=20), at_threshold(truth, found, names, 0.5, resamples=20))
    text = " ".join(steps)
    assert "missed of nut" in steps[0]
    assert "Label images with both nut and bolt" in text
    assert "missed of bolt" not in text
    assert "labelstill next" in steps[-1]
    assert "labelstill push" in steps[-1]
    enough = scenes(200, 1)
    right = what_next(evaluate(enough, enough, ["bolt"], resamples=20), at_threshold(enough, enough, ["bolt"], 0.5))
    assert right == []

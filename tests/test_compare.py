"""One table for everyone, and verdicts that hold: hand-made speakers, the paired bootstrap as oracle, like for like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.compare import FEWEST, Comparison, Pair, Row, compare
from distill.evaluate import at_threshold, evaluate
from distill.evaluation.paired import paired_difference
from distill.objects import Objects
from labeling.core import masks
from labeling.core.errors import InputError
from labeling.core.records import Rle

NAMES = ("box", "pallet")
SIZE = (100, 100)
FIRST, SECOND, NOWHERE = (10.0, 10.0, 40.0, 40.0), (50.0, 50.0, 90.0, 90.0), (0.0, 90.0, 8.0, 98.0)
Thing = tuple[int, tuple[float, float, float, float], float]


def objects(image: int | str, *things: Thing) -> Objects:
    boxes = np.array([box for _, box, _ in things], dtype=np.float64).reshape(-1, 4)
    ids = np.array([class_id for class_id, _, _ in things], dtype=np.int64)
    return Objects(str(image), SIZE, boxes, ids, np.array([score for *_, score in things], dtype=np.float64))


def people(count: int) -> list[Objects]:
    """Return so many images with a box and a pallet each."""
    return [objects(image, (0, FIRST, 1.0), (1, SECOND, 1.0)) for image in range(count)]


def speaker(truth: Sequence[Objects], right: float, seed: int, false: float = 0.3) -> list[Objects]:
    """Return one who finds that share of the objects, and raises so many false alarms per image."""
    random = np.random.default_rng(seed)
    said = []
    for one in truth:
        things: list[Thing] = []
        for class_id, box in zip(one.class_ids, one.boxes_xyxy, strict=True):
            if random.random() < right:
                x0, y0, x1, y1 = (box + random.normal(0, 1.5, 4)).tolist()
                things.append((int(class_id), (x0, y0, x1, y1), float(random.uniform(0.3, 1))))
        if random.random() < false:
            things.append((int(random.integers(2)), NOWHERE, float(random.uniform(0, 0.7))))
        said.append(objects(one.sha256, *things))
    return said


def row(found: Comparison, name: str) -> Row:
    (one,) = [one for one in found.rows if one.speaker == name]
    return one


def pair(found: Comparison, second: str, metric: str = "ap50") -> Pair:
    (one,) = [one for one in found.pairs if (one.second, one.metric) == (second, metric)]
    return one


def test_figures_counted_by_hand_stand_in_the_row_of_each_speaker() -> None:
    truth = people(10)
    # Finds every box, no pallet, and takes one pallet for a box with little doubt.
    half = [objects(k, (0, FIRST, 0.9), *([(0, SECOND, 0.4)] if k == 0 else [])) for k in range(10)]
    found = compare(truth, {"student": truth, "teacher": half}, NAMES, thresholds={"teacher": 0.3}, resamples=50)
    one, other = found.rows
    assert (one.speaker, one.ap50.value, one.ap50_95.value, one.overall.f1) == ("student", 1.0, 1.0, 1.0)
    assert (other.speaker, other.ap50.value, other.threshold) == ("teacher", 0.5, 0.3)
    assert other.ap50_of == {"box": 1.0, "pallet": 0.0}
    assert (other.overall.right, other.overall.false, other.overall.missed) == (10, 1, 10)
    assert (other.overall.precision, other.overall.recall) == (10 / 11, 0.5)
    assert other.overall.f1 == pytest.approx(20 / 31)
    assert [(part.name, part.missed) for part in other.classes] == [("box", 0), ("pallet", 10)]
    surer = compare(truth, {"student": truth, "teacher": half}, NAMES, thresholds={"teacher": 0.5}, resamples=50)
    assert row(surer, "teacher").overall.false == 0
    assert row(surer, "teacher").ap50 == other.ap50
    assert found.reference == "people"
    assert found.standings[0].objects == 20


def test_rows_say_what_the_evaluation_says_of_the_same_objects() -> None:
    truth = people(30)
    said = {"student": speaker(truth, 0.8, 1), "teacher": speaker(truth, 0.6, 2)}
    found = compare(truth, said, NAMES, thresholds={"student": 0.5, "teacher": (0.2, 0.6)}, resamples=200, seed=3)
    for name, threshold in (("student", 0.5), ("teacher", (0.2, 0.6))):
        whole = evaluate(truth, said[name], NAMES, resamples=200, seed=3)
        counted = at_threshold(truth, said[name], NAMES, threshold, resamples=200, seed=3)
        one = row(found, name)
        assert one.ap50.value == pytest.approx(whole.ap50)
        assert one.ap50_95.value == pytest.approx(whole.ap50_95)
        assert one.ap50.interval == pytest.approx(whole.ap50_interval)
        assert one.ap50_95.interval == pytest.approx(whole.ap50_95_interval)
        assert one.overall == counted.overall
        assert one.classes == counted.classes
        assert one.threshold == threshold


@pytest.mark.parametrize("metric", ["ap50", "ap50_95"])
def test_a_difference_is_that_of_the_paired_bootstrap(metric: str) -> None:
    truth = people(25)
    one, other = speaker(truth, 0.8, 1), speaker(truth, 0.6, 2)
    found = pair(compare(truth, {"student": one, "teacher": other}, NAMES, resamples=300, seed=5), "teacher", metric)
    judge = paired_difference(truth, one, other, NAMES, metric=metric, resamples=300, seed=5)  # type: ignore[arg-type]
    assert found.difference == pytest.approx(judge.difference)
    assert found.interval == pytest.approx((judge.low, judge.high))
    assert found.share_above_zero == pytest.approx(judge.share_above_zero)
    assert found.images == judge.images == 25


def test_against_one_who_says_nothing_the_difference_in_f1_is_f1_itself() -> None:
    truth = people(25)
    nothing = [objects(k) for k in range(25)]
    found = compare(
        truth, {"student": speaker(truth, 0.7, 1), "silent": nothing}, NAMES, thresholds={"student": 0.5}, resamples=300
    )
    overall, difference = row(found, "student").overall, pair(found, "silent", "f1")
    assert difference.difference == overall.f1
    assert difference.interval == pytest.approx(overall.f1_interval)
    assert difference.verdict == "better"


def test_verdicts_are_plain_and_go_both_ways() -> None:
    truth = people(60)
    good, bad = speaker(truth, 0.95, 1), speaker(truth, 0.4, 2)
    found = compare(truth, {"teacher": good, "student": good, "baseline": bad}, NAMES, resamples=200)
    assert [one.speaker for one in found.rows] == ["teacher", "student", "baseline"]
    same, better = pair(found, "teacher"), pair(found, "baseline")
    assert (same.verdict, same.difference, same.interval, same.share_above_zero) == (
        "no difference shown",
        0.0,
        (0.0, 0.0),
        0.5,
    )
    assert (better.verdict, better.share_above_zero) == ("better", 1.0)
    assert better.words.startswith(f"student against baseline on 60 images, AP50: +{better.difference:.3f} (+")
    assert better.words.endswith("), better")
    worse = compare(truth, {"student": bad, "teacher": good}, NAMES, resamples=200)
    assert {one.verdict for one in worse.pairs} == {"worse"}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_other_way_round_it_is_the_same_with_another_sign(first: int, second: int) -> None:
    truth = people(8)
    one, other = speaker(truth, 0.7, first), speaker(truth, 0.6, second)
    there = compare(truth, {"student": one, "teacher": other}, NAMES, resamples=40)
    back = compare(truth, {"student": other, "teacher": one}, NAMES, resamples=40)
    opposite = {"better": "worse", "worse": "better", "no difference shown": "no difference shown"}
    for a, b in zip(there.pairs, back.pairs, strict=True):
        assert a.difference is not None
        assert b.difference is not None
        assert a.interval is not None
        assert b.interval is not None
        assert a.difference == pytest.approx(-b.difference)
        assert a.interval == pytest.approx((-b.interval[1], -b.interval[0]))
        assert a.share_above_zero == pytest.approx(1 - (b.share_above_zero or 0))
        assert opposite[a.verdict] == b.verdict


def test_two_who_are_equally_good_are_seldom_told_apart() -> None:
    truth = people(40)
    verdicts = [
        pair(
            compare(
                truth, {"student": speaker(truth, 0.7, 2 * k), "teacher": speaker(truth, 0.7, 2 * k + 1)}, NAMES,
                resamples=200,
            ),
            "teacher",
        ).verdict
        for k in range(40)
    ]  # fmt: skip
    # 1 in 20 is what an interval of 95 % promises; more than 6 of 40 would come up in 1 of 300 runs.
    assert sum(verdict != "no difference shown" for verdict in verdicts) <= 6


def test_who_speaks_about_some_images_is_compared_on_these_alone() -> None:
    truth = people(20)
    student, teacher = speaker(truth, 0.8, 1), speaker(truth, 0.5, 2)
    second = speaker(truth, 0.9, 3)[4:12]
    said = {"student": student, "teacher": teacher, "second person": second[::-1]}
    found = compare(truth, said, NAMES, resamples=100)
    whole, part = found.standings
    assert [one.speaker for one in whole.rows] == ["student", "teacher"]
    assert part.about == "second person"
    assert part.images == tuple(str(k) for k in range(4, 12))
    assert [one.speaker for one in part.rows] == ["student", "teacher", "second person"]
    alone = compare(
        truth[4:12],
        {"student": student[4:12], "teacher": teacher[4:12], "second person": second},
        NAMES,
        resamples=100,
    )
    assert part.rows == alone.rows
    assert part.pairs == tuple(one for one in alone.pairs if one.second == "second person")
    assert {(one.second, one.images) for one in found.pairs} == {("teacher", 20), ("second person", 8)}


def test_the_order_in_which_a_speaker_tells_plays_no_part() -> None:
    truth = people(12)
    one, other = speaker(truth, 0.8, 1), speaker(truth, 0.5, 2)
    told = compare(truth, {"student": one, "teacher": other}, NAMES, resamples=50)
    assert compare(truth, {"student": one[::-1], "teacher": other[::-1]}, NAMES, resamples=50) == told


def test_who_says_nothing_at_all_is_named_and_not_measured_as_zero() -> None:
    truth = people(8)
    found = compare(truth, {"student": truth, "second person": []}, NAMES, resamples=20)
    assert found.not_measured == ("second person",)
    assert [one.speaker for one in found.rows] == ["student"]
    assert found.pairs == ()


@pytest.mark.parametrize("count", [1, FEWEST - 1, FEWEST])
def test_with_few_images_no_verdict_is_given(count: int) -> None:
    truth = people(count)
    nothing = [objects(k) for k in range(count)]
    found = pair(compare(truth, {"student": truth, "teacher": nothing}, NAMES, resamples=50), "teacher")
    assert found.verdict == ("better" if count == FEWEST else "too few images")
    assert found.difference == 1.0
    assert (found.interval is None) == (count < 2)
    assert found.words.endswith(found.verdict)


def test_images_without_objects_alone_leave_everything_undefined() -> None:
    truth = [objects(k) for k in range(8)]
    found = compare(truth, {"student": truth, "teacher": speaker(people(8), 0.5, 1)}, NAMES, resamples=20)
    one = row(found, "teacher")
    assert (one.ap50.value, one.ap50.interval, one.overall.recall) == (None, None, None)
    assert {pair.difference for pair in found.pairs} == {None}
    assert found.pairs[0].words.endswith("not measured")


def test_without_images_there_is_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="got none: have some of the test part reviewed"):
        compare([], {"student": []}, NAMES)


def test_a_student_that_leaves_out_an_image_is_refused() -> None:
    truth = people(3)
    with pytest.raises(InputError, match="all 3 images, got 2: leave out for everyone"):
        compare(truth, {"student": truth[1:]}, NAMES)
    with pytest.raises(InputError, match="'new one' says about all 3 images, got 0"):
        compare(truth, {"student": truth}, NAMES, student="new one")


def test_images_twice_or_without_truth_are_refused() -> None:
    truth = people(3)
    with pytest.raises(InputError, match=r"'teacher'.*one image twice"):
        compare(truth, {"student": truth, "teacher": [*truth, truth[0]]}, NAMES)
    with pytest.raises(InputError, match=r"'teacher'.*elsewhere"):
        compare(truth, {"student": truth, "teacher": [objects("elsewhere")]}, NAMES)


def test_notes_tell_what_limits_the_figures_of_a_speaker() -> None:
    truth = [
        Objects(one.sha256, SIZE, one.boxes_xyxy, one.class_ids, one.scores, (_rectangle(FIRST), _rectangle(SECOND)))
        for one in people(8)
    ]
    said = {"student": truth, "second person": people(8), "teacher": speaker(truth, 0.8, 1)}
    found = compare(truth, said, NAMES, masks=True, notes={"teacher": "It saw them."}, resamples=20)
    assert [len(one.notes) for one in found.rows] == [1, 2, 2]
    assert "one point" in row(found, "second person").notes[0]
    assert "no masks" in row(found, "second person").notes[1]
    assert row(found, "teacher").notes[0] == "It saw them."
    assert row(found, "second person").ap50.value == 1.0


def _rectangle(box: tuple[float, float, float, float]) -> Rle:
    mask = np.zeros(SIZE[::-1], dtype=bool)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    mask[y0:y1, x0:x1] = True
    return masks.encode(mask)

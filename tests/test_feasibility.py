"""The verdict on a prompt: counted by hand, cautious where numbers are few, and what everything costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core.errors import InputError
from labeling.studio.audit import Case, Look
from labeling.studio.compare import Change
from labeling.trust import feasibility_words as words
from labeling.trust.costs import SOURCES, Prices, break_even, costs
from labeling.trust.gold import GoldImage
from labeling.trust.opinions import Opinion
from labeling.trust.review_seconds import ENOUGH, measured
from labeling.trust.verdicts import Feasibility, Seconds, Wanted, judge

SECONDS = Seconds(add=10.0, delete=2.0, move=4.0, relabel=3.0, look=5.0)
NAMES = ("box", "cone")
Box = tuple[float, float, float, float]

ONE: Box = (0, 0, 10, 10)
TWO: Box = (50, 50, 60, 60)
THREE: Box = (20, 70, 30, 80)
MOVED: Box = (0, 0, 10, 6)  # IoU 0.6 with ONE


def true(*objects: tuple[str, Box], name: str = "a") -> GoldImage:
    boxes = np.array([box for _, box in objects], dtype=np.float64).reshape(-1, 4)
    return GoldImage(name, (100, 100), boxes, np.array([NAMES.index(one) for one, _ in objects], dtype=np.int64))


def said(*objects: tuple[str, Box], name: str = "a") -> Opinion:
    one = true(*objects, name=name)
    prompts = tuple(label for label, _ in objects)
    return Opinion(name, (100, 100), one.boxes_xyxy, one.class_ids, np.full(len(objects), 0.9), prompts)


def judged(pairs: list[tuple[GoldImage, Opinion]], **wanted: Any) -> Feasibility:
    gold, opinions = zip(*pairs, strict=True)
    return judge(gold, opinions, NAMES, SECONDS, Wanted(**wanted), resamples=200)


def many(count: int, objects: tuple[tuple[str, Box], ...], boxes: tuple[tuple[str, Box], ...]) -> list[Any]:
    return [(true(*objects, name=f"{n}"), said(*boxes, name=f"{n}")) for n in range(count)]


def test_found_false_missed_and_moved_are_counted_one_to_one() -> None:
    found = judged([(true(("box", ONE), ("box", TWO)), said(("box", MOVED), ("box", MOVED), ("box", THREE)))])
    box = found.classes[0]
    assert (box.found, box.false, box.missed, box.moved) == (1, 2, 1, 1)
    assert found.actions == {"add": 1, "delete": 2, "move": 1, "relabel": 0}
    assert found.seconds_per_image == 10 + 2 * 2 + 4 + 5
    assert found.seconds_by_hand == 2 * 10 + 5


def test_a_box_of_another_class_is_relabelled_and_not_drawn_anew() -> None:
    found = judged([(true(("box", ONE)), said(("cone", ONE)))])
    box, cone = found.classes
    assert (box.missed, cone.false) == (1, 1)
    assert found.actions == {"add": 0, "delete": 0, "move": 0, "relabel": 1}
    assert found.seconds_per_image == 3 + 5
    assert (box.seconds, cone.seconds) == (3, 0)


def test_the_work_of_the_classes_adds_up_to_that_of_the_image() -> None:
    images = many(7, (("box", ONE), ("cone", TWO)), (("cone", ONE), ("cone", THREE), ("box", TWO)))
    found = judged(images)
    assert sum(one.seconds for one in found.classes) + SECONDS.look == pytest.approx(found.seconds_per_image)


@pytest.mark.parametrize(
    ("boxes", "wanted", "verdict"),
    [
        ((("box", ONE),), {}, "ship"),
        ((("box", ONE), ("box", TWO)), {}, "correct"),  # half of the boxes are wrong, yet 2 s beat 10 s
        ((), {}, "train"),
        ((), {"images": 100}, "dont"),  # 100 images hold 100 objects, a student needs 150
        ((("box", TWO), *((("box", THREE),) * 5)), {}, "train"),  # six wrong boxes are more work than drawing one
    ],
)
def test_every_verdict_follows_from_the_figures(boxes: Any, wanted: dict[str, Any], verdict: str) -> None:
    found = judged(many(60, (("box", ONE),), boxes), **wanted).classes[0]
    assert (found.verdict, found.firm) == (verdict, True)


def test_few_images_never_ship_and_say_that_more_would_tell() -> None:
    perfect = judged(many(10, (("box", ONE),), (("box", ONE),))).classes[0]
    assert (perfect.precision, perfect.recall) == (1.0, 1.0)
    assert perfect.verdict == "correct"
    assert not perfect.firm
    assert "not firm: about 20 more reviewed images would hold 20 more of it" in words.sentence(perfect, Wanted())


def test_a_class_that_nobody_marked_has_no_verdict() -> None:
    cone = judged(many(40, (("box", ONE),), (("box", ONE), ("cone", TWO)))).classes[1]
    assert (cone.verdict, cone.firm, cone.recall, cone.false) == ("unknown", False, None, 40)
    assert "nobody marked one" in words.sentence(cone, Wanted())


def test_opinions_about_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="in their order"):
        judge([true(name="a")], [said(name="b")], NAMES, SECONDS, Wanted())


@given(st.lists(st.sampled_from(["hit", "miss", "false", "both"]), min_size=2, max_size=30))
def test_counts_and_intervals_always_hold_together(images: list[str]) -> None:
    pairs = []
    for number, kind in enumerate(images):
        boxes = {"hit": [ONE], "miss": [], "false": [ONE, TWO], "both": [TWO]}[kind]
        name = f"{number}"
        pairs.append((true(("box", ONE), name=name), said(*(("box", box) for box in boxes), name=name)))
    box = judged(pairs).classes[0]
    assert box.found + box.missed == box.objects == len(images)
    for value, bounds in ((box.precision, box.precision_interval), (box.recall, box.recall_interval)):
        if value is not None:
            assert bounds is not None
            assert 0 <= bounds[0] <= value <= bounds[1] <= 1


@pytest.mark.parametrize("wrong", [{"good": 1.0}, {"good": 0}, {"images": 0}, {"objects": 0}, {"saving": 1.0}])
def test_what_cannot_be_wanted_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Wanted(**wrong)


def test_costs_are_those_of_a_hand_calculation() -> None:
    prices = Prices(20.0, 1.0, 3.6, 0.01, 2.0, 10.0, 50.0, 0.001)
    found = costs(1000, 18.0, 36.0, 0.5, 100, prices)
    assert [(way.name, round(way.cost, 6), way.hours) for way in found.ways] == [
        ("by hand", 200.0, 10.0),
        ("prompt, then people correct", 101.0, 5.0),
        ("prompt alone", 1.0, 0.0),
        ("hosted service alone", 10.0, 0.0),
    ]
    # 200 images hold 100 of the rarest; 0.1 each for people and 0.001 for the teacher; 2 for the GPU; 500 for people.
    assert found.student_images == 200
    assert found.student == pytest.approx(200 * 0.101 + 2 + 500)
    assert found.break_even == -(-round(522.2 * 1000) // 9)
    assert found.break_even_teacher is None  # the teacher costs as much per image as the student


@given(st.integers(0, 10**6), st.integers(0, 1000), st.integers(0, 1000))
def test_from_the_break_even_on_the_student_is_cheaper(once: int, each: int, other: int) -> None:
    volume = break_even(once, each, other)
    if volume is None:
        assert other <= each
    else:
        assert once + volume * each <= volume * other
        assert volume == 0 or once + (volume - 1) * each > (volume - 1) * other


def test_every_price_has_a_source_and_a_negative_one_is_refused() -> None:
    rows = words.price_rows(Prices(hour=99))
    assert len(rows) == len(Prices.__slots__) - 1  # all but the currency
    assert rows[0] == ("an hour of the people who label", "99", "given")
    assert ("one image of a student of your own", "0.00002", SOURCES["student_image"]) in rows
    with pytest.raises(InputError, match="api-image is -1"):
        Prices(api_image=-1)
    with pytest.raises(InputError, match="hour is nan"):
        Prices(hour=float("nan"))


def case(added: int, deleted: int, seconds: float | None, **more: Any) -> Case:
    changes = (Change("added", None, None, 0.0),) * added + (Change("deleted", None, None, 0.0),) * deleted
    return Case("a", (9, 9), "reviewed", looks=(Look("ann", seconds, changes=changes),), **more)


def test_seconds_of_actions_are_found_again_from_planted_answers() -> None:
    random = np.random.default_rng(0)
    cases = [
        case(added, deleted, 4 + 9 * added + 1.5 * deleted + random.normal(0, 0.2))
        for added, deleted in random.integers(0, 5, (80, 2))
    ]
    found = measured(cases, SECONDS)
    assert (found.add, found.delete, found.look) == pytest.approx((9, 1.5, 4), abs=0.2)
    assert (found.move, found.relabel) == (SECONDS.move, SECONDS.relabel)
    assert found.source == "measured on 80 answers; move, relabel given"


def test_too_few_blind_or_abandoned_answers_measure_nothing() -> None:
    few = [case(1, 0, 10.0)] * (ENOUGH - 1)
    useless = [case(1, 0, 10.0, blind=True)] * ENOUGH + [case(1, 0, None)] * ENOUGH + [case(1, 0, 9_000.0)] * ENOUGH
    assert measured([*few, *useless], SECONDS) is SECONDS

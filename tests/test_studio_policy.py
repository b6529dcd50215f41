"""Whose answer counts: one person's, the newest, or what more than half of the people agree on."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core import masks
from labeling.core.errors import InputError
from labeling.core.store_studio import Answer, AnswerKind
from labeling.studio.convert import Drawn
from labeling.studio.policy import Policy, agreed, counted, parse

LATEST, CONSENSUS = Policy("latest"), Policy("consensus")
Box = tuple[float, float, float, float]


def said(who: str, number: int, second: int, kind: AnswerKind = "submitted") -> Answer:
    time = f"2026-01-01T00:00:{second:02}Z"
    return Answer(kind, number, 1, "a", who, time, time, None, False, [])


def drawn(region_id: str, name: str, box: Box, *, masked: bool = False) -> Drawn:
    mask = np.zeros((100, 100), dtype=bool)
    x0, y0, x1, y1 = (int(value) for value in box)
    mask[y0:y1, x0:x1] = True
    rle = masks.encode(mask) if masked else None
    return Drawn(region_id, name, box, rle, "brush" if masked else "rectangle", None, None)


def box_of(name: str, x: float, *, region_id: str = "r", **more: Any) -> Drawn:
    """A square of 20 px; two of them share (20 - d) / (20 + d) when d px apart."""
    return drawn(region_id, name, (x, 10, x + 20, 30), **more)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest", LATEST),
        (" consensus ", CONSENSUS),
        ("annotator:ann@x", Policy("annotator", "ann@x")),
        ("annotator: Ann:1@x ", Policy("annotator", "Ann:1@x")),
    ],
)
def test_policies_are_read_and_written(text: str, policy: Policy) -> None:
    assert parse(text) == policy
    assert parse(str(policy)) == policy


@pytest.mark.parametrize(
    "text", ["", "newest", "latest:ann@x", "consensus:2", "annotator", "annotator:", "annotator: "]
)
def test_other_policies_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected latest, consensus or annotator:MAIL"):
        parse(text)


def test_the_newest_submitted_answer_counts() -> None:
    answers = [said("ann", 1, 30), said("bob", 2, 40), said("cid", 3, 20), said("dan", 4, 50, "draft")]
    for order in permutations(answers):
        assert [one.answer_id for one in counted(LATEST, order)] == [2]


def test_of_two_answers_of_one_moment_the_higher_number_counts() -> None:
    assert counted(LATEST, [said("ann", 9, 30), said("bob", 10, 30)])[0].answer_id == 10


@pytest.mark.parametrize("policy", [LATEST, CONSENSUS])
def test_a_skip_counts_only_where_nobody_submitted(policy: Policy) -> None:
    skips = [said("ann", 1, 30, "skipped"), said("bob", 2, 40, "skipped")]
    assert [one.answer_id for one in counted(policy, skips)] == [2]
    assert [one.answer_id for one in counted(policy, [*skips, said("cid", 3, 10)])] == [3]


@pytest.mark.parametrize("policy", [LATEST, CONSENSUS, Policy("annotator", "ann")])
def test_a_draft_never_counts(policy: Policy) -> None:
    assert counted(policy, [said("ann", 1, 30, "draft")]) == []
    assert counted(policy, []) == []


def test_consensus_counts_the_newest_submitted_answer_of_each_person() -> None:
    answers = [
        said("ann", 1, 10),
        said("ann", 2, 20),
        said("bob", 3, 30),
        said("bob", 4, 40, "skipped"),
        said("cid", 5, 50, "skipped"),
    ]
    assert [one.answer_id for one in counted(CONSENSUS, answers)] == [3, 2]


def test_the_answer_of_one_person_counts_whatever_the_others_say() -> None:
    answers = [said("Ann@x", 1, 10), said("bob@x", 2, 20), said("cid@x", 3, 30, "skipped")]
    assert [one.answer_id for one in counted(parse("annotator:ann@X"), answers)] == [1]
    assert [one.kind for one in counted(parse("annotator:cid@x"), answers)] == ["skipped"]
    assert counted(parse("annotator:dan@x"), answers) == []


def test_an_object_stays_when_more_than_half_have_it() -> None:
    car, dog = box_of("car", 10), box_of("dog", 60, region_id="s")
    kept, splits = agreed({"ann": [car, dog], "bob": [car], "cid": [car, dog]})
    assert (kept, splits) == ([car, dog], [])
    kept, splits = agreed({"ann": [car, dog], "bob": [car], "cid": [car]})
    assert (kept, splits) == ([car], [])
    kept, splits = agreed({"ann": [car], "bob": [], "cid": []})
    assert (kept, splits) == ([], [])


def test_an_object_that_half_have_is_left_to_a_person() -> None:
    kept, splits = agreed({"ann": [box_of("car", 10)], "bob": []})
    assert kept == []
    assert splits == ["1 of 2 people drew 'car' near (10, 10)"]
    assert len(agreed({"a": [box_of("car", 10)], "b": [box_of("car", 10)], "c": [], "d": []})[1]) == 1


def test_boxes_that_share_less_than_half_are_two_objects() -> None:
    # 20 px squares d apart share (20 - d) / (20 + d): 0.538 for 6 px, 0.481 for 7 px.
    assert agreed({"ann": [box_of("car", 10)], "bob": [box_of("car", 16)]})[1] == []
    assert len(agreed({"ann": [box_of("car", 10)], "bob": [box_of("car", 17)]})[1]) == 2


def test_the_class_is_that_of_the_majority_and_the_geometry_that_of_the_middle() -> None:
    kept, splits = agreed(
        {"ann": [box_of("car", 10)], "bob": [box_of("van", 12, region_id="m")], "cid": [box_of("car", 14)]}
    )
    assert splits == []
    assert [(one.region_id, one.class_name, one.box_xyxy) for one in kept] == [("m", "car", (12, 10, 32, 30))]


def test_a_tie_of_classes_is_left_to_a_person() -> None:
    _, splits = agreed({"ann": [box_of("car", 10)], "bob": [box_of("van", 10)]})
    assert splits == ["people are split about the class near (10, 10): 'car' or 'van'"]
    assert len(agreed({"a": [box_of("car", 10)], "b": [box_of("van", 10)], "c": [box_of("bus", 10)]})[1]) == 1


def test_the_mask_is_that_of_the_middle() -> None:
    people = {name: [box_of("car", x, masked=True)] for name, x in (("ann", 10), ("bob", 12), ("cid", 14))}
    (kept,), _ = agreed(people)
    assert kept == people["bob"][0]


def test_an_object_that_most_left_untouched_stays_as_it_was_pushed() -> None:
    untouched = drawn("pushed", "car", (10.123456789, 10, 30, 30))
    kept, _ = agreed({"ann": [untouched], "bob": [box_of("car", 12)], "cid": [untouched]})
    assert kept == [untouched]


def test_two_objects_of_one_person_are_never_one() -> None:
    crowd = [box_of("car", 10, region_id="r"), box_of("car", 12, region_id="s")]
    kept, splits = agreed({"ann": crowd, "bob": crowd, "cid": crowd[:1]})
    assert splits == []
    assert sorted(one.region_id for one in kept) == ["r", "s"]


def test_overlapping_objects_of_two_classes_find_their_own() -> None:
    both = [box_of("rider", 10, region_id="r"), box_of("bike", 10, region_id="s")]
    kept, splits = agreed({"ann": both, "bob": both[::-1], "cid": both})
    assert splits == []
    assert sorted((one.region_id, one.class_name) for one in kept) == [("r", "rider"), ("s", "bike")]


PLACES = st.lists(st.tuples(st.sampled_from(["car", "dog"]), st.integers(0, 8)), max_size=5, unique_by=lambda p: p[1])


@given(st.lists(PLACES, min_size=1, max_size=5))
def test_consensus_is_the_vote_over_places(votes: list[list[tuple[str, int]]]) -> None:
    """Objects that are equal or far apart make the vote a count, which is worked out here by hand."""
    people = {
        str(n): [box_of(name, 30 * place, region_id=str(place)) for name, place in own] for n, own in enumerate(votes)
    }
    kept, splits = agreed(people)
    expected, split = set(), 0
    for place in range(9):
        names = [name for own in votes for name, where in own if where == place]
        if not names or 2 * len(names) < len(votes):
            continue
        cars = names.count("car")
        if 2 * len(names) == len(votes) or 2 * cars == len(names):
            split += 1
        else:
            expected.add((str(place), "car" if 2 * cars > len(names) else "dog"))
    assert len(splits) == split
    if not splits:
        assert {(one.region_id, one.class_name) for one in kept} == expected
        assert len(kept) == len(expected)


@given(st.lists(PLACES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_change_what_is_agreed(votes: list[list[tuple[str, int]]], random: Any) -> None:
    people = {
        str(n): [box_of(name, 17 * place, region_id=str(place)) for name, place in own] for n, own in enumerate(votes)
    }
    names = list(people)
    random.shuffle(names)
    (kept, splits), (other, others) = agreed(people), agreed({name: people[name] for name in names})
    assert sorted(splits) == sorted(others)
    assert sorted(map(str, kept)) == sorted(map(str, other))


@given(PLACES)
def test_one_person_agrees_with_themselves(own: list[tuple[str, int]]) -> None:
    objects = [box_of(name, 3 * place, region_id=str(place)) for name, place in own]
    assert agreed({"ann": objects}) == (objects, [])
    assert agreed({"ann": objects, "bob": objects}) == (objects, [])

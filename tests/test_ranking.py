"""One list: every label and every object that may be missing once, the most doubtful first."""

from __future__ import annotations

import pytest

from distill.curation.doubts import Doubt, Kind
from distill.curation.ranking import rank
from labeling.core.records import Annotation
from tests.made_scenes import claim, label, scene

BOX = (100.0, 100.0, 200.0, 200.0)
AWAY = (400.0, 300.0, 500.0, 400.0)
CUP, FORK = label("cup", BOX), label("fork", AWAY)


def doubt(about: Annotation, strength: float, kind: Kind = "spurious", signal: str = "test", **more: object) -> Doubt:
    missing = kind == "missing"
    named = more.get("claim", about if missing else None)
    assert named is None or isinstance(named, Annotation)
    return Doubt(about.sha256, kind, None if missing else about, named, strength, signal, f"{signal} {strength}")


def test_every_label_has_one_row_even_without_doubt() -> None:
    rows = rank([scene(CUP, FORK)], [doubt(FORK, 0.5)])
    assert [(row.label, row.suspicion) for row in rows] == [(FORK, 0.5), (CUP, 0.0)]
    assert rows[1].reasons == ()


def test_independent_doubts_add_up_as_noisy_or() -> None:
    (row,) = rank([scene(CUP)], [doubt(CUP, 0.5, signal="one"), doubt(CUP, 0.6, signal="two")])
    assert row.suspicion == pytest.approx(1 - 0.5 * 0.4)
    assert row.signals == ("two", "one")
    assert row.reasons == ("two 0.6", "one 0.5")


def test_kind_is_the_likeliest_and_brings_its_claim() -> None:
    better = claim("fork", BOX)
    doubts = [
        doubt(CUP, 0.5, "bad box", "one"),
        doubt(CUP, 0.4, "wrong class", "two", claim=better),
        doubt(CUP, 0.4, "wrong class", "three"),
    ]
    (row,) = rank([scene(CUP)], doubts)
    assert row.kind == "wrong class"
    assert row.claim == better


def test_missing_object_is_one_row_for_all_who_claim_it() -> None:
    teacher, student = claim("cup", BOX), claim("cup", (103.0, 100.0, 203.0, 200.0), source="student")
    doubts = [doubt(teacher, 0.5, "missing", "teacher"), doubt(student, 0.4, "missing", "student")]
    doubts.append(doubt(claim("cup", AWAY), 0.1, "missing", "teacher"))
    rows = rank([scene()], doubts)
    assert [row.claim for row in rows] == [teacher, claim("cup", AWAY)]
    assert rows[0].label is None
    assert rows[0].box_xyxy == BOX
    assert set(rows[0].signals) == {"teacher", "student"}
    assert rows[0].suspicion > rows[1].suspicion


def test_label_that_a_machine_confirms_is_doubted_less_by_its_looks() -> None:
    alone, confirmed = scene(CUP), scene(CUP, claims=(claim("cup", BOX),))
    strange = doubt(CUP, 0.8, "wrong class", "looks")
    assert rank([confirmed], [strange])[0].suspicion < rank([alone], [strange])[0].suspicion / 3
    twice = doubt(CUP, 0.8, "duplicate box", "repeats")
    assert rank([confirmed], [twice]) == rank([alone], [twice])


def test_what_people_found_right_is_left_out() -> None:
    gap = claim("cup", (10.0, 10.0, 50.0, 50.0))
    doubts = [doubt(CUP, 0.9), doubt(gap, 0.9, "missing")]
    here = scene(CUP, FORK)
    assert [row.label for row in rank([here], doubts, accepted={(CUP.sha256, CUP.id)})] == [None, FORK]
    assert [row.label for row in rank([here], doubts, accepted={(CUP.sha256, gap.id)})] == [CUP, FORK]
    assert rank([here], doubts, accepted={(CUP.sha256, "")}) == []


def test_strengths_out_of_range_stay_chances() -> None:
    rows = rank([scene(CUP, FORK)], [doubt(CUP, 7.0), doubt(FORK, -1.0)])
    assert [row.label for row in rows] == [CUP, FORK]
    assert 0 <= rows[1].suspicion <= rows[0].suspicion <= 1


def test_order_does_not_depend_on_the_order_of_doubts() -> None:
    doubts = [doubt(CUP, 0.5), doubt(FORK, 0.5), doubt(CUP, 0.5, "bad box", "two")]
    assert rank([scene(CUP, FORK)], doubts) == rank([scene(FORK, CUP)], doubts[::-1])


def test_doubts_about_labels_that_are_gone_are_left_out() -> None:
    assert [row.label for row in rank([scene(CUP)], [doubt(FORK, 0.9)])] == [CUP]

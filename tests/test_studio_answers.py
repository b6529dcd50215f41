"""Answers as Label Studio lists them: what was submitted, skipped or only begun, by whom, and from what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core.errors import ServerError
from labeling.core.store_studio import Answer
from labeling.studio.answers import answers, by_time, labels, moment

USERS = {1: "ann@x", 2: "bob@x"}
SHA = "a" * 64


def annotation(number: int = 1, **changes: Any) -> dict[str, Any]:
    entry = {
        "id": number,
        "completed_by": 1,
        "created_username": " ann@x, 1",
        "was_cancelled": False,
        "created_at": "2026-01-01T00:00:00.000001Z",
        "updated_at": "2026-01-01T00:00:05.000001Z",
        "lead_time": 2.5,
        "parent_prediction": None,
        "result": [],
    }
    return entry | changes


def draft(number: int = 1, **changes: Any) -> dict[str, Any]:
    entry = {
        "id": number,
        "user": "bob@x",
        "created_username": "bob@x, 2",
        "created_at": "2026-01-01T00:00:00.000001Z",
        "updated_at": "2026-01-01T00:00:09.000001Z",
        "lead_time": 1,
        "annotation": None,
        "result": [],
    }
    return entry | changes


def read(annotations: list[Any], drafts: list[Any] | None = None) -> list[Answer]:
    task = {"id": 7, "data": {}, "annotations": annotations, "drafts": drafts or []}
    return answers(task, SHA, USERS, "http://x/7")


def test_every_kind_of_answer_is_told_apart() -> None:
    region = {"id": "r", "type": "rectanglelabels", "value": {"rectanglelabels": ["car"]}}
    found = read(
        [
            annotation(4, was_cancelled=True, updated_at="2026-01-01T00:00:04Z"),
            annotation(2, result=[region], updated_at="2026-01-01T00:00:02Z"),
            annotation(3, updated_at="2026-01-01T00:00:03Z"),
        ],
        [draft(2, updated_at="2026-01-01T00:00:05Z"), draft(9, annotation=2, updated_at="2026-01-01T00:00:06Z")],
    )
    assert [(one.kind, one.answer_id, one.result) for one in found] == [
        ("submitted", 2, [region]),
        ("submitted", 3, []),
        ("skipped", 4, []),
        ("draft", 2, []),
        ("draft", 9, []),
    ]
    assert {(one.task_id, one.sha256) for one in found} == {(7, SHA)}


def test_all_fields_arrive() -> None:
    (one,) = read([annotation(5)])
    times = ("2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:05.000001Z")
    assert one == Answer("submitted", 5, 7, SHA, "ann@x", *times, 2.5, False, [])


@pytest.mark.parametrize(
    ("fields", "who"),
    [
        ({"completed_by": 2}, "bob@x"),
        ({"completed_by": 9, "created_username": " new@x, 9"}, "new@x"),
        ({"completed_by": None, "created_username": "Ann, B. ann@x, 3"}, "Ann, B. ann@x"),
        ({"completed_by": {"id": 2, "email": "bob@x"}}, "bob@x"),
        ({"completed_by": {"id": 2}}, "bob@x"),
        ({"completed_by": 9, "created_username": ""}, "user 9"),
        ({"completed_by": None, "created_username": None}, "unknown"),
        ({"completed_by": 9, "created_username": "\ud800x, 9"}, "\\ud800x"),
    ],
)
def test_the_annotator_is_a_mail_address_where_there_is_one(fields: dict[str, Any], who: str) -> None:
    (one,) = read([annotation(**fields)])
    assert one.annotator == who


def test_the_annotator_of_a_draft() -> None:
    assert [one.annotator for one in read([], [draft(1), draft(2, user=1), draft(3, user=None)])] == [
        "bob@x",
        "ann@x",
        "bob@x",
    ]


@pytest.mark.parametrize(
    ("fields", "begun"),
    [
        ({}, False),
        ({"parent_prediction": 3}, True),
        ({"result": [{"id": "r", "origin": "manual"}]}, False),
        ({"result": [{"id": "r", "origin": "manual"}, {"id": "s", "origin": "prediction"}]}, True),
        ({"result": [{"id": "s", "origin": "prediction-changed"}]}, True),
        ({"result": ["odd", {"id": "s"}]}, False),
    ],
)
def test_who_began_with_the_prediction_is_known(fields: dict[str, Any], begun: bool) -> None:
    (one,) = read([annotation(**fields)])
    assert one.from_prediction is begun


@pytest.mark.parametrize(("told", "seconds"), [(None, None), (3, 3.0), (0, 0.0), (-1, None), ("4", None), (True, None)])
def test_seconds_are_a_number_or_nothing(told: Any, seconds: float | None) -> None:
    (one,) = read([annotation(lead_time=told)])
    assert one.seconds == seconds


@pytest.mark.parametrize(
    "task",
    [
        {"annotations": None},
        {"annotations": [1]},
        {"annotations": [annotation(result=None)]},
        {"annotations": [annotation(id=None)]},
        {"annotations": [], "drafts": {}},
        {"annotations": [], "drafts": [draft(result="x")]},
    ],
)
def test_another_form_is_refused_with_the_link_of_the_task(task: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match="http://x/7"):
        answers({"id": 7, **task}, SHA, USERS, "http://x/7")


def test_a_list_without_drafts_has_none() -> None:
    assert answers({"id": 7, "annotations": []}, SHA, USERS, "http://x/7") == []


def test_a_time_without_a_fraction_is_before_the_same_second_with_one() -> None:
    whole, part = annotation(2, updated_at="2026-01-01T00:00:05Z"), annotation(1, updated_at="2026-01-01T00:00:05.5Z")
    assert [one.answer_id for one in read([part, whole])] == [2, 1]
    assert moment("2026-01-01T01:00:00+01:00") == moment("2026-01-01T00:00:00Z") == moment("2026-01-01T00:00:00")
    assert moment("") == moment("yesterday") < moment("1999-01-01T00:00:00Z")


@given(st.permutations([annotation(n, updated_at=f"2026-01-01T00:00:0{n % 3}Z") for n in range(6)]))
def test_the_order_of_the_list_does_not_matter(listed: list[dict[str, Any]]) -> None:
    found = read(listed)
    assert found == sorted(found, key=by_time)
    assert [one.answer_id for one in found] == [0, 3, 1, 4, 2, 5]


def test_labels_of_every_kind_of_region_are_seen() -> None:
    result = [
        {"type": "rectanglelabels", "value": {"rectanglelabels": ["car"]}},
        {"type": "brushlabels", "value": {"brushlabels": ["dog", "cat"]}},
        {"type": "ellipselabels", "value": {"ellipselabels": ["bus"]}},
        {"type": "choices", "value": {"choices": ["blurred"]}},
        {"type": "rectanglelabels", "value": {"rectanglelabels": []}},
        {"type": "rectanglelabels", "value": {"rectanglelabels": "car"}},
        {"type": "rectanglelabels", "value": {"rectanglelabels": [3]}},
        {"type": "rectangle", "value": {}},
        {"type": "polygonlabels"},
        "odd",
    ]
    assert list(labels(result)) == ["car", "dog", "cat", "bus"]

"""Saved views of the app: each answers one question of the day."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distill.curation import views
from distill.curation.doubts import KINDS
from labeling.core.store_decisions import Decided, DecisionLedger
from tests.curated import (
    Curated,
    findings,
    opened,
    suspect,
)

pytestmark = pytest.mark.server


# Saved views


def test_saved_views_answer_the_questions_of_the_day(room: Curated, fo: Any) -> None:
    a, b, c = room.sha256.values()
    with room.store.transaction() as db:
        for sha256, value in ((a, 0.9), (b, 0.1), (c, 0.5)):
            db.execute("INSERT INTO photo_facts VALUES (?, ?, 0.1, ?, NULL, NULL, x'00')", (sha256, value, value * 9))
    DecisionLedger(room.store).change([Decided(c, "ok", annotation_id=room.label("c.jpg").id)])
    suspects = [
        suspect("missing", None, room.claim("b.png", 1), 0.9, "teacher"),
        suspect("wrong class", room.label("b.png"), room.claim("b.png"), 0.8, "teacher"),
        suspect("bad box", room.label("a.jpg"), None, 0.5, "geometry"),
        suspect("spurious", room.label("a.jpg", 1), None, 0.0),
    ]
    slices = [{"name": "dark", "rule": "brightness under 0.60", "members": (c, b)}]
    found = findings(suspects, groups=[{"kind": "near", "members": (c, a)}], gaps=[(b,)], slices=slices)
    dataset = opened(fo, room, found)
    name_of = {sha256: name for name, sha256 in room.sha256.items()}

    def shown(view: str) -> list[str]:
        return [name_of[sha256] for sha256 in dataset.load_saved_view(view).values("labelstill_id")]

    assert shown(views.WRONG) == ["b.png", "a.jpg"]
    assert [len(one or ()) for one in dataset.load_saved_view(views.WRONG).values("labels.detections")] == [1, 1]
    kinds = {"missing": ["b.png"], "wrong class": ["b.png"], "bad box": ["a.jpg"]}
    assert {kind: shown(views.wrong(kind)) for kind in kinds} == kinds
    assert shown(views.TWINS) == ["c.jpg", "a.jpg"]
    assert shown(views.DISAGREE) == ["b.png"]
    assert shown(views.NEVER_SEEN) == ["b.png"]
    assert shown(views.DARK) == ["b.png", "c.jpg"]
    nothing = {views.SERIES, views.BLURRED, *(views.wrong(kind) for kind in set(KINDS) - set(kinds))}
    assert not nothing & set(dataset.list_saved_views())
    assert shown(views.DECIDED) == ["c.jpg"]
    thin = dataset.load_saved_view(views.THIN)
    assert {label for labels in thin.values("labels.detections.label") for label in labels} == {"pallet"}
    described = dataset.get_saved_view_info(views.DISAGREE)["description"]
    assert described.startswith("1 image. People have reviewed these")


def test_what_is_probably_wrong_is_what_the_headline_counts_or_else_the_twenty_worst(room: Curated, fo: Any) -> None:
    boxes = [(name, place) for name in ("a.jpg", "c.jpg") for place in range(2)]
    doubts = [
        suspect("bad box", room.label(*box), None, suspicion, "geometry")
        for box, suspicion in zip(boxes, (0.5, 0.3, 0.0, 0.0), strict=True)
    ]
    few = opened(fo, room, findings(doubts))
    assert few.load_saved_view(views.WRONG).count("labels.detections") == 2
    said = few.get_saved_view_info(views.WRONG)["description"]
    assert said.endswith("Suspicion of 0.5 or more: 1; the 2 most doubtful are shown")


@pytest.mark.parametrize(
    ("probable", "doubtful", "least", "said"), [(25, 40, 0.5, 0), (19, 40, 0.4, 1), (5, 0, 0.5, 0), (0, 0, 0.5, 0)]
)
def test_from_twenty_probable_ones_on_only_they_are_shown(
    probable: int, doubtful: int, least: float, said: int
) -> None:
    rows: list[Any] = [SimpleNamespace(suspicion=0.6)] * probable
    rows += [SimpleNamespace(suspicion=0.4 - number / 1000) for number in range(doubtful)]
    found, words = views._least([*rows, *([SimpleNamespace(suspicion=0.0)] * 10)])
    assert (found, bool(words)) == (least, bool(said))

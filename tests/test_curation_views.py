"""Saved views of the app: each answers one question of the day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.curation import views
from distill.curation.doubts import KINDS
from labeling.core.store_decisions import Decided, DecisionLedger
from tests.curated import (
    Curated,
    curated,
    findings,
    forget,
    opened,
    suspect,
)

pytestmark = pytest.mark.server


@pytest.fixture
def room(tmp_path: Path, fiftyone_home: Any) -> Iterator[Curated]:
    made = curated(tmp_path)
    yield made
    forget(made)


@pytest.fixture
def fo(fiftyone_home: Any) -> Any:
    return fiftyone_home


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
    found = findings(suspects, groups=[{"kind": "near", "members": (c, a)}], gaps=[(b,)])
    dataset = opened(fo, room, found)
    name_of = {sha256: name for name, sha256 in room.sha256.items()}

    def shown(view: str) -> list[str]:
        return [name_of[sha256] for sha256 in dataset.load_saved_view(view).values("labelstill_id")]

    assert shown(views.WRONG) == ["b.png", "a.jpg"]
    assert [len(one or ()) for one in dataset.load_saved_view(views.WRONG).values("labels.detections")] == [1, 1]
    assert {kind: shown(views.wrong(kind)) for kind in KINDS} == {
        "missing": ["b.png"],
        "spurious": [],
        "wrong class": ["b.png"],
        "bad box": ["a.jpg"],
        "duplicate box": [],
    }
    assert shown(views.TWINS) == ["c.jpg", "a.jpg"]
    assert shown(views.DISAGREE) == ["b.png"]
    assert shown(views.NEVER_SEEN) == ["b.png"]
    assert shown(views.DARK) == shown(views.BLURRED) == ["b.png", "c.jpg", "a.jpg"]
    assert shown(views.DECIDED) == ["c.jpg"]
    thin = dataset.load_saved_view(views.THIN)
    assert {label for labels in thin.values("labels.detections.label") for label in labels} == {"pallet"}
    described = dataset.get_saved_view_info(views.DISAGREE)["description"]
    assert described.startswith("1 images. People have reviewed these")

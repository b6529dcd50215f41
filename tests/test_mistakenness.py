"""FiftyOne's mistakenness as doubts: what it says of boxes worked out by hand, and nothing of it left behind."""

from __future__ import annotations

from typing import Any

import pytest

from distill.curation.doubts import Doubt
from distill.curation.mistakenness import mistaken, mistakenness
from distill.curation.scenes import Scene
from labeling.core.records import Annotation, Provenance

pytestmark = pytest.mark.server

IMAGE = "a" * 64
SIZE = (200, 100)


def label(number: int, name: str, *box: float) -> Annotation:
    return Annotation(f"{number:032x}", IMAGE, name, box, Provenance("human", annotator="ann"))  # type: ignore[arg-type]


def claim(number: int, name: str, score: float | None, *box: float) -> Annotation:
    made = Provenance("teacher", model="m1", prompt=f"a {name}", score=score)
    return Annotation(f"{number:032x}", IMAGE, name, box, made)  # type: ignore[arg-type]


LABELS = (
    label(1, "box", 0, 0, 40, 40),  # agreed upon
    label(2, "box", 60, 0, 100, 40),  # of another class
    label(3, "box", 120, 0, 160, 40),  # claimed at IoU 0.6
    label(4, "box", 0, 60, 30, 90),  # nobody claims it
)
CLAIMS = (
    claim(11, "box", 0.9, 0, 0, 40, 40),
    claim(12, "pallet", 0.8, 60, 0, 100, 40),
    claim(13, "box", 0.9, 120, 0, 160, 24),
    claim(14, "pallet", 0.97, 150, 60, 190, 95),  # where nothing is labelled
    claim(15, "pallet", 0.9, 60, 60, 90, 95),  # not sure enough for FiftyOne
    claim(16, "pallet", None, 100, 60, 120, 95),  # measured by its score, which it has not
)
SCENE = Scene(IMAGE, "/photos/a.jpg", SIZE, "reviewed", LABELS, CLAIMS)


def by_hand(doubts: list[Doubt]) -> None:
    """Compare with (m * confidence + 1) / 2, and for the box (confidence * (2 * 2 * (1 - IoU) - 1) + 1) / 2."""
    said = {(one.kind, (one.label or one.claim).id[-2:]): one.strength for one in doubts}  # type: ignore[union-attr]
    assert said == {
        ("wrong class", "02"): pytest.approx((0.8 + 1) / 2),
        ("bad box", "03"): pytest.approx((0.9 * (4 * 0.4 - 1) + 1) / 2),
        ("spurious", "04"): 0.5,
        ("missing", "0e"): pytest.approx(0.97),
    }
    assert {one.signal for one in doubts} == {"mistakenness"}
    assert all(one.sha256 == IMAGE and one.reason.startswith("FiftyOne: ") for one in doubts)


def test_doubts_are_those_worked_out_by_hand(fo: Any) -> None:
    unheard = Scene("b" * 64, "/photos/b.jpg", SIZE, "prelabelled", LABELS, ())
    doubts = list(mistaken([SCENE, unheard]))
    by_hand(doubts)
    assert all((one.label or one.claim) in (*LABELS, *CLAIMS) for one in doubts)


def test_a_dataset_is_read_and_left_as_it_was(fo: Any) -> None:
    from distill.curation.samples import Remarks, declare, sample

    before = set(fo.list_datasets())
    dataset = fo.Dataset()
    declare(dataset)
    dataset.add_sample(sample(SCENE, "/photos/a.jpg", Remarks())[0])
    fields = set(dataset.get_field_schema(flat=True))
    doubts = list(mistakenness(dataset))
    by_hand(doubts)
    found = next(one.label for one in doubts if one.kind == "bad box")
    assert found is not None
    assert found.box_xyxy == pytest.approx(LABELS[2].box_xyxy)
    assert found.provenance == LABELS[2].provenance
    assert set(dataset.get_field_schema(flat=True)) == fields
    assert (dataset.list_evaluations(), dataset.list_brain_runs()) == ([], [])
    dataset.delete()
    assert set(fo.list_datasets()) == before


def test_without_claims_there_are_no_doubts_and_nothing_stays(fo: Any) -> None:
    before = set(fo.list_datasets())
    assert list(mistaken([Scene(IMAGE, "/photos/a.jpg", SIZE, "reviewed", LABELS, CLAIMS[5:])])) == []
    doubts = mistaken([SCENE])
    next(iter(doubts))
    doubts.close()  # type: ignore[attr-defined]
    assert set(fo.list_datasets()) == before

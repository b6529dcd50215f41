"""Labels whose box looks like another class, from features that lie in labels.db."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distill.curation.doubts import Doubt
from distill.curation.looks import looks
from labeling.core.records import Annotation, Provenance
from labeling.core.store import Feature, FileStamp, ImageOutcome, Store
from labeling.vectors import LOOK
from tests.made_stores import ontology
from tests.outcomes import digest

pytest.importorskip("sklearn")

BOX = (10.0, 10.0, 60.0, 60.0)
PER_CLASS = 30


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        opened.write_classes(ontology(["cup", "fork", "bowl"]))
        yield opened


def fill(store: Store, called: list[str], looking: list[str], *, model: str = LOOK, claimed: bool = False) -> list[str]:
    """Write one label per image: its class, and the class it looks like; return the label ids.

    Args:
        store: empty.
        called: classes.
        looking: of what class the feature is.
        model: of the features.
        claimed: the feature belongs to a teacher's box that shares 0.92 with the label, not to the label.
    """
    random = np.random.default_rng(0)
    centres = {name: random.normal(size=16) * 3 for name in ("cup", "fork", "bowl", "nothing")}
    run = store.start_run("label", {})
    ids = []
    for i, (name, look) in enumerate(zip(called, looking, strict=True)):
        sha256 = digest(f"{i}")
        feature = (centres[look] + random.normal(size=16) * 0.5).astype(np.float16)
        machine = Annotation(
            digest(f"m{i}")[:32], sha256, "cup", (10.0, 10.0, 64.0, 60.0), Provenance("teacher", model="m", score=0.5)
        )
        label = Annotation(digest(f"h{i}")[:32], sha256, name, BOX, Provenance("human", annotator="ann"))
        features = (Feature(machine.id, model, feature),) if claimed else ()
        stamp = FileStamp(f"/{i}.jpg".encode(), 1, 1)
        made = ImageOutcome((stamp,), sha256, 100, 100, annotations=(machine,), features=features, done_key="k")
        store.commit_batch([made], run)
        store.set_reviewed(sha256, [label], "reviewed")
        if not claimed:
            with store.transaction() as db:
                row = (sha256, label.id, model, 16, feature.tobytes())
                db.execute("INSERT INTO features (sha256, annotation_id, model, dim, data) VALUES (?, ?, ?, ?, ?)", row)
        ids.append(label.id)
    return ids


def strongest(store: Store, kind: str) -> Doubt:
    return max((doubt for doubt in looks(store) if doubt.kind == kind), key=lambda doubt: doubt.strength)


@pytest.mark.parametrize("claimed", [False, True])
def test_swapped_class_comes_first_and_says_what_it_looks_like(store: Store, claimed: bool) -> None:
    truth = ["cup"] * PER_CLASS + ["fork"] * PER_CLASS
    ids = fill(store, ["fork", *truth[1:]], truth, model="encoder 1" if claimed else LOOK, claimed=claimed)
    doubt = strongest(store, "wrong class")
    assert doubt.label is not None
    assert doubt.label.id == ids[0]
    assert doubt.strength > 0.5
    assert doubt.reason == "looks like cup: 100% of the boxes most like it (48% of all boxes); 0% are fork"
    others = [one.strength for one in looks(store) if one.kind == "wrong class" and one.label != doubt.label]
    assert max(others, default=0.0) < 0.2


def test_a_class_that_is_everywhere_says_nothing_about_one_that_is_seldom(store: Store) -> None:
    called = ["cup"] * 190 + ["fork"] * 10
    fill(store, called, ["nothing"] * 200)
    forks = [one for one in looks(store) if one.kind == "wrong class" and one.label and one.label.class_name == "fork"]
    assert max((one.strength for one in forks), default=0.0) < 0.15


def test_box_that_looks_like_nothing_is_odd(store: Store) -> None:
    called = ["cup"] * PER_CLASS + ["fork"] * PER_CLASS
    ids = fill(store, called, ["nothing", *called[1:]])
    doubt = strongest(store, "spurious")
    assert doubt.label is not None
    assert doubt.label.id == ids[0]


def test_common_class_does_not_outvote_a_rare_one(store: Store) -> None:
    called = ["cup"] * 150 + ["fork"] * 8
    fill(store, called, called)
    doubted = [
        one for one in looks(store) if one.kind == "wrong class" and one.label and one.label.class_name == "fork"
    ]
    assert max((one.strength for one in doubted), default=0.0) < 0.3


def test_class_with_four_boxes_says_nothing(store: Store) -> None:
    called = ["cup"] * PER_CLASS + ["fork"] * 4
    fill(store, called, ["cup"] * PER_CLASS + ["bowl"] * 4)
    assert {one.label.class_name for one in looks(store) if one.label} == {"cup"}


def test_same_answer_twice(store: Store) -> None:
    called = ["cup", "fork", "bowl"] * 20
    fill(store, called, ["fork", *called[1:]])
    assert list(looks(store)) == list(looks(store))


def test_nothing_without_features(store: Store) -> None:
    assert list(looks(store)) == []
    fill(store, ["cup"] * 3, ["cup"] * 3)
    assert list(looks(store)) == []

"""Tags in FiftyOne become decisions in labels.db exactly once, whatever is killed; nothing that was tagged is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from distill.curate import apply, pending
from distill.curation import datasets
from labeling.core.errors import StateError
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from tests.curated import (
    Curated,
    curated,
    decided,
    findings,
    forget,
    of,
    opened,
    tag,
    tag_label,
)

pytestmark = pytest.mark.server


# Back


def test_tags_become_decisions_once_and_removing_one_takes_it_back(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "Relabel: the left wheel", "split test")
    tag(dataset, room, "c.jpg", "duplicate-of: A.JPG", "what a day")
    tag_label(dataset, room, "b.png", "ok")
    assert {one.decision for one in pending(room.store, dataset.name)[0]} == {
        "relabel",
        "split-test",
        "duplicate-of",
        "note",
        "ok",
    }
    applied = apply(room.project, room.store)
    assert (len(applied.added), applied.removed, applied.unchanged, applied.problems) == (5, (), 0, ())
    assert decided(room) == {
        ("a.jpg", "", "relabel", "the left wheel"),
        ("a.jpg", "", "split-test", ""),
        ("c.jpg", "", "duplicate-of", room.sha256["a.jpg"]),
        ("c.jpg", "", "note", "what a day"),
        ("b.png", room.label("b.png").id, "ok", ""),
    }
    again = apply(room.project, room.store)
    assert (again.added, again.removed, again.unchanged) == ((), (), 5)
    assert pending(room.store, dataset.name) == ([], [])

    rebuilt = opened(fo, room)
    assert sorted(of(rebuilt, room, "a.jpg").tags) == ["relabel: the left wheel", "split-test"]
    assert sorted(of(rebuilt, room, "c.jpg").tags) == ["duplicate-of: a.jpg", "what a day"]
    one = of(rebuilt, room, "a.jpg")
    one.tags = ["split-test"]
    one.save()
    one = of(rebuilt, room, "b.png")
    one.labels.detections[0].tags = []
    one.save()
    back = apply(room.project, room.store)
    assert {one.decision for one in back.removed} == {"relabel", "ok"}
    assert {row[2] for row in decided(room)} == {"split-test", "duplicate-of", "note"}


def test_a_tag_that_cannot_be_read_is_named_and_stays(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "duplicate-of: nowhere.jpg", "drop")
    for _ in range(2):
        applied = apply(room.project, room.store)
        (problem,) = applied.problems
        assert str(problem).startswith("a.jpg: tag 'duplicate-of: nowhere.jpg': no image has the name")
    assert decided(room) == {("a.jpg", "", "drop", "")}
    dataset = opened(fo, room)
    assert sorted(of(dataset, room, "a.jpg").tags) == ["drop", "duplicate-of: nowhere.jpg"]


def test_of_decisions_that_contradict_each_other_the_one_whose_tag_is_removed_goes(room: Curated, fo: Any) -> None:
    a, b = room.sha256["a.jpg"], room.sha256["b.png"]
    gone = Decided(b, "duplicate-of", "no image of ours")
    DecisionLedger(room.store).change([Decided(a, "drop"), Decided(a, "relabel"), gone])
    dataset = opened(fo, room)
    for name, tags in {"a.jpg": ["relabel"], "b.png": []}.items():
        one = of(dataset, room, name)
        one.tags = tags
        one.save()
    applied = apply(room.project, room.store)
    assert ({one.decision for one in applied.removed}, applied.problems) == ({"drop", "duplicate-of"}, ())
    assert decided(room) == {("a.jpg", "", "relabel", "")}
    assert pending(room.store, dataset.name) == ([], [])


def test_a_duplicate_without_a_name_is_one_of_the_image_to_keep(room: Curated, fo: Any) -> None:
    members = (room.sha256["c.jpg"], room.sha256["a.jpg"])
    dataset = opened(fo, room, findings(groups=[{"kind": "near", "members": members}]))
    for name in room.sha256:
        tag(dataset, room, name, "duplicate-of")
    applied = apply(room.project, room.store)
    assert decided(room) == {("a.jpg", "", "duplicate-of", room.sha256["c.jpg"])}
    assert sorted(problem.image for problem in applied.problems) == ["b.png", "c.jpg"]


def test_what_others_decided_meanwhile_stays(room: Curated, fo: Any) -> None:
    a, b = room.sha256["a.jpg"], room.sha256["b.png"]
    ledger = DecisionLedger(room.store)
    ledger.change([Decided(a, "ok"), Decided(b, "note", "mine")])
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "split-test")
    tag(dataset, room, "b.png", "tagged")
    ledger.change([Decided(a, "note", "theirs"), Decided(b, "note", "mine; theirs")], [Decided(a, "ok")])
    apply(room.project, room.store)
    assert decided(room) == {
        ("a.jpg", "", "note", "theirs"),
        ("a.jpg", "", "split-test", ""),
        ("b.png", "", "note", "mine; theirs; tagged"),
    }


def test_an_object_drawn_or_an_image_added_in_the_app_is_a_problem_and_stops_nothing(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    one = of(dataset, room, "a.jpg")
    one.labels.detections.append(fo.Detection(label="box", bounding_box=[0, 0, 0.1, 0.1], tags=["drop"]))
    one.save()
    dataset.add_sample(fo.Sample(filepath=str(room.path("a.jpg")) + "x.jpg", tags=["drop"]))
    tag(dataset, room, "c.jpg", "drop")
    applied = apply(room.project, room.store)
    assert decided(room) == {("c.jpg", "", "drop", "")}
    assert len(applied.problems) == 2


def test_a_tag_on_most_images_is_written_only_by_somebody_who_is_sure(tmp_path: Path, fo: Any) -> None:
    room = curated(tmp_path, [f"{number}.jpg" for number in range(24)])
    try:
        dataset = opened(fo, room)
        dataset.tag_samples("drop")
        tag(dataset, room, "3.jpg", "split-test")
        with pytest.raises(
            StateError, match="newly say 'drop' on 24 images, of 24 in the project: nothing was written"
        ):
            apply(room.project, room.store)
        assert decided(room) == set()
        assert len(apply(room.project, room.store, sure=True).added) == 25
        assert not apply(room.project, room.store).added
    finally:
        forget(room)


def test_a_near_miss_stays_a_tag_and_relabel_stands_until_it_is_taken_back(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "relabel")
    tag(dataset, room, "c.jpg", "relable")
    for _ in range(2):
        applied = apply(room.project, room.store)
        assert [problem.image for problem in applied.problems] == ["c.jpg"]
        assert applied.to_relabel == 1
    assert decided(room) == {("a.jpg", "", "relabel", "")}
    assert of(opened(fo, room), room, "c.jpg").tags == ["relable"]


def _apply_and_die(root: Path, settings: dict[str, str], where: str) -> None:
    os.environ.update(settings)
    import fiftyone

    fiftyone.list_datasets()
    project = Project.open(root)

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with project.open_store() as store:
        if where == "before labels.db":
            DecisionLedger.change = die  # type: ignore[assignment, method-assign]
        elif where == "before FiftyOne":
            datasets.bring_up = die  # type: ignore[assignment]
        apply(project, store)


def _child(room: Curated, fo: Any, where: str) -> Any:
    uri = fo.config.database_uri
    settings = {name: value for name, value in os.environ.items() if name.startswith("FIFTYONE_")}
    settings["FIFTYONE_DATABASE_URI"] = uri
    child = multiprocessing.get_context("spawn").Process(
        target=_apply_and_die, args=(room.project.root, settings, where)
    )
    child.start()
    return child


@pytest.mark.parametrize("where", ["before labels.db", "before FiftyOne"])
def test_an_apply_that_was_killed_is_finished_by_the_next(room: Curated, fo: Any, where: str) -> None:
    DecisionLedger(room.store).change([Decided(room.sha256["b.png"], "drop")])
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "relabel: wheel")
    one = of(dataset, room, "b.png")
    one.tags = []
    one.save()
    child = _child(room, fo, where)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    reached = where == "before FiftyOne"
    assert decided(room) == ({("a.jpg", "", "relabel", "wheel")} if reached else {("b.png", "", "drop", "")})
    applied = apply(room.project, room.store)
    assert (len(applied.added), len(applied.removed)) == ((0, 0) if reached else (1, 1))
    assert decided(room) == {("a.jpg", "", "relabel", "wheel")}
    assert pending(room.store, dataset.name) == ([], [])


def test_two_applies_at_once_are_one(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    for name in room.sha256:
        tag(dataset, room, name, "relabel")
    children = [_child(room, fo, "") for _ in range(2)]
    for child in children:
        child.join(180)
    assert [child.exitcode for child in children] == [0, 0]
    assert decided(room) == {(name, "", "relabel", "") for name in room.sha256}
    assert pending(room.store, dataset.name) == ([], [])


def test_deleting_the_database_loses_nothing_that_was_applied(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "drop", "dark")
    apply(room.project, room.store)
    for name in datasets.names(room.project):
        fo.delete_dataset(name)
    assert sorted(of(opened(fo, room), room, "a.jpg").tags) == ["dark", "drop"]

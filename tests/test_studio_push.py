"""Push: every photo gets exactly one task with the labels of now, whatever people do to the tasks meanwhile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labeling.core.errors import InputError, ServerError
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.core.store_studio import StudioLedger
from labeling.project import Project
from labeling.queue import lot
from labeling.studio import chunks
from labeling.studio.chunks import ASK_KEY, Parcel
from labeling.studio.convert import MODEL_VERSION
from labeling.studio.pushed import Wishes
from labeling.studio.selection import Condition
from labeling.studio.wire import encoded
from tests import fake_studio_faults as faults
from tests import made_stores
from tests.fake_studio import FakeStudio
from tests.made_stores import Thing
from tests.pushing import BOX, PALLET, World, assert_exactly_once

pytestmark = pytest.mark.http

WRITES = ("POST", "PATCH", "DELETE")
REGION = {"id": "drawn", "type": "rectanglelabels", "value": {}}


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, studio: FakeStudio) -> World:
    return World(tmp_path, studio)


def writes(studio: FakeStudio, since: int = 0) -> list[str]:
    """Return what changed the server, without the exchange of tokens."""
    sent = [one for one in studio.requests[since:] if one.method in WRITES]
    return [f"{one.method} {one.path}" for one in sent if "/token/" not in one.path]


# What is sent


def test_every_photo_becomes_one_task_with_its_labels(world: World, studio: FakeStudio) -> None:
    done = world.push(blind_share=0.0)
    assert (done.new, done.changed, done.refused, done.warnings) == (3, 0, [], [])
    for number in range(3):
        task = world.task(number)
        with world.store() as store:
            machine = store.annotations_of(world.sha256(number), "machine")
        assert task["data"]["labelstill_id"] == world.sha256(number)
        assert task["data"]["labelstill_name"] == f"photos/{number}.png"
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == MODEL_VERSION
        assert prediction["score"] == pytest.approx(0.6)
        assert [region["id"] for region in prediction["result"]] == [label.id for label in machine]
        box, pallet = prediction["result"]
        assert box["value"]["rectanglelabels"] == ["box"]
        assert box["value"]["x"] == pytest.approx(100 * 20 / 160)
        assert box["value"]["height"] == pytest.approx(100 * 60 / 120)
        assert box["score"] == pytest.approx(0.7)
        assert pallet["type"] in ("polygonlabels", "brushlabels")
    assert set(world.states().values()) == {"pushed"}
    assert_exactly_once(world, range(3))


def test_the_first_link_opens_the_first_task(world: World, studio: FakeStudio) -> None:
    done = world.push()
    first = studio.tasks()[0]
    assert done.first_link is not None
    assert done.first_link.startswith(studio.url)
    assert str(first["id"]) in done.first_link.rsplit("=", 1)[-1]
    assert world.push().first_link == done.first_link


def test_the_first_link_opens_no_blind_task_where_there_is_another(world: World, studio: FakeStudio) -> None:
    done = world.push(blind_share=0.5)
    shown = [task["id"] for task in studio.tasks() if task["predictions"]]
    assert 0 < len(shown) < 3
    assert done.first_link is not None
    assert int(done.first_link.rsplit("=", 1)[-1]) == min(shown)
    assert world.push().first_link == done.first_link


def test_a_push_with_nothing_to_do_asks_little_and_writes_nothing(world: World, studio: FakeStudio) -> None:
    world.push()
    with world.store() as store:
        before = list(StudioLedger(store).tasks(world.target(store)))
    since = len(studio.requests)
    done = world.push()
    assert (done.new, done.changed, done.unchanged) == (0, 0, 3)
    assert writes(studio, since) == []
    listings = [one.path for one in studio.requests[since:] if "/api/tasks" in one.path]
    assert len(listings) == 2
    assert not any("fields=all" in path for path in listings)
    with world.store() as store:
        assert list(StudioLedger(store).tasks(world.target(store))) == before


def test_more_tasks_than_fit_one_request_go_in_several_of_the_same_order(
    world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_TASKS", 2)
    assert world.push(blind_share=0.0).new == 3
    assert studio.count("POST", "/import") == 2
    with world.store() as store:
        rows = list(StudioLedger(store).tasks(world.target(store)))
    assert [row.task_id for row in rows] == sorted(row.task_id or 0 for row in rows)
    assert_exactly_once(world, range(3))


def parcel(size: int) -> Parcel:
    return Parcel(None, (), "", b" " * size)  # type: ignore[arg-type]


def test_a_chunk_holds_at_most_250_tasks_and_20_mb() -> None:
    assert [len(chunk) for chunk in chunks.chunks(parcel(10) for _ in range(501))] == [250, 250, 1]
    assert [len(chunk) for chunk in chunks.chunks(parcel(7_000_000) for _ in range(5))] == [2, 2, 1]
    assert list(chunks.chunks([])) == []


def test_the_bytes_of_a_chunk_are_those_that_travel(
    world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[bytes] = []
    serve = studio.serve

    def noted(call: Any, target: str) -> Any:
        if "/import" in target:
            bodies.append(call.content)
        return serve(call, target)

    monkeypatch.setattr(studio, "serve", noted)
    world.push(blind_share=0.0)
    (body,) = bodies
    assert len(body) <= len(encoded(json.loads(body)))


def test_a_task_that_no_request_can_carry_is_refused_by_name_and_the_rest_goes_on(
    world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [Thing("box", (float(x), 10.0, x + 5.0, 20.0)) for x in range(60)]
    world.label(1, *many)
    monkeypatch.setattr(chunks, "MAX_BYTES", 8_000)
    done = world.push(blind_share=0.0)
    assert done.new == 2
    ((name, reason),) = done.refused
    assert name == str(world.photos / "1.png")
    assert "MB" in reason
    assert world.states()[world.sha256(1)] == "prelabelled"


def test_a_photo_that_is_gone_or_replaced_is_refused_and_sent_once_it_is_back(world: World, studio: FakeStudio) -> None:
    path, away = world.photos / "1.png", world.photos / "away"
    wanted = world.sha256(1)
    path.rename(away)
    done = world.push(blind_share=0.0)
    assert (done.new, [name for name, _ in done.refused]) == (2, [str(path)])
    assert world.states()[wanted] == "prelabelled"
    path.write_bytes((world.photos / "2.png").read_bytes())
    assert len(world.push(blind_share=0.0).refused) == 1
    away.replace(path)
    assert world.push(blind_share=0.0).new == 1
    assert_exactly_once(world, range(3))


def test_labels_that_the_configuration_does_not_know_are_refused_by_name(world: World, studio: FakeStudio) -> None:
    world.push(limit=1, audit_share=0.0)
    project = Project.open(world.root)
    with project.open_store() as store, store.transaction() as db:
        db.execute("UPDATE studio_targets SET config = replace(config, '\"pallet\"', '\"crate\"')")
    with project.open_store() as store, world.client() as client:
        from labeling.studio.media import Media
        from labeling.studio.push import push

        target = world.target(store)
        assert "crate" in target.config
        media = Media(project, store, client, target)
        done = push(store, client, target, media, Wishes(), pause=world.pause)
    assert done.new == 0
    assert len(done.refused) == 2
    assert all("pallet" in reason for _, reason in done.refused)


def test_blind_tasks_have_no_prediction_and_are_the_same_ones_whoever_pushes(
    tmp_path: Path, studio: FakeStudio
) -> None:
    world = World(tmp_path, studio, photos=12)
    expected = {world.sha256(n) for n in range(12) if lot(world.sha256(n), "blind") < 0.5}
    assert 0 < len(expected) < 12
    world.push(blind_share=0.5, limit=7)
    world.push(blind_share=0.5)
    blind = {task["data"]["labelstill_id"] for task in studio.tasks() if not task["predictions"]}
    assert blind == expected
    with world.store() as store:
        ledger, target = StudioLedger(store), world.target(store)
        assert {task.sha256 for task in ledger.tasks(target) if task.blind} == expected
        assert all(ledger.pushed(target, sha256) for sha256 in expected)


def test_the_ledger_remembers_who_came_by_lot(tmp_path: Path, studio: FakeStudio) -> None:
    world = World(tmp_path, studio, photos=10)
    done = world.push(audit_share=0.3)
    with world.store() as store:
        assert sum(task.drawn for task in StudioLedger(store).tasks(world.target(store))) == done.drawn == 3


def test_what_the_teacher_found_empty_is_a_prediction_without_regions(world: World, studio: FakeStudio) -> None:
    with world.store() as store:
        made_stores.write(store, ("box", "pallet"), [made_stores.outcome([world.photos / "1.png"], ())])
    world.push(blind_share=0.0)
    (prediction,) = world.task(1)["predictions"]
    assert prediction["result"] == []
    assert_exactly_once(world, range(3))


def test_pictures_that_people_could_not_see_stop_the_push_before_anything_is_sent(
    world: World, studio: FakeStudio
) -> None:
    studio.faults.append(faults.login_page("GET", "/data/local-files"))
    with pytest.raises(ServerError, match="picture"):
        world.push()
    assert studio.tasks() == []
    assert world.rows() == {}


def test_stopping_ends_after_the_chunk_at_hand_and_the_next_push_goes_on(
    world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_TASKS", 1)
    world.on_wait = lambda number: len(studio.tasks()) == 2
    done = world.push(blind_share=0.0)
    assert (done.stopped, done.new) == (True, 2)
    world.on_wait = lambda number: False
    assert world.push(blind_share=0.0).new == 1
    assert_exactly_once(world, range(3))


def test_a_server_that_was_never_tried_is_a_warning(
    world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"release": "1.30.0"}
    studio.faults.append(faults.Fault("GET", "/api/version", 0, status=200, body=json.dumps(answer)))
    (warning,) = world.push().warnings
    assert "1.30.0" in warning
    assert "1.23" in warning


# What has changed since


def test_new_labels_replace_the_prediction_of_a_task_that_nobody_has_touched(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    world.label(1, PALLET)
    done = world.push(blind_share=0.0)
    assert (done.new, done.changed, done.unchanged) == (0, 1, 2)
    assert len(world.task(1)["predictions"]) == 1
    assert_exactly_once(world, range(3))


@pytest.mark.parametrize("how", ["submitted", "skipped", "draft"])
def test_a_task_that_people_have_begun_keeps_the_labels_that_they_saw(
    world: World, studio: FakeStudio, how: str
) -> None:
    world.push(blind_share=0.0)
    before = world.task(1)["predictions"]
    studio.annotate(world.task(1)["id"], [], skipped=how == "skipped", draft=how == "draft")
    with world.store() as store:
        pushed = StudioLedger(store).pushed(world.target(store), world.sha256(1))
    world.label(1, PALLET)
    done = world.push(blind_share=0.0)
    assert (done.changed, done.answered) == (0, 1)
    assert world.task(1)["predictions"] == before
    with world.store() as store:
        assert StudioLedger(store).pushed(world.target(store), world.sha256(1)) == pushed


def test_predictions_of_others_stay(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    other = {"task": world.task(1)["id"], "model_version": "another model", "result": []}
    studio.records.add_prediction(other)
    world.label(1, PALLET)
    world.push(blind_share=0.0)
    versions = [one["model_version"] for one in world.task(1)["predictions"]]
    assert sorted(versions) == ["another model", MODEL_VERSION]


def test_a_blind_task_stays_blind_when_its_labels_change(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=1.0)
    world.label(1, PALLET)
    assert world.push(blind_share=1.0).changed == 1
    assert world.task(1)["predictions"] == []
    with world.store() as store:
        labels = store.annotations_of(world.sha256(1), "machine")
        assert StudioLedger(store).pushed(world.target(store), world.sha256(1)) == labels
    assert world.push().changed == 0


# What people did to the tasks


def test_what_people_deleted_stays_deleted_until_it_is_asked_for(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    studio.delete_tasks(world.task(1)["id"])
    done = world.push(blind_share=0.0)
    assert (done.new, done.withdrawn, done.left_out) == (0, 1, 1)
    assert world.states()[world.sha256(1)] == "prelabelled"
    assert (world.push().new, world.push().withdrawn) == (0, 0)
    assert world.push(again=True, blind_share=0.0).new == 1
    assert_exactly_once(world, range(3))


def test_a_lost_ledger_is_read_back_from_the_server(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0, audit_share=0.5)
    with world.store() as store:
        by_lot = {task.sha256 for task in StudioLedger(store).tasks(world.target(store)) if task.drawn}
    assert by_lot
    world.forget_ledger()
    since = len(studio.requests)
    done = world.push(blind_share=0.0)
    assert (done.new, done.adopted, done.changed) == (0, 3, 0)
    assert writes(studio, since) == []
    assert_exactly_once(world, range(3))
    with world.store() as store:
        assert {task.sha256 for task in StudioLedger(store).tasks(world.target(store)) if task.drawn} == by_lot


def test_adopted_tasks_with_other_labels_are_brought_up_to_date(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    old = [region["id"] for region in world.task(1)["predictions"][0]["result"]]
    world.forget_ledger()
    world.label(1, BOX)
    world.label(2, BOX)
    studio.annotate(world.task(2)["id"], [])
    done = world.push(blind_share=0.0)
    assert (done.adopted, done.changed, done.answered) == (3, 1, 1)
    assert len(world.task(1)["predictions"]) == 1
    with world.store() as store:
        seen = StudioLedger(store).pushed(world.target(store), world.sha256(2))
    assert len(seen) == len(old)
    assert {label.class_name for label in seen} == {"box", "pallet"}
    assert seen[0].box_xyxy == pytest.approx(BOX.box)


def test_tasks_of_others_are_left_alone_and_do_not_slow_later_pushes(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    project = studio.tasks()[0]["project"]
    studio.records.add_tasks(
        project, [{"data": {"image": "/x.png"}}, {"data": {"image": "/y.png", "labelstill_id": 7}}]
    )
    assert world.push().new == 0
    since = len(studio.requests)
    assert world.push().new == 0
    assert sum("/api/tasks" in one.path for one in studio.requests[since:]) <= 2
    assert len(studio.tasks()) == 5


def double(world: World, studio: FakeStudio, number: int) -> int:
    task = world.task(number)
    (made,) = studio.records.add_tasks(task["project"], [{"data": dict(task["data"])}])
    return made


def test_an_untouched_second_task_is_removed(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    double(world, studio, 1)
    done = world.push(blind_share=0.0)
    assert (done.new, done.removed) == (0, 1)
    assert_exactly_once(world, range(3))


@pytest.mark.parametrize("how", ["submitted", "skipped", "draft"])
def test_of_two_tasks_the_one_that_people_have_touched_is_kept(world: World, studio: FakeStudio, how: str) -> None:
    world.push(blind_share=0.0)
    first = world.task(1)["id"]
    second = double(world, studio, 1)
    studio.annotate(second, [], skipped=how == "skipped", draft=how == "draft")
    assert world.push().removed == 1
    assert [task["id"] for task in studio.tasks() if task["id"] in (first, second)] == [second]
    with world.store() as store:
        assert StudioLedger(store).task_id(world.target(store), world.sha256(1)) == second


def test_two_tasks_that_people_have_both_answered_are_left_and_told(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    first, second = world.task(1)["id"], double(world, studio, 1)
    studio.annotate(first, [])
    studio.annotate(second, [])
    done = world.push()
    assert done.removed == 0
    (sentence,) = done.attention
    assert str(first) in sentence
    assert str(second) in sentence
    assert len(studio.tasks()) == 4


def test_a_photo_that_is_met_later_is_adopted_and_not_sent_again(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0)
    later = world.outcome(9)
    data = {"image": "/x.png", "labelstill_id": later.sha256, "labelstill_name": "9.png"}
    studio.records.add_tasks(studio.tasks()[0]["project"], [{"data": data}])
    assert world.push(blind_share=0.0).new == 0
    world.label(9)
    done = world.push(blind_share=0.0)
    assert (done.new, done.adopted) == (0, 1)
    assert world.per_photo()[later.sha256 or ""] == 1


def test_a_server_that_was_set_back_to_a_backup_gives_numbers_twice_and_mixes_nothing_up(
    world: World, studio: FakeStudio
) -> None:
    world.push(blind_share=0.0, limit=1)
    world.push(blind_share=0.0)
    kept = min(task["id"] for task in studio.tasks())
    studio.delete_tasks(*(task["id"] for task in studio.tasks() if task["id"] != kept))
    assert world.push(blind_share=0.0).withdrawn == 2
    assert world.push(blind_share=0.0, again=True, audit_share=1.0).new == 2
    assert_exactly_once(world, range(3))


def test_a_task_whose_number_was_given_out_again_is_not_taken_for_ours(world: World, studio: FakeStudio) -> None:
    """People delete the newest task, somebody imports another one: as many tasks as before, up to the same number."""
    world.push(blind_share=0.0)
    *_, newest = studio.tasks()
    studio.delete_tasks(newest["id"])
    (number,) = studio.records.add_tasks(newest["project"], [{"data": {"image": "/of/somebody/else.png"}}])
    assert number == newest["id"]
    done = world.push(blind_share=0.0)
    assert (done.new, done.withdrawn, done.left_out) == (0, 1, 1)
    assert world.push(again=True, blind_share=0.0).new == 1
    assert world.push().new == 0
    assert len(studio.tasks()) == 4


# What is chosen


def test_a_limit_sends_the_most_useful_ones(world: World, studio: FakeStudio) -> None:
    world.label(2, Thing("box", BOX.box, score=0.05))
    assert world.push(limit=1, audit_share=0.0).new == 1
    assert world.per_photo() == Counter({world.sha256(2): 1})
    assert world.push().new == 2


def test_a_decision_asks_in_the_task_that_is_there_once(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0, limit=2, audit_share=0.0)
    sent = next(iter(world.per_photo()))
    unsent = next(world.sha256(n) for n in range(3) if world.sha256(n) not in world.per_photo())
    with world.store() as store:
        question = Decided(sent, "relabel", "is the left box a pallet?")
        DecisionLedger(store).change([question, Decided(unsent, "relabel")])
    only = (Condition("decision", "relabel"),)
    done = world.push(only=only, blind_share=0.0)
    assert (done.new, done.asked) == (1, 1)
    asks = {task["data"]["labelstill_id"]: task["data"].get(ASK_KEY) for task in studio.tasks()}
    assert asks[sent] == "is the left box a pallet?"
    assert asks[unsent] == "relabel"
    since = len(studio.requests)
    done = world.push(only=only)
    assert (done.new, done.asked) == (0, 0)
    assert writes(studio, since) == []
    assert_exactly_once(world, range(3))


def test_reviewed_photos_are_sent_with_what_people_said_when_asked_for(world: World, studio: FakeStudio) -> None:
    label = made_stores.human(world.sha256(1), "pallet", (10.0, 10.0, 50.0, 50.0))
    with world.store() as store:
        store.set_reviewed(world.sha256(1), [label], "reviewed")
    assert world.push(only=(Condition("state", "reviewed"),), blind_share=1.0).new == 1
    (prediction,) = world.task(1)["predictions"]
    assert [region["id"] for region in prediction["result"]] == [label.id]
    assert world.states()[world.sha256(1)] == "reviewed"
    assert world.push(blind_share=0.0).new == 2
    assert world.push().new == 0


def test_overlap_is_told_once_and_after_the_tasks(world: World, studio: FakeStudio) -> None:
    assert world.push(overlap=50.0).overlap == 50
    sent = [one for one in writes(studio) if "/api/projects/" in one]
    assert sent[-1].startswith("PATCH")
    assert sorted(task["overlap"] for task in studio.tasks())[-1] == 2
    since = len(studio.requests)
    world.push(overlap=50.0)
    assert writes(studio, since) == []


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"limit": 0}, "--limit is 0"),
        ({"audit_share": 1.5}, "--audit-share is 1.5"),
        ({"blind_share": -0.1}, "--blind-share is -0.1"),
        ({"overlap": 0.0}, "--overlap is 0%"),
        ({"overlap": 0.1}, "--overlap is 0.1%"),
        ({"overlap": 101.0}, "--overlap is 101%"),
    ],
)
def test_numbers_out_of_range_are_refused(wish: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Wishes(**wish)


def test_a_push_is_quick_where_there_is_nothing_to_do(tmp_path: Path, studio: FakeStudio) -> None:
    """Not a matter of seconds but of requests: their number does not grow with the tasks."""
    counts = []
    for photos in (2, 20):
        world = World(tmp_path / str(photos), studio, photos=photos)
        world.push()
        since = len(studio.requests)
        world.push()
        counts.append(len(studio.requests) - since)
    assert counts[0] == counts[1]


def test_boxes_alone_are_sent_where_people_shall_correct_no_masks(world: World, studio: FakeStudio) -> None:
    world.push(blind_share=0.0, boxes=True)
    kinds = {region["type"] for task in studio.tasks() for region in task["predictions"][0]["result"]}
    assert kinds == {"rectanglelabels"}
    with world.store() as store:
        ledger, target = StudioLedger(store), world.target(store)
        for number in range(3):
            machine = store.annotations_of(world.sha256(number), "machine")
            assert any(label.rle for label in machine)
            assert ledger.pushed(target, world.sha256(number)) == [replace(label, rle=None) for label in machine]
    assert (world.push(boxes=True).new, world.push(boxes=True).changed) == (0, 0)

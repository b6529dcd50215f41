"""Push through a server and a network that fail at every place: in the end every photo has exactly one task."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labeling.core.errors import ServerError, StateError
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from labeling.studio import chunks, task_pages
from labeling.studio.reconcile import OLD_WAITS_S
from labeling.studio.selection import Condition
from tests import fake_studio_faults as faults
from tests.fake_studio import FakeStudio
from tests.fake_studio_faults import Fault
from tests.made_stores import Thing
from tests.pushing import PALLET, World, assert_exactly_once

pytestmark = pytest.mark.http

IMPORT = "/import"
PHOTOS = 5


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MAX_TASKS", 2)


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, studio: FakeStudio) -> World:
    return World(tmp_path, studio, photos=PHOTOS)


def push_until_done(world: World, most: int = 6, **wishes: object) -> None:
    """Push as people do: again after each failure."""
    for _ in range(most):
        with contextlib.suppress(ServerError):
            world.push(blind_share=0.0, **wishes)
            return
        if world.studio._server is None:
            world.studio.revive()
    raise AssertionError(f"failed {most} times")


# One push is enough


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize(
    "fault",
    [faults.lost_answer, faults.cut_before, faults.cut_after, faults.cut_body, faults.login_page],
    ids=lambda fault: fault.__name__,
)
def test_an_import_whose_answer_is_lost_is_found_or_sent_again_by_the_same_push(
    world: World, studio: FakeStudio, fault: Callable[..., Fault], nth: int
) -> None:
    studio.faults.append(fault("POST", IMPORT, nth=nth))
    assert world.push(blind_share=0.0).new == PHOTOS
    assert studio.faults[0].seen >= nth
    assert_exactly_once(world, range(PHOTOS))


@pytest.mark.parametrize("after", [1, 2, 3])
def test_tasks_that_arrive_while_the_push_looks_for_them_are_not_sent_again(
    world: World, studio: FakeStudio, after: int
) -> None:
    studio.faults.append(faults.late("POST", IMPORT, after=after, nth=2))
    assert world.push(blind_share=0.0).new == PHOTOS
    assert studio.count("POST", IMPORT) == 3
    assert_exactly_once(world, range(PHOTOS))


@pytest.mark.parametrize("after", [9, 11, 13, 16, 22])
def test_tasks_that_arrive_after_all_patience_are_doubles_and_removed(
    world: World, studio: FakeStudio, after: int
) -> None:
    studio.faults.append(faults.late("POST", IMPORT, after=after, nth=2))
    push_until_done(world)
    while studio._late:
        push_until_done(world)
    push_until_done(world)
    assert_exactly_once(world, range(PHOTOS))


def test_a_server_that_dies_in_an_import_and_comes_back_is_waited_for(world: World, studio: FakeStudio) -> None:
    studio.faults.append(faults.killed("POST", IMPORT, nth=2))
    world.on_wait = lambda number: studio.revive() if number == 3 else None
    assert world.push(blind_share=0.0).new == PHOTOS
    assert len(world.waits) >= 3
    assert_exactly_once(world, range(PHOTOS))


def test_a_server_that_dies_and_stays_away_ends_the_push_in_time_and_the_next_one_goes_on(
    world: World, studio: FakeStudio
) -> None:
    studio.faults.append(faults.killed("POST", IMPORT, nth=2))
    with pytest.raises(ServerError):
        world.push(blind_share=0.0)
    assert world.now < 120
    assert sorted(world.rows().values()) == ["intended", "intended", "sent", "sent"]
    studio.revive()
    done = world.push(blind_share=0.0)
    assert (done.adopted, done.new) == (2, 1)
    assert_exactly_once(world, range(PHOTOS))


def test_intents_that_never_arrived_are_looked_for_twice_and_sent(world: World, studio: FakeStudio) -> None:
    studio.faults.append(Fault("POST", IMPORT, 1, commits=False, cut="down"))
    with pytest.raises(ServerError):
        world.push(blind_share=0.0)
    studio.revive()
    world.waits.clear()
    assert world.push(blind_share=0.0).new == PHOTOS
    assert world.waits == list(OLD_WAITS_S)
    assert_exactly_once(world, range(PHOTOS))


def test_stopping_while_it_is_not_known_what_arrived_leaves_that_to_the_next_push(
    world: World, studio: FakeStudio
) -> None:
    studio.faults.append(faults.late("POST", IMPORT, after=12))
    world.on_wait = lambda number: number > 0
    done = world.push(blind_share=0.0)
    assert (done.stopped, done.new) == (True, 0)
    assert set(world.rows().values()) == {"intended"}
    world.on_wait = lambda number: None
    push_until_done(world)
    push_until_done(world)
    assert_exactly_once(world, range(PHOTOS))


def test_a_refused_import_ends_the_push_in_the_server_s_words_and_leaves_no_doubt(
    world: World, studio: FakeStudio
) -> None:
    studio.faults.append(faults.refused("POST", IMPORT, 400, nth=2))
    with pytest.raises(ServerError, match="refused by the script"):
        world.push(blind_share=0.0)
    assert list(world.rows().values()) == ["sent", "sent"]
    assert world.waits == []
    assert world.push(blind_share=0.0).new == 3
    assert_exactly_once(world, range(PHOTOS))


def test_an_import_that_never_arrives_is_given_up_after_three_tries(world: World, studio: FakeStudio) -> None:
    studio.faults.append(faults.cut_before("POST", IMPORT, nth=0))
    with pytest.raises(ServerError, match="did not arrive in 3 tries"):
        world.push(blind_share=0.0)
    assert studio.count("POST", IMPORT) == 3
    studio.faults.clear()
    assert world.push(blind_share=0.0).new == PHOTOS
    assert_exactly_once(world, range(PHOTOS))


@pytest.mark.parametrize(("method", "path"), [("POST", IMPORT), ("GET", "/api/tasks")])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    world: World, studio: FakeStudio, method: str, path: str
) -> None:
    studio.faults.append(faults.refused(method, path, 429, nth=2, Retry_After="0"))
    push_until_done(world)
    assert_exactly_once(world, range(PHOTOS))


def test_access_that_ends_every_few_requests_is_renewed(tmp_path: Path) -> None:
    for requests in (1, 2, 3):
        with FakeStudio(access_lives_requests=requests) as studio:
            world = World(tmp_path / str(requests), studio, photos=PHOTOS)
            assert world.push(blind_share=0.0).new == PHOTOS
            assert (
                studio.count("POST", IMPORT) - sum(one.status == 401 for one in studio.requests if IMPORT in one.path)
                == (PHOTOS + 1) // 2
            )
            assert_exactly_once(world, range(PHOTOS))


def test_tasks_deleted_between_two_pages_hide_no_other_task(
    world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_pages, "PAGE_SIZE", 2)
    world.push(blind_share=0.0)
    first, *_ = studio.tasks()
    studio.records.add_tasks(first["project"], [{"data": {"image": "/of/somebody/else.png"}}])
    page = r"/api/tasks/?\?.*page_size=2&"
    studio.faults.append(faults.meanwhile("GET", page, lambda fake: fake.delete_tasks(first["id"]), nth=2))
    done = world.push(blind_share=0.0)
    assert studio.faults[0].seen >= 3
    assert (done.new, done.withdrawn) == (0, 0)
    done = world.push(blind_share=0.0)
    assert (done.new, done.withdrawn, done.left_out) == (0, 1, 1)
    assert len(studio.tasks()) == PHOTOS


def test_two_pushes_at_once_in_one_project_are_one_push_and_a_sentence(world: World, studio: FakeStudio) -> None:
    said: list[str] = []

    def second(_fake: FakeStudio) -> None:
        with pytest.raises(StateError) as caught, Project.open(world.root).lock():
            pass
        said.append(str(caught.value))

    studio.faults.append(faults.meanwhile("POST", IMPORT, second))
    assert world.push(blind_share=0.0).new == PHOTOS
    assert len(said) == 1
    assert "is writing here" in said[0]
    assert_exactly_once(world, range(PHOTOS))


def test_two_computers_that_push_the_same_photos_at_once_leave_no_double(
    tmp_path: Path, world: World, studio: FakeStudio
) -> None:
    """Nothing locks two project folders against each other: what both have sent is found and removed afterwards."""
    world.push(blind_share=0.0, limit=2)
    project = studio.tasks()[0]["project"]
    missing = [n for n in range(PHOTOS) if world.sha256(n) not in world.per_photo()]

    def other(fake: FakeStudio) -> None:
        fake.records.add_tasks(
            project, [{"data": {"image": "/x.png", "labelstill_id": world.sha256(n)}} for n in missing]
        )

    studio.faults.append(faults.meanwhile("POST", IMPORT, other, nth=1))
    world.push(blind_share=0.0)
    push_until_done(world)
    assert_exactly_once_keyed(world)


def assert_exactly_once_keyed(world: World) -> None:
    assert set(world.per_photo().values()) == {1}
    assert len(world.per_photo()) == PHOTOS
    last = world.push()
    assert (last.new, last.removed, last.adopted) == (0, 0, 0)


# Every place, one after the other


def life(world: World) -> None:
    """All that a push can have to do: new photos, changed labels, a second task, a question."""
    push_until_done(world)
    world.label(0, Thing("box", (5.0, 5.0, 50.0, 50.0)), PALLET)
    world.label(7)
    with world.store() as store:
        DecisionLedger(store).change([Decided(world.sha256(2), "relabel", "is it a box?")])
    task = world.task(1)
    world.studio.records.add_tasks(task["project"], [{"data": dict(task["data"])}])
    push_until_done(world)
    push_until_done(world, only=(Condition("decision", "relabel"),))


FAULTS: dict[str, Callable[..., Fault]] = {
    "refused 400": lambda method, path, nth: faults.refused(method, path, 400, nth),
    "refused 401": lambda method, path, nth: faults.refused(method, path, 401, nth),
    "refused 500": lambda method, path, nth: faults.refused(method, path, 500, nth),
    "login page": faults.login_page,
    "server dies": faults.killed,
    "answer lost": faults.lost_answer,
    "cut before": faults.cut_before,
    "cut after": faults.cut_after,
    "cut inside": faults.cut_body,
    "late": lambda method, path, nth: faults.late(method, path, after=4, nth=nth),
}
READING = ("refused 401", "refused 500", "login page", "server dies")  # of the others the client knows how to recover


@pytest.mark.parametrize(
    ("method", "kind"),
    [("GET", kind) for kind in READING] + [(method, kind) for method in ("POST", "PATCH", "DELETE") for kind in FAULTS],
)
def test_whichever_request_fails_every_photo_ends_with_exactly_one_task(tmp_path: Path, kind: str, method: str) -> None:
    hit = 0
    while True:
        with FakeStudio() as studio:
            world = World(tmp_path / str(hit), studio, photos=3)
            world.push(blind_share=0.0, limit=1)  # the project is made; its making is tested elsewhere
            fault = FAULTS[kind](method, "/api/(?!token)", hit + 1)
            studio.faults.append(fault)
            life(world)
            studio.faults.clear()
            while studio._late:
                push_until_done(world)
            push_until_done(world)
            assert_exactly_once(world, [0, 1, 2, 7])
            assert world.task(2)["data"]["labelstill_ask"] == "is it a box?"
        if fault.seen <= hit:
            break
        hit += 1
    assert hit >= {"GET": 20, "POST": 4, "PATCH": 1, "DELETE": 1}[method]

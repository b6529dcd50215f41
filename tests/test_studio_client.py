"""The client of Label Studio against a server that fails: how often it asks, what it says, and what it never says."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from labeling.core.errors import InputError, ServerError
from labeling.studio import replies
from labeling.studio.client import InDoubt, StudioClient
from tests import fake_studio_faults as faults
from tests.fake_studio import FakeStudio
from tests.fake_studio_faults import Fault
from tests.studio_servers import StudioServer

pytestmark = pytest.mark.http

PERSONAL = FakeStudio().token


class Clock:
    """Time that passes when somebody sleeps, or with every look at it."""

    def __init__(self, per_look_s: float = 0.0) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        self._per_look_s = per_look_s

    def __call__(self) -> float:
        self.now += self._per_look_s
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _no_token_in_any_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert "eyJ" not in caplog.text
    assert FakeStudio(tokens="legacy").token not in caplog.text


def client_of(studio: FakeStudio, clock: Clock, **options: Any) -> StudioClient:
    return StudioClient(studio.url, studio.token, clock=clock, sleep=clock.sleep, **options)


def photos(count: int, key: str = "k{}") -> list[dict[str, Any]]:
    return [{"data": {"image": f"/{n}.png", "labelstill_id": key.format(n)}} for n in range(count)]


def complaint(call: Callable[[], object], kind: type[Exception] = ServerError) -> str:
    """Return what is said: one line, of exactly this kind, without a token."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    text = str(caught.value)
    assert "\n" not in text
    assert "eyJ" not in text
    assert "0123456789abcdef" not in text
    return text


def answering(reply: Callable[[httpx.Request], httpx.Response], **options: Any) -> StudioClient:
    """Return a client whose server is a function; access is given by itself."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/api/token/refresh/"):
            return httpx.Response(200, json={"access": "an-access-token"})
        return reply(request)

    clock = Clock()
    return StudioClient(
        "http://studio.test", PERSONAL, transport=httpx.MockTransport(answer), clock=clock, sleep=clock.sleep, **options
    )


# Reading ----------------------------------------------------------------------------------------------------

TRANSIENT = {
    "429": faults.refused("GET", "/api/tasks", 429, Retry_After="7"),
    "502": faults.refused("GET", "/api/tasks", 502),
    "503": faults.refused("GET", "/api/tasks", 503),
    "504": faults.lost_answer("GET", "/api/tasks"),
    "cut before the answer": faults.cut_before("GET", "/api/tasks"),
    "cut inside the body": faults.cut_body("GET", "/api/tasks"),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_list_survives_one_failure_with_one_more_request(name: str, clock: Clock) -> None:
    with FakeStudio([TRANSIENT[name]]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        ids = client.import_tasks(project, photos(3))
        assert [task["id"] for task in client.tasks(project)] == ids
        assert studio.count("GET", "/api/tasks") == 2
    (slept,) = clock.slept
    assert slept >= 7 if name == "429" else 0.25 <= slept <= 0.5


def test_a_server_that_stays_busy_ends_the_waiting_within_a_minute(clock: Clock) -> None:
    with FakeStudio([faults.refused("GET", "/api/tasks", 503, nth=0)]) as studio, client_of(studio, clock) as client:
        text = complaint(lambda: client.count_tasks(studio.add_project()))
        assert 8 <= studio.count("GET", "/api/tasks") <= 20
    assert "(503: refused by the script)" in text
    assert 40 < sum(clock.slept) <= 60


def test_an_error_of_the_server_is_not_asked_for_twice(clock: Clock) -> None:
    with FakeStudio([faults.refused("GET", "/api/tasks", 500)]) as studio, client_of(studio, clock) as client:
        assert "the server failed (500" in complaint(lambda: client.count_tasks(studio.add_project()))
        assert studio.count("GET", "/api/tasks") == 1


def test_a_wait_longer_than_our_patience_is_not_begun(clock: Clock) -> None:
    fault = faults.refused("GET", "/api/tasks", 429, Retry_After="3600")
    with FakeStudio([fault]) as studio, client_of(studio, clock) as client:
        assert "try again in 3600 s" in complaint(lambda: client.count_tasks(studio.add_project()))
    assert clock.slept == []


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("0", 0),
        (" 17 ", 17),
        ("9" * 400, 999_999_999),
        (formatdate(1_000_020, usegmt=True), 20),
        (formatdate(999_000, usegmt=True), 0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock(asked: str, seconds: float | None) -> None:
    headers = {"Retry-After": asked.encode(), "Date": formatdate(1_000_000, usegmt=True)}
    assert replies.wait_s(httpx.Response(429, headers=headers), now=5.0) == seconds


def test_a_body_that_stops_in_the_middle_is_asked_for_again(clock: Clock) -> None:
    done = threading.Event()
    with FakeStudio([faults.slow_body("GET", "/api/tasks", done.wait)]) as studio:
        with client_of(studio, clock, timeout_s=0.2) as client:
            assert client.count_tasks(studio.add_project()) == 0
            assert studio.count("GET", "/api/tasks") == 2
        done.set()


def test_a_body_that_comes_drop_by_drop_does_not_last_for_ever() -> None:
    class Drops(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" "

    clock = Clock(per_look_s=1.0)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Drops()))
    with StudioClient("http://studio.test", PERSONAL, transport=transport, clock=clock, sleep=clock.sleep) as client:
        assert "no answer within" in complaint(client.version)


def test_a_server_that_never_answered_is_given_up_at_once(clock: Clock) -> None:
    studio = FakeStudio()
    with studio:
        pass
    with client_of(studio, clock) as client:
        text = complaint(client.version)
    assert text == (
        f"{studio.url}: nothing listens there: start Label Studio (labelstill studio up), or correct LABEL_STUDIO_URL"
    )
    assert clock.slept == []


def test_a_server_that_comes_back_is_waited_for(clock: Clock) -> None:
    with FakeStudio() as studio:
        project = studio.add_project()

        def sleep(seconds: float) -> None:
            clock.sleep(seconds)
            if len(clock.slept) == 3:
                studio.revive()

        with StudioClient(studio.url, studio.token, clock=clock, sleep=sleep) as client:
            assert client.count_tasks(project) == 0
            studio.down()
            assert client.count_tasks(project) == 0
    assert len(clock.slept) == 3


# Writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "there"),
    [
        (faults.lost_answer("POST", "/import"), 5),
        (faults.lost_answer("POST", "/import", status=502), 5),
        (faults.cut_after("POST", "/import"), 5),
        (faults.cut_body("POST", "/import"), 5),
        (faults.killed("POST", "/import"), 5),
        (faults.cut_before("POST", "/import"), 0),
        (faults.refused("POST", "/import", 500), 0),
        (faults.refused("POST", "/import", 503, Retry_After="1"), 0),
        (faults.login_page("POST", "/import"), 0),
        (Fault("POST", "/import", status=201, body='{"hello": 1}'), 5),
        (Fault("POST", "/import", status=201, body='{"task_ids": [1, 2]}'), 5),
        (Fault("POST", "/import", status=201, body='{"task_ids": null}'), 5),
    ],
)
def test_an_import_without_an_answer_is_in_doubt_and_never_sent_twice(fault: Fault, there: int, clock: Clock) -> None:
    with FakeStudio([fault]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        text = complaint(lambda: client.import_tasks(project, photos(5)), InDoubt)
        assert studio.url in text
        assert studio.count("POST", "/import") == 1
        assert len(studio.tasks(project)) == there
    assert clock.slept == []


def test_an_import_that_does_not_end_in_time_is_in_doubt(clock: Clock) -> None:
    done = threading.Event()
    with FakeStudio([faults.slow_body("POST", "/import", done.wait)]) as studio:
        with client_of(studio, clock, timeout_s=0.2) as client:
            project = studio.add_project()
            assert "no answer within 0.2 s" in complaint(lambda: client.import_tasks(project, photos(5)), InDoubt)
            assert studio.count("POST", "/import") == 1
        done.set()


def test_an_import_can_be_carried_out_long_after_its_504(clock: Clock) -> None:
    with FakeStudio([faults.late("POST", "/import", after=2)]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        complaint(lambda: client.import_tasks(project, photos(5)), InDoubt)
        assert [client.count_tasks(project) for _ in range(4)] == [0, 0, 5, 5]


def test_an_import_that_was_put_off_is_sent_again(clock: Clock) -> None:
    fault = faults.refused("POST", "/import", 429, Retry_After="3")
    with FakeStudio([fault]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        assert client.import_tasks(project, photos(5)) == [1, 2, 3, 4, 5]
        assert studio.count("POST", "/import") == 2
        assert len(studio.tasks(project)) == 5
    assert clock.slept[0] >= 3


def test_an_import_that_is_put_off_for_ever_was_refused(clock: Clock) -> None:
    fault = faults.refused("POST", "/import", 429, nth=0, Retry_After="0")
    with FakeStudio([fault]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        assert "too many requests (429)" in complaint(lambda: client.import_tasks(project, photos(5)))
        assert studio.count("POST", "/import") <= 20
        assert studio.tasks(project) == []


def test_an_import_that_is_put_off_and_then_lost_is_in_doubt(clock: Clock) -> None:
    script = [faults.refused("POST", "/import", 429), faults.lost_answer("POST", "/import", nth=2)]
    with FakeStudio(script) as studio, client_of(studio, clock) as client:
        complaint(lambda: client.import_tasks(studio.add_project(), photos(5)), InDoubt)
        assert studio.count("POST", "/import") == 2


def test_an_import_that_finds_no_server_was_not_sent(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        assert client.import_tasks(project, photos(1)) == [1]
        studio.down()
        assert "nothing listens there" in complaint(lambda: client.import_tasks(project, photos(5)))
        studio.revive()
        assert client.count_tasks(project) == 1


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([{"data": {"picture": "/1.png"}}], '"image" key is expected'),
        ([*photos(1), {"data": {}}], "Error at item 1"),
    ],
)
def test_an_import_that_the_server_refuses_says_why(tasks: list[dict[str, Any]], words: str, clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        assert words in complaint(lambda: client.import_tasks(project, tasks))
        assert studio.tasks(project) == []


def test_an_import_into_a_project_that_is_gone_says_so(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        assert "/api/projects/9/import: is not there (404)" in complaint(lambda: client.import_tasks(9, photos(1)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_is_no_json_is_not_sent(value: object, clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        complaint(lambda: client.import_tasks(1, [{"data": {"image": value}}]), InputError)
        assert client.import_tasks(1, []) == []
        assert studio.requests == []


def test_an_import_in_the_background_is_asked_about_until_it_is_done(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        studio.records.async_import = True
        assert client.import_tasks(studio.add_project(), photos(3)) == [1, 2, 3]
        assert studio.count("POST", "/import") == 1
        assert studio.count("GET", "/imports/1/") == 2


@pytest.mark.parametrize(
    ("state", "words", "asked"),
    [
        ('{"status": "failed", "error": "no room\\u001b[2J"}', "the import failed: no room [2J", 1),
        ('{"status": "in_progress"}', "did not end within 120 s", 60),
        ('{"status": "completed"}', "expected the ids of 3 new tasks, got no", 1),
        ('{"hello": 1}', "expected how an import goes on", 1),
    ],
)
def test_an_import_in_the_background_without_a_good_end_is_in_doubt(
    state: str, words: str, asked: int, clock: Clock
) -> None:
    with (
        FakeStudio([Fault("GET", "/imports/", 0, status=200, body=state)]) as studio,
        client_of(studio, clock) as client,
    ):
        studio.records.async_import = True
        assert words in complaint(lambda: client.import_tasks(studio.add_project(), photos(3)), InDoubt)
        assert studio.count("POST", "/import") == 1
        assert studio.count("GET", "/imports/1/") == asked


@pytest.mark.parametrize(
    "create",
    [
        lambda client, folder: client.create_project(title="photos", label_config="<View/>"),
        lambda client, folder: client.create_prediction(task=1, result=[]),
        lambda client, folder: client.create_local_storage(1, str(folder), "photos"),
        lambda client, folder: client.upload_images(1, [("a.png", b"1")]),
    ],
)
def test_whatever_is_created_is_created_once_or_in_doubt(
    create: Callable[[StudioClient, Path], object], tmp_path: Path, clock: Clock
) -> None:
    script = [faults.lost_answer("POST", "/(projects|predictions|storages)", nth=2)]
    (tmp_path / "photos").mkdir()
    with FakeStudio(script, files_root=tmp_path) as studio, client_of(studio, clock) as client:
        client.import_tasks(studio.add_project(), photos(1))
        complaint(lambda: create(client, tmp_path / "photos"), InDoubt)
        assert studio.count("POST", "/(projects|predictions|storages)") == 2


def test_what_is_deleted_may_be_deleted_twice(clock: Clock) -> None:
    script = [faults.cut_after("DELETE", "/predictions/"), faults.cut_after("POST", "/dm/actions")]
    with FakeStudio(script) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        ids = client.import_tasks(project, photos(3))
        number = client.create_prediction(task=ids[0], result=[])["id"]
        client.delete_prediction(number)
        assert [r.status for r in studio.requests if r.method == "DELETE"] == [0, 404]
        client.delete_tasks(project, ids[:2])
        assert [task["id"] for task in studio.tasks(project)] == ids[2:]
        assert studio.count("POST", "/dm/actions") == 2
        client.delete_tasks(project, [])
        assert studio.count("POST", "/dm/actions") == 2
        assert len(studio.tasks(project)) == 1


def test_a_deletion_that_comes_late_spares_a_new_task_with_an_old_id(clock: Clock) -> None:
    with FakeStudio([faults.late("POST", "/dm/actions", after=2)]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        ids = client.import_tasks(project, photos(3))
        client.delete_tasks(project, ids[2:])
        assert client.import_tasks(project, photos(1, "new")) == ids[2:]
        assert client.count_tasks(project) == 3
        assert not studio._late
        assert [task["data"]["labelstill_id"] for task in studio.tasks()] == ["k0", "k1", "new"]


def test_a_change_is_made_again_until_it_is_answered(clock: Clock) -> None:
    with FakeStudio([faults.lost_answer("PATCH", "/tasks/")]) as studio, client_of(studio, clock) as client:
        (number,) = client.import_tasks(studio.add_project(), photos(1))
        assert client.update_task(number, data={"image": "/new.png"})["data"] == {"image": "/new.png"}
        assert studio.count("PATCH", "/tasks/") == 2


def test_a_change_that_is_never_answered_is_in_doubt(clock: Clock) -> None:
    with FakeStudio([faults.lost_answer("PATCH", "/tasks/", nth=0)]) as studio, client_of(studio, clock) as client:
        (number,) = client.import_tasks(studio.add_project(), photos(1))
        complaint(lambda: client.update_task(number, data={"image": "/new.png"}), InDoubt)
        assert studio.count("PATCH", "/tasks/") > 5


# Lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "full", "pages"), [(0, False, 1), (249, False, 1), (250, False, 2), (620, False, 3), (201, True, 3)]
)
def test_tasks_come_page_by_page_in_ascending_order(count: int, full: bool, pages: int, clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        ids = client.import_tasks(project, photos(count))
        tasks = list(client.tasks(project, full=full))
        assert [task["id"] for task in tasks] == ids
        assert studio.count("GET", "/api/tasks") == pages
        assert all(("annotations" in task) is full for task in tasks)
        assert client.count_tasks(project, after_id=100) == max(0, count - 100)
        assert client.highest_task_id(project) == count


def test_tasks_that_go_and_come_between_two_pages_hide_no_other(clock: Clock) -> None:
    def meddle(studio: FakeStudio) -> None:
        studio.delete_tasks(*range(1, 120), 251, 500)
        studio.records.add_tasks(1, photos(40, "new{}"))

    script = [faults.meanwhile("GET", "/api/tasks", meddle, nth=2)]
    with FakeStudio(script) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        client.import_tasks(project, photos(620))
        ids = [task["id"] for task in client.tasks(project)]
    assert ids == sorted(set(ids))
    assert set(ids) == set(range(1, 661)) - {251, 500}


def test_tasks_are_found_by_their_keys_fifty_at_once(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        client.import_tasks(project, photos(300))
        keys = [f"k{n}" for n in range(299, 0, -2)] + ["unknown"]
        found = list(client.tasks(project, keys=keys, after_id=10))
        assert [task["id"] for task in found] == list(range(12, 301, 2))
        assert studio.count("GET", "/api/tasks") == 4


def test_keys_that_many_tasks_share_lose_none(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        doubled = client.import_tasks(project, photos(1) * 600)
        single = client.import_tasks(project, photos(10, "s{}"))
        found = [task["id"] for task in client.tasks(project, keys=["k0", *(f"s{n}" for n in range(10))])]
        assert found == doubled + single


def test_keys_that_make_the_address_too_long_are_asked_for_in_smaller_groups(clock: Clock) -> None:
    fault = faults.refused("GET", r"/api/tasks\?.{3000}", 414, nth=0)
    with FakeStudio([fault]) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        ids = client.import_tasks(project, photos(50))
        assert [task["id"] for task in client.tasks(project, keys=[f"k{n}" for n in range(50)])] == ids


def test_tasks_that_changed_and_tasks_with_drafts_are_told_from_others(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        ids = client.import_tasks(project, photos(5))
        newest = list(client.tasks(project, full=True))[-1]["updated_at"]
        studio.annotate(ids[1], [])
        studio.annotate(ids[2], [], draft=True)
        studio.annotate(ids[3], [], skipped=True)
        for moment in (newest, newest.replace("Z", "+00:00")):
            assert [task["id"] for task in client.tasks(project, updated_after=moment)] == [ids[1], ids[3]]
        assert [task["id"] for task in client.tasks(project, drafts_only=True)] == [ids[2]]
        assert [task["id"] for task in client.tasks(project, updated_after=newest, keys=["k3"])] == [ids[3]]
        complaint(lambda: list(client.tasks(project, updated_after="2026-01-01")), InputError)


def test_a_server_that_repeats_a_page_does_not_hold_us_for_ever() -> None:
    tasks = [{"id": n, "data": {}} for n in range(1, 251)]
    with answering(lambda request: httpx.Response(200, json={"total": 500, "tasks": tasks})) as client:
        assert "expected tasks by ascending id" in complaint(lambda: list(client.tasks(1)))


def test_a_server_that_knows_no_filter_finds_no_key() -> None:
    tasks = [{"id": n, "data": {"labelstill_id": f"k{n}"}} for n in range(1, 9)]
    with answering(lambda request: httpx.Response(200, json={"total": 8, "tasks": tasks})) as client:
        assert [task["id"] for task in client.tasks(1, keys=["k3", "other"])] == [3]


def test_projects_come_page_by_page(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        ids = [studio.add_project() for _ in range(205)]
        assert [project["id"] for project in client.projects()] == ids[::-1]
        assert studio.count("GET", "/api/projects/") == 3
        assert client.project(205) is not None
        assert client.project(206) is None


def test_a_page_of_projects_that_vanished_meanwhile_ends_the_list() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        if request.url.params["page"] == "1":
            return httpx.Response(200, json={"next": "more", "results": [{"id": 1}]})
        return httpx.Response(404, json={"detail": "Invalid page."})

    with answering(reply) as client:
        assert [project["id"] for project in client.projects()] == [1]


# Tokens -----------------------------------------------------------------------------------------------------

EXCHANGE = "/api/token/refresh/"


def test_one_exchange_lasts_for_as_long_as_its_access_lives(clock: Clock) -> None:
    with FakeStudio(clock=clock) as studio, client_of(studio, clock) as client:
        for _ in range(26):
            client.whoami()
            clock.now += 10
        assert studio.count("POST", EXCHANGE) == 1
        clock.now += 15  # 275 s: too close to the end
        client.whoami()
        assert studio.count("POST", EXCHANGE) == 2
        assert all(request.status == 200 for request in studio.requests)


def test_a_token_that_lives_two_seconds_is_bought_anew_in_time(clock: Clock) -> None:
    with FakeStudio(clock=clock, access_lives_s=2) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        for n in range(5):
            client.import_tasks(project, photos(1, f"{n}-{{}}"))
            clock.now += 2
        assert studio.count("POST", EXCHANGE) == 5
        assert studio.count("POST", "/import") == 5
        assert len(studio.tasks(project)) == 5


def test_another_clock_than_the_servers_does_no_harm(clock: Clock) -> None:
    with FakeStudio(clock=lambda: clock.now - 1e8) as studio, client_of(studio, clock) as client:
        for _ in range(5):
            client.whoami()
        assert studio.count("POST", EXCHANGE) == 1


def test_access_that_ends_early_is_bought_once_more_and_a_write_is_carried_out_once(clock: Clock) -> None:
    with FakeStudio(access_lives_requests=1) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        for n in range(3):
            client.import_tasks(project, photos(1, f"{n}-{{}}"))
        assert [r.status for r in studio.requests if "/import" in r.path] == [201, 401, 201, 401, 201]
        assert studio.count("POST", EXCHANGE) == 3
        assert len(studio.tasks(project)) == 3


def test_access_that_is_always_refused_is_not_bought_for_ever(clock: Clock) -> None:
    with FakeStudio([faults.refused("GET", "/whoami", 401, nth=0)]) as studio, client_of(studio, clock) as client:
        assert "check that no proxy in between removes" in complaint(client.whoami)
        assert studio.count("GET", "/whoami") == 2
        assert studio.count("POST", EXCHANGE) == 2


def test_a_token_that_is_revoked_in_the_middle_stops_the_work(clock: Clock) -> None:
    with FakeStudio(clock=clock) as studio, client_of(studio, clock) as client:
        client.whoami()
        studio.revoked = True
        clock.now += 301
        text = complaint(lambda: client.import_tasks(studio.add_project(), photos(1)))
        assert text.startswith(f"{studio.url}: the personal access token is revoked, expired or of another server: ")
        assert studio.count("POST", EXCHANGE) == 2
        assert studio.count("POST", "/import") == 0


@pytest.mark.parametrize(
    "fault",
    [
        faults.refused("POST", EXCHANGE, 503, nth=2),
        faults.refused("POST", EXCHANGE, 429, nth=2, Retry_After="1"),
        faults.cut_after("POST", EXCHANGE, nth=2),
        faults.cut_body("POST", EXCHANGE, nth=2),
    ],
)
def test_an_exchange_that_fails_leaves_a_write_unsent_and_without_doubt(fault: Fault, clock: Clock) -> None:
    with FakeStudio([fault], clock=clock) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        client.whoami()
        clock.now += 301
        assert client.import_tasks(project, photos(2)) == [1, 2]
        assert studio.count("POST", "/import") == 1
        assert studio.count("POST", EXCHANGE) == 3


@pytest.mark.parametrize("fault", [faults.login_page("POST", EXCHANGE), Fault("POST", EXCHANGE, status=200, body="{}")])
def test_an_exchange_that_gives_no_access_is_no_label_studio(fault: Fault, clock: Clock) -> None:
    with FakeStudio([fault]) as studio, client_of(studio, clock) as client:
        assert "check that LABEL_STUDIO_URL is the address of" in complaint(lambda: client.import_tasks(1, photos(1)))
        assert len(studio.requests) == 1


def test_a_legacy_token_goes_along_as_it_is(clock: Clock) -> None:
    with FakeStudio(tokens="legacy") as studio, client_of(studio, clock) as client:
        assert client.whoami()["email"] == "me@localhost"
        assert len(studio.requests) == 1


def test_a_legacy_token_where_they_are_off_says_what_to_do(clock: Clock) -> None:
    with FakeStudio(tokens="legacy-off") as studio, client_of(studio, clock) as client:
        assert complaint(client.whoami) == (
            f"{studio.url}: this server has legacy tokens off: create a personal access token under "
            "Account & Settings and set LABEL_STUDIO_API_KEY to it"
        )
        assert len(studio.requests) == 1


def test_a_legacy_token_that_nobody_knows_says_what_to_do(clock: Clock) -> None:
    with FakeStudio() as studio, StudioClient(studio.url, "f" * 40) as client:
        assert "does not know this legacy token" in complaint(client.whoami)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (FakeStudio()._jwt("access", 300), "is an access token, which lives for minutes"),
        (FakeStudio()._jwt("sliding", 300), "is no token of Label Studio"),
        ("", "has 0 characters"),
        ("eyJ.eyJ.eyJ", "has 11 characters"),
        ("0123456789abcdef", "has 16 characters"),
        (PERSONAL + "\u2026", f"has {len(PERSONAL) + 1} characters"),
        (PERSONAL[:-5] + "\n" + PERSONAL[-5:], f"has {len(PERSONAL) + 1} characters"),
    ],
)
def test_what_is_no_token_is_refused_before_anything_is_sent(token: str, words: str) -> None:
    text = complaint(lambda: StudioClient("http://127.0.0.1:9", token), InputError)
    assert words in text
    assert "create a personal access token under Account & Settings" in text


def test_spaces_around_a_token_are_no_part_of_it(clock: Clock) -> None:
    with FakeStudio() as studio, StudioClient(studio.url, f" {studio.token}\n") as client:
        assert client.whoami()["id"] == 1


def test_a_server_that_repeats_the_token_does_not_make_us_say_it(clock: Clock) -> None:
    with answering(
        lambda request: httpx.Response(400, json={"detail": f"bad {request.headers['authorization']} {PERSONAL}"})
    ) as client:
        text = complaint(client.whoami)
    assert "an-access-token" not in text
    assert "Bearer [token] [token]" in text
    assert PERSONAL not in repr(vars(client)) + repr(client)


# Wrong addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_server_below_a_sub_path_is_reached(slashes: str, clock: Clock) -> None:
    with FakeStudio(prefix="/label/studio") as studio, StudioClient(studio.url + slashes, studio.token) as client:
        assert client.url == studio.url
        assert client.whoami()["id"] == 1
        (number,) = client.import_tasks(studio.add_project(), photos(1))
        (address,) = client.upload_images(1, [("a.png", b"123")])
        assert client.fetch(address) == b"123"
        assert client.fetch(f"/label/studio{address}") == b"123"
        assert client.task_link(1, number) == f"{studio.url}/projects/1/data?task=1"


def test_a_missing_sub_path_says_so(clock: Clock) -> None:
    with FakeStudio(prefix="/studio") as studio:
        url = studio.url.removesuffix("/studio")
        with StudioClient(url, studio.token) as client, StudioClient(url, "f" * 40) as legacy:
            for call in (client.version, client.whoami, lambda: legacy.project(1)):
                assert "correct LABEL_STUDIO_URL, which may lack a sub-path" in complaint(call)


def test_a_login_page_is_no_answer(clock: Clock) -> None:
    with FakeStudio([faults.login_page("GET", "/", nth=0)]) as studio, client_of(studio, clock) as client:
        calls: Sequence[Callable[[], object]] = (
            client.version,
            client.whoami,
            client.users,
            lambda: client.project(1),
            lambda: list(client.projects()),
            lambda: list(client.tasks(1)),
            lambda: client.count_tasks(1),
            lambda: client.predictions(1),
            lambda: client.local_storages(1),
            lambda: client.fetch("/data/upload/1/a.png"),
        )
        for call in calls:
            text = complaint(call)
            assert "expected JSON, got a web page (200)" in text
            assert "no login page of a proxy stands before it" in text
    assert clock.slept == []


def test_json_of_another_program_is_no_answer() -> None:
    for body in ({"hello": 1}, [], None, 7, {"release": 5}, {"total": 1, "tasks": [{"no": "id"}]}):
        with answering(lambda request, body=body: httpx.Response(200, json=body)) as client:  # type: ignore[misc]
            for call in (client.version, client.whoami, lambda: client.project(1), lambda: list(client.tasks(1))):
                assert "got something else" in complaint(call)


def raising(error: Exception, cause: Exception) -> httpx.MockTransport:
    def reply(request: httpx.Request) -> httpx.Response:
        raise error from cause

    return httpx.MockTransport(reply)


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (httpx.ConnectError("x"), socket.gaierror(-2, "Name or service not known"), "there is no host studio.test"),
        (httpx.ConnectError("x"), ssl.SSLCertVerificationError(1, "self-signed"), "its certificate is not trusted"),
        (httpx.ConnectError("x"), ssl.SSLError(1, "wrong version"), "no TLS connection can be made"),
        (httpx.ConnectError("no route\x1b[2J"), OSError(113, "x"), "cannot be reached (no route [2J)"),
        (httpx.ConnectTimeout("x"), OSError(), "no answer within 60 s"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_the_reason(
    error: Exception, cause: Exception, words: str
) -> None:
    clock = Clock()
    transport = raising(error, cause)
    with StudioClient("https://studio.test", PERSONAL, transport=transport, clock=clock, sleep=clock.sleep) as client:
        for kind in (client.version, client.whoami, lambda: client.import_tasks(1, photos(1))):
            text = complaint(kind)
            assert text.startswith("https://studio.test: ")
            assert words in text
    assert clock.slept == []


def test_https_to_a_server_without_tls_is_told_from_a_server_that_is_down() -> None:
    with FakeStudio() as studio, StudioClient(studio.url.replace("http:", "https:"), studio.token) as client:
        assert "a server without TLS has http://" in complaint(client.version)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://studio", "http://", "http://h:0", "http://h:x", "http://h?a=b", "http://[x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    assert "expected http://HOST:PORT" in complaint(lambda: StudioClient(url, PERSONAL), InputError)


def test_a_login_in_the_address_is_refused_and_not_shown() -> None:
    text = complaint(lambda: StudioClient("http://me:very-secret@studio.test", PERSONAL), InputError)
    assert "very-secret" not in text


@pytest.mark.parametrize("target", ["https://elsewhere.test/login?next=secret", "/user/login/", "//elsewhere.test/"])
def test_the_token_follows_no_redirect(target: str) -> None:
    hosts = []

    def reply(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(302, headers={"Location": target})

    with answering(reply) as client:
        text = complaint(client.whoami)
        assert "set LABEL_STUDIO_URL to the address where Label Studio itself answers" in text
        assert "secret" not in text
        complaint(lambda: client.import_tasks(1, photos(1)))
    assert hosts == ["studio.test"] * 2


def test_a_session_that_the_server_offers_is_not_taken() -> None:
    cookies = []

    def reply(request: httpx.Request) -> httpx.Response:
        cookies.append(request.headers.get("cookie"))
        return httpx.Response(200, json={"id": 1, "email": "a"}, headers={"Set-Cookie": "sessionid=1; Path=/"})

    with answering(reply) as client:
        client.whoami()
        client.whoami()
    assert cookies == [None, None]


# Pictures ---------------------------------------------------------------------------------------------------


def test_many_pictures_are_uploaded_in_order_whatever_their_names(clock: Clock) -> None:
    files = [("same name.png", f"{n}".encode()) for n in range(120)]
    with FakeStudio() as studio, client_of(studio, clock) as client:
        addresses = client.upload_images(studio.add_project(), files)
        assert [client.fetch(address) for address in addresses] == [content for _name, content in files]
        assert studio.count("POST", "/import") == 3
        assert studio.tasks() == []


def test_a_picture_of_a_storage_is_fetched_once_it_is_there(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a b.png").write_bytes(b"picture")
    address = "/data/local-files/?d=images/a%20b.png"
    with FakeStudio(files_root=tmp_path) as studio, client_of(studio, clock) as client:
        project = studio.add_project()
        text = complaint(lambda: client.fetch(address))
        assert "does not hand out this picture (404): check that the project has a storage" in text
        storage = client.create_local_storage(project, str(tmp_path / "images"), "photos")
        assert [row["id"] for row in client.local_storages(project)] == [storage["id"]]
        assert client.fetch(address) == client.fetch(studio.url + address) == b"picture"
        assert "more than 3 bytes" in complaint(lambda: client.fetch(address, max_bytes=3))
        assert "cannot be the same as" in complaint(lambda: client.create_local_storage(project, str(tmp_path), "all"))


@pytest.mark.parametrize(
    "address",
    ["http://elsewhere.test/a.png", "https://studio.test/a.png", "http://studio.test:81/a.png", "file:///etc/passwd",
     "http://studio.test@elsewhere.test/", "http:\\\\elsewhere.test", "http://[x"],
)  # fmt: skip
def test_a_picture_of_another_server_is_not_fetched(address: str) -> None:
    seen = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(404)

    with answering(reply) as client:
        complaint(lambda: client.fetch(address))
    assert set(seen) <= {"studio.test"}


def test_a_picture_may_be_sent_on_within_the_server_only() -> None:
    seen = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        places = {"/a": "/b", "/b": "c", "/out": "https://bucket.test/key?signature=secret", "/ring": "/ring"}
        if request.url.path == "/c":
            return httpx.Response(200, content=b"picture")
        return httpx.Response(302, headers={"Location": places[request.url.path]})

    with answering(reply) as client:
        assert client.fetch("/a") == b"picture"
        assert "secret" not in complaint(lambda: client.fetch("/out"))
        assert "without an end" in complaint(lambda: client.fetch("/ring"))
    assert set(seen) == {"studio.test"}


def test_a_picture_comes_unpacked_when_the_server_packs_it() -> None:
    import gzip

    packed = gzip.compress(b"picture" * 100)
    with answering(lambda request: httpx.Response(200, content=packed, headers={"Content-Encoding": "gzip"})) as client:
        assert client.fetch("/a") == b"picture" * 100


def test_ids_are_numbers_and_mails_by_user(clock: Clock) -> None:
    with FakeStudio() as studio, client_of(studio, clock) as client:
        ann = studio.add_user("ann@localhost")
        assert client.users() == {1: "me@localhost", ann: "ann@localhost"}
        assert client.version() == "1.23.2"
        assert studio.requests[-1].authorization == ""
        assert json.dumps(client.whoami())


@pytest.mark.server
def test_tasks_are_deleted_on_the_real_server(studio_server: StudioServer) -> None:
    with StudioClient(studio_server.url, studio_server.token) as client:
        config = '<View><Image name="image" value="$image"/></View>'
        project = client.create_project(title="client: deleting", label_config=config)["id"]
        ids = client.import_tasks(project, [{"data": {"image": "/a.jpg", "labelstill_id": str(n)}} for n in range(3)])
        client.delete_tasks(project, ids[:2])
        assert [task["id"] for task in client.tasks(project)] == ids[2:]
        client.delete_tasks(project, [])
        assert client.count_tasks(project) == 1

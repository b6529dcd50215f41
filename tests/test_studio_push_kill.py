"""Kill -9 of a push at every step of its ledger: the next push finds out what arrived and sends only the rest."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from pathlib import Path

import httpx
import pytest

from labeling.project import Project
from labeling.studio import chunks
from labeling.studio.client import StudioClient
from labeling.studio.media import Media
from labeling.studio.push import push
from labeling.studio.pushed import Wishes
from labeling.studio.target import open_target
from tests.fake_studio import FakeStudio
from tests.fake_studio_faults import Fault
from tests.made_stores import Thing
from tests.pushing import World, assert_exactly_once

pytestmark = pytest.mark.http

# Each push is a process forked from one that has imported everything: a kill meets the push and not the imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.test_studio_push_kill"])

PHOTOS = 5


def one_push(root: Path, url: str, token: str) -> None:
    """Push, in a process of its own, two tasks per request."""
    chunks.MAX_TASKS = 2
    project = Project.open(root)
    with (
        project.lock(),
        project.open_store() as store,
        StudioClient(url, token, transport=httpx.HTTPTransport(verify=False)) as client,
    ):
        target = open_target(project, store, client, local=True)
        media = Media(project, store, client, target)
        push(store, client, target, media, Wishes(blind_share=0.0), pause=lambda seconds: False)


def run_killed(world: World, method: str, path: str, nth: int, *, arrives: bool) -> int:
    """Run a push and kill it at the nth such request; return its exit code, -9 where it was killed.

    Args:
        arrives: the server carries the request out all the same.
    """
    process = PROCESSES.Process(target=one_push, args=(world.root, world.studio.url, world.studio.token))

    def kill(_fake: FakeStudio) -> None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        wait([process.sentinel])  # join belongs to one thread

    world.studio.faults[:] = [Fault(method, path, nth, commits=arrives, cut="before", act=kill)]
    process.start()
    process.join()
    world.studio.faults.clear()
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize(
    ("step", "method", "path", "nth", "arrives", "sent", "intended"),
    [
        # The next chunk may be intended, and the one before confirmed, while a request is on its way.
        ("before the intent", "GET", "/api/tasks", 2, True, {0}, {0}),
        ("between intent and request", "POST", "/import", 1, False, {0}, {2, 4}),
        ("between request and confirmation", "POST", "/import", 1, True, {0}, {2, 4}),
        ("in the second chunk", "POST", "/import", 2, True, {0, 2}, {2, 3, 4}),
        ("in the last chunk, which is lost", "POST", "/import", 3, False, {2, 4}, {1, 3}),
        ("after the last confirmation", "GET", "/api/tasks", 3, True, {5}, {0}),
    ],
)
def test_a_push_that_is_killed_at_a_step_is_finished_by_the_next(
    tmp_path: Path, step: str, method: str, path: str, nth: int, arrives: bool, sent: set[int], intended: set[int]
) -> None:
    with FakeStudio() as studio:
        world = World(tmp_path, studio, photos=PHOTOS)
        assert run_killed(world, method, path, nth, arrives=arrives) == -signal.SIGKILL
        rows = list(world.rows().values())
        assert rows.count("sent") in sent, step
        assert rows.count("intended") in intended, step
        world.push(blind_share=0.0)
        assert_exactly_once(world, range(PHOTOS))


@pytest.mark.parametrize(
    ("method", "arrives"),
    [("GET", True), ("POST", True), ("POST", False), ("DELETE", True), ("DELETE", False)],
)
def test_killed_at_whichever_request_every_photo_ends_with_exactly_one_task(
    tmp_path: Path, method: str, arrives: bool
) -> None:
    kills = 0
    while True:
        with FakeStudio() as studio:
            world = World(tmp_path / str(kills), studio, photos=3)
            world.push(blind_share=0.0, limit=1)
            change(world)
            code = run_killed(world, method, "/api/(?!token)", kills + 1, arrives=arrives)
            world.push(blind_share=0.0)
            assert_exactly_once(world, [0, 1, 2, 7])
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= {"GET": 5, "POST": 3, "DELETE": 1}[method]


def change(world: World) -> None:
    """Leave something of everything to do: new photos, new labels, a second task."""
    (task,) = world.studio.tasks()
    pushed = next(n for n in range(3) if world.sha256(n) == task["data"]["labelstill_id"])
    world.label(pushed, Thing("box", (5.0, 5.0, 50.0, 50.0)))
    world.label(7)
    world.studio.records.add_tasks(task["project"], [{"data": dict(task["data"])}])

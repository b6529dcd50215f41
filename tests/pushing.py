"""A project with labelled photos beside a fake Label Studio: what the tests of the push share."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from labeling.core.store import ImageOutcome, Store
from labeling.core.store_studio import StudioLedger, Target
from labeling.project import Project
from labeling.studio.client import StudioClient
from labeling.studio.media import Media
from labeling.studio.push import push
from labeling.studio.pushed import Pushed, Wishes
from labeling.studio.target import open_target
from tests import made_stores
from tests.fake_studio import FakeStudio
from tests.made_stores import Thing

CLASSES = ("box", "pallet")
BOX = Thing("box", (20.0, 30.0, 60.0, 90.0), score=0.7)
PALLET = Thing("pallet", (70.0, 20.0, 150.0, 100.0), score=0.5, masked=True)


class World:
    """A project of photos 0 … n-1, each with a box and a pallet, and the server that people use.

    Attributes:
        now: time in seconds, which only waiting moves.
        waits: how long the push and its client have waited, each time.
        on_wait: called with the number of the wait, 0 where the push only asks; true asks it to stop.
    """

    def __init__(self, folder: Path, studio: FakeStudio, photos: int = 3) -> None:
        self.studio = studio
        self.root = folder / "project"
        self.photos = folder / "photos"
        project = Project.create(self.root, made_stores.ontology(CLASSES))
        studio.records.files_root = self.root / "studio" / "files"
        with project.open_store(create=True) as store:
            made_stores.write(store, CLASSES, [self.outcome(number) for number in range(photos)])
        self.now = 0.0
        self.waits: list[float] = []
        self.on_wait: Callable[[int], object] = lambda number: None

    def outcome(self, number: int, *things: Thing) -> ImageOutcome:
        path = self.photos / f"{number}.png"
        if not path.exists():
            made_stores.photo(path, seed=number)
        return made_stores.outcome([path], things or (BOX, PALLET))

    def sha256(self, number: int) -> str:
        return self.outcome(number).sha256 or ""

    def label(self, number: int, *things: Thing) -> None:
        """Let the teacher look again."""
        with self.store() as store:
            made_stores.write(store, CLASSES, [self.outcome(number, *things)])

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        with Project.open(self.root).open_store() as store:
            yield store

    @contextlib.contextmanager
    def client(self) -> Iterator[StudioClient]:
        # Reading the certificates of the world takes longer than a push.
        plain = httpx.HTTPTransport(verify=False)
        url, token = self.studio.url, self.studio.token
        with StudioClient(url, token, transport=plain, clock=lambda: self.now, sleep=self.pause) as client:
            yield client

    def push(self, **wishes: Any) -> Pushed:
        project = Project.open(self.root)
        with project.lock(), project.open_store() as store, self.client() as client:
            target = open_target(project, store, client, local=True)
            media = Media(project, store, client, target)
            return push(store, client, target, media, Wishes(**wishes), pause=self.pause)

    def pause(self, seconds: float) -> bool:
        if not seconds:
            return bool(self.on_wait(0))
        self.now += seconds
        self.waits.append(seconds)
        return bool(self.on_wait(len(self.waits)))

    # What came of it

    def target(self, store: Store) -> Target:
        return StudioLedger(store).targets()[-1]

    def rows(self) -> dict[str, str]:
        """Return the state of each row of the ledger, by image."""
        with self.store() as store:
            return {task.sha256: task.state for task in StudioLedger(store).tasks(self.target(store))}

    def states(self) -> dict[str, str]:
        with self.store() as store:
            return dict(store.states())

    def task(self, number: int) -> dict[str, Any]:
        """Return the only task of a photo."""
        (found,) = (task for task in self.studio.tasks() if task["data"].get("labelstill_id") == self.sha256(number))
        return found

    def per_photo(self) -> Counter[str]:
        return Counter(task["data"]["labelstill_id"] for task in self.studio.tasks() if "labelstill_id" in task["data"])

    def forget_ledger(self) -> None:
        with self.store() as store, store.transaction() as db:
            db.execute("DELETE FROM studio_tasks")
            db.execute("UPDATE images SET state = 'prelabelled' WHERE state = 'pushed'")


def assert_exactly_once(world: World, photos: Sequence[int]) -> None:
    """Every photo has one task with one prediction, ledger and server name the same tasks, nothing is left to send."""
    last = world.push(blind_share=0.0)
    assert (last.new, last.changed, last.adopted, last.removed, last.withdrawn) == (0, 0, 0, 0, 0)
    assert world.per_photo() == Counter({world.sha256(number): 1 for number in photos})
    with world.store() as store:
        ledger = StudioLedger(store)
        rows = {task.sha256: task for task in ledger.tasks(world.target(store), "sent")}
        for number in photos:
            task, row = world.task(number), rows[world.sha256(number)]
            assert row.task_id == task["id"]
            (prediction,) = task["predictions"]
            machine = [label.id for label in store.annotations_of(row.sha256, "machine")]
            assert [region["id"] for region in prediction["result"]] == machine
            assert ledger.pushed(world.target(store), row.sha256) == store.annotations_of(row.sha256, "machine")
    assert set(rows) == {world.sha256(number) for number in photos}
    assert {world.states()[sha256] for sha256 in rows} == {"pushed"}

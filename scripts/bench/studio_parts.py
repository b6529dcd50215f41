"""What the bench of the Label Studio round trip stands on: a server of its own, filled projects, plain requests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from photos import cache, sha256
from rounds import peak_mb

from labeling import cli
from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation, Provenance, Rle
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.core.store_rows import Feature
from labeling.project import Project
from labeling.studio import local
from labeling.studio.client import StudioClient
from labeling.studio.folder import data_path
from labeling.studio.media import Media
from labeling.studio.pull import pull
from labeling.studio.pulled import Pulled
from labeling.studio.push import push
from labeling.studio.pushed import Pushed, Wishes
from labeling.studio.target import find_target, open_target

CLASSES = "forklift, pallet, box"
REGIONS = 5
CHUNK = 250
_FEATURE = 256
_PER_COMMIT = 500
_PORT = 18080
_BETWEEN_ANSWERS = timedelta(seconds=20)


class Counting(httpx.HTTPTransport):
    """The network; remembers the bodies of imports, or only their sizes."""

    def __init__(self, *, keep: bool = False) -> None:
        super().__init__(verify=False)  # reading the certificates of the world is no part of a push
        self.sizes: list[int] = []
        self.bodies: list[bytes] = []
        self._keep = keep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send."""
        if request.url.path.endswith("/import"):
            body = request.read()
            self.sizes.append(len(body))
            if self._keep:
                self.bodies.append(body)
        return super().handle_request(request)


@dataclass(frozen=True, slots=True)
class Bench:
    """One project and the Label Studio that was started for it; states of labels.db are kept by name beside it.

    Attributes:
        project: its folder serves the copies.
        url: of the server.
        token: personal access token.
        pid: of the server.
    """

    project: Project
    url: str
    token: str = field(repr=False)
    pid: int

    def fill(self, name: str, paths: Sequence[Path], size_wh: tuple[int, int], masks: Sequence[Rle] = ()) -> None:
        """Make a labels.db as a run leaves it: per image five boxes or these masks, and the feature of the image."""
        self._clear()
        random = np.random.default_rng(len(paths))
        with self.project.open_store(create=True) as store:
            store.write_classes(self.project.ontology)
            run = store.start_run("label", {})
            for start in range(0, len(paths), _PER_COMMIT):
                some = paths[start : start + _PER_COMMIT]
                store.commit_batch([_outcome(path, size_wh, masks, random) for path in some], run)
            store.finish_run(run, {})
        self.keep(name)

    def keep(self, name: str) -> None:
        """Keep labels.db as it is now."""
        with sqlite3.connect(self.project.database_path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(self.project.database_path, self._kept(name))

    def back(self, name: str) -> None:
        """Put labels.db back as it was kept."""
        self._clear()
        shutil.copyfile(self._kept(name), self.project.database_path)

    def client(self, transport: httpx.BaseTransport | None = None) -> StudioClient:
        """Return a client of the server."""
        return StudioClient(self.url, self.token, transport=transport)

    @contextmanager
    def media(self) -> Iterator[tuple[Store, Media]]:
        """Yield labels.db and the pictures of a new project on the server."""
        with self.project.open_store() as store, self.client() as client:
            yield store, Media(self.project, store, client, open_target(self.project, store, client, local=True))

    def push(self, transport: httpx.BaseTransport | None = None) -> Pushed:
        """Do what `labelstill push --blind-share 0` does: every task with its prediction, as the peer sends them."""
        project = Project.open(self.project.root)
        with project.lock(), project.open_store() as store, self.client(transport) as client:
            target = open_target(project, store, client, local=True)
            media = Media(project, store, client, target)
            return push(store, client, target, media, Wishes(blind_share=0.0), pause=lambda _seconds: False)

    def pull(self) -> Pulled:
        """Do what `labelstill pull` does."""
        project = Project.open(self.project.root)
        with project.lock(), project.open_store() as store, self.client() as client:
            return pull(store, client, find_target(store, client, local=True), project.ontology)

    def project_id(self) -> int:
        """Return the number of the newest project that labels.db knows on the server."""
        with self.project.open_store() as store, self.client() as client:
            return find_target(store, client, local=True).project_id

    def answer(self, name: str, pushed: str, bodies: Sequence[bytes]) -> None:
        """Keep a labels.db whose tasks people have answered, with one region of the five moved.

        The answers come by import, in place of those tasks. Their times lie 20 s apart, as those of people do.

        Args:
            name: of what is kept.
            pushed: of the labels.db after its push.
            bodies: of the requests of that push.
        """
        self.back(pushed)
        with self.project.open_store() as store, self.client() as client:
            target = find_target(store, client, local=True)
            client.delete_tasks(target.project_id, [task["id"] for task in client.tasks(target.project_id)])
            numbers: dict[str, int] = {}
            for body in bodies:
                tasks = [_answered(task) for task in json.loads(body)]
                ids = client.import_tasks(target.project_id, tasks)
                numbers |= zip((task["data"]["labelstill_id"] for task in tasks), ids, strict=True)
            with store.transaction() as db:
                db.executemany(
                    "UPDATE studio_tasks SET task_id = ? WHERE target_id = ? AND sha256 = ?",
                    [(number, target.id, image) for image, number in numbers.items()],
                )
        self._spread_in_time(sorted(numbers.values()))
        self.keep(name)

    def pages(self, project_id: int, *, full: bool) -> int:
        """List all tasks with plain requests; return how many there are."""
        size = 100 if full else CHUNK
        params: dict[str, str | int] = {"project": project_id, "page_size": size, "resolve_uri": "false"}
        params |= {"fields": "all"} if full else {}
        seen, total, page = 0, 1, 0
        with httpx.Client(base_url=self.url, verify=False, timeout=60) as plain:
            access = plain.post("/api/token/refresh/", json={"refresh": self.token}).raise_for_status().json()["access"]
            while seen < total:
                page += 1
                headers = {"Authorization": f"Bearer {access}"}
                reply = plain.get("/api/tasks", params={**params, "page": page}, headers=headers).raise_for_status()
                said = reply.json()
                seen, total = seen + len(said["tasks"]), said["total"]
        return seen

    def _spread_in_time(self, numbers: Sequence[int]) -> None:
        now = datetime.now(UTC) - timedelta(minutes=1)
        moments = [
            (f"{now - _BETWEEN_ANSWERS * back:%Y-%m-%d %H:%M:%S.%f}", number)
            for back, number in enumerate(reversed(numbers))
        ]
        with sqlite3.connect(data_path(self.project) / "label_studio.sqlite3", timeout=60) as db:
            db.executemany("UPDATE task SET updated_at = ? WHERE id = ?", moments)
            db.executemany("UPDATE task_completion SET updated_at = ? WHERE task_id = ?", moments)

    def _kept(self, name: str) -> Path:
        return self.project.root / f"{name}.kept"

    def _clear(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.project.database_path}{suffix}").unlink(missing_ok=True)
        # Otherwise the tasks of the round before would be found again, and nothing sent.
        (self.project.studio_path / "identity").unlink(missing_ok=True)


@contextmanager
def own_server() -> Iterator[Bench]:
    """Start a Label Studio for a new project; with the block it ends, and all that was made is removed."""
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(dir=cache("studio")) as folder:
        project = Project.create(Path(folder) / "bench", parse_classes(CLASSES))
        try:
            server, secrets, _ = local.up(project, _PORT, lambda _line: None)
            yield Bench(project, server.url, secrets.token, server.pid)
        finally:
            local.down(project, lambda _line: None)


def _outcome(path: Path, size_wh: tuple[int, int], masks: Sequence[Rle], random: np.random.Generator) -> ImageOutcome:
    image, info = sha256(str(path)), path.stat()
    labels = []
    for number in range(len(masks) or REGIONS):
        (x0, x1), (y0, y1) = (np.sort(random.uniform(0.05, 0.95, 2)) * edge + (0, 0.04 * edge) for edge in size_wh)
        score = float(random.uniform(0.3, 1))
        labels.append(
            Annotation(
                id=hashlib.sha256(f"{image} {number}".encode()).hexdigest()[:32],
                sha256=image,
                class_name=CLASSES.split(", ")[number % 3],
                box_xyxy=(float(x0), float(y0), float(x1), float(y1)),
                provenance=Provenance("teacher", "bench/1", None, "a box", score, None, None),
                rle=masks[number] if masks else None,
            )
        )
    return ImageOutcome(
        files=(FileStamp(os.fsencode(path), info.st_size, info.st_mtime_ns),),
        sha256=image,
        width=size_wh[0],
        height=size_wh[1],
        annotations=tuple(labels),
        features=(Feature(None, "bench/1", random.standard_normal(_FEATURE).astype(np.float16)),),
        done_key="done",
    )


def _answered(task: dict[str, Any]) -> dict[str, Any]:
    result = [{**region, "origin": "prediction"} for region in task["predictions"][0]["result"]]
    value = result[0]["value"]
    result[0] |= {"origin": "prediction-changed", "value": {**value, "x": value["x"] * 0.9}}
    return {**task, "annotations": [{"result": result, "lead_time": 20.0}]}


if __name__ == "__main__":
    code = cli.main()
    print(f"\n{peak_mb()}")
    sys.exit(code)

"""Photos that were handed over to a fake Label Studio, and people who answer there; the ledger is exact."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labeling.core.ontology import Ontology
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.core.store_studio import StudioLedger, Target, Task, content_hash
from labeling.formats.labelstudio import BOX_CONTROL, IMAGE_CONTROL, KEY, NAME_KEY
from labeling.studio.client import StudioClient
from labeling.studio.convert import prediction
from labeling.studio.policy import parse
from labeling.studio.pull import pull
from labeling.studio.pulled import Pulled
from tests.fake_studio import FakeStudio
from tests.made_stores import Box, Thing, ontology, outcome, photo, write

SIZE_WH = (160, 120)
CLASSES = ("car", "dog")
THINGS = (Thing("car", (10, 10, 60, 50)), Thing("dog", (70, 60, 120, 110), masked=True))
Region = dict[str, Any]


class Scene:
    """One project: images and their tasks in one order, the store, and the server."""

    def __init__(self, folder: Path, studio: FakeStudio, photos: int = 4, *, blind: Sequence[int] = ()) -> None:
        self.studio = studio
        self.store = Store.open(folder / "labels.db", create=True)
        self.ledger = StudioLedger(self.store)
        self.ontology: Ontology = ontology(CLASSES)
        files = [photo(folder / f"photo{number}.png", THINGS, SIZE_WH, seed=number) for number in range(photos)]
        made = [outcome([file], THINGS, SIZE_WH) for file in files]
        write(self.store, CLASSES, made)
        self.images = [one.sha256 or "" for one in made]
        self.project = studio.add_project()
        self.ledger.save_target(studio.url, self.project, config="", media="local")
        chunk, tasks = [], []
        for number, sha256 in enumerate(self.images):
            labels = self.store.annotations_of(sha256, "machine")
            task = Task(sha256, None, "intended", 0, content_hash(labels), "m", blind=number in blind)
            chunk.append((task, labels))
            data = {IMAGE_CONTROL: "/x.png", KEY: sha256, NAME_KEY: f"photo{number}.png"}
            shown = [] if number in blind else [prediction(labels, SIZE_WH)]
            tasks.append({"data": data, "predictions": shown})
        self.ledger.intend(self.target, chunk)
        self.tasks = studio.records.add_tasks(self.project, tasks)
        self.ledger.confirm(self.target, dict(zip(self.images, self.tasks, strict=True)))

    @property
    def target(self) -> Target:
        return self.ledger.targets()[-1]

    def pull(self, policy: str | None = None, **settings: Any) -> Pulled:
        chosen = parse(policy) if policy else None
        with StudioClient(self.studio.url, self.studio.token) as client:
            return pull(self.store, client, self.target, self.ontology, policy=chosen, **settings)

    def shown(self, number: int) -> list[Region]:
        """Return the regions of the prediction as the editor makes them part of an answer, untouched."""
        sent = prediction(self.ledger.pushed(self.target, self.images[number]), SIZE_WH)["result"]
        return [{**copy.deepcopy(region), "origin": "prediction"} for region in sent]

    def answer(self, number: int, result: Sequence[Region] = (), **more: Any) -> int:
        """Answer a task; return the number of the annotation."""
        return int(self.studio.annotate(self.tasks[number], list(result), **more)["id"])

    def state(self, number: int) -> str:
        return self.store.states()[self.images[number]]

    def labels(self, number: int) -> list[Annotation]:
        return self.store.annotations_of(self.images[number], "human")

    def said(self, number: int) -> list[tuple[str, Box]]:
        """Return classes and boxes that people left, to a millionth of a pixel."""
        return sorted((one.class_name, _rounded(one.box_xyxy)) for one in self.labels(number))

    def dump(self) -> list[str]:
        with sqlite3.connect(self.store.path) as db:
            return list(db.iterdump())


def region(name: str, box: Box, region_id: str = "new", **more: Any) -> Region:
    """Return a rectangle that a person drew."""
    x0, y0, x1, y1 = box
    width, height = SIZE_WH
    sides = {"x": 100 * x0 / width, "y": 100 * y0 / height}
    sides |= {"width": 100 * (x1 - x0) / width, "height": 100 * (y1 - y0) / height}
    return {
        "id": region_id,
        "type": "rectanglelabels",
        "from_name": BOX_CONTROL,
        "to_name": IMAGE_CONTROL,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "manual",
        "value": {**sides, "rotation": 0, "rectanglelabels": [name]},
        **more,
    }


def _rounded(box: Box) -> Box:
    x0, y0, x1, y1 = (round(value, 6) for value in box)
    return x0, y0, x1, y1

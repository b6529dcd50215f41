"""Images made into tasks, checked, and cut into pieces that one request can carry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.records import Annotation, ImageState
from ..core.store import Store
from ..core.store_studio import Task, content_hash
from ..formats.labelstudio import IMAGE_CONTROL, KEY, NAME_KEY
from .convert import prediction
from .media import Media
from .queue import Queued, lot
from .selection import labels_to_push
from .validate import problems

MAX_TASKS = 250
MAX_BYTES = 20_000_000
"""Of the JSON of one request."""

ASK_KEY = "labelstill_ask"
"""Key in ``data`` of what people shall look at again; Label Studio can filter by it."""

LOT_KEY = "labelstill_lot"
"""Key in ``data`` of tasks that were chosen by lot, so that a lost ledger can be made anew."""

Refuse = Callable[[str, str], None]
"""Called with the name of an image and the reason why it is not sent."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One task ready to be sent.

    Attributes:
        row: what the ledger will hold.
        labels: those of the prediction, also where people are not shown it.
        body: the task as Label Studio imports it.
        size: bytes of the body as JSON.
    """

    row: Task
    labels: Sequence[Annotation]
    body: Mapping[str, Any]
    size: int


class Packer:
    """Makes tasks of images. Belongs to the thread of the store.

    Args:
        store: labels.db.
        media: gives pictures their addresses.
        config: the labelling configuration of the project, against which every prediction is checked.
        blind_share: share of the machine-labelled images whose prediction is left out, in [0, 1].
        notes: what to tell people, by sha256.
        boxes: rectangles only.
        refuse: see ``Refuse``.
    """

    def __init__(
        self,
        store: Store,
        media: Media,
        config: str,
        *,
        blind_share: float,
        notes: Mapping[str, str],
        boxes: bool,
        refuse: Refuse,
    ) -> None:
        self._store = store
        self._media = media
        self._config = config
        self._blind_share = blind_share
        self._notes = notes
        self._boxes = boxes
        self._refuse = refuse
        self._states: dict[str, ImageState] = store.states()
        self._sizes = store.sizes()
        self._taught = store.done_keys().keys()

    def parcels(self, queue: Sequence[Queued]) -> Iterator[Parcel]:
        """Yield a parcel for each image that can be sent; the others are refused by name."""
        for start in range(0, len(queue), MAX_TASKS):
            some = queue[start : start + MAX_TASKS]
            addresses, refused = self._media.addresses([entry.sha256 for entry in some])
            for entry in some:
                if entry.sha256 in refused:
                    self._refuse(name_of(self._store, entry.sha256), refused[entry.sha256])
                    continue
                parcel = self._parcel(entry, addresses[entry.sha256])
                if parcel is not None:
                    yield parcel

    def labels(self, sha256: str, state: ImageState) -> list[Annotation]:
        """Return the labels of an image as people shall see them."""
        labels = labels_to_push(self._store, sha256, state)
        return [replace(label, rle=None) for label in labels] if self._boxes else labels

    def prediction(self, sha256: str, labels: Sequence[Annotation], data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the prediction of a task that says these labels, None where it cannot be sent, which is told by name.

        Args:
            sha256: the image.
            labels: of the image.
            data: of the task.
        """
        found = ["its size is not known: run labelstill label again"]
        if sha256 in self._sizes:
            made = prediction(labels, self._sizes[sha256])
            found = problems({"data": data, "predictions": [made]}, self._config)
            if not found:
                return made
        self._refuse(name_of(self._store, sha256), "; ".join(found))
        return None

    def _parcel(self, entry: Queued, address: str) -> Parcel | None:
        sha256 = entry.sha256
        state, name = self._states[sha256], name_of(self._store, sha256)
        # Where the folder lies is nobody's business on a server that others use.
        data = {IMAGE_CONTROL: address, KEY: sha256, NAME_KEY: "/".join(name.split("/")[-2:])}
        if entry.drawn:
            data[LOT_KEY] = "yes"
        if sha256 in self._notes:
            data[ASK_KEY] = self._notes[sha256]
        labels = self.labels(sha256, state)
        made = self.prediction(sha256, labels, data)
        if made is None:
            return None
        body: dict[str, Any] = {"data": data}
        # Only what a machine has looked at can tell what its labels do to people.
        waiting = state in ("prelabelled", "pushed") and sha256 in self._taught
        blind = waiting and lot(sha256, "blind") < self._blind_share
        if not blind and state != "new":
            body["predictions"] = [made]
        size = len(encoded(body))
        if size + 2 > MAX_BYTES:
            self._refuse(name, f"its labels are {size / 1e6:.1f} MB as JSON, more than {MAX_BYTES / 1e6:.0f} MB")
            return None
        version = str(made.get("model_version") or "")
        row = Task(sha256, None, "intended", 0, content_hash(labels), version, blind=blind, drawn=entry.drawn)
        return Parcel(row, labels, body, size)


def chunks(parcels: Iterable[Parcel]) -> Iterator[list[Parcel]]:
    """Cut parcels, in order, into lists whose JSON fits one request."""
    chunk: list[Parcel] = []
    size = 2
    for parcel in parcels:
        if chunk and (len(chunk) == MAX_TASKS or size + parcel.size + 1 > MAX_BYTES):
            yield chunk
            chunk, size = [], 2
        chunk.append(parcel)
        size += parcel.size + 1
    if chunk:
        yield chunk


def encoded(value: object) -> bytes:
    """Return compact JSON as the client sends it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def name_of(store: Store, sha256: str) -> str:
    """Return the path of a photo as shown to people, or its sha256 where no file holds it."""
    rows = store.rows("SELECT min(path) FROM files WHERE sha256 = ?", sha256)
    return rows[0][0] or sha256

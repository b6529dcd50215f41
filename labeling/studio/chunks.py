"""Images made into tasks, checked, and cut into pieces that one request can carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..core.records import Annotation, ImageState
from ..core.store import Store
from ..core.store_studio import Task, content_hash
from ..formats.labelstudio import IMAGE_CONTROL, KEY, NAME_KEY
from ..queue import Queued, lot
from .convert import prediction
from .media import Media
from .selection import labels_to_push
from .validate import problems
from .wire import encoded

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
        address: of the picture.
        encoded: the task as Label Studio imports it, as JSON.
    """

    row: Task
    labels: Sequence[Annotation]
    address: str
    encoded: bytes


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

    def parcels(self, queue: Iterable[Queued]) -> Iterator[Parcel]:
        """Yield a parcel for each image that can be sent; the others are refused by name."""
        waiting = iter(queue)
        while some := list(islice(waiting, MAX_TASKS)):
            images = [entry.sha256 for entry in some]
            addresses, refused = self._media.addresses(images)
            names, labels = self._store.names_of(images), self._labels(images)
            for entry in some:
                sha256 = entry.sha256
                if sha256 in refused:
                    self._refuse(names[sha256], refused[sha256])
                    continue
                parcel = self._parcel(entry, addresses[sha256], names[sha256], labels[sha256])
                if parcel is not None:
                    yield parcel

    def labels(self, sha256: str, state: ImageState) -> list[Annotation]:
        """Return the labels of an image as people shall see them."""
        return self._as_shown(labels_to_push(self._store, sha256, state))

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
        self._refuse(self._store.names_of([sha256])[sha256], "; ".join(found))
        return None

    def _labels(self, images: Sequence[str]) -> dict[str, list[Annotation]]:
        """Return what ``labels`` says about several images, read at once."""
        reviewed = [sha256 for sha256 in images if self._states[sha256] in ("reviewed", "reviewed-empty")]
        found = self._store.annotations_of_images(images, "machine")
        found |= self._store.annotations_of_images(reviewed, "human")
        return {sha256: self._as_shown(labels) for sha256, labels in found.items()}

    def _as_shown(self, labels: list[Annotation]) -> list[Annotation]:
        return [replace(label, rle=None) for label in labels] if self._boxes else labels

    def _parcel(self, entry: Queued, address: str, name: str, labels: Sequence[Annotation]) -> Parcel | None:
        sha256, state = entry.sha256, self._states[entry.sha256]
        # Where the folder lies is nobody's business on a server that others use.
        data = {IMAGE_CONTROL: address, KEY: sha256, NAME_KEY: "/".join(name.split("/")[-2:])}
        if entry.drawn:
            data[LOT_KEY] = "yes"
        if sha256 in self._notes:
            data[ASK_KEY] = self._notes[sha256]
        made = self.prediction(sha256, labels, data)
        if made is None:
            return None
        body: dict[str, Any] = {"data": data}
        # Only what a machine has looked at can tell what its labels do to people.
        waiting = state in ("prelabelled", "pushed") and sha256 in self._taught
        blind = waiting and lot(sha256, "blind") < self._blind_share
        if not blind and state != "new":
            body["predictions"] = [made]
        task = encoded(body)
        if len(task) + 2 > MAX_BYTES:
            self._refuse(name, f"its labels are {len(task) / 1e6:.1f} MB as JSON, more than {MAX_BYTES / 1e6:.0f} MB")
            return None
        version = str(made.get("model_version") or "")
        row = Task(sha256, None, "intended", 0, content_hash(labels), version, blind=blind, drawn=entry.drawn)
        return Parcel(row, labels, address, task)


def chunks(parcels: Iterable[Parcel]) -> Iterator[list[Parcel]]:
    """Cut parcels, in order, into lists whose JSON fits one request."""
    chunk: list[Parcel] = []
    size = 2
    for parcel in parcels:
        if chunk and (len(chunk) == MAX_TASKS or size + len(parcel.encoded) + 1 > MAX_BYTES):
            yield chunk
            chunk, size = [], 2
        chunk.append(parcel)
        size += len(parcel.encoded) + 1
    if chunk:
        yield chunk

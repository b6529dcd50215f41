"""The gold set: images that people reviewed so that prompts, thresholds and scores can be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..core.ontology import Ontology
from ..core.store import Store
from ..core.store_decisions import DecisionLedger
from ..queue import set_aside

Kind = Literal["gold", "lot", "reviewed"]

GOLD = "gold"
"""The decision that makes an image part of the gold set."""

LEAST = 30
"""So few images say nothing about a threshold."""

_REMARKS: dict[Kind, str] = {
    "gold": "drawn as gold by lot, so the figures speak for all images",
    "lot": "no gold set was drawn: these are reviewed images that came by lot or without pre-labels",
    "reviewed": (
        "no gold set was drawn: these are all reviewed images, which people took in an order of their own, "
        "so they may be harder or easier than the rest"
    ),
}
_LED = "pre-labels were shown for {shown} of {all}, which may have led the reviewers"


@dataclass(frozen=True, slots=True)
class GoldImage:
    """What people said about one image.

    Attributes:
        sha256: the image.
        size_wh: upright width and height in pixels.
        boxes_xyxy: (n, 4) float64 absolute pixels; (0, 4) where people say that there is nothing.
        class_ids: (n,) int64 positions in the ontology.
    """

    sha256: str
    size_wh: tuple[int, int]
    boxes_xyxy: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gold:
    """The gold set as far as people have reviewed it.

    Attributes:
        images: reviewed, by sha256.
        waiting: images that were drawn as gold and that nobody has reviewed yet.
        kind: ``gold``: drawn for this; ``lot``: reviewed images that came by lot or blind; ``reviewed``: all of them.
        remark: in words, how far the images speak for all others.
    """

    images: tuple[GoldImage, ...]
    waiting: int = 0
    kind: Kind = "gold"
    remark: str = ""

    @property
    def missing(self) -> int:
        """How many more reviewed images are needed before anything can be said."""
        return max(0, LEAST - len(self.images))


def read_gold(store: Store, ontology: Ontology) -> Gold:
    """Return what people said about the gold set.

    Where no gold set was ever drawn, reviewed images that came by lot or without pre-labels stand in if there are at
    least ``LEAST`` of them, else all reviewed images. Images that people skipped or set aside are in none of them.
    Labels of classes that the ontology does not have are left out.
    """
    aside = set_aside(store)
    states = {sha256: state for sha256, state in store.states().items() if sha256 not in aside}
    reviewed = {sha256 for sha256, state in states.items() if state in ("reviewed", "reviewed-empty")}
    drawn = DecisionLedger(store).images(GOLD, whole=True).keys()
    by_lot = reviewed & _tasks(store, "drawn OR blind")
    kind: Kind = "gold" if drawn else "lot" if len(by_lot) >= LEAST else "reviewed"
    chosen = sorted({"gold": reviewed & drawn, "lot": by_lot, "reviewed": reviewed}[kind])
    waiting = sum(states.get(sha256) in ("new", "prelabelled", "pushed") for sha256 in drawn)
    return Gold(tuple(_images(store, ontology, chosen)), waiting, kind, _remark(store, kind, chosen))


def _images(store: Store, ontology: Ontology, chosen: list[str]) -> list[GoldImage]:
    sizes, said = store.sizes(), store.annotations_of_images(chosen, "human")
    number = {name: position for position, name in enumerate(ontology.names)}
    images = []
    for sha256 in chosen:
        labels = [label for label in said[sha256] if label.class_name in number]
        boxes = np.array([label.box_xyxy for label in labels], dtype=np.float64).reshape(-1, 4)
        ids = np.array([number[label.class_name] for label in labels], dtype=np.int64)
        images.append(GoldImage(sha256, sizes[sha256], boxes, ids))
    return images


def _remark(store: Store, kind: Kind, chosen: list[str]) -> str:
    shown = len(_tasks(store, "NOT blind").intersection(chosen))
    led = f"; {_LED.format(shown=shown, all=len(chosen))}" if shown else ""
    return f"{_REMARKS[kind]}{led}"


def _tasks(store: Store, which: str) -> set[str]:
    sql = f"SELECT DISTINCT sha256 FROM studio_tasks WHERE state <> 'withdrawn' AND ({which})"
    return {sha256 for (sha256,) in store.rows(sql)}

"""A labels.db of photos that are nothing but facts: which classes, who reviewed them, what they look like, when."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from distill.curation.duplicates import Curve, Duplicates, Group, Pair
from distill.curation.photo_facts import PhotoFacts, photo_facts
from distill.split import Split, SplitSettings, make_split
from labeling.core.records import Annotation, ImageState, Provenance
from labeling.core.store import FileStamp, ImageOutcome, Review, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from tests.made_stores import ontology
from tests.outcomes import digest

NAMES = ("box", "pallet", "cone")


@dataclass(frozen=True)
class Photo:
    """One photo; its sha256 is that of its name, and photos of one look are nearly the same."""

    name: str
    classes: tuple[str, ...] = ("box",)
    state: ImageState = "reviewed"
    look: str | None = None
    noise: float = 0.05
    camera: str | None = None
    taken_at: str | None = None
    path: str | None = None

    @property
    def sha256(self) -> str:
        return digest(self.name)


def photos(count: int, prefix: str = "p", **more: object) -> list[Photo]:
    return [Photo(f"{prefix}{number}", **more) for number in range(count)]  # type: ignore[arg-type]


def thumbnail(photo: Photo) -> npt.NDArray[np.uint8]:
    """Draw noise in two sizes; that of one look is the same but for a little."""
    own, look = _random(photo.name), _random(photo.look or photo.name)
    coarse = np.kron(look.normal(size=(8, 8)), np.ones((6, 6)))
    grey = 128 + 25 * coarse + 20 * look.normal(size=(48, 48)) + 20 * photo.noise * own.normal(size=(48, 48))
    return np.clip(grey, 0, 255).astype(np.uint8)


@contextmanager
def store_of(some: Iterable[Photo], names: Sequence[str] = NAMES) -> Iterator[Store]:
    with TemporaryDirectory() as folder, Store.open(Path(folder, "labels.db"), create=True) as store:
        store.write_classes(ontology(names))
        add(store, some)
        yield store


def add(store: Store, some: Iterable[Photo]) -> None:
    """Write photos and their facts; those that are known get the labels and the state that they have now."""
    some = list(some)
    store.commit_reviews([_review(photo) for photo in some], store.start_run("label", {}))
    with store.transaction() as db:
        for photo in some:
            row = (photo.sha256, photo.camera, photo.taken_at, thumbnail(photo).tobytes())
            db.execute("INSERT OR REPLACE INTO photo_facts VALUES (?, 0.5, 0.2, 100, ?, ?, ?)", row)


def groups_of(*groups: Sequence[Photo], threshold: float = 0.88, kind: str = "near") -> Duplicates:
    """Return what was found to repeat: these groups, each of them linked in a row."""
    members = [[photo.sha256 for photo in group] for group in groups]
    return Duplicates(
        encoder=None,
        copies={},
        pairs=tuple(Pair(first, second, 0.95) for group in members for first, second in pairwise(group)),
        groups=tuple(Group(kind, tuple(group)) for group in members),  # type: ignore[arg-type]
        threshold=threshold,
        curve=Curve(np.linspace(0.5, 1, 100), np.zeros(100, dtype=np.int64), "it was given"),
        examples=(),
        without=0,
    )


NOTHING = groups_of()


def facts_of(store: Store) -> dict[str, PhotoFacts]:
    return {one.sha256: one for one in photo_facts(store)}


def split_of(
    store: Store,
    settings: SplitSettings | None = None,
    duplicates: Duplicates = NOTHING,
    *,
    fresh: bool = False,
) -> Split:
    return make_split(store, settings or SplitSettings(), duplicates=duplicates, facts=facts_of(store), fresh=fresh)


def decide(store: Store, decision: str, *some: Photo, note: str = "") -> None:
    DecisionLedger(store).change([Decided(photo.sha256, decision, note) for photo in some])


def open_test(store: Store) -> None:
    """Note that somebody has looked at the test part."""
    with store.transaction() as db:
        db.execute("INSERT INTO openings (student, test, opened_at) VALUES ('s', 't', '2026-01-01T00:00:00+00:00')")


def series(days: int = 10, each: int = 10, camera: str = "Cam", prefix: str = "day") -> list[Photo]:
    begin = datetime(2026, 3, 1, 8)
    return [
        Photo(
            f"{prefix}{day}-{shot}", camera=camera, taken_at=(begin + timedelta(days=day, minutes=7 * shot)).isoformat()
        )
        for day in range(days)
        for shot in range(each)
    ]


def sizes(split: Split) -> tuple[int, ...]:
    return tuple(len(split.images(part)) for part in ("train", "val", "test"))


def parts_of(split: Split, some: Sequence[Photo]) -> set[str]:
    return {split.parts[photo.sha256] for photo in some if photo.sha256 in split.parts}


def _review(photo: Photo) -> Review:
    labels = tuple(_label(photo, name, human=False) for name in photo.classes)
    files = (FileStamp(os.fsencode(photo.path or f"/photos/{photo.name}.jpg"), 1, 1),)
    if photo.state == "quarantined":
        outcome = ImageOutcome(files, photo.sha256, status="quarantined", reason="truncated")
    else:
        key = None if photo.state == "new" else "k"
        outcome = ImageOutcome(files, photo.sha256, 640, 480, annotations=labels if key else (), done_key=key)
    if photo.state in ("reviewed", "reviewed-empty", "skipped"):
        said = photo.classes if photo.state == "reviewed" else ()
        return Review(outcome, tuple(_label(photo, name, human=True) for name in said), photo.state)
    return Review(outcome)


def _label(photo: Photo, class_name: str, *, human: bool) -> Annotation:
    made = Provenance("human", annotator="ann") if human else Provenance("teacher", model="m", score=0.9)
    identity = digest(f"{photo.name} {class_name} {human}")[:32]
    return Annotation(identity, photo.sha256, class_name, (10.0, 10.0, 50.0, 60.0), made)


def _random(seed: str) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16))

"""Which photos INT8 ranges are measured on: of the train part alone, as unlike each other as can be had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distill.curation.photo_facts import PhotoOf
from distill.split import Split
from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.image_files import display
from labeling.project import Project
from labeling.queue import differing, lot, projection, set_aside
from labeling.sampling import farthest
from labeling.stored_photos import StoredPhotos, loader
from labeling.vectors import Vectors, image_encoder, image_vectors

from .runtime import Card, Frame

COUNT = 128

_COMPARED = 8192
"""So many photos, drawn by lot, are compared with each other; of more only these are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The photos to calibrate on.

    Attributes:
        images: sha256 each; the most ordinary photo first, then each the farthest from those before it.
        unreadable: names of train photos that were chosen first and could not be read; others took their places.
        remarks: what to know, one sentence each.
        photo_of: decodes a photo.
    """

    images: tuple[str, ...]
    unreadable: tuple[str, ...]
    remarks: tuple[str, ...]
    photo_of: PhotoOf

    def frames(self) -> Iterator[Frame]:
        """Yield the photos, BGR uint8 (h, w, 3), one in memory at a time.

        Raises:
            StateError: a photo that was there when they were chosen is gone.
        """
        for sha256 in self.images:
            loaded = self.photo_of(sha256)
            if loaded is None:
                raise StateError(f"{sha256}: this photo was readable a moment ago, now it is not: export again")
            yield np.ascontiguousarray(loaded.pixels[:, :, ::-1])

    def digest(self, card: Card) -> str:
        """Return the sha256 of what the network is shown: the photos, in any order, and how they are prepared."""
        prepared = [card.imgsz, card.letterbox, card.stride, card.dynamic, card.margin]
        return hashlib.sha256(json.dumps([sorted(self.images), prepared]).encode()).hexdigest()


def choose(candidates: Sequence[str], looks: Vectors, count: int, seed: int = 0) -> list[str]:
    """Return so many images that differ, farthest first (Gonzalez, 1985); the order of the candidates is of no matter.

    Args:
        candidates: sha256 each.
        looks: (n, d) features, a row each; a row of zeros for an image that nobody has looked at. Such images come
            last, by lot.
        count: so many, or all where there are fewer.
        seed: decides between equals, and draws the lots.
    """
    order = by_lot(candidates, seed)
    known = [row for row in order if looks[row].any()]
    picked = [known[place] for place in farthest(looks[known], count)] if known else []
    taken = set(picked)
    rows = picked + [row for row in order if row not in taken]
    return [candidates[row] for row in rows[:count]]


def by_lot(candidates: Sequence[str], seed: int) -> list[int]:
    """Return the rows of candidates in an order that depends on their names and the seed alone."""
    return sorted(range(len(candidates)), key=lambda row: lot(candidates[row], f"calibration {seed}"))


def frames_for(
    project: Project, store: Store, split: Split, count: int = COUNT, *, fold: int | None = None, seed: int = 0
) -> Calibration:
    """Choose photos of the train part; each is decoded once to see that it can be, and then let go.

    Images that were set aside (dropped, repeats of others) stay out. What val or test hold never comes in.

    Args:
        project: whose limits for photos hold.
        store: labels.db, with the looks that ``labelstill split`` and ``curate`` left there.
        split: that the student was trained on.
        count: so many photos, or all that can be read.
        fold: that was val, where the split has folds.
        seed: see ``choose``.

    Raises:
        InputError: the count is below 1, or there is no such fold.
        StateError: no photo of train can be read.
    """
    if count < 1:
        raise InputError(f"the number of calibration photos is {count}: expected 1 or more, such as {COUNT}")
    photos = StoredPhotos(store, loader(project.config.images))
    usable = sorted(set(split.images("train", fold)) - set_aside(store))
    readable: set[str] = set()
    unreadable: set[str] = set()
    while True:
        left = [sha256 for sha256 in usable if sha256 not in unreadable]
        pool = [left[row] for row in by_lot(left, seed)[: max(_COMPARED, count)]]
        looks = _looks(store, pool)
        chosen = choose(pool, looks, count, seed)
        # Chosen anew without those that cannot be read, so that the choice is as if they had never been there.
        new = [sha256 for sha256 in chosen if sha256 not in readable]
        bad = {sha256 for sha256 in new if photos.photo(sha256) is None}
        readable.update(sha256 for sha256 in new if sha256 not in bad)
        unreadable |= bad
        if not bad:
            break
    if not chosen:
        raise StateError(
            f"{display(project.root)}: none of {len(usable):,} train photos of split {split.name!r} can be read: check "
            "that their folder is there"
        )
    names = store.names_of(sorted(unreadable))
    unseen = int((~looks.any(axis=1)).sum())
    remarks = _remarks(len(chosen), count, len(unreadable), unseen, len(pool))
    return Calibration(tuple(chosen), tuple(sorted(names.values())), remarks, photos.photo)


def _looks(store: Store, images: Sequence[str]) -> Vectors:
    """Return what says how images differ, (n, d), as the order of the queue measures it; zeros where nothing does."""
    encoder = image_encoder(store)
    if encoder is None:
        return np.zeros((len(images), 1), dtype=np.float32)
    vectors = differing(image_vectors(store, encoder, images), encoder)
    return np.asarray(vectors @ projection(encoder.dim), dtype=np.float32)


def _remarks(chosen: int, count: int, unreadable: int, unseen: int, compared: int) -> tuple[str, ...]:
    said = []
    if chosen < count:
        said.append(f"calibrated on {chosen:,} photos instead of {count:,}: train has no more")
    if unreadable:
        said.append(f"{unreadable:,} train photos could not be read, others took their places in the calibration")
    if unseen:
        said.append(
            f"{unseen:,} of {compared:,} train photos have no look to compare by and were drawn by lot, if at all: "
            "labelstill curate looks at them"
        )
    return tuple(said)

"""The simple baseline: an image is said to hold what the most similar training photo holds.

It knows nothing of objects. A student that is no better has learned nothing that the training photos do not show as
they are, or photos of the test part lie in the train part as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeling.core import geometry
from labeling.core.masks import decode, encode
from labeling.core.records import Rle
from labeling.core.store import Store
from labeling.vectors import LOOK, Encoder, image_vectors, unit

from .objects import Objects
from .speakers import truth, with_truth

Size = tuple[int, int]

_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Nearest:
    """The training photo that is most like an image, and how alike they are: cosine brought to [0, 1]."""

    sha256: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the baseline says.

    Attributes:
        encoder: whose features tell which photos are alike; None where no image has any.
        objects: one per image that has features, in the order of the question.
        nearest: by image.
        left_out: images without features.
    """

    encoder: str | None
    objects: tuple[Objects, ...]
    nearest: dict[str, Nearest]
    left_out: tuple[str, ...]


def baseline(
    store: Store, train: Sequence[str], images: Sequence[str], names: Sequence[str], *, masks: bool = False
) -> Baseline:
    """Return the labels of the most similar training photo for each image, stretched to its size.

    Every score is the similarity, so that images that resemble the train part go first.

    Args:
        store: labels.db with features, as labelling and curation leave them.
        train: the train part; of it only images that teach count, see ``speakers.with_truth``.
        images: to speak about.
        names: the classes, in the order of the ontology.
        masks: stretch masks, too.
    """
    train, _ = with_truth(store, train, unreviewed=True)
    encoder = _encoder(store, train, images)
    nearest = nearest_photos(store, encoder, train, images) if encoder else {}
    sizes = store.sizes()
    taught = sorted({one.sha256 for one in nearest.values()})
    labels = {one.sha256: one for one in truth(store, taught, names, unreviewed=True, masks=masks)}
    asked = [sha256 for sha256 in images if sha256 in nearest and sha256 in sizes]
    return Baseline(
        encoder.model if encoder else None,
        tuple(_stretched(labels[nearest[sha256].sha256], sha256, sizes[sha256], nearest[sha256]) for sha256 in asked),
        nearest,
        tuple(sha256 for sha256 in images if sha256 not in set(asked)),
    )


def nearest_photos(store: Store, encoder: Encoder, train: Sequence[str], images: Sequence[str]) -> dict[str, Nearest]:
    """Return the most similar training photo of each image that has features, by image; none without training photos.

    What all training photos share is taken off the features first. Images come in blocks, so memory grows with the
    training photos and not with their product. An image that is a training photo itself is its own nearest.
    """
    vectors = image_vectors(store, encoder, train)
    known = np.asarray(vectors.any(axis=1))
    if not known.any():
        return {}
    taught = [sha256 for sha256, there in zip(train, known, strict=True) if there]
    shared = vectors[known].mean(axis=0)
    places = unit(vectors[known] - shared)
    found = {}
    for start in range(0, len(images), _AT_ONCE):
        some = images[start : start + _AT_ONCE]
        asked = image_vectors(store, encoder, some)
        cosines = unit(asked - shared) @ places.T
        for sha256, row, there in zip(some, cosines, np.asarray(asked.any(axis=1)), strict=True):
            if there:
                best = int(row.argmax())
                found[sha256] = Nearest(taught[best], float(np.clip((1 + row[best]) / 2, 0, 1)))
    return found


def _encoder(store: Store, train: Sequence[str], images: Sequence[str]) -> Encoder | None:
    """Return the encoder that most of the images have a feature of, a model before the plain look; None without any."""
    sql = "SELECT model, dim FROM features WHERE sha256 IN ({}) AND annotation_id IS NULL"
    asked = list(dict.fromkeys([*train, *images]))
    known = Counter(Encoder(*row) for row in store.rows_of(sql, asked))
    return max(known, key=lambda encoder: (known[encoder], encoder.model != LOOK, encoder), default=None)


def _stretched(taught: Objects, sha256: str, size_wh: Size, near: Nearest) -> Objects:
    factors = np.array(size_wh, dtype=np.float64) / np.array(taught.size_wh, dtype=np.float64)
    rles = None if taught.rles is None else tuple(rle and _stretched_mask(rle, size_wh) for rle in taught.rles)
    boxes = geometry.clip_boxes(taught.boxes_xyxy * np.tile(factors, 2), size_wh)
    return Objects(sha256, size_wh, boxes, taught.class_ids, np.full(len(taught), near.similarity), rles)


def _stretched_mask(rle: Rle, size_wh: Size) -> Rle:
    import cv2

    mask = decode(rle).astype(np.uint8)
    return encode(cv2.resize(mask, size_wh, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.bool_))

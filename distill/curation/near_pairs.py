"""Pairs of pictures that show the same: few candidates per picture by features, each of them looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from labeling.core.store import Store
from labeling.vectors import LOOK, Encoder, Vectors, image_vectors, unit

from .alignment import SIDE, Thumbnails, alike

Pairs = npt.NDArray[np.int64]

NEIGHBOURS = 8
"""Candidates per picture and kind of feature."""

_CELLS = 8
_LEAST_ALIKE = 0.35
"""Cosine of the outlines of two pictures; planted copies stay above 0.6, a shift by a tenth of the side above 0.4."""

_FLATTEST = 2.0
"""Standard deviation in grey values; a picture below it has nothing that could be compared."""

_VALUES_AT_ONCE = 1_000_000


def near_pairs(
    store: Store, images: Sequence[str], thumbnails: Thumbnails, encoder: Encoder | None
) -> tuple[Pairs, npt.NDArray[np.float32]]:
    """Return candidates as rows of images, (m, 2), the smaller row first, and how alike they are, (m,) in [0, 1].

    Candidates are the nearest pictures by outline (the thumbnail itself, coarse, without brightness and contrast) and
    by the encoder's features. They are searched in blocks, so memory grows with the images and not with their square.

    Args:
        store: labels.db.
        images: sha256 each.
        thumbnails: (n, 48, 48) of the same images.
        encoder: see ``labeling.vectors.image_encoder``; None goes by outlines alone.
    """
    shapes = outlines(thumbnails)
    found = [_nearest(shapes)]
    if encoder is not None:
        found.append(_nearest(_comparable(image_vectors(store, encoder, images), encoder)))
    pairs = np.unique(np.concatenate(found), axis=0)
    near = np.concatenate([cosines(shapes, part) for part in np.array_split(pairs, len(pairs) // 50_000 + 1)])
    pairs = pairs[near >= _LEAST_ALIKE]
    return pairs, alike(thumbnails, pairs)


def outlines(thumbnails: Thumbnails) -> Vectors:
    """Return what a thumbnail shows at a glance, (n, 64) of length 1; brightness and contrast do not change it.

    A flat picture gets zeros, which are like nothing.
    """
    step = SIDE // _CELLS
    cells = thumbnails.reshape(len(thumbnails), _CELLS, step, _CELLS, step).mean(axis=(2, 4), dtype=np.float32)
    centred = cells.reshape(-1, _CELLS**2)
    centred -= centred.mean(axis=1, keepdims=True)
    contrast = np.array([thumbnail.std() for thumbnail in thumbnails])
    centred[contrast < _FLATTEST] = 0
    return unit(centred)


def cosines(vectors: Vectors, pairs: Pairs) -> npt.NDArray[np.float32]:
    """Return the cosines, (m,), of pairs of rows of length 1."""
    return np.asarray(np.einsum("ij,ij->i", vectors[pairs[:, 0]], vectors[pairs[:, 1]]), dtype=np.float32)


def _comparable(vectors: Vectors, encoder: Encoder) -> Vectors:
    """Return features whose cosine tells pictures apart: without what all of them share."""
    known = np.abs(vectors).sum(axis=1) > 0
    if encoder.model == LOOK:
        # Colours and edges each by their own strength: a brighter copy has more of all of them.
        planes = vectors.reshape(len(vectors), vectors.shape[1] // 5, 5)
        vectors = (planes / np.maximum(np.linalg.norm(planes, axis=1, keepdims=True), 1e-6)).reshape(vectors.shape)
    centred = vectors - vectors[known].mean(axis=0) if known.any() else vectors
    return unit(np.where(known[:, None], centred, 0).astype(np.float32))


def _nearest(vectors: Vectors) -> Pairs:
    """Return each row with its nearest others, the smaller row first; rows of zeros have none."""
    count = len(vectors)
    most = min(NEIGHBOURS, count - 1)
    if most < 1:
        return np.zeros((0, 2), dtype=np.int64)
    known = np.asarray(vectors.any(axis=1))
    step = max(_VALUES_AT_ONCE // count, 1)
    found = []
    for start in range(0, count, step):
        block = vectors[start : start + step] @ vectors.T
        here = np.arange(len(block))
        block[here, start + here] = -2
        block[:, ~known] = -2
        others = np.argpartition(-block, most - 1, axis=1)[:, :most]
        rows = np.repeat(start + here, most)
        columns = others.ravel()
        there = known[rows] & known[columns] & (rows != columns)
        found.append(np.stack([rows, columns], axis=1)[there])
    return np.sort(np.concatenate(found), axis=1).astype(np.int64)

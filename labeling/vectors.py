"""Pooled features of images and boxes as arrays, read from labels.db in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .core.store import Store
from .core.store_rows import PIXELS

LOOK = f"{PIXELS}look 1"
"""Colours and edges of the picture itself, see ``sampling.features_of``; for images that no encoder has seen."""

Vectors = npt.NDArray[np.float32]


class Encoder(NamedTuple):
    """Where features come from; those of different encoders cannot be compared.

    Attributes:
        model: name and version.
        dim: numbers per feature.
    """

    model: str
    dim: int


def image_encoder(store: Store) -> Encoder | None:
    """Return the encoder that most images have a feature of, None where no image has any; looks only for want of it.

    A model that was named for curation goes before that of the teacher.
    """
    return _commonest(store, "annotation_id IS NULL")


def box_encoder(store: Store) -> Encoder | None:
    """Return the encoder that most boxes have a feature of, None where no box has any; looks only for want of it."""
    return _commonest(store, "annotation_id IS NOT NULL")


def image_vectors(store: Store, encoder: Encoder, images: Sequence[str]) -> Vectors:
    """Return the features of images, (n, dim), as they were stored; a row of zeros where an image has none.

    Args:
        store: labels.db.
        encoder: see ``image_encoder``.
        images: sha256 each.
    """
    vectors = np.zeros((len(images), encoder.dim), dtype=np.float32)
    row_of = {sha256: row for row, sha256 in enumerate(images)}
    sql = (
        "SELECT sha256, data FROM features INDEXED BY features_by_image "
        "WHERE sha256 IN ({}) AND annotation_id IS NULL AND model = ? AND dim = ?"
    )
    found = list(store.rows_of(sql, images, *encoder))
    if found:
        read = np.frombuffer(b"".join(data for _, data in found), dtype="<f2").reshape(len(found), encoder.dim)
        vectors[[row_of[sha256] for sha256, _ in found]] = np.nan_to_num(read.astype(np.float32), posinf=0, neginf=0)
    return vectors


def box_vectors(store: Store, encoder: Encoder, images: Sequence[str]) -> tuple[list[str], Vectors]:
    """Return the annotation ids of all boxes of images that have a feature, and these features, (n, dim)."""
    sql = (
        "SELECT annotation_id, data FROM features INDEXED BY features_by_image "
        "WHERE sha256 IN ({}) AND annotation_id IS NOT NULL AND model = ? AND dim = ?"
    )
    found = list(store.rows_of(sql, images, *encoder))
    read = np.frombuffer(b"".join(data for _, data in found), dtype="<f2").reshape(len(found), encoder.dim)
    return [name for name, _ in found], np.nan_to_num(read.astype(np.float32), posinf=0, neginf=0)


def unit(vectors: Vectors) -> Vectors:
    """Return rows of length 1; rows of zeros stay as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), dtype=np.float32)


def _commonest(store: Store, of: str) -> Encoder | None:
    rows = store.rows(
        f"SELECT model, dim FROM features WHERE {of} "
        f"GROUP BY model, dim ORDER BY model = ?, model NOT LIKE '{PIXELS}%', count(*) DESC, model, dim LIMIT 1",
        LOOK,
    )
    return next((Encoder(*row) for row in rows), None)

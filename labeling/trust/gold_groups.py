"""Gold images that show nearly the same, so that they never stand on both sides of a fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.store import Store
from ..core.store_decisions import DecisionLedger
from .gold_draw import looks, same


def groups_of(store: Store, images: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the number of the group of each image, (n,): one video, features alike, or decided to be a repeat.

    Args:
        store: labels.db.
        images: sha256 each, all different.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    row_of = {sha256: row for row, sha256 in enumerate(images)}
    pairs: list[tuple[int, int]] = []
    first: dict[str, int] = {}
    for sha256, video in store.rows_of("SELECT sha256, video FROM frames WHERE sha256 IN ({})", images):
        pairs.append((first.setdefault(video, row_of[sha256]), row_of[sha256]))
    for sha256, original in DecisionLedger(store).images("duplicate-of", whole=True).items():
        if sha256 in row_of and original in row_of:
            pairs.append((row_of[sha256], row_of[original]))
    vectors, _ = looks(store, images)
    if vectors is not None:
        pairs += [(row, int(other)) for row in range(len(images)) for other in np.flatnonzero(same(vectors, row))]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(images), len(images)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)

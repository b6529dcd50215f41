"""Which kinds of images people have not seen yet: what was reviewed against what waits, by the look of the images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from labeling.core.errors import MissingExtraError
from labeling.core.store import Store
from labeling.queue import differing, projection, set_aside
from labeling.sampling import farthest
from labeling.vectors import LOOK, Encoder, Vectors, image_vectors

SEED = 0

_REVIEWED = frozenset({"reviewed", "reviewed-empty"})
_WAITING = frozenset({"new", "prelabelled", "pushed"})
_ENOUGH = 0.5
"""An encoder that knows less of either part is given up for the plain look of the pictures."""

_MOST_KINDS = 64
_EXAMPLES = 8
_AMONG = 1024
_BLOCK = 4096
_OF_PAIRS = 0.75
"""So many pairs of images of one kind are nearer to each other than what counts as near."""

_ROUNDING = 1e-3
"""Features are kept in half precision: smaller distances say nothing."""

Integers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Gap:
    """One kind of images that people have hardly seen.

    Attributes:
        size: images of this kind that wait.
        reviewed: images of this kind that people have reviewed.
        distance: from the middle one of those that wait to the reviewed image most like it, of any kind; 1 is how far
            two images of one kind usually are from each other at most. None where nothing was reviewed.
        examples: sha256 of at most 8 of those that wait, the most ordinary one first, each further one unlike those
            before it.
    """

    size: int
    reviewed: int
    distance: float | None
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How well the reviewed images stand for those that wait.

    Attributes:
        encoder: whose features it rests on.
        reviewed: images that people have reviewed.
        waiting: images that they have not, labelled by a teacher or not; without those decided to be dropped.
        covered_share: share of the waiting images that are as near to a reviewed one as two images of one kind usually
            are to each other (three of four such pairs are nearer), in [0, 1]; 1 where none waits, 0 where nothing was
            reviewed.
        gaps: kinds most of whose waiting images are not covered, the largest first; all kinds where nothing was
            reviewed.
        without: reviewed and waiting images that are left out since they have no feature of this encoder.
    """

    encoder: str
    reviewed: int
    waiting: int
    covered_share: float
    gaps: tuple[Gap, ...]
    without: int = 0


def coverage(store: Store, *, most: int = _EXAMPLES) -> Coverage | None:
    """Compare what people have reviewed with what waits; None where no image has features.

    Kinds are clusters of the features of whole images (mini-batch k-means, Sculley, 2010, "Web-scale k-means
    clustering"), about the square root of half as many as there are images, at most 64.

    Args:
        store: labels.db.
        most: so many gaps at most.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    left_out = set_aside(store)
    rows = store.rows("SELECT sha256, state FROM v_images WHERE sha256 IS NOT NULL ORDER BY sha256")
    states = {sha256: state for sha256, state in rows if sha256 not in left_out}
    reviewed = [sha256 for sha256, state in states.items() if state in _REVIEWED]
    waiting = [sha256 for sha256, state in states.items() if state in _WAITING]
    encoder = _encoder(store, reviewed, waiting)
    if encoder is None:
        return None
    images = reviewed + waiting
    places, known = _places(store, encoder, images)
    if not len(known):
        return None
    seen = np.array([row < len(reviewed) for row in known], dtype=bool)
    found = [images[row] for row in known]
    counts = (len(reviewed), len(waiting))
    without = len(images) - len(found)
    if seen.all():
        share = 0.0 if waiting else 1.0
        return Coverage(encoder.model, *counts, share, (), without)
    kinds = _kinds(places)
    near = _nearest(places[~seen], places[seen]) / _usual(places, kinds)
    gaps = sorted(_gaps(found, places, kinds, seen, near), key=lambda gap: (-gap.size, gap.examples))
    return Coverage(encoder.model, *counts, float((near <= 1).mean()), tuple(gaps[:most]), without)


def _encoder(store: Store, reviewed: Sequence[str], waiting: Sequence[str]) -> Encoder | None:
    """Return the encoder that knows both parts best: a model's before the plain look, unless it knows too few."""
    part_of = dict.fromkeys(reviewed, 0) | dict.fromkeys(waiting, 1)
    known: dict[Encoder, list[int]] = {}
    for model, dim, sha256 in store.rows("SELECT model, dim, sha256 FROM features WHERE annotation_id IS NULL"):
        if sha256 in part_of:
            known.setdefault(Encoder(model, dim), [0, 0])[part_of[sha256]] += 1

    def worth(encoder: Encoder) -> tuple[bool, float, Encoder]:
        sizes = (len(reviewed), len(waiting))
        least = min(count / size for count, size in zip(known[encoder], sizes, strict=True) if size)
        return encoder.model != LOOK and least >= _ENOUGH, least, encoder

    return max(known, key=worth, default=None)


def _places(store: Store, encoder: Encoder, images: Sequence[str]) -> tuple[Vectors, Integers]:
    """Return points whose distances are how unlike images are, and the rows of the images that have one.

    Features are read in blocks: in memory is only what is left of them.
    """
    few = projection(encoder.dim)
    places: list[Vectors] = [np.zeros((0, few.shape[1]), dtype=np.float32)]
    known: list[Integers] = [np.zeros(0, dtype=np.intp)]
    for start in range(0, len(images), _BLOCK):
        vectors = image_vectors(store, encoder, images[start : start + _BLOCK])
        rows = np.flatnonzero(vectors.any(axis=1))
        places.append(differing(vectors[rows], encoder) @ few)
        known.append(rows + start)
    return np.concatenate(places), np.concatenate(known)


def _kinds(places: Vectors) -> Integers:
    """Return the number of the cluster of each image."""
    wanted = min(max(round((len(places) / 2) ** 0.5), 1), _MOST_KINDS)
    means = _library("sklearn.cluster").MiniBatchKMeans(wanted, random_state=SEED, n_init=3, batch_size=_AMONG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different images than clusters: some clusters stay empty
        return np.asarray(means.fit_predict(places), dtype=np.intp)


def _usual(places: Vectors, kinds: Integers) -> float:
    """Return how far two images of one kind usually are from each other at most, from pairs by lot."""
    random = np.random.default_rng(SEED)
    apart = [np.zeros(0, dtype=np.float32)]
    for rows in _members(kinds):
        if len(rows) > 1:
            first, second = random.choice(rows, (2, 2 * min(len(rows), _AMONG)))
            apart.append(np.linalg.norm(places[first] - places[second], axis=1)[first != second])
    pairs = np.concatenate(apart)
    return max(float(np.quantile(pairs, _OF_PAIRS)) if len(pairs) else 0.0, _ROUNDING)


def _nearest(waiting: Vectors, reviewed: Vectors) -> Vectors:
    """Return the distance of each waiting image to the nearest reviewed one, infinite where there is none."""
    if not len(reviewed):
        return np.full(len(waiting), np.inf, dtype=np.float32)
    _, distances = _library("sklearn.metrics").pairwise_distances_argmin_min(waiting, reviewed)
    return np.asarray(distances, dtype=np.float32)


def _gaps(
    images: Sequence[str], places: Vectors, kinds: Integers, seen: npt.NDArray[np.bool_], near: Vectors
) -> Iterator[Gap]:
    distances = np.zeros(len(images), dtype=np.float32)
    distances[~seen] = near
    for rows in _members(kinds):
        left = rows[~seen[rows]]
        middle = float(np.median(distances[left])) if len(left) else 0.0
        if middle > 1:
            among = left[:: max(len(left) // _AMONG, 1)]
            examples = tuple(images[among[row]] for row in farthest(places[among], _EXAMPLES))
            yield Gap(len(left), len(rows) - len(left), middle if np.isfinite(middle) else None, examples)


def _members(kinds: Integers) -> Iterator[Integers]:
    """Yield the rows of each kind."""
    by_kind = np.argsort(kinds, kind="stable")
    yield from np.split(by_kind, np.flatnonzero(np.diff(kinds[by_kind])) + 1)


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "curate") from error

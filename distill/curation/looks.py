"""Labels whose box looks like other classes, or like nothing else of its class: nearest neighbours of box features."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labeling.core.errors import MissingExtraError
from labeling.core.geometry import iou
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.vectors import LOOK, Encoder, Vectors, box_encoder, box_vectors

from .doubts import Doubt
from .scenes import Scene, scenes

FEWEST = 5
"""A class with fewer boxes says nothing about how its objects look."""

_NEIGHBOURS = 15
_DIMENSIONS = 32
_SHAPE = 0.3
"""Weight of the size and place of a box beside how it looks."""

_BASE_OF_CLASS = 1000
_BASE = 8000
_SAMPLED_IMAGES = 1500
_IMAGES_AT_ONCE = 500
_BORROWED_IOU = 0.7

_PRIOR_CLASS = 0.05
_PRIOR_ODD = 0.03
_LEAST_VOTES = 0.3
"""A class with a smaller share of the neighbours is not what a box looks like."""

_FLOOR = 0.08
"""Doubts below are not worth a row's attention."""


def looks(store: Store) -> Iterator[Doubt]:
    """Yield labels whose neighbours have other classes ("wrong class"), or that are far from their own ("spurious").

    A box has the feature of the encoder where it is a machine's own or a machine's box shares 0.7 with it; colours
    and edges (``vectors.LOOK``) speak for the others. No label votes for itself. A class counts by how much more often
    it is among the neighbours than among all boxes that may be, so that a common class does not outvote the others.
    Classes with fewer than five boxes, and labels without any feature, yield nothing.

    Args:
        store: labels.db.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    judged: set[str] = set()
    best = box_encoder(store)
    for encoder in dict.fromkeys(one for one in (best, _look(store)) if one is not None):
        labels, points = _points(store, encoder)
        if len(labels) > FEWEST:
            yield from (doubt for doubt in _judge(labels, points) if doubt.label and doubt.label.id not in judged)
        judged.update(label.id for label in labels)


def _look(store: Store) -> Encoder | None:
    rows = store.rows("SELECT dim FROM features WHERE model = ? AND annotation_id IS NOT NULL LIMIT 1", LOOK)
    return Encoder(LOOK, rows[0][0]) if rows else None


def _points(store: Store, encoder: Encoder) -> tuple[list[Annotation], Vectors]:
    """Return all labels that an encoder has seen, and a point for each, (n, d): looks first, then size and place."""
    few = _Projection.of(store, encoder)
    labels: list[Annotation] = []
    pieces: list[Vectors] = [np.zeros((0, few.dim + 3), dtype=np.float32)]
    for some in _batches(scenes(store)):
        names, vectors = box_vectors(store, encoder, [scene.sha256 for scene in some])
        row_of = {name: row for row, name in enumerate(names)}
        chosen: list[int] = []
        shapes: list[tuple[float, float, float]] = []
        for scene in some:
            for label, own in zip(scene.labels, _features_of(scene, row_of, encoder), strict=True):
                if own is not None:
                    labels.append(label)
                    chosen.append(own)
                    shapes.append(_shape(label, scene.size_wh))
        if chosen:
            shape = _SHAPE * np.array(shapes, dtype=np.float32)
            pieces.append(np.concatenate([few(vectors[chosen]), shape], axis=1, dtype=np.float32))
    return labels, np.concatenate(pieces)


def _features_of(scene: Scene, row_of: dict[str, int], encoder: Encoder) -> list[int | None]:
    """Return for each label the row of its own feature, or of that of the claim around the same object."""
    rows = [row_of.get(label.id) for label in scene.labels]
    claims = [claim for claim in scene.claims if claim.id in row_of] if encoder.model != LOOK else []
    if claims and None in rows:
        shared = iou([label.box_xyxy for label in scene.labels], [claim.box_xyxy for claim in claims])
        for i, j in enumerate(shared.argmax(axis=1).tolist()):
            if rows[i] is None and shared[i, j] >= _BORROWED_IOU:
                rows[i] = row_of[claims[j].id]
    return rows


def _shape(label: Annotation, size_wh: tuple[int, int]) -> tuple[float, float, float]:
    """Return width, height and place of a box, each about 1 wide over a set of photos."""
    x0, y0, x1, y1 = label.box_xyxy
    width, height = (max(x1 - x0, 1) / size_wh[0], max(y1 - y0, 1) / size_wh[1])
    return math.log(width), math.log(height), 4 * (y0 + y1) / 2 / size_wh[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Projection:
    """Standardises features and keeps their main directions (principal components), total variance 1."""

    mean: Vectors
    into: Vectors

    @property
    def dim(self) -> int:
        return self.into.shape[1]

    @classmethod
    def of(cls, store: Store, encoder: Encoder) -> _Projection:
        """Learn from a sample of images."""
        images = [sha256 for (sha256,) in store.rows("SELECT sha256 FROM images ORDER BY sha256")]
        sample = box_vectors(store, encoder, images[:: max(len(images) // _SAMPLED_IMAGES, 1)])[1]
        if not len(sample):
            sample = np.zeros((1, encoder.dim), dtype=np.float32)
        mean, spread = sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-6)
        unlike = (sample - mean) / spread
        _, axes = np.linalg.eigh(unlike.T @ unlike)
        few = axes[:, ::-1][:, :_DIMENSIONS]
        return cls(mean, np.asarray(few / spread[:, None] / np.sqrt(encoder.dim), dtype=np.float32))

    def __call__(self, vectors: Vectors) -> Vectors:
        return np.asarray((vectors - self.mean) @ self.into, dtype=np.float32)


def _judge(labels: list[Annotation], points: Vectors) -> Iterator[Doubt]:
    counted = Counter(label.class_name for label in labels)
    names = sorted(name for name, count in counted.items() if count >= FEWEST)
    code = {name: position for position, name in enumerate(names)}
    classes = np.array([code.get(label.class_name, -1) for label in labels])
    known = np.flatnonzero(classes >= 0)
    if not len(known):
        return
    labels, points, classes = [labels[i] for i in known], points[known], classes[known]
    votes, chance = _votes(points, classes, len(names))
    each = np.arange(len(labels))
    # Votes against those that chance would give, in neighbours; half a neighbour keeps rare classes from extremes.
    lifts = (votes * _NEIGHBOURS + 0.5) / (chance * _NEIGHBOURS + 0.5)
    own = lifts[each, classes]
    lifts[votes < _LEAST_VOTES] = 0
    lifts[each, classes] = 0
    other = lifts.argmax(axis=1)
    odds = _PRIOR_CLASS * lifts[each, other] / own
    wrong = odds / (1 + odds)
    ranks = _oddness(points, classes)
    odd = _PRIOR_ODD / (_PRIOR_ODD + ranks)
    for i, label in enumerate(labels):
        if wrong[i] >= _FLOOR:
            there, usual, itself = votes[i, other[i]], chance[other[i]], votes[i, classes[i]]
            reason = (
                f"looks like {names[other[i]]}: {there:.0%} of the boxes most like it ({usual:.0%} of all boxes); "
                f"{itself:.0%} are {label.class_name}"
            )
            yield Doubt(label.sha256, "wrong class", label, None, float(wrong[i]), "looks", reason)
        if odd[i] >= _FLOOR:
            reason = f"looks less typical of {label.class_name} than {1 - ranks[i]:.1%} of its labels"
            yield Doubt(label.sha256, "spurious", label, None, float(odd[i]), "looks", reason)


def _votes(
    points: Vectors, classes: npt.NDArray[np.int_], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the share of each class among the nearest neighbours of each point, near ones weigh more, and by chance.

    A point is no neighbour of itself. Shares are (n, count) and (count,).
    """
    share = max(FEWEST, min(_BASE_OF_CLASS, _BASE // count))
    base = np.concatenate([_drawn(np.flatnonzero(classes == name), share) for name in range(count)])
    distances, neighbours = _nearest(points, base, min(_NEIGHBOURS, len(base) - 1))
    weights = 1 / (distances + 1e-3)
    votes = np.zeros((len(points), count))
    rows = np.repeat(np.arange(len(points)), neighbours.shape[1])
    np.add.at(votes, (rows, classes[neighbours].ravel()), weights.ravel())
    chance = np.bincount(classes[base], minlength=count) / len(base)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True)), chance


def _oddness(points: Vectors, classes: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
    """Return for each point the share of its class that lies at least as far from the rest of it, in (0, 1)."""
    shares = np.ones(len(points))
    for name in range(int(classes.max()) + 1):
        members = np.flatnonzero(classes == name)
        base = _drawn(np.arange(len(members)), _BASE_OF_CLASS)
        distances, _ = _nearest(points[members], base, min(8, len(base) - 1))
        place = distances.mean(axis=1).argsort()[::-1].argsort()
        shares[members] = (place + 0.5) / len(members)
    return shares


def _nearest(
    points: Vectors, base: npt.NDArray[np.int_], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int_]]:
    """Return distances and rows of the nearest points of the base, never a point itself, (n, count) each."""
    try:
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "curate") from error
    distances, found = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(points[base]).kneighbors(points)
    neighbours = base[found]
    # Of those that are not the point itself, the first ``count``; a twin at distance 0 stays.
    itself = neighbours == np.arange(len(points))[:, None]
    itself[~itself.any(axis=1), -1] = True
    kept = ~itself
    return distances[kept].reshape(len(points), count), neighbours[kept].reshape(len(points), count)


def _drawn(rows: npt.NDArray[np.int_], most: int) -> npt.NDArray[np.int_]:
    """Return at most so many of the rows, always the same ones."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _batches(all_scenes: Iterable[Scene]) -> Iterator[list[Scene]]:
    batch: list[Scene] = []
    for scene in all_scenes:
        batch.append(scene)
        if len(batch) == _IMAGES_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch

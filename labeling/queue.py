"""In which order people should see images: where the teacher doubts and what is unlike the rest, first; some by lot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .core.errors import InputError
from .core.records import REVIEWED_STATES
from .core.standing import MACHINE_STANDS
from .core.store import Store
from .core.store_decisions import DecisionLedger
from .vectors import LOOK, Encoder, Vectors, image_encoder, image_vectors, unit

AUDIT_SHARE = 0.1

_BLOCK = 1024
"""So many images are put in order against each other; over the rest only the doubt decides."""

_COMPARED = 8192
"""A block keeps away from at most so many images before it."""

_DIMENSIONS = 64
"""Features are projected to so few numbers; distances change by about a tenth (Johnson and Lindenstrauss, 1984)."""

_NOTHING_FOUND = 0.5
"""Doubt about an image without any object: right or a miss, nobody knows. Less is never called much of a doubt."""

_PER_DROP = 0.05
"""Doubt that each box adds whose score was too low to be kept."""


@dataclass(frozen=True, slots=True)
class Queued:
    """One image in the queue.

    Attributes:
        sha256: the image.
        drawn: it came by lot, and so speaks for all images alike.
        doubt: see ``doubt``; None for an image that came by lot.
        apart: how unlike it is to the nearest image before it or reviewed, in [0, 1]; 1 where there was none. None for
            an image that came by lot or has no features.
    """

    sha256: str
    drawn: bool
    doubt: float | None = None
    apart: float | None = None


def order(
    store: Store, candidates: Sequence[str], *, audit_share: float = AUDIT_SHARE, seed: int = 0
) -> Iterator[Queued]:
    """Return every candidate once, the most useful first; the same store and seed give the same order.

    The lot takes its share without looking at the labels, and is spread evenly over the queue, so that any first part
    of the queue holds about the same share. All others come by doubt and by distance to what comes before them.

    Args:
        store: labels.db.
        candidates: sha256 of images, in any order.
        audit_share: share of the images that the lot takes, in [0, 1].
        seed: another one draws other lots.

    Raises:
        InputError: the share is out of range.
    """
    if not 0 <= audit_share <= 1:
        raise InputError(f"the audit share is {audit_share}: expected a number from 0 to 1, such as 0.1")
    by_lot = sorted(set(candidates), key=lambda sha256: lot(sha256, f"audit {seed}"))
    drawn = by_lot[: round(audit_share * len(by_lot))]
    rest = by_lot[len(drawn) :]
    doubts = doubt(store, rest)
    useful = _spread(sorted(rest, key=lambda sha256: (-doubts[sha256], sha256)), doubts, store)
    return _mixed(drawn, useful, len(by_lot))


def set_aside(store: Store) -> frozenset[str]:
    """Return the images that need no labels of people: decided as a whole to be dropped, or to repeat another one.

    Of images that are said to repeat each other in a ring one stays, and so does one that repeats a dropped image.
    """
    ledger = DecisionLedger(store)
    dropped, original = ledger.images("drop", whole=True), ledger.images("duplicate-of", whole=True)
    aside = set(dropped)
    for sha256 in original:
        way = [sha256]
        while (following := original.get(way[-1])) is not None and following not in way:
            way.append(following)
        ring = way[way.index(following) :] if following is not None else []
        kept = min(ring) if ring else next((one for one in reversed(way) if one not in dropped), sha256)
        if sha256 != kept:
            aside.add(sha256)
    return frozenset(aside)


def lot(sha256: str, purpose: str) -> float:
    """Return a number in [0, 1) that an image always draws for the same purpose."""
    return int(hashlib.sha256(f"{purpose} {sha256}".encode()).hexdigest()[:13], 16) / 16**13


def doubt(store: Store, images: Sequence[str]) -> dict[str, float]:
    """Return how many corrections people may have to make in each image, 0 or more, from the scores of its boxes.

    A box at the threshold counts 1, one of score 1 nothing, by the square. A sum, since the chance of any correction
    is about 1 for every crowded image, and says no more which of them to look at (sums beat means and maxima in Brust
    et al., 2019, "Active learning for deep object detection").
    """
    thresholds = _thresholds(store)
    doubts = dict.fromkeys(images, 0.0)
    seen: set[str] = set()
    sql = f"SELECT sha256, class_name, score FROM annotations a WHERE {MACHINE_STANDS} AND sha256 IN ({{}})"
    for sha256, class_name, score in store.rows_of(sql, images):
        threshold = min(thresholds.get(class_name, 0.0), 0.99)
        margin = 0.5 if score is None else (score - threshold) / (1 - threshold)
        doubts[sha256] += (1 - min(max(margin, 0.0), 1.0)) ** 2
        seen.add(sha256)
    for sha256 in doubts.keys() - seen:
        doubts[sha256] = _NOTHING_FOUND
    for sha256, count in store.rows_of(
        "SELECT sha256, sum(n) FROM drops WHERE reason = 'score' AND sha256 IN ({}) GROUP BY sha256", images
    ):
        doubts[sha256] += _PER_DROP * min(count, 10)
    return doubts


def differing(vectors: Vectors, encoder: Encoder) -> Vectors:
    """Return what of features says how images differ: their direction; of looks all, or dark would equal bright."""
    return vectors if encoder.model == LOOK else unit(vectors)


def projection(dim: int) -> Vectors:
    """Return the (dim, fewer) matrix that features are multiplied with before they are compared."""
    if dim <= _DIMENSIONS:
        return np.eye(dim, dtype=np.float32)
    random = np.random.default_rng(dim)
    return np.asarray(random.standard_normal((dim, _DIMENSIONS)) / np.sqrt(_DIMENSIONS), dtype=np.float32)


def _thresholds(store: Store) -> dict[str, float]:
    """Return the lowest score that the last run kept, by class."""
    own = {name: score for name, score in store.rows("SELECT name, threshold FROM classes") if score is not None}
    for run in reversed(store.runs()):
        names, values = run.settings.get("classes"), run.settings.get("scores")
        if run.verb == "label" and isinstance(names, list) and isinstance(values, list):
            return own | {str(name): float(value) for name, value in zip(names, values, strict=False)}
    return own


def _spread(images: Sequence[str], doubts: Mapping[str, float], store: Store) -> Iterator[Queued]:
    """Yield images that come by doubt in an order in which each is also far from those before it.

    Greedy: the next image has the most of doubt plus distance to the nearest one before (farthest-first traversal,
    Gonzalez, 1985), within blocks of like doubt. What people have reviewed counts as before. Features are read block
    by block, so that the first images are known long before the last.
    """
    encoder = image_encoder(store)
    if encoder is None:
        yield from (Queued(image, False, doubts[image]) for image in images)
        return
    sample = image_vectors(store, encoder, images[:: max(len(images) // _BLOCK, 1)])
    few = projection(encoder.dim)

    def vectors_of(some: Sequence[str], centre: Vectors | float) -> Vectors:
        vectors = image_vectors(store, encoder, some)
        known = vectors.any(axis=1, keepdims=True)
        return unit(np.asarray(np.where(known, differing(vectors, encoder) @ few - centre, 0), dtype=np.float32))

    # What all images share says nothing about how they differ.
    sample = sample[sample.any(axis=1)]
    centre = np.asarray((differing(sample, encoder) @ few).mean(axis=0), dtype=np.float32) if len(sample) else 0.0
    seen = [sha256 for sha256, state in store.states().items() if state in REVIEWED_STATES][-_COMPARED:]
    before = vectors_of(seen, centre)
    before = before[before.any(axis=1)]
    middle = max(float(np.median([doubts[image] for image in images])), _NOTHING_FOUND) if images else 1.0
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        vectors = vectors_of(block, centre)
        much = np.array([doubts[image] for image in block], dtype=np.float32)
        # Like a distance from 0 to 1, and a half for the middle image, whether it holds two objects or fifty.
        worth = much / (much + middle)
        picked, apart = _farthest(vectors, worth, before)
        before = np.concatenate([before, vectors[picked]])[-_COMPARED:]
        yield from (Queued(block[row], False, doubts[block[row]], far) for row, far in zip(picked, apart, strict=True))


def _farthest(vectors: Vectors, worth: Vectors, before: Vectors) -> tuple[list[int], list[float | None]]:
    """Return the rows of (n, d) unit vectors in greedy order, and how far each is from those before it.

    Distances are 0 to 1, of opposite vectors 1; None for a row of zeros.
    """
    nearest: Vectors = np.ones(len(vectors), dtype=np.float32)
    if len(before):
        nearest = _distance((vectors @ before.T).max(axis=1))
    # A vector of zeros stands for an image without features: it is neither near nor far.
    unknown = np.asarray(~vectors.any(axis=1))
    nearest[unknown] = 0.5
    picked: list[int] = []
    apart: list[float | None] = []
    left = np.ones(len(vectors), dtype=bool)
    for _ in range(len(vectors)):
        row = int(np.where(left, worth + nearest, -1.0).argmax())
        picked.append(row)
        apart.append(None if unknown[row] else float(nearest[row]))
        left[row] = False
        if not unknown[row]:
            nearest[~unknown] = np.minimum(nearest, _distance(vectors @ vectors[row]))[~unknown]
    return picked, apart


def _distance(cosines: Vectors) -> Vectors:
    return np.asarray(np.sqrt(np.clip((1 - cosines) / 2, 0, 1)), dtype=np.float32)


def _mixed(drawn: Sequence[str], useful: Iterator[Queued], total: int) -> Iterator[Queued]:
    """Spread the drawn ones evenly among the others."""
    places = {(2 * number + 1) * total // (2 * len(drawn)) for number in range(len(drawn))}
    lots = iter(drawn)
    for place in range(total):
        yield Queued(next(lots), True) if place in places else next(useful)

"""Drawing the gold set: spread over all kinds of images, and yet each image with the same chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import InputError
from ..core.records import REVIEWED_STATES
from ..core.store import Store
from ..core.store_decisions import Decided, DecisionLedger
from ..queue import differing, projection, set_aside
from ..vectors import Vectors, image_encoder, image_vectors, unit
from .gold import GOLD, LEAST

MOST = 200
"""A larger gold set costs more review than its narrower intervals are worth."""

SAME = 0.995
"""Cosine of features, without what all images share, from which on two images show the same."""

_USABLE = ("new", "prelabelled", "pushed", "reviewed", "reviewed-empty")
_AXES = 16
_TELLING = 16
"""Directions of fewer numbers agree by chance."""

_SHUFFLED = 2

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draw:
    """The gold set after a draw.

    Attributes:
        images: sha256 of all of it.
        added: images that this draw has added.
        reviewed: images of it that people have reviewed.
        unlabelled: images of it that nobody has labelled, people or machine.
        of: images that it was drawn from.
        waiting: those of them that people have not reviewed.
        repeats: images that were passed over since they show the same as one of it.
        spread_by: whose features spread it; None where no image has any.
    """

    images: tuple[str, ...]
    added: int
    reviewed: int
    unlabelled: int
    of: int
    waiting: int
    repeats: int
    spread_by: str | None


def draw_gold(store: Store, count: int, groups: Iterable[Iterable[str]] = (), *, seed: int = 0) -> Draw:
    """Make the gold set ``count`` images large and write it as the decision ``gold``.

    What its figures mean: it is drawn from all images that can be used, reviewed or not, whatever their labels. Images
    are sorted into a tree by their looks, and every branch gives in proportion to its size, by lot (systematic sampling
    down a tree, after the generalised random tessellation of Stevens and Olsen, 2004, "Spatially balanced sampling of
    natural resources"). So each image has the same chance, and precision and recall on the gold set estimate those on
    all images without bias; being spread, it varies less than a plain lot. Of images that show the same only one is
    taken: the figures speak for different pictures. Any first part of the order is such a draw too, so a larger set
    contains the smaller one. Images that came later take part when the set grows; what was drawn stays.

    Args:
        store: labels.db.
        count: 30 to 200; a set that is as large already stays as it is.
        groups: images that show the same, as far as curation knows; disjoint.
        seed: of the lot.

    Raises:
        InputError: the count is out of range, or there are fewer than 30 images.
    """
    if not LEAST <= count <= MOST:
        raise InputError(f"a gold set of {count} images: expected {LEAST} to {MOST}")
    states, aside = store.states(), set_aside(store)
    images = drawable(store)
    if len(images) < LEAST:
        raise InputError(
            f"{len(images)} images can be drawn from, a gold set needs at least {LEAST}: label more photos first"
        )
    ledger = DecisionLedger(store)
    before = [sha256 for sha256 in ledger.images(GOLD, whole=True) if sha256 in states and sha256 not in aside]
    vectors, encoder = looks(store, images)
    order = range(len(images)) if vectors is None else spread_order(vectors, seed)
    if vectors is None:
        order = np.random.default_rng(seed).permutation(len(images)).tolist()
    chosen, repeats = _first_different(images, order, vectors, before, count, groups)
    ledger.change([Decided(sha256, GOLD) for sha256 in chosen])
    everything = [*before, *chosen]
    return Draw(
        tuple(sorted(everything)),
        added=len(chosen),
        reviewed=sum(states[sha256] in REVIEWED_STATES for sha256 in everything),
        unlabelled=sum(states[sha256] == "new" for sha256 in everything),
        of=len(images),
        waiting=sum(states[sha256] not in REVIEWED_STATES for sha256 in images),
        repeats=repeats,
        spread_by=encoder,
    )


def drawable(store: Store) -> list[str]:
    """Return the images that a gold set can be drawn from: those with a file, not skipped, not set aside."""
    aside = set_aside(store)
    with_file = {sha256 for (sha256,) in store.rows("SELECT DISTINCT sha256 FROM files WHERE sha256 IS NOT NULL")}
    usable = (one for one, state in store.states().items() if state in _USABLE and one not in aside)
    return sorted(with_file.intersection(usable))


def looks(store: Store, images: Sequence[str]) -> tuple[Vectors | None, str | None]:
    """Return features whose cosine tells images apart, (n, d) of length 1 or 0, and whose they are; None without."""
    encoder = image_encoder(store)
    if encoder is None:
        return None, None
    few = projection(encoder.dim)
    raw = image_vectors(store, encoder, images)
    known = np.asarray(raw.any(axis=1))
    if not known.any():
        return None, None
    vectors = differing(raw, encoder) @ few
    centred = np.where(known[:, None], vectors - vectors[known].mean(axis=0), 0)
    return unit(centred.astype(np.float32)), encoder.model


def spread_order(vectors: Vectors, seed: int) -> list[int]:
    """Return all rows in an order of which every first part is spread over the space of the vectors.

    Each row is among the first k with probability k / n exactly, over all seeds: at each branch the number that one
    side has given after j draws is the largest whole number up to j times its share plus a lot, whose mean is j times
    its share.

    Args:
        vectors: (n, d).
        seed: of the lots.
    """
    centred = vectors - vectors.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :_AXES]
    random = np.random.default_rng(seed)
    return [int(row) for row in _ordered(centred @ axes, np.arange(len(vectors)), random)]


def same(vectors: Vectors, row: int) -> npt.NDArray[np.bool_]:
    """Say which rows of ``looks`` show the same as one of them; a row of zeros is like nothing but itself."""
    alike = np.zeros(len(vectors), dtype=np.bool_)
    if vectors.shape[1] >= _TELLING:
        alike[:] = vectors @ vectors[row] >= SAME
    alike[row] = True
    return alike


def _ordered(places: Vectors, rows: Rows, random: np.random.Generator) -> Rows:
    """Return rows in such an order: halves along the axis that differs most, taken from in turn."""
    count = len(rows)
    if count <= _SHUFFLED:
        return random.permutation(rows)
    here = places[rows]
    along = rows[np.argsort(here[:, here.var(axis=0).argmax()], kind="stable")]
    half = (count + int(random.integers(2))) // 2
    given = (np.arange(count + 1) * half + int(random.integers(count))) // count
    first = np.diff(given) == 1
    order = np.empty(count, dtype=np.int64)
    order[first] = _ordered(places, along[:half], random)
    order[~first] = _ordered(places, along[half:], random)
    return order


def _first_different(
    images: Sequence[str],
    order: Sequence[int],
    vectors: Vectors | None,
    before: Sequence[str],
    count: int,
    groups: Iterable[Iterable[str]],
) -> tuple[list[str], int]:
    """Return what to add to ``before`` in this order, and how many images were passed over as repeats."""
    group_of = {sha256: number for number, group in enumerate(groups) for sha256 in group}
    row_of = {sha256: row for row, sha256 in enumerate(images)}
    taken: set[int] = set()
    like: list[npt.NDArray[np.bool_]] = []

    def take(sha256: str) -> None:
        taken.update([group_of[sha256]] if sha256 in group_of else [])
        if vectors is not None and (row := row_of.get(sha256)) is not None:
            like.append(same(vectors, row))

    for sha256 in before:
        take(sha256)
    chosen: list[str] = []
    repeats, known = 0, set(before)
    for place in order:
        if len(before) + len(chosen) >= count:
            break
        sha256 = images[place]
        if sha256 in known:
            continue
        if any(rows[place] for rows in like) or group_of.get(sha256) in taken:
            repeats += 1
            continue
        take(sha256)
        chosen.append(sha256)
    return chosen, repeats

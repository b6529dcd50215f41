"""Which pictures repeat each other: the same bytes twice, nearly the same picture, frames and bursts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labeling.core.errors import InputError
from labeling.core.records import REVIEWED_STATES
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.vectors import image_encoder

from .alignment import SIDE, Thumbnails
from .groups import Group, Shot, following, grouped
from .near_pairs import cosines, near_pairs, outlines
from .photo_facts import photo_facts
from .scenes import LABELLED_STATES

__all__ = ["Curve", "Duplicates", "Group", "Pair", "duplicates"]

USUAL_THRESHOLD = 0.88
"""Where nothing in the data speaks for another one; see scripts/curation/measure_duplicates.py."""

_SEARCHED = (0.8, 0.93)
"""The threshold lies in between: changed copies reach more than this, different pictures hardly ever."""

_KERNEL = 0.015
_SHOWN = 4
"""Examples on each side of the threshold."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, the one to keep first, and how alike they are, in [0, 1]; see ``alignment.alike``."""

    first: str
    second: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """How many pairs each threshold would find.

    Attributes:
        thresholds: (100,) ascending, in [0.5, 1].
        pairs_above: (100,) so many pairs are at least that alike.
        rests_on: why the threshold is what it is, one clause for people.
    """

    thresholds: npt.NDArray[np.float64]
    pairs_above: npt.NDArray[np.int64]
    rests_on: str


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """What repeats.

    Attributes:
        encoder: whose features chose candidates besides the thumbnails; None where there are no features.
        copies: images whose bytes lie under several paths, as shown to people.
        pairs: images that show the same, the most alike first.
        groups: disjoint; a split must not cut them.
        threshold: pairs at least so alike show the same.
        curve: what it was chosen from.
        examples: pairs on both sides of the threshold and close to it, the most alike first.
        without: images that were not compared, for want of a thumbnail.
    """

    encoder: str | None
    copies: Mapping[str, tuple[str, ...]]
    pairs: tuple[Pair, ...]
    groups: tuple[Group, ...]
    threshold: float
    curve: Curve
    examples: tuple[Pair, ...]
    without: int


def duplicates(store: Store, *, threshold: float | None = None) -> Duplicates:
    """Compare all images that are labelled or new, by stored features and thumbnails; no photo is opened.

    Args:
        store: labels.db.
        threshold: pairs at least so alike show the same; None chooses it from the data.

    Raises:
        InputError: the threshold is not between 0 and 1.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError(f"the threshold is {threshold}: expected a number above 0 and up to 1, such as 0.9")
    asked = _images(store)
    images, shots, thumbnails = _pictures(store, asked)
    encoder = image_encoder(store)
    rows, values = near_pairs(store, images, thumbnails, encoder)
    chosen, rests_on = (threshold, "it was given") if threshold is not None else choose_threshold(values)

    sizes, names, states = store.sizes(), store.names_of(images), store.states()

    def place(row: int) -> tuple[object, ...]:
        sha256 = images[row]
        width, height = sizes.get(sha256, (0, 0))
        return -width * height, states[sha256] not in REVIEWED_STATES, names[sha256], sha256

    def pair(index: int) -> Pair:
        first, second = sorted(map(int, rows[index]), key=place)
        return Pair(images[first], images[second], float(values[index]))

    best = [int(index) for index in np.argsort(-values, kind="stable")]
    above = [index for index in best if values[index] >= chosen]
    steps = np.linspace(0.5, 1, 100, dtype=np.float64)
    return Duplicates(
        encoder=encoder.model if encoder else None,
        copies=_copies(store, asked),
        pairs=tuple(pair(index) for index in above),
        groups=grouped(
            [(int(first), int(second)) for first, second in rows[above]],
            _sequences(shots, thumbnails),
            len(images),
            images.__getitem__,
            place,
        ),
        threshold=chosen,
        curve=Curve(steps, np.array([(values >= step).sum() for step in steps]), rests_on),
        examples=tuple(pair(index) for index in best[max(len(above) - _SHOWN, 0) : len(above) + _SHOWN]),
        without=len(asked) - len(images),
    )


def choose_threshold(values: npt.NDArray[np.float32]) -> tuple[float, str]:
    """Return where the fewest pairs lie between copies and different pictures, and what that rests on.

    The valley of a density estimate (Gaussian kernel) of how alike the candidates are, searched where planted copies
    and different pictures were found to part. A far weaker pull to the usual threshold decides where nothing lies.
    """
    low, high = _SEARCHED
    steps = np.linspace(low, high, 66)
    close = values[(values > low - 5 * _KERNEL) & (values < high + 5 * _KERNEL)].astype(np.float64)
    density = np.array([np.exp(-0.5 * ((close - step) / _KERNEL) ** 2).sum() for step in steps])
    chosen = round(float(steps[(density + (steps - USUAL_THRESHOLD) ** 2).argmin()]), 3)
    if not ((values >= low) & (values <= high)).any():
        return chosen, f"no pair is between {low} and {high} alike"
    around = int((np.abs(values - chosen) <= _KERNEL).sum())
    return chosen, f"the fewest pairs lie here: {around} within {_KERNEL} of it, of {len(values)} that were compared"


def _images(store: Store) -> list[str]:
    dropped = DecisionLedger(store).images("drop", whole=True)
    rows = store.rows("SELECT sha256, state FROM v_images WHERE sha256 IS NOT NULL ORDER BY sha256")
    return [sha256 for sha256, state in rows if state in LABELLED_STATES | {"new"} and sha256 not in dropped]


def _pictures(store: Store, asked: Sequence[str]) -> tuple[list[str], list[Shot], Thumbnails]:
    """Return the images that have a thumbnail, what is known about them, and the thumbnails, (n, 48, 48)."""
    paths: dict[str, list[bytes]] = defaultdict(list)
    for sha256, path in store.rows_of("SELECT sha256, path_bytes FROM files WHERE sha256 IN ({})", asked):
        paths[sha256].append(path)
    images: list[str] = []
    shots: list[Shot] = []
    thumbnails = np.zeros((len(asked), SIDE, SIDE), dtype=np.uint8)
    for facts in photo_facts(store, asked):
        thumbnails[len(images)] = facts.thumbnail
        images.append(facts.sha256)
        shots.append(Shot(tuple(sorted(paths[facts.sha256])), facts.camera, facts.taken_at))
    return images, shots, thumbnails[: len(images)]


def _sequences(shots: Sequence[Shot], thumbnails: Thumbnails) -> list[tuple[int, int]]:
    links = [link for link in following(shots) if link[0] != link[1]]
    if not links:
        return []
    pairs = np.array([(first, second) for first, second, _ in links])
    look = cosines(outlines(thumbnails), pairs)
    return [(first, second) for (first, second, least), found in zip(links, look, strict=True) if found >= least]


def _copies(store: Store, asked: Sequence[str]) -> dict[str, tuple[str, ...]]:
    sql = (
        "SELECT sha256, path FROM files WHERE sha256 IN "
        "(SELECT sha256 FROM files WHERE sha256 IS NOT NULL GROUP BY sha256 HAVING count(*) > 1) ORDER BY sha256, path"
    )
    known = set(asked)
    found: dict[str, list[str]] = defaultdict(list)
    for sha256, path in store.rows(sql):
        if sha256 in known:
            found[sha256].append(path)
    return {sha256: tuple(paths) for sha256, paths in found.items()}

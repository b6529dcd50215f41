"""How different a window may look by chance: windows put together anew from blocks of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bins import STATISTICS, Counts, Numbers
from .psi import psi
from .reference import STEPS, Reference

REFERENCES = 400
MOST_DRAWS = 200_000

_FEWEST_DRAWS = 20_000
_BEYOND = 20
"""So many draws shall lie beyond the limit, which is read from them."""

_POOL = 4096
_NEAR = 2
"""Blocks before and behind that one of a slow reference is exchanged for."""

_DIRECT = 32


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """What the statistics of a window come to where nothing has changed.

    Attributes:
        expected: (len(STATISTICS),) mean of the index.
        centre, spread: (len(STATISTICS),) of its square root, which is nearly normal.
        largest: (draws,) ascending: the largest standardised root of each drawn window.
    """

    expected: Numbers
    centre: Numbers
    spread: Numbers
    largest: Numbers

    def standardised(self, indices: Numbers) -> Numbers:
        """Return how many spreads the roots of indices, (..., len(STATISTICS)), lie above what chance does."""
        return np.asarray((np.sqrt(indices) - self.centre) / self.spread)

    def chance_of(self, height: float) -> float:
        """Return how likely a window without drift has any statistic that stands out so far."""
        beyond = len(self.largest) - np.searchsorted(self.largest, height, "left")
        return float((beyond + 1) / (len(self.largest) + 1))

    def limit(self, rate: float) -> float:
        """Return the height that is exceeded with at most this chance."""
        rank = int(np.ceil((1 - rate) * (len(self.largest) + 1))) - 1
        return float(self.largest[min(rank, len(self.largest) - 1)])


def indices(reference: npt.ArrayLike, windows: npt.ArrayLike, places: dict[str, slice]) -> Numbers:
    """Return the index of each statistic for counts over all cells, (..., len(STATISTICS))."""
    first, second = np.asarray(reference), np.asarray(windows)
    return np.stack([psi(first[..., places[name]], second[..., places[name]]) for name in STATISTICS], axis=-1)


def chance(reference: Reference, frames: int, rate: float, seed: int = 0) -> Chance:
    """Draw windows and references from blocks of the reference, with replacement, and compare them.

    The moving block bootstrap (Kuensch, 1989): frames within a block keep their order, so windows of a video vary as
    much as they do. Both sides are drawn, since the reference is one draw too. All statistics of a window are drawn
    together and their largest is noted, so the chance of a false alarm is that of all of them together (Westfall and
    Young, 1993).

    Of a slow reference a window is a run of blocks that begins anywhere, the end of the reference followed by its
    beginning, and each block is exchanged for one nearby (the local block bootstrap, Paparoditis and Politis, 2002). So
    what comes and goes slowly stays in its order and is usual; the rate is approximate then, since nobody knows how
    one day differs from another.

    Args:
        reference: with enough blocks.
        frames: looked at per window; a multiple of ``reference.block``.
        rate: the smallest chance that will be asked for.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    draws = int(np.clip(_BEYOND / rate, _FEWEST_DRAWS, MOST_DRAWS))
    blocks, whole, count = (
        reference.blocks,
        max(1, (len(reference.blocks) + STEPS - 1) // STEPS),
        frames // reference.block,
    )
    pool = blocks
    if reference.slow:
        pool, count = np.stack([_nearby(rng, blocks, count) for _ in range(_POOL)]), 1
    while count > _DIRECT and count % 2 == 0:
        pool, count = pool[rng.integers(len(pool), size=(_POOL, 2))].sum(axis=1), count // 2
    found, each = [], -(-draws // REFERENCES)
    for _ in range(REFERENCES):
        if reference.slow:
            drawn = _nearby(rng, blocks, whole)
        else:
            drawn = blocks[rng.integers(len(blocks), size=whole)].sum(axis=0)
        windows = pool[rng.integers(len(pool), size=(each, count))].sum(axis=1)
        found.append(indices(drawn, windows, reference.bins.places))
    every = np.concatenate(found) * _wider(reference, whole)
    roots = np.sqrt(every)
    centre, spread = roots.mean(axis=0), np.maximum(roots.std(axis=0), _steadiest(reference, frames))
    largest = np.sort(((roots - centre) / spread).max(axis=1))
    return Chance(every.mean(axis=0), centre, spread, largest)


def _nearby(rng: np.random.Generator, blocks: Counts, count: int) -> Counts:
    """Return the sum of so many blocks in a row, each exchanged for one nearby; behind the last comes the first."""
    near = rng.integers(-_NEAR * STEPS, _NEAR * STEPS + 1, count)
    places = rng.integers(len(blocks)) + STEPS * np.arange(count) + near
    return np.asarray(blocks[places % len(blocks)].sum(axis=0))


def _wider(reference: Reference, blocks: int) -> float:
    """Return by how much drawn indices are too small, since blocks are cut apart and there are so few of them.

    Blocks of L steps lose the share c / L of the variance of a mean, c = 2 (r1 + 2 r2 + 3 r3 + ...) / time (Kuensch,
    1989). For an autoregression of order one with that correlation time, c is nearly (time^2 - 1) / (2 time). Blocks
    of a slow reference were drawn from a few each; how much they lose is not known.
    """
    if reference.slow:
        return (2 * _NEAR + 1) / (2 * _NEAR)
    lost = (reference.memory**2 - 1) / (2 * reference.memory) / reference.block
    return blocks / (blocks - 1) / (1 - lost)


def _steadiest(reference: Reference, frames: int) -> Numbers:
    """Return the spread of the root of one cell with independent observations: nothing is taken as steadier.

    There the index is (1/n + 1/m) times a chi-square of one degree of freedom; the spread of its root is that of the
    half-normal distribution, sqrt(1 - 2/pi).
    """
    here = np.array(
        [max(int(reference.total[place].sum()), 1) for place in reference.bins.places.values()], dtype=float
    )
    there = np.maximum(here * frames / reference.frames, 1.0)
    return np.asarray(np.sqrt((1 - 2 / np.pi) * (1 / here + 1 / there)))

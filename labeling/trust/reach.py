"""What more audits would bring: probably, and at best, or that no number of them lets anything skip review."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .guarantee import Images, descend
from .permission import Terms

SUREST = 0.25
"""Share of the waiting images, the surest, among which more audits are drawn."""

_MORE = (20, 40, 80, 160, 320)
_DRAWS = 30
_FEW = 5
_SHARES = (SUREST, 0.5, 1.0)
_STEPS = (20, 40, 60, 80, 120, 160, 240, 320, 480, 640, 1000, 2000, 5000)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class More:
    """What more audits among the surest images would probably bring.

    Attributes:
        audits: so many more.
        share: median share of the waiting images that would skip then, if these audits are like those so far.
    """

    audits: int
    share: float


@dataclass(frozen=True, slots=True)
class Reach:
    """The fewest more audits after which something may skip, if all of them are right.

    Attributes:
        share: of the waiting images, the surest, among which to draw.
        audits: how many.
        skip: how many of the other images may skip then.
    """

    share: float
    audits: int
    skip: int


def foretell(audited: Images, images: Images, terms: Terms, share: float) -> More | None:
    """Draw more audits like those so far among the surest images, until more images skip in half of the draws."""
    if not len(images):
        return None
    surest = images.keys >= np.quantile(images.keys, 1 - SUREST)
    level = float(images.keys[surest].min())
    like = audited.at(level)
    if len(like) < _FEW:
        return None
    random = np.random.default_rng(0)
    for count in (one for one in _MORE if one <= surest.sum()):
        shares = []
        for _ in range(_DRAWS):
            added = like.of(random.integers(0, len(like), count))
            both = _both(audited, added, level)
            found = descend(both, images, target=terms.precision, confidence=terms.confidence)
            passed = [one.level for one in found if one.passed]
            shares.append(float((images.keys >= passed[-1]).mean()) if passed else 0.0)
        if (median := float(np.median(shares))) > share + 0.01:
            return More(count, median)
    return None


def reach(audited: Images, waiting: Images, terms: Terms, *, least: int = 1) -> Reach | None:
    """Return how to get there with at least ``least`` more audits where there are so many; None where nothing does."""
    for share in _SHARES:
        if not len(waiting):
            return None
        level = float(np.quantile(waiting.keys, 1 - share, method="lower"))
        part = np.flatnonzero(waiting.keys >= level)
        drawn = np.random.default_rng(0).permutation(part)
        for count in sorted({min(step, len(part)) for step in (least, *_STEPS) if step >= least}):
            if skip := _skip(audited, waiting, drawn[:count], level, terms):
                return Reach(share, count, skip)
    return None


def _skip(audited: Images, waiting: Images, drawn: Rows, level: float, terms: Terms) -> int:
    """Return how many of the others skip once the drawn ones, from a level on, are audited and all right."""
    left = np.ones(len(waiting), dtype=np.bool_)
    left[drawn] = False
    rest = waiting.of(left)
    found = descend(_both(audited, waiting.of(drawn), level), rest, target=terms.precision, confidence=terms.confidence)
    passed = [one.level for one in found if one.passed]
    return int((rest.keys >= passed[-1]).sum()) if passed else 0


def _both(audited: Images, added: Images, level: float) -> Images:
    return Images(
        np.concatenate([audited.keys, added.keys]),
        np.concatenate([audited.labels, added.labels]),
        np.concatenate([audited.wrong, added.wrong]),
        np.concatenate([audited.since, np.full(len(added), level)]),
    )

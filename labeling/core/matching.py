"""Which box of one set is which of another, and what follows: counts per class and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import MissingExtraError
from .geometry import iou

Pair = tuple[int, int, float]
"""Position in the first set, position in the second, IoU."""

Numbers = npt.NDArray[np.float64]

_TIE = 1e-9
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Counts:
    """How often one class was found (``tp``), claimed in vain (``fp``) and missed (``fn``)."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float | None:
        """Share of the claims that are right; None without a claim."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """Share of the objects that were found; None without an object."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None


def match(
    boxes_xyxy: npt.ArrayLike,
    others_xyxy: npt.ArrayLike,
    *,
    min_iou: float = 0.5,
    prefer: npt.ArrayLike | None = None,
) -> list[Pair]:
    """Pair boxes one to one so that the total IoU of the pairs is the largest possible.

    The assignment problem of Kuhn (1955), solved by scipy. Classes play no part but through ``prefer``.

    Args:
        boxes_xyxy: (n, 4) absolute pixels, finite.
        others_xyxy: (m, 4) likewise.
        min_iou: in [0, 1]; no pair has less. Boxes that do not overlap are never a pair.
        prefer: (n, m) bool; pairs to favour where several pairings have the same total, such as those of one class.

    Returns:
        Pairs by ascending first position.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    shared = iou(boxes_xyxy, others_xyxy)
    allowed = (shared >= min_iou) & (shared > 0)
    if not allowed.any():
        return []
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("scipy", "studio") from error
    weights = shared if prefer is None else shared + _TIE * np.asarray(prefer, dtype=np.float64)
    rows, columns = linear_sum_assignment(np.where(allowed, weights, 0.0), maximize=True)
    return [(int(i), int(j), float(shared[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]


def counts(claimed: Sequence[str], true: Sequence[str], pairs: Sequence[Pair]) -> dict[str, Counts]:
    """Return the counts of every class on either side, by name.

    A pair of two classes is a false claim of the first and a miss of the second.

    Args:
        claimed: class name of each box of the first set.
        true: class name of each box of the second set.
        pairs: as ``match`` returns them for these boxes.
    """
    found = Counter(claimed[i] for i, j, _iou in pairs if claimed[i] == true[j])
    said, there = Counter(claimed), Counter(true)
    names = sorted(said.keys() | there.keys())
    return {name: Counts(found[name], said[name] - found[name], there[name] - found[name]) for name in names}


def interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the Wilson (1927) score interval of a proportion; None when ``n`` is 0.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if n == 0:
        return None
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise MissingExtraError("scipy", "studio") from error
    bounds = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


def bootstrap(
    parts: npt.ArrayLike,
    statistic: Callable[[Numbers], Numbers],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Numbers, Numbers]:
    """Return the percentile interval (Efron 1979) of a statistic when whole images are drawn again with replacement.

    Objects of one image are alike, so images are the units that are drawn. The statistic is a function of sums over
    images, which makes a resample one row of a matrix product. One seed gives one interval.

    Args:
        parts: (images, k) what each image adds to the sums.
        statistic: from (resamples, k) sums to (resamples, s) values, NaN where one is undefined.
        confidence: in (0, 1).
        resamples: how often the images are drawn again.
        seed: of the draws.

    Returns:
        Lower and upper bound, (s,) each. NaN with fewer than two images, and where most resamples are undefined.
    """
    each = np.asarray(parts, dtype=np.float64)
    images = len(each)
    if images < 2:
        nothing = np.full(statistic(each.sum(axis=0, keepdims=True)).shape[1], np.nan)
        return nothing, nothing.copy()
    random = np.random.default_rng(seed)
    size = max(1, _CELLS // max(each.shape))
    drawn = [
        statistic(random.multinomial(images, np.full(images, 1 / images), min(size, resamples - done)) @ each)
        for done in range(0, resamples, size)
    ]
    # Undefined resamples sort to the end of their column, where no quantile of the defined ones looks.
    values = np.sort(np.concatenate(drawn), axis=0)
    defined = np.isfinite(values).sum(axis=0)
    tail = (1 - confidence) / 2
    return _quantile(values, defined, tail), _quantile(values, defined, 1 - tail)


def _quantile(values: Numbers, defined: npt.NDArray[np.int_], share: float) -> Numbers:
    """Return the quantile of the first ``defined`` of the sorted values of each column, between them linear."""
    place = np.maximum(defined - 1, 0) * share
    low, columns = np.floor(place).astype(int), np.arange(values.shape[1])
    high = np.minimum(low + 1, np.maximum(defined - 1, 0))
    between = values[low, columns] + (place - low) * (values[high, columns] - values[low, columns])
    return np.where(2 * defined >= len(values), between, np.nan)

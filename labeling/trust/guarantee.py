"""How far down the scores labels may skip review, so that a share of them is right with stated confidence.

An image is known by its key, the lowest score among its labels, and skips at a level when its key reaches it. What is
guaranteed is the precision of the labels of those images that would skip, so it is estimated on audited images that
would skip themselves: a sure label beside a doubtful one says nothing here. Misses are not part of it.

Levels are tested from the strictest to the laxest, each at the full error rate, up to the first that fails: the error
rate of all together is that of one (fixed-sequence testing; Angelopoulos et al., 2021, "Learn then test"). Which
level comes first depends on counts of labels alone, never on which of them are right. Labels of one image are not
independent: counts are divided by the design effect of drawing whole images (Kish, 1965). Bounds that take images as
units and assume nothing about likeness need 59 audited images that skip before they show 95 % of anything, all of
them right and alike in size; scripts/trust/measure_guarantee.py compares them and measures the coverage of all.

One level serves all classes: levels of each class's own, learned from other reviewed images, let fewer images skip.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom, hypergeom, ks_2samp

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LEVELS = 30
"""So many levels at most, at like shares of the waiting images."""

LEAST_ALIKE = 0.1
"""Errors of one image are taken to be alike at least this much: few audits cannot show that they are not."""


@dataclass(frozen=True, slots=True)
class Images:
    """Images with labels, one per row.

    Attributes:
        keys: (n,) lowest score of each.
        labels: (n,) how many each has, 1 or more.
        wrong: (n,) how many of them are wrong; 0 where nobody has looked.
        since: (n,) lowest level that an audit speaks for, where it was drawn among the images above a level.
    """

    keys: Numbers
    labels: Counts
    wrong: Counts
    since: Numbers

    def at(self, level: float) -> Images:
        """Return those that skip at a level and speak for it."""
        return self.of((self.keys >= level) & (self.since <= level))

    def of(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Images:
        """Return some of them, by mask or by number."""
        return Images(self.keys[rows], self.labels[rows], self.wrong[rows], self.since[rows])

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Level:
    """What audits say about one level.

    Attributes:
        level: lowest score.
        images: audited images that would skip.
        labels: of these.
        wrong: of those labels.
        p_value: of the audits if the precision were below the target.
        unlike: the audited images are surer than those that wait, so that they do not speak for them.
        passed: the level, and all stricter ones that were tested, passed.
    """

    level: float
    images: int
    labels: int
    wrong: int
    p_value: float
    unlike: bool
    passed: bool


Judge = Callable[[Images, int, float, float], float]
"""From the audits at a level, the waiting labels there, the target and the likeness to a p-value; see ``p_value``."""

_UNLIKELY = 1e-4
"""Rarer than that is no chance, though several levels are looked at."""

_ROUNDING = 1e-9
_MANY = 100
"""With so many more labels waiting than audited, what was drawn changes nothing about the rest."""


def levels(waiting: Images) -> Numbers:
    """Return the levels to test, the strictest first, by the scores of the images that wait; never by what is right."""
    if not len(waiting):
        return np.zeros(0)
    shares = np.linspace(1, 0, LEVELS, endpoint=False)[::-1]
    found: Numbers = np.unique(np.quantile(waiting.keys, 1 - shares, method="lower"))[::-1]
    return found


def descend(
    audited: Images,
    waiting: Images,
    *,
    target: float,
    confidence: float,
    judge: Judge | None = None,
) -> list[Level]:
    """Test the levels in their order.

    Args:
        audited: chosen by lot from the same images as those that wait, and reviewed.
        waiting: about whose labels the statement is.
        target: precision that a level has to reach, in (0, 1).
        confidence: in (0, 1).
        judge: how one level is tested; None for ``p_value``.

    Returns:
        The levels from the first that holds enough labels to the first that fails; empty where none does.
    """
    alike = likeness(audited)
    least = fewest(target, confidence)
    found: list[Level] = []
    started = False
    for level in levels(waiting):
        some, rest = audited.at(level), waiting.at(level)
        size = some.labels.sum() / design_effect(some.labels, alike)
        if not started and size < least:
            continue
        started = True
        found.append(judged(some, rest, float(level), target=target, confidence=confidence, alike=alike, judge=judge))
        if not found[-1].passed:
            break
    return found


def judged(
    audited: Images,
    waiting: Images,
    level: float,
    *,
    target: float,
    confidence: float,
    alike: float,
    judge: Judge | None = None,
) -> Level:
    """Return what audited images that would skip at a level say about the waiting ones that would."""
    p = (judge or p_value)(audited, int(waiting.labels.sum()), target, alike)
    other = unlike(audited, waiting)
    passed = p <= 1 - confidence and not other
    return Level(level, len(audited), int(audited.labels.sum()), int(audited.wrong.sum()), p, other, passed)


def unlike(audited: Images, waiting: Images) -> bool:
    """Say whether audited images have higher keys than those that wait, beyond chance (Smirnov, 1939).

    The lot makes them alike; photos that came since may differ. It looks at scores alone.
    """
    if not len(audited) or not len(waiting):
        return False
    # "less": the distribution function of the audited keys lies below, so the keys above.
    found = ks_2samp(audited.keys, waiting.keys, alternative="less", method="asymp")
    return bool(found.pvalue < _UNLIKELY)


def fewest(target: float, confidence: float) -> int:
    """Return how many independent labels, all of them right, show a precision of ``target``."""
    return math.ceil(math.log(1 - confidence) / math.log(target))


def likeness(audited: Images) -> float:
    """Return how alike the errors of one image are: the correlation of two labels of it, in [LEAST_ALIKE, 1].

    By moments over all audited images, whatever their key; differences between images in score count as likeness,
    which errs on the safe side.
    """
    n, k = audited.labels.astype(np.float64), audited.wrong.astype(np.float64)
    share = float(k.sum() / max(n.sum(), 1.0))
    pairs = float((n * (n - 1)).sum()) * share * (1 - share)
    if pairs <= 0:
        return LEAST_ALIKE
    beyond = float(((k - share * n) ** 2 - n * share * (1 - share)).sum())
    return min(max(beyond / pairs, LEAST_ALIKE), 1.0)


def p_value(audited: Images, waiting_labels: int, target: float, alike: float) -> float:
    """Return how probable such good audits are where the precision of the labels that wait is below the target.

    Audited and waiting labels are drawn without replacement from both together (hypergeometric), so the statement is
    about the labels that wait; with very many of them it is that of Clopper and Pearson (1934).

    Args:
        audited: those that would skip.
        waiting_labels: how many labels would skip.
        target: in (0, 1).
        alike: see ``likeness``; counts are divided by the design effect.
    """
    if not len(audited):
        return 1.0
    effect = design_effect(audited.labels, alike)
    drawn = math.floor(audited.labels.sum() / effect)
    wrong = math.ceil(audited.wrong.sum() / effect - _ROUNDING)
    left = math.floor(waiting_labels / effect)
    if left > _MANY * drawn or left == 0:
        return float(binom.cdf(wrong, drawn, 1 - target))
    # The fewest wrong ones among those that wait which break the promise.
    broken = math.floor((1 - target) * left + _ROUNDING) + 1
    return float(hypergeom.cdf(wrong, drawn + left, broken + wrong, drawn))


def lower_bound(audited: Images, *, confidence: float, alike: float) -> float:
    """Return the precision that the audited labels show with confidence, of any number of labels like them.

    Clopper and Pearson (1934) on counts divided by the design effect; 0 without labels.
    """
    if not len(audited):
        return 0.0
    effect = design_effect(audited.labels, alike)
    n, wrong = float(audited.labels.sum()) / effect, float(audited.wrong.sum()) / effect
    return float(beta.ppf(1 - confidence, n - wrong, wrong + 1)) if n > wrong else 0.0


def design_effect(labels: Counts, alike: float) -> float:
    """Return by how much fewer independent labels tell as much as those of these images; 1 or more."""
    n = labels.astype(np.float64)
    return float(1 + max((n**2).sum() / max(n.sum(), 1.0) - 1, 0.0) * alike)

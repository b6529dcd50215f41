"""Other tests of one level, to set beside that of labeling/trust/guarantee.py; each is a ``Judge``."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from labeling.trust.guarantee import Images, Judge, p_value

_BETS = 24


def as_if_independent(audited: Images, waiting_labels: int, target: float, alike: float) -> float:
    """Draw labels one by one, as if those of an image had nothing in common."""
    return p_value(audited, waiting_labels, target, 0.0)


def betting(audited: Images, waiting_labels: int, target: float, alike: float) -> float:
    """Return one over the most that a mixture of fixed bets on "more right than promised" ever held.

    Images are the units, in the order of the audits (Waudby-Smith and Ramdas, 2024; Ville, 1939).
    """
    gains = (1 - target) * audited.labels - audited.wrong
    bets = np.linspace(0, 1, _BETS + 1)[1:, None] / (target * max(float(audited.labels.max()), 1.0))
    wealth = np.exp(np.cumsum(np.log1p(np.maximum(bets * gains[None, :], -1 + 1e-12)), axis=1)).mean(axis=0)
    return float(min(1.0, 1 / max(wealth.max(), 1e-300)))


def hoeffding_bentkus(audited: Images, waiting_labels: int, target: float, alike: float) -> float:
    """Bound the mean loss of an image, scaled to [0, 1] (Bates et al., 2021)."""
    most, promised = float(audited.labels.max()), 1 - target
    losses = (audited.wrong - promised * audited.labels + promised * most) / most
    n, mean = len(losses), float(losses.mean())
    if mean >= promised:
        return 1.0
    hoeffding = math.exp(-n * _divergence(mean, promised))
    return min(1.0, hoeffding, math.e * float(binom.cdf(math.ceil(n * mean), n, promised)))


JUDGES: dict[str, Judge] = {
    "design effect (ours)": p_value,
    "labels as if independent": as_if_independent,
    "betting on images": betting,
    "Hoeffding-Bentkus on images": hoeffding_bentkus,
}


def _divergence(a: float, b: float) -> float:
    first = a * math.log(a / b) if a > 0 else 0.0
    second = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return first + second

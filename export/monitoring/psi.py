"""How far two histograms are apart: the population stability index."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def psi(reference: npt.ArrayLike, window: npt.ArrayLike) -> Numbers:
    """Return the population stability index of histograms, sum of (q - p) ln(q / p) over the cells (Siddiqi, 2006).

    Each cell gets one more observation, shared between the two in proportion to their sizes: an empty cell on one side
    has a finite say, an empty one on both sides has none.

    Args:
        reference: (..., cells) counts.
        window: (..., cells) counts; both are broadcast against each other.

    Returns:
        (...) from 0; 0 where one of them is empty, since nothing can be said then.
    """
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(window, dtype=np.float64)
    cells = first.shape[-1]
    n, m = first.sum(axis=-1, keepdims=True), second.sum(axis=-1, keepdims=True)
    both = np.maximum(n + m, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = (first + n / both) / (n + cells * n / both)
        q = (second + m / both) / (m + cells * m / both)
        apart = np.sum((q - p) * np.log(q / p), axis=-1)
    return np.asarray(np.where((n > 0) & (m > 0), np.expand_dims(apart, -1), 0.0)[..., 0])


def expected_psi(cells: int, reference: float, window: float) -> float:
    """Return what the index comes to where nothing has changed, (cells - 1) (1/n + 1/m), with independent observations.

    From the chi-square distribution of the index (Yurdakul and Naranjo, 2020).

    Args:
        cells: that can be filled.
        reference, window: observations, above 0.
    """
    return (cells - 1) * (1 / reference + 1 / window)

"""How alike two pictures are once one is laid over the other: small thumbnails, shifted and stretched to fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Thumbnails = npt.NDArray[np.uint8]

SIDE = 48
"""Pixels of a thumbnail along each side."""

BORDER = 0.09
"""The outer share of each side that is not compared: a crop may have taken it."""

_COARSE = 24
_STEPS = (5, 4)
"""So often is the fit made better, on the coarse picture and on the fine one."""

_WORTH_A_LOOK = 0.8
"""Below this on the coarse picture, a pair is not looked at in full; planted copies reach 0.98 there."""

_MOST_STRETCH = 0.25
_MOST_SHIFT = 0.12
_DETAIL = 2.0
"""Details are what a blur of so many pixels takes away."""

_AT_ONCE = 512


def alike(thumbnails: Thumbnails, pairs: npt.NDArray[np.int64]) -> Floats:
    """Return how alike the pictures of each pair are, (m,), in [0, 1]; 1 is the same picture.

    Each second picture is shifted and stretched along both axes until it fits the first (inverse compositional
    alignment, Baker and Matthews, 2004, "Lucas-Kanade 20 Years On"). The answer is the mean of two correlations over
    the inner part: of the grey values, and of their details alone, because smooth pictures agree in their grey values
    by chance. Brightness and contrast change neither. Pairs that differ already when small get what they reach there,
    halved.

    Args:
        thumbnails: (n, 48, 48) grey values of whole pictures.
        pairs: (m, 2) rows of thumbnails; pairs that share a picture cost less where they stand together.
    """
    answers = np.zeros(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _AT_ONCE):
        some = pairs[start : start + _AT_ONCE]
        rows, where = np.unique(some, return_inverse=True)
        first, second = where.reshape(some.shape).T
        grey = thumbnails[rows].astype(np.float32)
        coarse = _smooth(grey.reshape(-1, _COARSE, 2, _COARSE, 2).mean(axis=(2, 4)), 1.2)
        reached, fit = _fit(coarse[first], coarse[second], np.zeros((len(some), 4), np.float32), _STEPS[0])
        answers[start : start + len(some)] = np.maximum(reached, 0) / 2
        good = np.flatnonzero(reached >= _WORTH_A_LOOK)
        if not len(good):
            continue
        first, second = first[good], second[good]
        fine = _smooth(grey, 0.7)
        reached, fit = _fit(fine[first], fine[second], fit[good], _STEPS[1])
        detail = fine - _smooth(grey, _DETAIL)
        agreed = _correlation(_inner(detail[first]), _warped(detail[second], fit))
        answers[start + good] = np.clip((reached + agreed) / 2, 0, 1)
    return answers


def _fit(still: Floats, moved: Floats, fit: Floats, steps: int) -> tuple[Floats, Floats]:
    """Return the correlations, (m,), and the better fit, (m, 4): stretch and shift across, stretch and shift down.

    Places are shares of the side, counted from the middle; a stretch of 0 keeps the size.
    """
    side = still.shape[1]
    down, across = np.gradient(still, 1 / side, axis=(1, 2))
    places = _places(side)
    target, length = _normal(_inner(still))
    across, down = _inner(across) / length, _inner(down) / length
    slopes = np.stack([across * places, across, down * places[:, None], down], axis=1).reshape(len(still), 4, -1)
    flat = target.reshape(len(still), 1, -1)
    # What brightness and contrast explain is no sign of a shift.
    slopes -= slopes.mean(axis=2, keepdims=True)
    slopes -= (slopes @ flat.transpose(0, 2, 1)) @ flat
    curvature = slopes @ slopes.transpose(0, 2, 1)
    damping = 1e-6 * np.trace(curvature, axis1=1, axis2=2) + 1e-9
    inverse = np.linalg.inv(curvature + damping[:, None, None] * np.eye(4, dtype=np.float32)).astype(np.float32)
    limits = np.array([_MOST_STRETCH, _MOST_SHIFT] * 2, dtype=np.float32)
    for _ in range(steps):
        error = _normal(_warped(moved, fit))[0].reshape(flat.shape) - flat
        step = (inverse @ (slopes @ error.transpose(0, 2, 1)))[:, :, 0]
        stretch = (1 + fit[:, ::2]) / np.maximum(1 + step[:, ::2], 0.5) - 1
        shift = fit[:, 1::2] - (1 + stretch) * step[:, 1::2]
        fit = np.clip(np.stack([stretch, shift], axis=2).reshape(-1, 4), -limits, limits).astype(np.float32)
    return _correlation(_inner(still), _warped(moved, fit)), fit


def _warped(pictures: Floats, fit: Floats) -> Floats:
    """Return the inner part of each picture as the fit sees it, between pixels by straight lines."""
    side = pictures.shape[1]
    places = _places(side)
    rows = np.arange(len(pictures))[:, None]
    for stretch, shift in ((fit[:, 2:3], fit[:, 3:4]), (fit[:, 0:1], fit[:, 1:2])):
        at = np.clip(((1 + stretch) * places + shift + 0.5) * side - 0.5, 0, side - 1.001)
        below = at.astype(np.int64)
        weight = (at - below).astype(np.float32)[:, :, None]
        pictures = pictures[rows, below] * (1 - weight) + pictures[rows, below + 1] * weight
        pictures = pictures.transpose(0, 2, 1)  # rows first, then columns, which turns it upright again
    return pictures


def _places(side: int) -> Floats:
    border = round(BORDER * side)
    return ((np.arange(border, side - border, dtype=np.float32) + 0.5) / side - 0.5).astype(np.float32)


def _inner(pictures: Floats) -> Floats:
    border = round(BORDER * pictures.shape[1])
    return pictures[:, border:-border, border:-border]


def _normal(pictures: Floats) -> tuple[Floats, Floats]:
    """Return pictures of mean 0 and length 1, and their lengths before, (m, 1, 1); a flat picture becomes zeros."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length = np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-3)
    return centred / length, length


def _correlation(first: Floats, second: Floats) -> Floats:
    product = _normal(first)[0] * _normal(second)[0]
    return np.asarray(product.sum(axis=(1, 2)), dtype=np.float32)


def _smooth(pictures: Floats, sigma: float) -> Floats:
    """Blur every picture by a Gaussian of so many pixels; beyond the edge the picture is mirrored."""
    from scipy.ndimage import gaussian_filter1d

    blur = gaussian_filter1d(np.eye(pictures.shape[1]), sigma, axis=0, mode="reflect").astype(np.float32)
    return np.asarray(blur @ pictures @ blur.T, dtype=np.float32)

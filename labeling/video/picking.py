"""Which frames of a video are worth a label: those that differ enough from the last one that was taken.

Two small grey pictures are compared after gain and offset of the brightness were fitted. A frame differs where any
patch of it does (an object in front of a still camera), where all of it does a little (a slow pan), or where its
structure is another one (a cut between pictures of one brightness). Sensor noise and compression average out in a
patch; a share of the whole picture would hide a small object, and a single pixel would show all noise.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from .taking import Pace

Grey = npt.NDArray[np.uint8]
Verdict = Literal["taken", "alike", "too_soon"]

SMALL_WH = (64, 48)
"""Size of the grey pictures that are compared, in pixels."""

_PATCH = 8
_HALF = _PATCH // 2
PATCH_LEVELS = 12.0
"""Mean difference of one patch of 8 x 8 in grey levels; noise of 20 levels in a picture of 320 x 240 makes 3."""
WHOLE_LEVELS = 5.0
"""Mean difference of the whole picture in grey levels."""
STRUCTURE = 0.3
"""1 - correlation of the two pictures."""
_FLAT = 2.0
CUT_STRUCTURE, CUT_PATCHES, MOST_PATCHES = 0.5, 0.35, 0.6
"""Of a cut, between frames that follow each other: 1 - correlation with a share of changed patches, or a larger share.

Before an empty wall, objects that move are all the structure there is, so correlation alone would see cuts."""
_MOST_GAIN, _MOST_OFFSET = 1.5, 40.0


class Picker:
    """Decides frame after frame; the same frames give the same answers.

    Attributes:
        scene: counts the cuts so far, from 0; no object is the same on both sides of one.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._last: tuple[Grey, float] | None = None
        self._before: Grey | None = None
        self.scene = 0

    def look(self, grey: Grey, seconds: float) -> Verdict:
        """Say whether a frame is taken, is like the last one taken, or comes too soon after it.

        Args:
            grey: (48, 64) uint8, the whole frame.
            seconds: its time; times that do not grow count as those of the frame before.
        """
        if self._before is not None and is_cut(self._before, grey):
            self.scene += 1
        self._before = grey
        if self._last is not None:
            before, then = self._last
            passed = max(seconds - then, 0.0)
            # A time is a multiple of a clock tick, so a gap may fall short of its true length by one.
            if passed < self._pace.every - 1e-3 and not differs(before, grey):
                return "alike"
            if passed < 1 / self._pace.per_second - 1e-3:
                return "too_soon"
        self._last = (grey, seconds)
        return "taken"


def differs(before: Grey, after: Grey) -> bool:
    """Say whether two small grey pictures show different things, however bright they are."""
    old, new = before.astype(np.float32), after.astype(np.float32)
    if _structure(old, new) > STRUCTURE:
        return True
    change = np.abs(_fitted(old, new) - new)
    return bool(_patches(change).max() > PATCH_LEVELS or change.mean() > WHOLE_LEVELS)


def is_cut(before: Grey, after: Grey) -> bool:
    """Say whether two small grey pictures that follow each other are of different shots."""
    old, new = before.astype(np.float32), after.astype(np.float32)
    changed = float((_patches(np.abs(_fitted(old, new) - new)) > PATCH_LEVELS).mean())
    return changed > MOST_PATCHES or (changed > CUT_PATCHES and _structure(old, new) > CUT_STRUCTURE)


def _structure(old: npt.NDArray[np.float32], new: npt.NDArray[np.float32]) -> float:
    """Return 1 - Pearson's correlation; 0 where both pictures are flat, 1 where one is."""
    spread_old, spread_new = float(old.std()), float(new.std())
    if min(spread_old, spread_new) < _FLAT:
        return float(max(spread_old, spread_new) >= 2 * _FLAT)
    shared = float(((old - old.mean()) * (new - new.mean())).mean())
    return 1 - shared / (spread_old * spread_new)


def _fitted(old: npt.NDArray[np.float32], new: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the old picture as bright as the new one, within what a camera's exposure does.

    Either an offset alone or gain and offset, whichever leaves less; objects that move would bend a gain that is always
    fitted.
    """
    gains = [1.0]
    if old.std() > _FLAT:
        gain = float(np.cov(old.ravel(), new.ravel())[0, 1] / old.var(ddof=1))
        gains.append(min(max(gain, 1 / _MOST_GAIN), _MOST_GAIN))
    # The median is that of what stands still, while most of the picture does.
    offsets = [float(np.clip(np.median(new - gain * old), -_MOST_OFFSET, _MOST_OFFSET)) for gain in gains]
    fits = [old * np.float32(gain) + np.float32(offset) for gain, offset in zip(gains, offsets, strict=True)]
    return min(fits, key=lambda fit: float(np.abs(fit - new).mean()))


def _patches(change: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean of every patch, each half over its neighbours, so that no object falls between two."""
    rows, columns = change.shape
    halves = change.reshape(rows // _HALF, _HALF, columns // _HALF, _HALF).mean(axis=(1, 3))
    mean: npt.NDArray[np.float32] = (halves[:-1, :-1] + halves[1:, :-1] + halves[:-1, 1:] + halves[1:, 1:]) / 4
    return mean

"""Windows of frames after the reference: counts only, and never more than so many windows, however long the logs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .bins import NUMERIC, Counts, Numbers
from .reference import Reference
from .stretch import Stretch, joined

MOST_WINDOWS = 64
"""When there are more, neighbours are put together and windows are twice as long from then on."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Counts of consecutive frames.

    Attributes:
        since, until: unix seconds of its first and last frame.
        frames: looked at.
        counts: (cells,) of all statistics.
        sums: (len(NUMERIC),) of the numeric statistics.
        classes: (classes,) objects.
    """

    since: float
    until: float
    frames: int
    counts: Counts
    sums: Numbers
    classes: Counts

    @property
    def means(self) -> Numbers:
        """(len(NUMERIC),) of the numeric statistics; NaN for scores where there is no object."""
        objects = int(self.classes.sum())
        sizes = np.array([objects if name == "scores" else self.frames for name in NUMERIC], dtype=np.float64)
        return np.where(sizes > 0, self.sums / np.maximum(sizes, 1), np.nan)

    def with_next(self, other: Window) -> Window:
        """Return both as one."""
        return Window(
            self.since,
            other.until,
            self.frames + other.frames,
            self.counts + other.counts,
            self.sums + other.sums,
            self.classes + other.classes,
        )


class Windows:
    """Cuts a stream of frames into windows of one length.

    Attributes:
        size: frames looked at per window.
        found: the windows so far, at most MOST_WINDOWS.
        frames: of the logs that were taken.
    """

    def __init__(self, reference: Reference, size: int) -> None:
        """Take a reference, and the frames per window, looked at ones, to begin with."""
        self._reference = reference
        self._waiting: list[Stretch] = []
        self._unpaired: Window | None = None
        self._small = size
        self.size = size
        self.found: list[Window] = []
        self.frames = 0

    @property
    def left_over(self) -> int:
        """Frames looked at that did not fill a window."""
        unpaired = self._unpaired.frames if self._unpaired else 0
        return sum(map(len, self._waiting)) + unpaired

    def add(self, part: Stretch) -> None:
        """Take the next frames."""
        stride = self._reference.stride
        self._waiting.append(part[-self.frames % stride :: stride])
        self.frames += len(part)
        if sum(map(len, self._waiting)) < self._small:
            return
        whole = joined(self._waiting)
        while len(whole) >= self._small:
            self._push(self._counted(whole[: self._small]))
            whole = whole[self._small :]
        self._waiting = [whole]

    def _counted(self, stretch: Stretch) -> Window:
        bins = self._reference.bins
        values = bins.values(stretch)
        return Window(
            float(stretch.time[0]),
            float(stretch.time[-1]),
            len(stretch),
            bins.counts(stretch, len(stretch))[0],
            np.array([values[name].sum() for name in NUMERIC]),
            np.bincount(stretch.class_ids, minlength=len(self._reference.names)),
        )

    def _push(self, window: Window) -> None:
        if self._unpaired is not None:
            window, self._unpaired = self._unpaired.with_next(window), None
        if window.frames < self.size:
            self._unpaired = window
            return
        self.found.append(window)
        if len(self.found) == MOST_WINDOWS:
            pairs = zip(self.found[::2], self.found[1::2], strict=True)
            self.found = [first.with_next(second) for first, second in pairs]
            self.size *= 2

"""Which kept frames to send back: those of a drift and the doubtful ones, unlike each other."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .log import Header, LoggedFrame

_POOL = 20_000
_DRIFTED = 2.0
"""Weight of a frame of a window that has drifted, beside its doubt, which is at most 1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that the runtime kept.

    Attributes:
        log: file that names it.
        kept: path of the picture as the log has it.
        sketch: of the frame.
        sure: in [0, 1].
        time: unix seconds.
    """

    log: Path
    kept: str
    sketch: bytes
    sure: float
    time: float


@dataclass(slots=True)
class Candidates:
    """The most doubtful kept frames of a stream, never more than a pool of them.

    Attributes:
        kept: frames with a picture.
        without: frames without one.
    """

    kept: int = 0
    without: int = 0
    _pool: list[tuple[float, int, Candidate]] = field(default_factory=list)

    def look(self, header: Header, frame: LoggedFrame) -> None:
        """Take the next frame."""
        if frame.kept is None:
            self.without += 1
            return
        self.kept += 1
        entry = (-frame.sure, -self.kept, Candidate(header.path, frame.kept, frame.sketch, frame.sure, frame.time))
        if len(self._pool) < _POOL:
            heapq.heappush(self._pool, entry)
        else:
            heapq.heappushpop(self._pool, entry)

    def ranked(self, drifted: Sequence[tuple[float, float]] = ()) -> Iterator[Candidate]:
        """Yield the frame of most worth, then always the one with most worth times distance to all before it.

        Worth is the doubt, 1 - sure, and much more in a window that has drifted. Farthest-first by the sketch
        (Gonzalez, 1985), weighted by it. The same logs give the same frames.

        Args:
            drifted: begin and end of windows that have drifted, in unix seconds.
        """
        left = [entry[2] for entry in sorted(self._pool, reverse=True)]
        if not left:
            return
        sketches = np.stack([np.frombuffer(one.sketch, dtype=np.uint8) for one in left]).astype(np.float32)
        worth = np.array([1 - one.sure for one in left]).clip(1e-6)
        times = np.array([one.time for one in left])
        for since, until in drifted:
            worth[(since <= times) & (times <= until) & (worth <= 1)] += _DRIFTED
        place, nearest = int(worth.argmax()), np.full(len(left), np.inf)
        for _ in left:
            yield left[place]
            nearest = np.minimum(nearest, np.linalg.norm(sketches - sketches[place], axis=1))
            nearest[place] = -np.inf
            # Frames that look the same differ by their worth alone.
            place = int(np.where(np.isfinite(nearest), (nearest + 1e-3) * worth, -np.inf).argmax())

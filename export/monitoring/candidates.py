"""Which kept frames to send back: the doubtful ones, unlike each other."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .log import Header, LoggedFrame

_POOL = 1000
_PER_PICK = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that the runtime kept.

    Attributes:
        log: file that names it.
        kept: path of the picture as the log has it.
        sketch: of the frame.
        sure: in [0, 1].
    """

    log: Path
    kept: str
    sketch: bytes
    sure: float


@dataclass(slots=True)
class Candidates:
    """The most doubtful kept frames of a stream, never more than a pool of them.

    Attributes:
        wanted: how many will be picked.
        kept: frames with a picture.
        without: frames without one.
    """

    wanted: int
    kept: int = 0
    without: int = 0
    _pool: list[tuple[float, int, Candidate]] = field(default_factory=list)

    def look(self, header: Header, frame: LoggedFrame) -> None:
        """Take the next frame."""
        if frame.kept is None:
            self.without += 1
            return
        self.kept += 1
        entry = (-frame.sure, -self.kept, Candidate(header.path, frame.kept, frame.sketch, frame.sure))
        if len(self._pool) < max(_POOL, _PER_PICK * self.wanted):
            heapq.heappush(self._pool, entry)
        else:
            heapq.heappushpop(self._pool, entry)

    def pick(self) -> list[Candidate]:
        """Return as many as are wanted: the least sure, then those with most doubt times distance to what is picked.

        Farthest-first by the sketch (Gonzalez, 1985), weighted by 1 - sure. The same logs give the same frames.
        """
        left = [entry[2] for entry in sorted(self._pool, reverse=True)]
        if not left:
            return []
        sketches = np.stack([np.frombuffer(one.sketch, dtype=np.uint8) for one in left]).astype(np.float64)
        doubt = np.array([1 - one.sure for one in left]).clip(1e-6)
        nearest = np.full(len(left), np.inf)
        picked, place = [], 0
        for _ in range(min(self.wanted, len(left))):
            picked.append(left[place])
            nearest = np.minimum(nearest, np.linalg.norm(sketches - sketches[place], axis=1))
            nearest[place] = -np.inf
            # Frames that look the same differ by their doubt alone.
            place = int(np.where(np.isfinite(nearest), (nearest + 1e-3) * doubt, -np.inf).argmax())
        return picked

"""Frames of logs as arrays: what the monitor looks at of each frame, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from .log import SKETCH, LoggedFrame

Numbers = npt.NDArray[np.float64]

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Consecutive frames.

    Attributes:
        time: (n,) unix seconds.
        light, blur, sure: (n,) float32, as of ``LoggedFrame``.
        sketch: (n, SKETCH) uint8.
        count: (n,) objects per frame.
        class_ids: (objects,) of all frames, one after the other.
        scores: (objects,) float32.
    """

    time: Numbers
    light: npt.NDArray[np.float32]
    blur: npt.NDArray[np.float32]
    sure: npt.NDArray[np.float32]
    sketch: npt.NDArray[np.uint8]
    count: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.time)

    @classmethod
    def of(cls, frames: Sequence[LoggedFrame]) -> Stretch:
        """Take frames over."""
        objects = [row for frame in frames for row in frame.objects]
        return cls(
            np.array([frame.time for frame in frames], dtype=np.float64),
            np.array([frame.light for frame in frames], dtype=np.float32),
            np.array([frame.blur for frame in frames], dtype=np.float32),
            np.array([frame.sure for frame in frames], dtype=np.float32),
            np.frombuffer(b"".join(frame.sketch for frame in frames), dtype=np.uint8).reshape(-1, SKETCH),
            np.array([len(frame.objects) for frame in frames], dtype=np.int64),
            np.array([row[0] for row in objects], dtype=np.int64),
            np.array([row[1] for row in objects], dtype=np.float32),
        )

    def __getitem__(self, frames: slice) -> Stretch:
        """Return every frame of a slice."""
        kept = np.zeros(len(self), dtype=bool)
        kept[frames] = True
        of_kept = np.repeat(kept, self.count)
        return Stretch(
            self.time[kept],
            self.light[kept],
            self.blur[kept],
            self.sure[kept],
            self.sketch[kept],
            self.count[kept],
            self.class_ids[of_kept],
            self.scores[of_kept],
        )

    @property
    def frame_of_object(self) -> npt.NDArray[np.int64]:
        """(objects,) position of the frame that each object is in."""
        return np.repeat(np.arange(len(self)), self.count)


def joined(parts: Sequence[Stretch]) -> Stretch:
    """Return stretches as one; at least one is needed."""
    names = ("time", "light", "blur", "sure", "sketch", "count", "class_ids", "scores")
    return Stretch(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def stretches(frames: Iterable[LoggedFrame], at_once: int = _AT_ONCE) -> Iterator[Stretch]:
    """Yield frames as stretches of at most so many."""
    waiting = iter(frames)
    while some := list(islice(waiting, at_once)):
        yield Stretch.of(some)

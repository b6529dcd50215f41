"""The frames of several logs one after the other, counted per log, so that a later call knows where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from .log import Damage, Header, LoggedFrame, frames


class Tape:
    """Logs in the order of their headers.

    Attributes:
        read: frames that were yielded, by key of the log.
        skipped: frames that were passed over because the reference holds them.
        damage: lines that could not be used.
    """

    def __init__(
        self,
        headers: Sequence[Header],
        taken: Mapping[str, int] | None = None,
        look: Callable[[Header, LoggedFrame], None] = lambda header, frame: None,
    ) -> None:
        """Take logs.

        Args:
            headers: of the logs.
            taken: how many of the first frames of a log to pass over, by its key.
            look: called with every frame, also with those that are passed over.
        """
        self._headers = headers
        self._taken = dict(taken or {})
        self._look = look
        self.read: Counter[str] = Counter()
        self.skipped = 0
        self.damage = Damage()

    def __iter__(self) -> Iterator[LoggedFrame]:
        """Yield the frames."""
        for header in self._headers:
            left = self._taken.get(header.key, 0)
            for frame in frames(header, self.damage):
                self._look(header, frame)
                if left:
                    left -= 1
                    self.skipped += 1
                    continue
                self.read[header.key] += 1
                yield frame

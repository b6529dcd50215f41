"""How many pixels may be in memory at once: what is decoded ahead waits for what is still in use."""

from __future__ import annotations

from threading import Condition


class PixelBudget:
    """Counts pixels in use, for one thread that takes and others that give back.

    One image is always let in, however large, where nothing else is in use.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._closed = False
        self._changed = Condition()

    def fits(self, pixels: int) -> bool:
        """Tell whether so many more may be taken now."""
        with self._changed:
            return self._fits(pixels)

    def take(self, pixels: int) -> None:
        """Wait until so many more fit, or the budget is closed, and count them as used."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(pixels))
            self._used += pixels

    def give(self, pixels: int) -> None:
        """Count so many as free again."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody through who waits: nobody gives back any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        return self._used == 0 or self._used + pixels <= self._most

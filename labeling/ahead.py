"""Iterate a source in a thread of its own, a bounded number of items ahead of whoever consumes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A bounded queue with its producer: used as a context manager and iterated once, in the source's order.

    The source starts on an item only while fewer than ``depth`` finished ones wait, so ``depth=1`` overlaps the making
    of one item with the use of the one before and keeps no more. What the source raises is raised in the consumer,
    after the items made before it. Leaving the ``with`` block ends the thread after the item at hand, whether or not
    everything was consumed, and closes the source in that same thread.
    """

    def __init__(self, source: Generator[T, None, None], *, depth: int = 1, name: str = "ahead") -> None:
        self._source = source
        self._depth = depth
        self._ready: deque[T] = deque()
        self._changed = Condition()
        self._closed = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._produce, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._ready.popleft()
                self._changed.notify_all()
            yield item

    def _produce(self) -> None:
        try:
            if self._may_continue():
                for item in self._source:
                    self._hand_over(item)
                    del item  # or this frame would keep a batch of images alive while it waits
                    if not self._may_continue():
                        break
        except BaseException as error:
            self._error = error
        finally:
            self._source.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, item: T) -> None:
        with self._changed:
            self._ready.append(item)
            self._changed.notify_all()

    def _may_continue(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self._depth)
            return not self._closed

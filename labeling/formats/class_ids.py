"""Numbers of classes in a label file: those that are known stay, new names get the next ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class ClassIds:
    """Class name to number, in the order in which the names came.

    Args:
        names: known from the start, in order.
        kept: numbers that some of them have already, all different.
        first: smallest number given out.
    """

    def __init__(self, names: Iterable[str] = (), kept: Mapping[str, int] | None = None, *, first: int = 0) -> None:
        kept = kept or {}
        self._next = max([first, *(number + 1 for number in kept.values())])
        self._ids: dict[str, int] = {}
        for name in dict.fromkeys(names):
            self._add(name, kept.get(name))

    def of(self, name: str) -> int:
        """Return the number of a class; a new name gets the next one."""
        if name not in self._ids:
            self._add(name, None)
        return self._ids[name]

    def items(self) -> list[tuple[str, int]]:
        """Return every (name, number)."""
        return list(self._ids.items())

    @property
    def names(self) -> list[str]:
        """Every name in order; with numbers from 0 and none kept, the place is the number."""
        return list(self._ids)

    def _add(self, name: str, number: int | None) -> None:
        if number is None:
            number = self._next
            self._next += 1
        self._ids[name] = number

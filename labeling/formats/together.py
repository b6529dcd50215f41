"""The labels of one photo are taken together or not at all, as a photo with a label less would count as reviewed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.errors import InputError
from .items import Item


@contextmanager
def together(number: int) -> Iterator[None]:
    """Add to an InputError, which is about one of several labels, how many of them are not taken with it.

    Args:
        number: of labels of the photo; of a single one the error says enough.
    """
    try:
        yield
    except InputError as error:
        if number < 2:
            raise
        raise InputError(f"{error}; its {number} labels were not taken") from error


def read_each(text: str, where: str, read: Callable[[list[str], str], Item]) -> list[Item]:
    """Return what ``read`` makes of the fields of each line that is not blank, and of ``where`` with its number."""
    rows = [(number, row) for number, row in enumerate(text.splitlines(), start=1) if row.strip()]
    with together(len(rows)):
        return [read(row.split(), f"{where}:{number}") for number, row in rows]

"""What the JSON of a server has to look like before it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the JSON of a reply has to be.

    Attributes:
        name: in words, for the message.
        holds: says whether it is.
    """

    name: str
    holds: Callable[[Any], bool]


def has(*keys: str) -> Callable[[Any], bool]:
    """Return what says whether JSON is an object with these keys."""
    return lambda value: isinstance(value, dict) and all(key in value for key in keys)


def rows(*keys: str) -> Callable[[Any], bool]:
    """Return what says whether JSON is a list of objects with these keys."""
    return lambda value: isinstance(value, list) and all(map(has(*keys), value))

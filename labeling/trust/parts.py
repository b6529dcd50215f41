"""Audits that were drawn among a part of the images, and from which score on they speak for all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..core.store import Store

_KEY = "audits of a part"


def parts_of(store: Store) -> dict[str, float]:
    """Return the images that the lot drew among a part of all, with the lowest level that they speak for."""
    kept: dict[str, float] = json.loads(store.recall(_KEY) or "{}")
    return kept


def note_parts(store: Store, drawn: Mapping[str, float]) -> None:
    """Remember images that the lot is about to draw among a part; see ``parts_of``."""
    before = parts_of(store)
    if drawn.items() - before.items():
        store.remember(_KEY, json.dumps(before | dict(drawn), separators=(",", ":")))

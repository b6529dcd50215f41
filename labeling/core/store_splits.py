"""Which image is in which part of a split; it rests in labels.db."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from .store import Store
from .store_rows import to_json

Part = Literal["train", "val", "test"]

PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one image is.

    Attributes:
        sha256: the image.
        part: that it is in; with folds, all but test is train.
        fold: from 0; the image is val when this fold is. None where there are no folds, and for images that only teach.
        kin: sha256 of the first image of its group; its own where it has none.
    """

    sha256: str
    part: Part
    fold: int | None
    kin: str


class SplitLedger:
    """The splits of an open labels.db. Every method raises as those of ``Store`` do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, name: str) -> tuple[dict[str, Any], tuple[Place, ...]] | None:
        """Return the settings of a split and its places by sha256; None where there is no such split."""
        rows = self._store.rows("SELECT settings FROM splits WHERE name = ?", name)
        if not rows:
            return None
        sql = "SELECT sha256, part, fold, kin FROM split_images WHERE split = ? ORDER BY sha256"
        return json.loads(rows[0][0]), tuple(Place(*row) for row in self._store.rows(sql, name))

    def write(self, name: str, settings: Mapping[str, Any], places: Iterable[Place]) -> None:
        """Replace a split by another, in one transaction; the same one again changes nothing.

        Args:
            name: of the split.
            settings: that JSON can hold.
            places: of images that labels.db knows, each once.
        """
        text, placed = to_json(dict(settings)), tuple(sorted(places, key=lambda place: place.sha256))
        if self.read(name) == (json.loads(text), placed):
            return
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO splits VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET settings = ?2, made_at = ?3",
                (name, text, datetime.now(UTC).isoformat(timespec="seconds")),
            )
            db.execute("DELETE FROM split_images WHERE split = ?", (name,))
            db.executemany(
                "INSERT INTO split_images (split, sha256, part, fold, kin) VALUES (?, ?, ?, ?, ?)",
                [(name, one.sha256, one.part, one.fold, one.kin) for one in placed],
            )

    def names(self) -> tuple[str, ...]:
        """Return every split there is, by name."""
        return tuple(name for (name,) in self._store.rows("SELECT name FROM splits ORDER BY name"))

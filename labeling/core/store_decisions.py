"""What people decided about images and labels while they looked through the whole set; it rests in labels.db."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import InputError
from .store import Store
from .strict import did_you_mean

Decision = Literal["ok", "relabel", "drop", "duplicate-of", "split-test", "gold", "note"]

DECISIONS: tuple[str, ...] = get_args(Decision)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision about one image, or about one label in it.

    Attributes:
        sha256: the image.
        decision: ``ok``: looked at, nothing to do; ``relabel``: people shall label it again; ``drop``: no training;
            ``duplicate-of``: the same as another image, whose sha256 is the note; ``split-test``: belongs into the
            test part; ``gold``: people label it so that prompts and thresholds can be judged; ``note``: only a remark.
        note: what people wrote, or the other image.
        annotation_id: the label; empty for the whole image.
    """

    sha256: str
    decision: str
    note: str = ""
    annotation_id: str = ""


class DecisionLedger:
    """Decisions in labels.db."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Decided]:
        """Return every decision, by image."""
        sql = "SELECT sha256, decision, note, annotation_id FROM decisions ORDER BY sha256, annotation_id, decision"
        return [Decided(*row) for row in self._store.rows(sql)]

    def images(self, decision: str, *, whole: bool = False) -> dict[str, str]:
        """Return the images about which this was decided, with all notes.

        Args:
            decision: see ``Decided``.
            whole: not where it was decided about one of their labels alone.
        """
        found: dict[str, list[str]] = {}
        only = " AND annotation_id = ''" if whole else ""
        sql = f"SELECT sha256, note FROM decisions WHERE decision = ?{only} ORDER BY rowid"
        for sha256, note in self._store.rows(sql, decision):
            found.setdefault(sha256, []).extend([note] if note else [])
        return {sha256: "; ".join(dict.fromkeys(notes)) for sha256, notes in found.items()}

    def dropped_labels(self) -> frozenset[str]:
        """Return the ids of single labels that were decided to be dropped, in images that were not."""
        sql = (
            "SELECT annotation_id FROM decisions d WHERE decision = 'drop' AND annotation_id <> '' AND NOT EXISTS "
            "(SELECT 1 FROM decisions w WHERE w.sha256 = d.sha256 AND w.annotation_id = '' AND w.decision = 'drop')"
        )
        return frozenset(name for (name,) in self._store.rows(sql))

    def names(self) -> tuple[str, ...]:
        """Return every decision that was taken about anything."""
        return tuple(name for (name,) in self._store.rows("SELECT DISTINCT decision FROM decisions ORDER BY 1"))

    def change(self, added: Sequence[Decided] = (), removed: Sequence[Decided] = ()) -> None:
        """Take decisions back and note new ones, in one transaction; the same one again changes its note.

        Raises:
            InputError: a decision that nobody knows; nothing is written then.
            StateError: an image that labels.db does not know.
        """
        for one in added:
            if one.decision not in DECISIONS:
                near = did_you_mean(one.decision, DECISIONS)
                raise InputError(f"{one.decision!r}: expected one of the decisions {', '.join(DECISIONS)}{near}")
        with self._store.transaction() as db:
            db.executemany(
                "DELETE FROM decisions WHERE sha256 = ? AND annotation_id = ? AND decision = ?",
                [(one.sha256, one.annotation_id, one.decision) for one in removed],
            )
            db.executemany(
                "INSERT OR REPLACE INTO decisions (sha256, annotation_id, decision, note) VALUES (?, ?, ?, ?)",
                [(one.sha256, one.annotation_id, one.decision, one.note) for one in added],
            )

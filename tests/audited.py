"""A project whose images were audited by lot: sure ones right, doubtful ones often wrong, and more that wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.project import Project
from tests import made_stores as made
from tests.made_reviews import SIZE, Desk, claim, left, sha

CLASSES = ("box", "pallet")


def project(folder: Path) -> Project:
    return Project.create(folder, made.ontology(CLASSES))


def label(store: Store, names: Sequence[str], scores: Sequence[float], *, key: str = "done") -> None:
    """Let the teacher label images that nobody was handed: the same scores in each."""
    made.write(store, CLASSES, [_outcome(name, scores, key) for name in names])


def audit(
    desk: Desk, name: str, scores: Sequence[float], *, wrong: int = 0, by_lot: bool = True, blind: bool = False
) -> None:
    """Hand one image over and let a person delete its first labels."""
    claims = [claim(name, number, "box", _place(number), score) for number, score in enumerate(scores)]
    desk.push(name, claims, by_lot=by_lot, blind=blind)
    desk.answer(name, [left(one) for one in claims[wrong:]])


def audits(desk: Desk, count: int, score: float, *, wrong: int = 0, prefix: str = "audit") -> None:
    """Audit images of one label each; the first ones are wrong."""
    for number in range(count):
        audit(desk, f"{prefix} {number}", [score], wrong=int(number < wrong))


def _outcome(name: str, scores: Sequence[float], key: str) -> ImageOutcome:
    claims = tuple(claim(name, number, "box", _place(number), score) for number, score in enumerate(scores))
    file = FileStamp(f"/photos/{name}".encode(), 1, 1)
    return ImageOutcome((file,), sha(name), *SIZE, annotations=claims, done_key=key)


def _place(number: int) -> tuple[float, float, float, float]:
    return (5.0 + 9 * number, 10.0, 12.0 + 9 * number, 40.0)

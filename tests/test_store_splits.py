"""Splits in labels.db: written whole or not at all, read back as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_splits import Place, SplitLedger
from tests.made_splits import Photo, store_of

A, B, C = Photo("a").sha256, Photo("b").sha256, Photo("c").sha256
PLACES = (Place(A, "train", 0, A), Place(B, "val", None, A), Place(C, "test", None, C))


@pytest.fixture
def store() -> Iterator[Store]:
    with store_of([Photo("a"), Photo("b"), Photo("c")]) as opened:
        yield opened


def test_what_was_written_is_read_by_image(store: Store) -> None:
    ledger = SplitLedger(store)
    assert ledger.read("default") is None
    ledger.write("default", {"seed": 3, "parts": [0.7, 0.3]}, PLACES)
    assert ledger.read("default") == (
        {"seed": 3, "parts": [0.7, 0.3]},
        tuple(sorted(PLACES, key=lambda one: one.sha256)),
    )


def test_a_second_split_stands_beside_the_first_and_replaces_only_its_own(store: Store) -> None:
    ledger = SplitLedger(store)
    ledger.write("one", {}, PLACES)
    ledger.write("two", {}, PLACES)
    ledger.write("two", {"seed": 1}, [Place(A, "test", None, A)])
    assert ledger.names() == ("one", "two")
    assert len((ledger.read("one") or ({}, ()))[1]) == 3
    assert ledger.read("two") == ({"seed": 1}, (Place(A, "test", None, A),))


def test_an_unknown_image_is_refused_and_the_old_split_stays(store: Store) -> None:
    ledger = SplitLedger(store)
    ledger.write("default", {}, PLACES)
    with pytest.raises(StateError):
        ledger.write("default", {"seed": 1}, [Place(A, "val", None, A), Place("f" * 64, "test", None, A)])
    assert ledger.read("default") == ({}, tuple(sorted(PLACES, key=lambda one: one.sha256)))


def test_an_unknown_part_is_refused(store: Store) -> None:
    with pytest.raises(StateError):
        SplitLedger(store).write("default", {}, [Place(A, "valid", None, A)])  # type: ignore[arg-type]
    assert SplitLedger(store).names() == ()


def test_the_same_split_again_is_no_change(store: Store) -> None:
    SplitLedger(store).write("default", {"parts": (0.7, 0.3)}, PLACES)
    with store.transaction() as db:
        db.execute("UPDATE splits SET made_at = 'then'")
    SplitLedger(store).write("default", {"parts": (0.7, 0.3)}, reversed(PLACES))
    assert store.rows("SELECT made_at FROM splits") == [("then",)]
    SplitLedger(store).write("default", {"parts": (0.8, 0.2)}, PLACES)
    assert store.rows("SELECT made_at FROM splits") != [("then",)]

"""Decisions in labels.db: the last note counts, one about a label stands beside one about its image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from tests.outcomes import digest, outcome

FIRST, SECOND = digest("a"), digest("b")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        opened.commit_batch([outcome("a"), outcome("b")], opened.start_run("label", {}))
        yield opened


@pytest.fixture
def ledger(store: Store) -> DecisionLedger:
    return DecisionLedger(store)


def test_the_same_decision_again_changes_its_note(ledger: DecisionLedger) -> None:
    ledger.change([Decided(FIRST, "relabel", "blurred"), Decided(SECOND, "relabel")])
    ledger.change([Decided(FIRST, "relabel", "cut off"), Decided(FIRST, "note", "nice")])
    assert ledger.images("relabel") == {FIRST: "cut off", SECOND: ""}
    assert ledger.images("drop") == {}
    assert ledger.names() == ("note", "relabel")


def test_a_label_and_its_image_are_decided_about_apart_and_named_together(ledger: DecisionLedger) -> None:
    ledger.change([Decided(FIRST, "relabel", "dark"), Decided(FIRST, "relabel", "two boxes", "label-1")])
    assert ledger.images("relabel") == {FIRST: "dark; two boxes"}
    ledger.change(removed=[Decided(FIRST, "relabel")])
    assert ledger.all() == [Decided(FIRST, "relabel", "two boxes", "label-1")]


def test_applying_a_change_twice_is_applying_it_once(ledger: DecisionLedger) -> None:
    ledger.change([Decided(FIRST, "ok")])
    for _ in range(2):
        ledger.change([Decided(SECOND, "drop")], [Decided(FIRST, "ok")])
    assert ledger.all() == [Decided(SECOND, "drop")]


def test_an_unknown_decision_is_refused_with_the_nearest_known_one_and_nothing_is_written(
    ledger: DecisionLedger,
) -> None:
    with pytest.raises(InputError, match="did you mean 'relabel'"):
        ledger.change([Decided(FIRST, "drop"), Decided(FIRST, "relable")])
    assert ledger.all() == []


def test_an_unknown_image_is_refused_and_nothing_is_written(ledger: DecisionLedger) -> None:
    with pytest.raises(StateError):
        ledger.change([Decided(FIRST, "drop"), Decided(digest("stranger"), "drop")], [Decided(FIRST, "drop")])
    assert ledger.all() == []

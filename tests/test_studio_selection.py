"""What `--only` means, and into which of its parts a push sorts each image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.core.store_studio import StudioLedger, Target, Task, TaskState, content_hash
from labeling.studio.selection import Condition, conditions, notes_of, select
from tests.made_stores import ontology
from tests.outcomes import digest, human, machine, outcome, refused


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as store:
        store.write_classes(ontology(["box", "pallet"]))
        run = store.start_run("label", {})
        outcomes = [outcome(name, machine(name)) for name in "abcd"]
        outcomes += [outcome("pallets", machine("pallets", class_name="pallet")), outcome("empty")]
        outcomes += [outcome("unlabelled", key=None), refused("broken")]
        store.commit_batch(outcomes, run)
        yield store


@pytest.fixture
def target(store: Store) -> Target:
    return StudioLedger(store).save_target("http://127.0.0.1:8080", 1, config="<View/>", media="local")


def row(store: Store, target: Target, name: str, state: TaskState, number: int) -> None:
    labels = store.annotations_of(digest(name), "machine")
    task = Task(digest(name), None, "intended", 0, content_hash(labels), "m1")
    ledger = StudioLedger(store)
    ledger.intend(target, [(task, labels)])
    if state != "intended":
        ledger.confirm(target, {digest(name): number})
    if state == "withdrawn":
        ledger.withdraw(target, [digest(name)])


def digests(*names: str) -> list[str]:
    return sorted(map(digest, names))


def test_what_waits_for_people_is_new_and_nothing_else(store: Store) -> None:
    store.set_reviewed(digest("b"), [human("b")], "reviewed")
    store.set_reviewed(digest("c"), [], "reviewed-empty")
    store.set_reviewed(digest("d"), [], "skipped")
    assert select(store, None).new == digests("a", "pallets", "empty")


def test_images_are_sorted_by_what_the_ledger_knows(store: Store, target: Target) -> None:
    for number, (name, state) in enumerate({"a": "sent", "b": "withdrawn", "c": "sent", "d": "intended"}.items()):
        row(store, target, name, state, number + 1)  # type: ignore[arg-type]
    run = store.start_run("label", {})
    store.commit_batch([outcome("c", machine("c", 1))], run)
    found = select(store, target)
    assert found.new == digests("d", "pallets", "empty")
    assert found.changed == [digest("c")]
    assert (found.unchanged, found.withdrawn) == (1, 1)
    assert select(store, target, again=True).new == digests("b", "d", "pallets", "empty")


def test_labels_that_became_none_are_a_change_too(store: Store, target: Target) -> None:
    row(store, target, "a", "sent", 1)
    store.commit_batch([outcome("a")], store.start_run("label", {}))
    assert select(store, target).changed == [digest("a")]


def test_reviewed_images_are_never_changed(store: Store, target: Target) -> None:
    row(store, target, "a", "sent", 1)
    store.set_reviewed(digest("a"), [human("a")], "reviewed")
    found = select(store, target)
    assert (found.changed, found.unchanged) == ([], 1)


def test_another_project_of_label_studio_starts_from_nothing(store: Store, target: Target) -> None:
    row(store, target, "a", "sent", 1)
    other = StudioLedger(store).save_target("http://127.0.0.1:8080", 2, config="<View/>", media="local")
    assert digest("a") in select(store, other).new


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["class:pallet"], ["b", "pallets"]),
        (["class:box"], ["a", "c", "d"]),
        (["state:reviewed"], ["b"]),
        (["state:new"], ["unlabelled"]),
        (["state:prelabelled", "class:box"], ["a", "c", "d"]),
        (["state:reviewed", "class:box"], []),
        (["state:reviewed", "class:pallet"], ["b"]),
        (["decision:relabel"], ["a", "b"]),
        (["decision:relabel", "class:box"], ["a"]),
        (["decision:relabel", "state:reviewed"], ["b"]),
    ],
)
def test_every_condition_must_hold(store: Store, only: list[str], expected: list[str]) -> None:
    store.set_reviewed(digest("b"), [human("b")], "reviewed")  # a box for the machine, a pallet for people
    DecisionLedger(store).change([Decided(digest("a"), "relabel", "why?"), Decided(digest("b"), "relabel")])
    if only == ["class:pallet"]:
        expected = ["pallets"]  # without a state only what waits for people
    assert select(store, None, conditions(only, store)).new == digests(*expected)


def test_a_decision_about_a_sent_image_is_a_question_and_no_second_task(store: Store, target: Target) -> None:
    row(store, target, "a", "sent", 1)
    DecisionLedger(store).change([Decided(digest("a"), "relabel", "why?"), Decided(digest("b"), "relabel")])
    only = conditions(["decision:relabel"], store)
    found = select(store, target, only)
    assert found.asked == {digest("a"): "why?"}
    assert found.new == [digest("b")]
    assert notes_of(store, only) == {digest("a"): "why?", digest("b"): "relabel"}


def test_images_without_a_usable_file_are_never_chosen(store: Store) -> None:
    chosen = select(store, None).new
    assert digest("broken") not in chosen
    with pytest.raises(InputError, match="quarantined"):
        conditions(["state:quarantined"], store)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class:palet", "did you mean 'pallet'"),
        ("state:reviewd", "did you mean 'reviewed'"),
        ("decision:relabel", "there is no decision yet"),
        ("class:", "expected class:NAME, state:STATE, sure:SHARE, or a decision"),
        ("pallet", "expected class:NAME"),
        ("colour:red", "expected class:NAME"),
        ("class:x' OR 1", "no image can have the class"),
    ],
)
def test_what_no_image_can_have_is_refused_with_the_nearest_that_one_can(store: Store, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        conditions([text], store)
    assert said in str(caught.value)
    assert text in str(caught.value)


def test_a_value_may_hold_colons_and_spaces(store: Store) -> None:
    store.write_classes(ontology(["box", "pallet", "a: b c"]))
    assert conditions([" class : a: b c "], store) == (Condition("class", "a: b c"),)


def test_what_people_decided_to_leave_out_is_sent_only_when_it_is_named(store: Store) -> None:
    before = select(store, None).new
    whole = [Decided(digest("a"), "drop"), Decided(digest("c"), "duplicate-of", "d")]
    DecisionLedger(store).change([*whole, Decided(digest("d"), "drop", "", "box")])
    found = select(store, None)
    assert found.set_aside == 2
    assert found.new == [sha256 for sha256 in before if sha256 not in (digest("a"), digest("c"))]
    assert select(store, None, conditions(["decision:drop", "class:box"], store)).new == digests("a", "d")


def test_a_decision_can_be_named_alone(store: Store) -> None:
    DecisionLedger(store).change([Decided(digest("a"), "relabel")])
    assert conditions(["relabel"], store) == (Condition("decision", "relabel"),)
    with pytest.raises(InputError, match="no image can have the decision 'drop'"):
        conditions(["drop"], store)


def test_a_row_that_is_replaced_keeps_the_others(store: Store, target: Target) -> None:
    """The number of a deleted task may be given again by a server that was set back to a backup."""
    ledger = StudioLedger(store)
    row(store, target, "a", "withdrawn", 1)
    row(store, target, "b", "sent", 1)
    tasks = {task.sha256: task for task in ledger.tasks(target)}
    assert tasks[digest("b")].task_id == 1
    assert tasks[digest("a")] == replace(tasks[digest("a")], state="withdrawn")
    assert ledger.highest_task_id(target) == 1


def test_the_gold_set_is_a_lot_and_no_wish_to_look_again(store: Store, target: Target) -> None:
    row(store, target, "a", "sent", 1)
    store.set_reviewed(digest("b"), [human("b")], "reviewed")
    decided = [Decided(digest(name), "gold") for name in ("a", "b", "c", "unlabelled")]
    DecisionLedger(store).change(decided)
    chosen = select(store, target, conditions(["gold"], store))
    assert (chosen.new, chosen.asked, chosen.unchanged) == (digests("c"), {}, 1)

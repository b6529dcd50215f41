"""The gold set: who is in it, by lot and with the same chance, one of each picture, and only ever larger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core.errors import InputError
from labeling.core.store import Feature, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.core.store_studio import StudioLedger
from labeling.core.studio_rows import Task
from labeling.trust.gold import read_gold
from labeling.trust.gold_draw import draw_gold, spread_order
from labeling.trust.gold_groups import groups_of
from tests import made_stores as made
from tests.outcomes import digest, machine, outcome

CLASSES = made.ontology(["box", "cone"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "labels.db", create=True)
    opened.write_classes(CLASSES)
    return opened


def fill(store: Store, count: int, first: int = 0, vectors: np.ndarray | None = None) -> list[str]:
    outcomes = []
    for number in range(first, first + count):
        one = outcome(f"{number}", machine(f"{number}", 0))
        if vectors is not None:
            one = replace(one, features=(Feature(None, "m", vectors[number].astype(np.float16)),))
        outcomes.append(one)
    run = store.start_run("label", {})
    store.commit_batch(outcomes, run)
    store.finish_run(run, {})
    return [digest(f"{number}") for number in range(first, first + count)]


def review(store: Store, images: list[str]) -> None:
    for sha256 in images:
        store.set_reviewed(sha256, [made.human(sha256, "cone", (1, 2, 30, 40))], "reviewed")


def drawn(store: Store) -> set[str]:
    return set(DecisionLedger(store).images("gold"))


def test_every_row_has_the_same_chance_in_every_first_part_of_the_order() -> None:
    vectors = np.random.default_rng(0).standard_normal((13, 3)).astype(np.float32)
    orders = np.array([spread_order(vectors, seed) for seed in range(1200)])
    for first in (1, 3, 8):
        chance = np.bincount(orders[:, :first].ravel(), minlength=13) / 1200
        assert np.abs(chance - first / 13).max() < 5 * np.sqrt(first / 13 * (1 - first / 13) / 1200)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 5))
def test_an_order_holds_every_row_once(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)
    assert sorted(spread_order(vectors, seed)) == list(range(count))


def test_a_draw_takes_from_each_kind_of_image_in_proportion_to_its_size() -> None:
    centres = np.repeat(np.eye(4) * 10, [40, 80, 160, 40], axis=0)
    vectors = (centres + np.random.default_rng(1).standard_normal(centres.shape) * 0.1).astype(np.float32)
    kind = np.repeat(range(4), [40, 80, 160, 40])
    for seed in range(20):
        given_by = np.bincount(kind[spread_order(vectors, seed)[:64]], minlength=4)
        assert np.abs(given_by - [8, 16, 32, 8]).max() <= 3, given_by


def test_a_larger_set_holds_the_smaller_one_and_the_same_again_changes_nothing(store: Store) -> None:
    fill(store, 90, vectors=np.random.default_rng(0).standard_normal((90, 32)))
    first = draw_gold(store, 40)
    assert len(first.images) == first.added == 40
    again = draw_gold(store, 40)
    assert (again.images, again.added) == (first.images, 0)
    larger = draw_gold(store, 60)
    assert larger.added == 20
    assert set(first.images) < set(larger.images) == drawn(store)
    assert draw_gold(store, 30).images == larger.images


def test_photos_that_come_later_take_part_and_what_was_drawn_stays(store: Store) -> None:
    vectors = np.random.default_rng(0).standard_normal((120, 32))
    fill(store, 60, vectors=vectors)
    before = set(draw_gold(store, 30).images)
    later = set(fill(store, 60, first=60, vectors=vectors))
    after = set(draw_gold(store, 60).images)
    assert before < after
    assert after & later


def test_of_images_that_show_the_same_one_is_taken(store: Store) -> None:
    vectors = np.random.default_rng(0).standard_normal((80, 32))
    vectors[1::2] = vectors[::2] + 1e-3  # pairs that hardly differ
    fill(store, 80, vectors=vectors)
    found = draw_gold(store, 80)
    assert len(found.images) == found.repeats == 40
    assert len({int(np.flatnonzero([digest(f"{n}") == one for n in range(80)])[0]) // 2 for one in found.images}) == 40


def test_groups_that_curation_knows_give_one_image_too(store: Store) -> None:
    images = fill(store, 60)
    found = draw_gold(store, 60, [images[:25], images[25:27]])
    assert len(found.images) == 35
    assert len(set(images[:25]) & set(found.images)) == 1
    assert found.spread_by is None


def test_images_that_were_set_aside_or_skipped_are_not_drawn_and_reviewed_ones_are(store: Store) -> None:
    images = fill(store, 36)
    DecisionLedger(store).change([Decided(images[0], "drop"), Decided(images[1], "duplicate-of", images[2])])
    store.set_reviewed(images[3], [], "skipped")
    review(store, images[4:14])
    found = draw_gold(store, 100)
    assert set(found.images) == set(images[2:3] + images[4:])
    assert found.reviewed == 10


@pytest.mark.parametrize("count", [29, 201])
def test_a_count_out_of_range_is_refused(store: Store, count: int) -> None:
    fill(store, 40)
    with pytest.raises(InputError, match=f"a gold set of {count} images: expected 30 to 200"):
        draw_gold(store, count)


def test_too_few_images_are_refused_with_their_number(store: Store) -> None:
    fill(store, 12)
    with pytest.raises(InputError, match="12 images can be drawn from, a gold set needs at least 30"):
        draw_gold(store, 30)
    assert not drawn(store)


def test_the_gold_set_is_what_people_said_about_images_that_were_drawn(store: Store) -> None:
    images = fill(store, 40)
    DecisionLedger(store).change([Decided(sha256, "gold") for sha256 in images[:5]])
    review(store, images[1:10])
    store.set_reviewed(images[2], [], "reviewed-empty")
    found = read_gold(store, CLASSES)
    assert (found.kind, found.waiting, found.missing) == ("gold", 1, 26)
    assert [one.sha256 for one in found.images] == sorted(images[1:5])
    by_image = {one.sha256: one for one in found.images}
    assert by_image[images[1]].boxes_xyxy.tolist() == [[1, 2, 30, 40]]
    assert by_image[images[1]].class_ids.tolist() == [1]
    assert by_image[images[2]].boxes_xyxy.shape == (0, 4)


def test_without_a_draw_images_that_came_by_lot_stand_in_and_then_all_that_are_reviewed(store: Store) -> None:
    images = fill(store, 60)
    review(store, images[:50])
    everything = read_gold(store, CLASSES)
    assert (everything.kind, len(everything.images)) == ("reviewed", 50)
    assert "order of their own" in everything.remark
    ledger = StudioLedger(store)
    target = ledger.save_target("http://x", 1, config="c", media="local")
    tasks = [
        Task(sha256, None, "intended", 0, "", "m", drawn=True, blind=number < 4)
        for number, sha256 in enumerate(images[:34])
    ]
    ledger.intend(target, [(task, ()) for task in tasks])
    by_lot = read_gold(store, CLASSES)
    assert (by_lot.kind, len(by_lot.images)) == ("lot", 34)
    assert "pre-labels were shown for 30 of 34" in by_lot.remark


def test_images_alike_and_repeats_share_a_group(store: Store) -> None:
    vectors = np.random.default_rng(0).standard_normal((30, 32))
    vectors[1] = vectors[0]
    images = fill(store, 30, vectors=vectors)
    DecisionLedger(store).change([Decided(images[2], "duplicate-of", images[1])])
    groups = groups_of(store, images)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups.tolist())) == 28

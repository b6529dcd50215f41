"""The audit finds every planted leak, whatever made the split, and the closest pair across parts."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distill.curation.alignment import alike
from distill.split import Split, SplitSettings
from distill.splitting.audit import audit
from distill.splitting.nearest import nearest_across, turned_across
from labeling.core.store_splits import Part
from tests.made_splits import NOTHING, Photo, decide, groups_of, photos, store_of, thumbnail

Picture = npt.NDArray[np.uint8]
PARTS: tuple[Part, ...] = ("train", "val", "test")


def by_hand(
    parts: Mapping[Photo, Part], folds: Mapping[Photo, int] | None = None, kin: Mapping[Photo, Photo] | None = None
) -> Split:
    return Split(
        "by hand",
        SplitSettings(folds=len(set(folds.values())) if folds else None, by_time="never"),
        {photo.sha256: part for photo, part in parts.items()},
        {photo.sha256: fold for photo, fold in (folds or {}).items()},
        {photo.sha256: (kin or {}).get(photo, photo).sha256 for photo in parts},
        {},
        (),
    )


def test_a_group_in_two_parts_is_a_leak_and_one_in_a_part_is_none() -> None:
    a, b, c, d = photos(4)
    with store_of([a, b, c, d]) as store:
        found = audit(store, by_hand({a: "train", b: "val", c: "train", d: "train"}), groups_of([a, b], [c, d]))
    assert found.groups_across == ((a.sha256, b.sha256),)
    # The pair that made it a group counts too.
    assert [(one.first, one.second, one.parts) for one in found.pairs_across] == [
        (a.sha256, b.sha256, ("train", "val"))
    ]
    assert found.leaks == 2


def test_near_duplicates_across_parts_are_found_without_curation_and_named_as_the_closest() -> None:
    first, second = Photo("a", look="same"), Photo("b", look="same")
    others = photos(40)
    parts: dict[Photo, Part] = {photo: PARTS[place % 3] for place, photo in enumerate(others)}
    with store_of([first, second, *others]) as store:
        found = audit(store, by_hand({**parts, first: "train", second: "test"}), NOTHING)
        beside = audit(store, by_hand({**parts, first: "train", second: "train"}), NOTHING)
    assert found.leaks == 1
    (pair,) = found.pairs_across
    assert found.closest == pair
    assert {pair.first: pair.parts[0], pair.second: pair.parts[1]} == {first.sha256: "train", second.sha256: "test"}
    assert pair.similarity is not None
    assert pair.similarity > 0.95
    assert (found.images, found.not_compared) == (42, 0)
    assert beside.leaks == 0
    assert beside.closest is not None
    assert beside.closest.similarity is not None
    assert beside.closest.similarity < 0.88


def test_equal_thumbnails_and_what_people_call_a_duplicate_are_copies() -> None:
    a, b, c, d = Photo("a", look="x", noise=0), Photo("b", look="x", noise=0), Photo("c"), Photo("d")
    with store_of([a, b, c, d]) as store:
        decide(store, "duplicate-of", d, note=c.sha256)
        found = audit(store, by_hand({a: "train", b: "val", c: "test", d: "train"}), NOTHING)
    assert {frozenset((one.first, one.second)) for one in found.copies_across} == {
        frozenset((a.sha256, b.sha256)),
        frozenset((c.sha256, d.sha256)),
    }


def test_grey_pictures_are_no_copies_of_each_other() -> None:
    a, b = photos(2)
    with store_of([a, b]) as store:
        with store.transaction() as db:
            db.execute("UPDATE photo_facts SET thumbnail = zeroblob(2304)")
        found = audit(store, by_hand({a: "train", b: "test"}), NOTHING)
    assert (found.leaks, found.closest) == (0, None)


def test_photos_that_nobody_looked_at_are_counted() -> None:
    a, b, c = photos(3)
    with store_of([a, b, c]) as store:
        with store.transaction() as db:
            db.execute("DELETE FROM photo_facts WHERE sha256 = ?", (c.sha256,))
        found = audit(store, by_hand({a: "train", b: "val", c: "test"}), NOTHING)
    assert found.not_compared == 1
    assert found.closest is not None


def test_with_folds_each_fold_is_a_part_and_an_image_that_only_teaches_goes_with_its_kin() -> None:
    a, b, c, d = photos(4)
    parts: dict[Photo, Part] = dict.fromkeys((a, b, c, d), "train")
    with store_of([a, b, c, d]) as store:
        crossing = by_hand(parts, {a: 0, b: 1, c: 0})
        assert audit(store, crossing, groups_of([a, b])).groups_across == ((a.sha256, b.sha256),)
        assert audit(store, crossing, groups_of([a, c])).leaks == 0
        # d teaches while fold 0 is val, unless it is known to be kin.
        assert audit(store, crossing, groups_of([a, d])).leaks == 2
        assert audit(store, by_hand(parts, {a: 0, b: 1, c: 0}, {d: a}), groups_of([a, d])).leaks == 0


def test_the_audit_can_be_written_as_json() -> None:
    a, b = photos(2)
    with store_of([a, b]) as store:
        said = json.loads(json.dumps(audit(store, by_hand({a: "train", b: "val"}), groups_of([a, b])).to_json()))
    assert said["leaks"] == 2
    assert said["closest"]["parts"] in (["train", "val"], ["val", "train"])


@example([0, 1, 2, 0, 1, 2, 3, 3], 2, 0)
@settings(max_examples=30, deadline=None)
@given(homes=st.lists(st.integers(0, 3), min_size=1, max_size=25), looks=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_nearest_across_are_those_of_all_pairs_compared_one_by_one(homes: list[int], looks: int, seed: int) -> None:
    some = [Photo(f"{seed}-{place}", look=f"{seed}-{place % looks}") for place in range(len(homes))]
    thumbnails = np.stack([thumbnail(photo) for photo in some])
    pairs, similarity = nearest_across(thumbnails, np.array(homes))
    across = [(one, two) for one, two in combinations(range(len(homes)), 2) if homes[one] != homes[two]]
    truth = dict(zip(across, alike(thumbnails, np.array(across).reshape(-1, 2)).tolist(), strict=True))
    found = dict(zip(map(tuple, pairs.tolist()), similarity.tolist(), strict=True))
    assert all(truth[pair] == pytest.approx(value, abs=1e-3) for pair, value in found.items())
    assert {pair for pair, value in truth.items() if value > 0.88} <= found.keys()
    assert bool(found) == bool(truth)
    assert similarity.tolist() == sorted(similarity.tolist(), reverse=True)


def test_memory_does_not_grow_with_the_square_of_the_images() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 255, (6000, 48, 48), dtype=np.uint8)
    tracemalloc.start()
    nearest_across(thumbnails, np.arange(6000) % 3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All pairs at once would take 144 MB for one matrix alone.
    assert most < 140e6


WAYS = {
    "mirrored": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "turned by 90 degrees": np.rot90,
    "turned by 180 degrees": lambda picture: np.rot90(picture, 2),
    "turned by 270 degrees": lambda picture: np.rot90(picture, 3),
    "transposed": np.transpose,
    "transposed the other way": lambda picture: np.rot90(picture, 2).T,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_mirrored_or_turned_copy_is_found_and_nothing_else(way: Callable[[Picture], Picture]) -> None:
    pictures = [thumbnail(photo) for photo in photos(60)]
    pictures.append(np.ascontiguousarray(way(thumbnail(Photo("p7", look="p7", noise=0.2)))))
    homes = np.arange(61) % 3
    pairs, similarity = turned_across(np.stack(pictures), homes)
    assert pairs[similarity >= 0.8].tolist() == [[7, 60]]
    assert similarity[0] > 0.95
    assert similarity.tolist() == sorted(similarity.tolist(), reverse=True)


def test_mirrored_pictures_of_one_part_are_not_told() -> None:
    picture = thumbnail(Photo("a"))
    assert len(turned_across(np.stack([picture, picture[:, ::-1]]), np.array([1, 1]))[0]) == 0


def test_a_mirrored_copy_across_parts_is_a_leak_of_its_own_kind() -> None:
    a, b = photos(2)
    with store_of([a, b]) as store:
        with store.transaction() as db:
            mirrored = np.ascontiguousarray(thumbnail(a)[:, ::-1]).tobytes()
            db.execute("UPDATE photo_facts SET thumbnail = ? WHERE sha256 = ?", (mirrored, b.sha256))
        found = audit(store, by_hand({a: "train", b: "test"}), NOTHING)
    assert [{one.first, one.second} for one in found.turned_across] == [{a.sha256, b.sha256}]
    assert (found.leaks, found.pairs_across) == (1, ())
    assert len(found.to_json()["turned_across"]) == 1

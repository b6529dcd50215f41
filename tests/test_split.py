"""The split: groups never cross, classes even out, places are kept, time is never shuffled."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.curation.duplicates import duplicates
from distill.split import Split, SplitSettings, make_split, read_split
from distill.splitting.assign import stratify
from distill.splitting.audit import audit
from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.video.ledger import FrameLedger
from tests.made_splits import (
    NAMES,
    NOTHING,
    Photo,
    add,
    decide,
    facts_of,
    groups_of,
    open_test,
    parts_of,
    photos,
    series,
    sizes,
    split_of,
    store_of,
    thumbnail,
)

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
STATES = st.sampled_from(["reviewed", "reviewed", "prelabelled", "pushed", "reviewed-empty", "skipped", "new"])


@st.composite
def families(draw: st.DrawFn) -> list[list[Photo]]:
    """Groups of one to six photos with any classes and states; the first photo is reviewed."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=14))
    made = []
    for number, size in enumerate(sizes):
        classes = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple)
        group = [Photo(f"g{number}-{one}", draw(classes), draw(STATES)) for one in range(size)]
        made.append(group)
    made[0][0] = Photo("g0-0", ("box",))
    return made


# Groups


@FEW
@given(made=families(), by_fold=st.booleans())
def test_a_group_never_crosses_and_every_image_is_placed_or_counted(made: list[list[Photo]], by_fold: bool) -> None:
    everyone = [photo for group in made for photo in group]
    repeated = groups_of(*(group for group in made if len(group) > 1))
    reviewed = {photo.sha256 for photo in everyone if photo.state.startswith("reviewed")}
    weighty = sum(any(photo.sha256 in reviewed for photo in group) for group in made)
    folds = 2 if by_fold and weighty > 2 else None
    with store_of(everyone) as store:
        split = split_of(store, SplitSettings(folds=folds), repeated)
        assert audit(store, split, repeated).leaks == 0
        assert len(split.parts) + sum(split.left_out.values()) == len(everyone)
        assert {*split.images("val"), *split.images("test"), *split.folds} <= reviewed
        for fold in range(folds or 0):
            train, val = split.images("train", fold), split.images("val", fold)
            assert not {split.kin[image] for image in train} & {split.kin[image] for image in val}
        for group in made:
            assert len(parts_of(split, group)) <= 1
            assert len({split.kin[photo.sha256] for photo in group if photo.sha256 in split.kin}) <= 1
        again = read_split(store)
        assert (again.parts, again.folds, again.kin, again.remarks) == (
            split.parts,
            split.folds,
            split.kin,
            split.remarks,
        )
        assert (again.settings, again.left_out) == (split.settings, split.left_out)


def test_planted_near_duplicates_stay_together_as_curation_finds_them() -> None:
    families = [
        [Photo(f"scene{scene}-{take}", look=f"scene{scene}") for take in range(1 + scene % 4)] for scene in range(60)
    ]
    with store_of(photo for family in families for photo in family) as store:
        repeated = duplicates(store)
        split = split_of(store, None, repeated)
        assert all(len(parts_of(split, family)) == 1 for family in families)
        assert len(repeated.pairs) >= 60
        assert min(sizes(split)) > 10
        assert audit(store, split, repeated).leaks == 0


def test_pairs_that_curation_did_not_find_are_found_and_kept_together() -> None:
    twins = [[Photo(f"t{pair}-{one}", look=f"t{pair}") for one in range(2)] for pair in range(30)]
    with store_of(photo for pair in twins for photo in pair) as store:
        split = split_of(store)
        assert all(len(parts_of(split, pair)) == 1 for pair in twins)
        assert audit(store, split, NOTHING).leaks == 0


def test_shots_of_a_burst_stay_together() -> None:
    begin = datetime(2026, 5, 1, 12)
    bursts = [
        [
            Photo(
                f"b{burst}-{shot}",
                look=f"b{burst}",
                noise=1.0,
                camera="C",
                taken_at=(begin + timedelta(hours=burst, seconds=shot)).isoformat(),
            )
            for shot in range(4)
        ]
        for burst in range(15)
    ]
    with store_of(photo for burst in bursts for photo in burst) as store:
        repeated = duplicates(store)
        assert {group.kind for group in repeated.groups} == {"sequence"}
        split = split_of(store, SplitSettings(by_time="never"), repeated)
        assert all(len(parts_of(split, burst)) == 1 for burst in bursts)


def test_what_people_call_a_duplicate_stays_with_its_original() -> None:
    some = photos(40)
    with store_of(some) as store:
        for first, second in zip(some[:20], some[20:], strict=True):
            decide(store, "duplicate-of", second, note=first.sha256)
        split = split_of(store)
        assert all(len(parts_of(split, pair)) == 1 for pair in zip(some[:20], some[20:], strict=True))
        assert split.kin[some[20].sha256] == some[0].sha256


# Who may be where


def test_shares_are_those_of_the_reviewed_images_and_the_others_only_teach() -> None:
    with store_of([*photos(100), *photos(50, "u", state="prelabelled")]) as store:
        split = split_of(store)
        assert sizes(split) == (70 + 50, 15, 15)
        assert all(split.parts[photo.sha256] == "train" for photo in photos(50, "u"))
        allowed = split_of(store, SplitSettings(unreviewed=True), fresh=True)
        assert sizes(allowed)[1] == pytest.approx(22, abs=1)
        assert any("never reviewed" in remark for remark in allowed.remarks)


def test_an_unreviewed_neighbour_of_a_measured_image_is_left_out_and_teaches_beside_a_teaching_one() -> None:
    pairs = [(Photo(f"r{one}"), Photo(f"u{one}", state="pushed")) for one in range(20)]
    with store_of(photo for pair in pairs for photo in pair) as store:
        split = split_of(store, None, groups_of(*pairs))
        for known, unknown in pairs:
            there = split.parts[known.sha256] == "train"
            assert (unknown.sha256 in split.parts) == there
        assert sizes(split) == (28, 3, 3)
        assert sum(split.left_out.values()) == 6


def test_with_folds_an_unreviewed_neighbour_teaches_in_all_folds_but_that_of_its_kin() -> None:
    pairs = [(Photo(f"r{one}"), Photo(f"u{one}", state="pushed")) for one in range(12)]
    with store_of(photo for pair in pairs for photo in pair) as store:
        split = split_of(store, SplitSettings((1.0, 0.0, 0.0), folds=3), groups_of(*pairs))
        for known, unknown in pairs:
            own = split.folds[known.sha256]
            assert [unknown.sha256 in split.images("train", fold) for fold in range(3)] == [
                own != fold for fold in range(3)
            ]
        assert not split.left_out


def test_what_is_in_no_part_is_counted_with_its_reason() -> None:
    odd = [
        Photo("n", state="new"),
        Photo("s", state="skipped"),
        Photo("q", state="quarantined"),
        Photo("e", (), "prelabelled"),
        Photo("d"),
    ]
    with store_of([*photos(10), *odd]) as store:
        decide(store, "drop", odd[-1])
        split = split_of(store)
        assert sum(sizes(split)) == 10
        assert dict(split.left_out) == {
            "not labelled yet": 1,
            "skipped in review": 1,
            "could not be read": 1,
            "not reviewed and without a label: nobody knows whether nothing is there": 1,
            "decided to be dropped": 1,
        }


def test_an_image_whose_only_label_was_dropped_is_as_one_without_a_label() -> None:
    known, unknown = Photo("known"), Photo("unknown", state="prelabelled")
    with store_of([*photos(10), known, unknown]) as store:
        labels = [store.annotations_of(photo.sha256)[0] for photo in (known, unknown)]
        DecisionLedger(store).change([Decided(label.sha256, "drop", "", label.id) for label in labels])
        split = split_of(store)
        assert known.sha256 in split.parts
        assert split.left_out == {"not reviewed and without a label: nobody knows whether nothing is there": 1}


def test_an_image_meant_for_test_takes_its_group_there() -> None:
    some = photos(40)
    with store_of(some) as store:
        split = split_of(store)
        group = [photo for photo in some if split.parts[photo.sha256] == "train"][:5]
        decide(store, "split-test", group[0])
        again = split_of(store, None, groups_of(group))
        assert parts_of(again, group) == {"test"}
        assert any("moved from train to test" in remark for remark in again.remarks)
        others = [photo.sha256 for photo in some if photo not in group]
        assert [again.parts[one] for one in others] == [split.parts[one] for one in others]


def test_empty_images_that_were_reviewed_are_spread_like_a_class() -> None:
    with store_of([*photos(80), *photos(20, "e", state="reviewed-empty")]) as store:
        split = split_of(store)
        found = Counter(split.parts[photo.sha256] for photo in photos(20, "e"))
        assert found == {"train": 14, "val": 3, "test": 3}


# Classes


def test_every_part_gets_its_share_of_every_class_far_better_than_by_lot() -> None:
    random = np.random.default_rng(0)
    rates = np.array([0.6, 0.3, 0.15, 0.06, 0.04])
    group_of = random.integers(0, 250, 600)
    holds = (random.random((250, 5)) < rates).astype(np.int64)
    counts = np.zeros((250, 7), dtype=np.int64)
    for group in group_of:
        there = holds[group] * (random.random(5) < 0.9)
        counts[group] += [*there, int(not there.any()), 1]
    counts = counts[counts[:, -1] > 0]
    shares = (0.7, 0.15, 0.15)

    def error(parts: Sequence[int]) -> float:
        held = np.stack([counts[np.array(parts) == part].sum(axis=0) for part in range(3)])
        return float(np.abs(held / counts.sum(axis=0) - np.array(shares)[:, None]).mean())

    ours = error(stratify(counts, shares, np.zeros((3, 7), dtype=np.int64), [str(row) for row in range(len(counts))]))
    by_lot = [error(random.choice(3, len(counts), p=shares).tolist()) for _ in range(30)]
    assert ours < 0.01
    assert ours < min(by_lot) / 2


def test_stratification_by_hand() -> None:
    # Columns: rare class, common class, images. The rare class goes first and one of its groups into each part.
    counts = np.array([[2, 0, 2], [1, 0, 1], [1, 0, 1], *[[0, 1, 1]] * 16])
    parts = stratify(counts, (0.6, 0.2, 0.2), np.zeros((3, 3), dtype=np.int64), [f"{row:02}" for row in range(19)])
    assert parts[:3] == [0, 1, 2]
    assert Counter(parts[3:]) == {0: 10, 1: 3, 2: 3}


@FEW
@given(
    groups=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
    shares=st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.2), (0.2,) * 5]),
)
def test_a_class_with_enough_groups_reaches_every_part_where_it_is_alone_in_them(
    groups: list[tuple[int, int, int]], shares: tuple[float, ...]
) -> None:
    single = [
        tuple(size if place == group.index(max(group)) else 0 for place, size in enumerate(group)) for group in groups
    ]
    counts = np.array([[*one, not sum(one), max(sum(one), 1)] for one in single], dtype=np.int64)
    parts = np.array(
        stratify(counts, shares, np.zeros((len(shares), 5), dtype=np.int64), list(map(str, range(len(groups)))))
    )
    assert set(parts.tolist()) <= set(range(len(shares)))
    for column in range(5):
        there = counts[:, column] > 0
        if there.sum() >= len(shares):
            assert len(set(parts[there].tolist())) == len(shares)


def test_a_class_that_a_part_misses_or_nobody_has_is_named() -> None:
    with store_of([*photos(30), Photo("c1", ("cone", "box")), Photo("c2", ("cone",))]) as store:
        split = split_of(store)
        held = {split.parts[Photo(name).sha256] for name in ("c1", "c2")}
        (without,) = {"val", "test"} - held
        assert "train" in held
        assert f"{without} has no image of cone (in 2 groups): label more of other scenes" in split.remarks
        assert any("no image of the split holds pallet" in remark for remark in split.remarks)


# Places are kept


@FEW
@given(first=families(), second=families(), data=st.data())
def test_images_keep_their_part_when_others_are_added(
    first: list[list[Photo]], second: list[list[Photo]], data: st.DataObject
) -> None:
    rename = [[Photo(f"x{photo.name}", photo.classes, photo.state) for photo in group] for group in second]
    joined = {place: data.draw(st.none() | st.integers(0, len(first) - 1)) for place in range(len(rename))}
    before = [group for group in first if len(group) > 1]
    # Several new groups may join one old group, never two old ones.
    grown = [list(group) for group in first]
    apart = []
    for place, group in enumerate(rename):
        target = joined[place]
        if target is None:
            apart.append(group)
        else:
            grown[target] += group
    with store_of(photo for group in first for photo in group) as store:
        split = split_of(store, None, groups_of(*before))
        add(store, (photo for group in rename for photo in group))
        later = split_of(store, None, groups_of(*[group for group in [*grown, *apart] if len(group) > 1]))
        assert {image: later.parts.get(image) for image in split.parts} == split.parts
        for group in [*grown, *apart]:
            assert len(parts_of(later, group)) <= 1
        same = split_of(store, None, groups_of(*[group for group in [*grown, *apart] if len(group) > 1]))
        assert (same.parts, same.left_out) == (later.parts, later.left_out)


def test_the_order_in_which_images_came_means_nothing() -> None:
    some = [*photos(60), *photos(20, "q", classes=("pallet", "box")), *photos(9, "c", classes=("cone",))]
    with store_of(some) as one, store_of(reversed(some)) as other:
        assert split_of(one).parts == split_of(other).parts
        assert split_of(one, SplitSettings(seed=1), fresh=True).parts != split_of(other).parts


def test_new_images_even_out_the_shares_and_classes_that_were_uneven() -> None:
    with store_of(photos(20)) as store:
        split_of(store, SplitSettings((0.9, 0.05, 0.05)))
        add(store, [*photos(100, "new"), *photos(20, "cones", classes=("cone",))])
        split = split_of(store)
        assert sizes(split) == (98, 21, 21)
        cones = Counter(split.parts[photo.sha256] for photo in photos(20, "cones"))
        assert cones == {"train": 14, "val": 3, "test": 3}


def linked(test_opened: bool) -> tuple[Split, Split, list[Photo], Photo]:
    """Split; then a new image shows that an image of test and three of train are of one group."""
    some = photos(40)
    new = Photo("new")
    with store_of(some) as store:
        first = split_of(store)
        if test_opened:
            open_test(store)
        of = defaultdict(list)
        for photo in some:
            of[first.parts[photo.sha256]].append(photo)
        group = [of["test"][0], *of["train"][:3]]
        add(store, [new])
        second = split_of(store, None, groups_of([*group, new]))
        assert audit(store, second, groups_of([*group, new])).leaks == 0
        third = split_of(store, None, groups_of([*group, new]))
        assert (third.parts, third.left_out) == (second.parts, second.left_out)
    return first, second, group, new


def test_groups_of_two_parts_that_a_new_image_links_go_where_most_of_them_are() -> None:
    _, second, group, new = linked(test_opened=False)
    assert parts_of(second, [*group, new]) == {"train"}
    assert "moved from test to train, to a group or by a decision: 1 image" in second.remarks


def test_once_test_was_opened_it_stays_and_what_is_linked_to_it_is_left_out() -> None:
    first, second, group, _ = linked(test_opened=True)
    assert second.images("test") == first.images("test")
    assert [photo.sha256 in second.parts for photo in group] == [True, False, False, False]
    assert second.left_out == {"alike to images of the test part, which was opened already": 4}


def test_an_image_that_is_reviewed_again_comes_back_to_its_part() -> None:
    some = photos(40)
    with store_of(some) as store:
        first = split_of(store)
        (image, *_) = first.images("test")
        store.rows("UPDATE images SET state = 'pushed' WHERE sha256 = ?", image)
        away = split_of(store)
        assert image not in away.parts
        store.rows("UPDATE images SET state = 'reviewed' WHERE sha256 = ?", image)
        assert split_of(store).parts == first.parts


def test_what_was_taught_before_its_review_stays_and_the_uneven_shares_are_told() -> None:
    waiting = photos(90, "u", state="prelabelled")
    with store_of([*photos(10), *waiting]) as store:
        first = split_of(store)
        add(store, photos(90, "u"))
        second = split_of(store)
        assert second.parts == first.parts
        assert any("of 100 reviewed images" in remark for remark in second.remarks)
        assert any("--fresh" in remark for remark in second.remarks)
        assert sizes(split_of(store, fresh=True)) == (70, 15, 15)


# Folds


def test_each_image_is_val_in_exactly_one_fold_and_classes_are_spread() -> None:
    some = [*photos(50), *photos(10, "c", classes=("cone",))]
    groups = [some[start : start + 2] for start in range(0, 40, 2)]
    with store_of(some) as store:
        split = split_of(store, SplitSettings(folds=5), groups_of(*groups))
        test = split.images("test")
        assert len(test) == pytest.approx(9, abs=1)
        val = [image for fold in range(5) for image in split.images("val", fold)]
        assert sorted([*val, *test]) == sorted(photo.sha256 for photo in some)
        for fold in range(5):
            here, train = split.images("val", fold), split.images("train", fold)
            assert len(here) == pytest.approx(10.2, abs=1.2)
            assert sorted([*here, *train, *test]) == sorted(split.parts)
            assert sum(photo.sha256 in here for photo in photos(10, "c")) in (1, 2)
        assert audit(store, split, groups_of(*groups)).leaks == 0
        add(store, photos(20, "later"))
        later = split_of(store, SplitSettings(folds=5), groups_of(*groups))
        assert {image: later.folds.get(image) for image in split.parts} == {
            image: split.folds.get(image) for image in split.parts
        }


def test_an_image_that_only_taught_gets_a_fold_once_it_is_reviewed() -> None:
    with store_of([*photos(20), *photos(6, "u", state="pushed")]) as store:
        first = split_of(store, SplitSettings(folds=4))
        assert not any(photo.sha256 in first.folds for photo in photos(6, "u"))
        add(store, photos(6, "u"))
        second = split_of(store, SplitSettings(folds=4))
        assert len(second.folds) + len(second.images("test")) == 26
        assert {image: second.folds[image] for image in first.folds} == first.folds


def test_without_a_test_share_the_folds_take_everything() -> None:
    with store_of(photos(9)) as store:
        split = split_of(store, SplitSettings((1.0, 0.0, 0.0), folds=3))
        assert [len(split.images("val", fold)) for fold in range(3)] == [3, 3, 3]
        assert split.images("test") == ()
        with pytest.raises(InputError, match="fold 3"):
            split.images("val", 3)


def test_more_folds_than_groups_are_refused_and_nothing_is_written() -> None:
    some = photos(12)
    with store_of(some) as store:
        with pytest.raises(InputError, match="too few groups"):
            split_of(store, SplitSettings(folds=5), groups_of(some[:9]))
        with pytest.raises(StateError, match="labelstill split"):
            read_split(store)


# Edges


def test_one_image_in_all_teaches_and_the_empty_parts_are_told() -> None:
    with store_of(photos(1)) as store:
        split = split_of(store)
        assert sizes(split) == (1, 0, 0)
        assert any(
            remark.startswith("val has no image, for only 1 group of reviewed images") for remark in split.remarks
        )
        found = audit(store, split, NOTHING)
        assert (found.leaks, found.closest) == (0, None)


def test_two_groups_are_train_and_val() -> None:
    some = photos(10)
    with store_of(some) as store:
        assert sizes(split_of(store, None, groups_of(some[:7], some[7:]))) == (7, 3, 0)


@pytest.mark.parametrize("state", ["prelabelled", "pushed"])
def test_without_a_review_the_way_to_one_is_named(state: str) -> None:
    with store_of(photos(5, state=state)) as store:
        with pytest.raises(StateError, match="labelstill push"):
            split_of(store)
        assert sizes(split_of(store, SplitSettings(unreviewed=True)))[0] >= 3


def test_nothing_labelled_is_told() -> None:
    with store_of([]) as store, pytest.raises(StateError, match="no image is labelled"):
        split_of(store)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parts": (0.5, 0.2, 0.2)},
        {"parts": (0.0, 0.5, 0.5)},
        {"parts": (1.2, -0.1, -0.1)},
        {"folds": 1},
        {"folds": 3, "by_time": "always"},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        SplitSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [SplitSettings(folds=2), SplitSettings(by_time="always")])
def test_a_split_is_not_continued_under_other_rules(changed: SplitSettings) -> None:
    with store_of(series(days=2)) as store:
        first = split_of(store)
        with pytest.raises(StateError, match="--fresh"):
            split_of(store, changed)
        assert read_split(store).parts == first.parts
        split_of(store, changed, fresh=True)


@pytest.mark.slow
def test_ten_thousand_images_take_seconds() -> None:
    some = [
        Photo(f"p{number}", NAMES[: 1 + number % 3], "reviewed" if number % 3 else "prelabelled")
        for number in range(10_000)
    ]
    with store_of(some) as store:
        repeated, facts = groups_of(*(some[start : start + 3] for start in range(0, 6000, 3))), facts_of(store)
        begin = time.process_time()
        split = make_split(store, SplitSettings(), duplicates=repeated, facts=facts)
        found = audit(store, split, repeated)
        assert time.process_time() - begin < 40
        assert found.leaks == 0


# Mirrored, turned, and what is said


def mirror(store: Store, of: Photo, copy: Photo) -> None:
    picture = np.ascontiguousarray(thumbnail(of)[:, ::-1]).tobytes()
    with store.transaction() as db:
        db.execute("UPDATE photo_facts SET thumbnail = ? WHERE sha256 = ?", (picture, copy.sha256))


def test_mirrored_copies_stay_together_and_are_told_each_time() -> None:
    some = photos(40)
    with store_of(some) as store:
        for place in range(10):
            mirror(store, some[place], some[place + 10])
        first, again = split_of(store), split_of(store)
        assert audit(store, first, NOTHING).leaks == 0
    assert all(first.kin[some[place].sha256] == first.kin[some[place + 10].sha256] for place in range(10))
    assert "10 pairs of images show the same mirrored or turned, and stay together" in first.remarks
    assert again.remarks == first.remarks


def test_the_same_split_again_is_the_same_in_every_word() -> None:
    alike = [Photo(f"{look}{one}", look=look) for look in "abc" for one in range(6)]
    for some in (alike, alike[:6], alike[:12], [*alike, *photos(3)], photos(3), photos(1)):
        with store_of(some) as store:
            first, again = split_of(store), split_of(store)
        assert again.remarks == first.remarks
        assert (again.parts, again.kin, again.left_out) == (first.parts, first.kin, first.left_out)


def test_one_image_is_no_group_of_neighbours() -> None:
    with store_of(photos(2)) as store:
        assert not any("stay together" in remark for remark in split_of(store).remarks)


def test_a_camera_that_sees_one_scene_is_told_that_no_draw_helps() -> None:
    some = series(days=5, each=8)
    with store_of(some) as store:
        for by_time in ("never", "always"):
            split = split_of(store, SplitSettings(by_time=by_time), groups_of(some[:39]), fresh=True)
            assert 0 in sizes(split)
            assert any("39 of 40" in remark and "take photos of other scenes" in remark for remark in split.remarks)


def test_one_image_more_in_test_is_said_as_one() -> None:
    some = photos(40)
    with store_of(some) as store:
        split_of(store)
        open_test(store)
        new = Photo("new")
        add(store, [new])
        decide(store, "split-test", new)
        assert any("test was opened before and has 1 image more now" in said for said in split_of(store).remarks)


def test_frames_that_show_one_object_of_a_video_stay_together_and_apart_they_are_a_leak() -> None:
    some = photos(60)
    tracks = {0: some[:6], 1: some[5:9], 2: some[20:30]}
    with store_of(some) as store:
        ledger = FrameLedger(store)
        ledger.write_tracks("v", {number: [(one.sha256, one.name) for one in seen] for number, seen in tracks.items()})
        split = split_of(store)
        # Two objects that one frame shows make one group of all their frames.
        assert len(parts_of(split, some[:9])) == len(parts_of(split, some[20:30])) == 1
        assert audit(store, split, NOTHING).groups_across == ()
        home, other = split.parts[some[20].sha256], split.parts[some[0].sha256]
        away = "val" if home != "val" else "train"
        torn = replace(split, parts=split.parts | {some[21].sha256: away})
        assert audit(store, torn, NOTHING).groups_across == (tuple(sorted(one.sha256 for one in some[20:30])),)
        # A teacher that sees less takes tracks away; what was kept together stays together.
        ledger.write_tracks("v", {})
        assert {split_of(store).parts[one.sha256] for one in some[:9]} == {other}

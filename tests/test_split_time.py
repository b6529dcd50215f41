"""A split of photos in time: the oldest teach, the newest are the test, and only a clear series is cut so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.split import Split, SplitSettings
from distill.splitting.assign import in_order
from distill.splitting.audit import audit
from labeling.core.errors import StateError
from tests.made_splits import NOTHING, Photo, add, groups_of, parts_of, photos, series, sizes, split_of, store_of


def moments(split: Split, part: str, some: Sequence[Photo]) -> list[str]:
    return sorted(photo.taken_at or "" for photo in some if split.parts.get(photo.sha256) == part)


def test_a_series_of_one_camera_is_cut_by_time_the_newest_for_test() -> None:
    some = series()
    with store_of(some) as store:
        split = split_of(store)
        assert split.settings.by_time == "always"
        assert sizes(split) == (70, 15, 15)
        train, val, test = (moments(split, part, some) for part in ("train", "val", "test"))
        assert train[-1] < val[0] <= val[-1] < test[0]
        assert audit(store, split, NOTHING).newer == 0
        assert split_of(store, SplitSettings(by_time="never"), fresh=True).settings.by_time == "never"


@pytest.mark.parametrize(
    "some",
    [
        series(days=2, each=50),
        [*series(5), *series(5, camera="Other", prefix="other")],
        [*series(), *photos(10)],
        series(days=5, each=3),
        [*series(days=1, each=50), *series(days=4, each=10, prefix="more")],
        [Photo(f"n{number}", path=f"/photos/img_{number:04}.jpg") for number in range(40)],
    ],
    ids=["two days", "two cameras", "many without a time", "few", "one long day", "numbered files that are unlike"],
)
def test_photos_that_are_not_clearly_a_series_are_not_cut_by_time(some: list[Photo]) -> None:
    with store_of(some) as store:
        assert split_of(store).settings.by_time == "never"


def test_frames_of_one_video_are_cut_by_their_numbers() -> None:
    frames = [Photo(f"f{number}", path=f"/v/clip_{number:05}.jpg") for number in range(100)]
    shots = [frames[start : start + 5] for start in range(0, 100, 5)]
    with store_of(reversed(frames)) as store:
        split = split_of(store, None, groups_of(*shots, kind="sequence"))
        assert [parts_of(split, shot) for shot in shots] == [{"train"}] * 14 + [{"val"}] * 3 + [{"test"}] * 3


def test_a_group_across_the_border_of_time_is_in_the_older_part_and_the_overlap_is_told() -> None:
    some = series()
    group = [some[65], some[75], some[99]]
    with store_of(some) as store:
        split = split_of(store, None, groups_of(group))
        assert parts_of(split, group) == {"train"}
        found = audit(store, split, groups_of(group))
        assert found.leaks == 0
        assert found.newer == 2


def test_new_photos_go_where_their_time_is() -> None:
    some = series()
    late, old = series(days=2, each=3, prefix="late"), Photo("old", camera="Cam", taken_at="2020-01-01T00:00:00")
    late = [Photo(photo.name, camera="Cam", taken_at=(photo.taken_at or "").replace("-03-", "-08-")) for photo in late]
    with store_of(some) as store:
        first = split_of(store)
        add(store, [*late, old])
        second = split_of(store)
        assert {image: second.parts[image] for image in first.parts} == first.parts
        assert parts_of(second, late) == {"test"}
        assert second.parts[old.sha256] == "train"


def test_an_older_photo_that_repeats_one_of_test_does_not_move_the_border() -> None:
    some = series()
    twin, between = (
        Photo(name, camera="Cam", taken_at=at)
        for name, at in (("twin", "2026-03-01T00:00:00"), ("new", "2026-03-04T23:00:00"))
    )
    with store_of(some) as store:
        split_of(store)
        add(store, [twin, between])
        split = split_of(store, None, groups_of([some[-1], twin]))
        assert split.parts[twin.sha256] == "test"
        assert split.parts[between.sha256] == "train"


def test_an_unreviewed_photo_teaches_only_if_it_is_older_than_what_is_measured_on() -> None:
    some = series()
    early, late = (
        Photo(name, state="prelabelled", camera="Cam", taken_at=at)
        for name, at in (("early", "2026-03-02T00:00:00"), ("late", "2026-03-09T12:00:00"))
    )
    with store_of([*some, early, late]) as store:
        split = split_of(store)
        assert split.parts[early.sha256] == "train"
        assert split.left_out == {"not reviewed, and taken at the time of val or test": 1}


def test_a_photo_without_a_time_is_left_out_where_time_cuts() -> None:
    with store_of([*series(), Photo("never")]) as store:
        split = split_of(store)
        assert split.left_out == {"taken at a time that nobody knows, while the cut is by time": 1}


def test_by_time_without_any_time_is_refused() -> None:
    with (
        store_of([Photo("a", path="/p/a.jpg"), Photo("b", path="/p/b.jpg")]) as store,
        pytest.raises(StateError, match="no photo says when"),
    ):
        split_of(store, SplitSettings(by_time="always"))


@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    shares=st.sampled_from([(0.7, 0.15, 0.15), (0.9, 0.1), (1.0,)]),
)
def test_in_order_no_part_goes_back_and_each_gets_a_group_if_there_are_enough(
    weights: list[int], shares: tuple[float, ...]
) -> None:
    parts = in_order(weights, shares)
    assert all(first <= second for first, second in pairwise(parts))
    assert set(parts) == set(range(min(len(shares), len(weights))))

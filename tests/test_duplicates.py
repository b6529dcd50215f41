"""Which pictures repeat each other: drawn pictures whose copies are known, and a real set with planted copies."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from distill.curation.alignment import alike
from distill.curation.duplicates import USUAL_THRESHOLD, Duplicates, choose_threshold, duplicates
from distill.curation.groups import grouped
from distill.curation.near_pairs import NEIGHBOURS, _nearest, near_pairs, outlines
from labeling.core.errors import InputError
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.vectors import LOOK, Encoder, unit
from tests import paths

Grey = npt.NDArray[np.uint8]


def scenery(seed: int, side: int = 480) -> Grey:
    """Draw a picture of light and dark regions with edges, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    picture = np.full((side, side), 128, dtype=np.uint8)
    for _ in range(25):
        corner, size = random.uniform(-0.1, 1, 2) * side, random.uniform(0.05, 0.4, 2) * side
        x0, y0, x1, y1 = (int(value) for value in (*corner, *(corner + size)))
        cv2.rectangle(picture, (x0, y0), (x1, y1), int(random.integers(20, 236)), -1)
    return cv2.GaussianBlur(picture, (0, 0), 3).astype(np.uint8)


def thumbnail(picture: Grey) -> Grey:
    return cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA).astype(np.uint8)


def cropped(picture: Grey, left: float, top: float, right: float, bottom: float) -> Grey:
    height, width = picture.shape
    return picture[round(top * height) : round((1 - bottom) * height), round(left * width) : round((1 - right) * width)]


@dataclass(frozen=True)
class Photo:
    """One image of a store made by hand; its sha256 comes from its first path."""

    paths: tuple[str, ...]
    grey: Grey | None
    size_wh: tuple[int, int] = (640, 480)
    camera: str | None = None
    taken_at: str | None = None

    @property
    def sha256(self) -> str:
        return digest(self.paths[0])


def digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def photo(path: str, picture: Grey | None, **more: object) -> Photo:
    return Photo((path,), None if picture is None else thumbnail(picture), **more)  # type: ignore[arg-type]


def store_of(folder: Path, photos: Sequence[Photo]) -> Store:
    store = Store.open(folder / "labels.db", create=True)
    run = store.start_run("label", {})
    store.commit_batch(
        [
            ImageOutcome(
                tuple(FileStamp(os.fsencode(path), 1, 1) for path in one.paths), one.sha256, *one.size_wh, done_key="k"
            )
            for one in photos
        ],
        run,
    )
    with store.transaction() as db:
        db.executemany(
            "INSERT INTO photo_facts VALUES (?, 0.5, 0.2, 100, ?, ?, ?)",
            [(one.sha256, one.camera, one.taken_at, one.grey.tobytes()) for one in photos if one.grey is not None],
        )
    return store


def found_in(folder: Path, photos: Sequence[Photo], threshold: float | None = None) -> Duplicates:
    with store_of(folder, photos) as store:
        return duplicates(store, threshold=threshold)


def pairs_of(found: Duplicates) -> set[frozenset[str]]:
    return {frozenset((pair.first, pair.second)) for pair in found.pairs}


# How alike two pictures are


@pytest.mark.parametrize(
    "borders", [(0.08, 0, 0, 0), (0, 0.08, 0.08, 0), (0.04, 0.02, 0.07, 0.08), (0.08, 0.08, 0.08, 0.08), (0, 0, 0, 0)]
)
def test_a_crop_of_up_to_8_percent_of_each_border_is_nearly_the_same(borders: tuple[float, ...]) -> None:
    pictures = [scenery(seed) for seed in range(20)]
    both = np.array([thumbnail(one) for one in pictures] + [thumbnail(cropped(one, *borders)) for one in pictures])
    rows = np.arange(20)
    assert alike(both, np.stack([rows, rows + 20], axis=1)).min() > 0.95
    assert alike(both, np.stack([rows + 20, rows], axis=1)).min() > 0.95


def test_different_pictures_are_far_below_every_copy() -> None:
    thumbnails = np.array([thumbnail(scenery(seed)) for seed in range(60)])
    strangers = np.stack(np.triu_indices(60, 1), axis=1)
    assert alike(thumbnails, strangers).max() < 0.75


def test_brightness_and_contrast_do_not_count() -> None:
    picture = scenery(0).astype(np.float32)
    both = np.array([thumbnail(np.clip(a * picture + b, 0, 255).astype(np.uint8)) for a, b in ((1, 0), (0.6, 40))])
    assert alike(both, np.array([[0, 1]]))[0] > 0.99


def test_flat_pictures_are_like_nothing() -> None:
    thumbnails = np.stack([np.full((48, 48), 10, np.uint8), np.full((48, 48), 200, np.uint8), thumbnail(scenery(1))])
    assert alike(thumbnails, np.array([[0, 1], [0, 2], [2, 0]])).max() < 0.1
    assert not outlines(thumbnails)[:2].any()
    assert outlines(thumbnails)[2].any()


def test_no_pairs_are_no_work() -> None:
    assert alike(np.zeros((0, 48, 48), np.uint8), np.zeros((0, 2), np.int64)).shape == (0,)


# Candidates


def test_the_nearest_are_those_of_the_full_matrix() -> None:
    random = np.random.default_rng(3)
    vectors = unit(random.normal(size=(1500, 12)).astype(np.float32))
    vectors[7] = 0
    found = {tuple(pair) for pair in _nearest(vectors).tolist()}
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -2)
    cosine[:, 7] = -2
    wanted = {
        (min(row, int(other)), max(row, int(other)))
        for row in range(1500)
        if row != 7
        for other in np.argsort(-cosine[row])[:NEIGHBOURS]
    }
    assert found == wanted


def test_memory_does_not_hold_every_image_against_every_other() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(6000, 64)).astype(np.float32))
    tracemalloc.start()
    try:
        _nearest(vectors)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 6000 * 6000 * 4 / 3


# The whole search


def test_changed_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    pictures = [scenery(seed) for seed in range(40)]
    photos = [photo(f"/photos/{seed}.jpg", one) for seed, one in enumerate(pictures)]
    copies = [photo(f"/copies/c{seed}.jpg", cropped(pictures[seed], 0.05, 0.01, 0.08, 0.03)) for seed in range(10)]
    found = found_in(tmp_path, [*photos, *copies])
    assert pairs_of(found) == {frozenset((photos[i].sha256, copies[i].sha256)) for i in range(10)}
    assert [group.kind for group in found.groups] == ["near"] * 10
    assert found.encoder is None
    assert found.without == 0
    similar = [pair.similarity for pair in found.pairs]
    assert similar == sorted(similar, reverse=True)
    assert min(similar) >= found.threshold


def test_a_set_without_copies_has_none(tmp_path: Path) -> None:
    found = found_in(tmp_path, [photo(f"/photos/{seed}.jpg", scenery(seed)) for seed in range(50)])
    assert found.pairs == found.groups == ()
    assert found.threshold == pytest.approx(USUAL_THRESHOLD, abs=0.01)


def test_features_find_candidates_that_outlines_miss(tmp_path: Path) -> None:
    """In a slow pan over one picture the first and the last frame have nearer ones, until an encoder has seen them."""
    pan = frames("/v/", 2 * NEIGHBOURS + 2, step=0.006)
    images, thumbnails = [one.sha256 for one in pan], np.array([one.grey for one in pan])
    ends = (0, len(pan) - 1)
    with store_of(tmp_path, pan) as store:
        outlines_alone, _ = near_pairs(store, images, thumbnails, None)
        with store.transaction() as db:
            for row, image in enumerate(images):
                vector = np.zeros(len(pan), dtype="<f2")
                vector[0 if row in ends else row] = 1
                data = (image, "m", len(vector), vector.tobytes())
                db.execute("INSERT INTO features VALUES (?, NULL, ?, ?, ?)", data)
        pairs, _ = near_pairs(store, images, thumbnails, Encoder("m", len(pan)))
    assert ends not in map(tuple, outlines_alone.tolist())
    assert ends in map(tuple, pairs.tolist())


def test_the_largest_is_kept_first_then_the_reviewed_then_by_name(tmp_path: Path) -> None:
    grey = scenery(1)
    names = ("/p/d.jpg", "/p/c.jpg", "/p/b.jpg", "/p/a.jpg")
    sizes = ((800, 600), (640, 480), (640, 480), (640, 480))
    photos = [photo(name, grey, size_wh=size) for name, size in zip(names, sizes, strict=True)]
    with store_of(tmp_path, photos) as store:
        store.set_reviewed(photos[1].sha256, [], "reviewed-empty")
        found = duplicates(store)
    (group,) = found.groups
    assert group.members == tuple(digest(name) for name in ("/p/d.jpg", "/p/c.jpg", "/p/a.jpg", "/p/b.jpg"))
    assert all(group.members.index(pair.first) < group.members.index(pair.second) for pair in found.pairs)


def test_same_bytes_under_several_paths_are_one_image_with_copies(tmp_path: Path) -> None:
    twice = Photo(("/p/a.jpg", "/p/b.jpg"), thumbnail(scenery(1)))
    found = found_in(tmp_path, [twice, photo("/p/c.jpg", scenery(2))])
    assert found.copies == {twice.sha256: ("/p/a.jpg", "/p/b.jpg")}
    assert found.pairs == found.groups == ()


def test_what_cannot_be_compared_is_counted_and_what_was_dropped_is_left_out(tmp_path: Path) -> None:
    grey = scenery(1)
    photos = [photo("/p/a.jpg", grey), photo("/p/b.jpg", grey), photo("/p/c.jpg", None)]
    with store_of(tmp_path, photos) as store:
        assert duplicates(store).without == 1
        DecisionLedger(store).change([Decided(photos[1].sha256, "drop")])
        assert duplicates(store).pairs == ()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_images_are_no_special_case(tmp_path: Path, count: int) -> None:
    found = found_in(tmp_path, [photo(f"/p/{row}.jpg", scenery(row)) for row in range(count)])
    assert found.pairs == found.examples == ()
    assert not found.curve.pairs_above.any()


def test_features_of_images_that_are_all_dropped_are_no_special_case(tmp_path: Path) -> None:
    only = photo("/p/a.jpg", scenery(1))
    look = Encoder(LOOK, 64 * 5)
    with store_of(tmp_path, [only]) as store:
        assert near_pairs(store, [], np.zeros((0, 48, 48), np.uint8), look)[0].shape == (0, 2)


def test_the_answer_is_the_same_twice(tmp_path: Path) -> None:
    photos = [photo(f"/p/{row}.jpg", scenery(row % 15)) for row in range(30)]
    with store_of(tmp_path, photos) as store:
        first, second = duplicates(store), duplicates(store)
    assert (first.pairs, first.groups, first.threshold) == (second.pairs, second.groups, second.threshold)


# The threshold


def test_the_threshold_lies_in_the_valley_of_the_data() -> None:
    random = np.random.default_rng(0)
    strangers, copies = random.normal(0.8, 0.012, 400), random.normal(0.92, 0.012, 60)
    chosen, rests_on = choose_threshold(np.concatenate([strangers, copies]).astype(np.float32))
    assert strangers.max() < chosen < copies.min()
    assert "of 460" in rests_on


def test_without_anything_in_between_the_usual_threshold_stands() -> None:
    for values in ([], [0.3, 0.4], [0.3, 0.999]):
        chosen, rests_on = choose_threshold(np.array(values, dtype=np.float32))
        assert chosen == pytest.approx(USUAL_THRESHOLD, abs=0.005)
        assert "no pair" in rests_on


def test_a_given_threshold_counts_and_examples_lie_around_it(tmp_path: Path) -> None:
    pictures = [scenery(seed) for seed in range(12)]
    photos = [photo(f"/p/{row}.jpg", one) for row, one in enumerate(pictures)]
    photos += [photo(f"/q/{row}.jpg", cropped(one, 0, 0, 0.01 * row, 0)) for row, one in enumerate(pictures[:9])]
    with store_of(tmp_path, photos) as store:
        loose = duplicates(store, threshold=0.6)
        middle = float(np.median([pair.similarity for pair in loose.pairs]))
        found = duplicates(store, threshold=middle)
        for wrong in (0.0, 1.5, -1.0):
            with pytest.raises(InputError, match="threshold"):
                duplicates(store, threshold=wrong)
    assert found.threshold == middle
    assert found.curve.rests_on == "it was given"
    assert 0 < len(found.pairs) < len(loose.pairs)
    shown = [pair.similarity for pair in found.examples]
    assert shown == sorted(shown, reverse=True)
    assert min(shown) < middle <= max(shown)
    assert (np.diff(found.curve.pairs_above) <= 0).all()
    assert found.curve.pairs_above[found.curve.thresholds <= middle].min() >= len(found.pairs)


# Groups


def frames(folder: str, count: int, step: float = 0.07, name: str = "frame_{:04d}.jpg", **more: object) -> list[Photo]:
    """Return frames of a camera that pans over one wide picture."""
    wide = cv2.resize(scenery(77, 960), (1600, 480))
    return [
        photo(folder + name.format(row * 10), wide[:, int(row * step * 480) :][:, :480], **more) for row in range(count)
    ]


def test_frames_of_a_video_are_one_group(tmp_path: Path) -> None:
    video = frames("/v/", 8, step=0.1)
    others = [photo(f"/v/other_{row:04d}.jpg", scenery(row)) for row in range(8)]
    found = found_in(tmp_path, [*video, *others], threshold=0.999)
    (group,) = found.groups
    assert group.kind == "sequence"
    assert set(group.members) == {one.sha256 for one in video}


def test_names_without_order_or_in_other_folders_make_no_sequence(tmp_path: Path) -> None:
    pan = frames("", 4, step=0.1, name="{}")
    names = ("/v/tree.jpg", "/v/house.jpg", "/w/frame_1.jpg", "/v/frame_2.jpg")
    photos = [Photo((name,), one.grey) for name, one in zip(names, pan, strict=True)]
    assert found_in(tmp_path, photos, threshold=0.999).groups == ()


def burst(times: Sequence[str | None], step: float) -> list[Photo]:
    pan = frames("", len(times), step=step, name="{}")
    return [
        Photo((f"/p/{'abcdefgh'[row]}.jpg",), one.grey, camera="Maker X", taken_at=taken)
        for row, (one, taken) in enumerate(zip(pan, times, strict=True))
    ]


def test_shots_of_one_camera_within_two_seconds_are_a_burst(tmp_path: Path) -> None:
    times = ["2026-05-01T10:00:00", "2026-05-01T10:00:01", "2026-05-01T10:00:03", "2026-05-01T10:00:09", "soon", None]
    photos = burst(times, 0.16)
    (group,) = found_in(tmp_path, photos, threshold=0.999).groups
    assert set(group.members) == {one.sha256 for one in photos[:3]}
    assert group.kind == "sequence"


def test_a_clock_that_was_never_set_makes_no_burst_of_different_pictures(tmp_path: Path) -> None:
    photos = [
        photo(f"/p/{'abcdefgh'[row]}.jpg", scenery(row), camera="Maker X", taken_at="2000-01-01T00:00:00")
        for row in range(8)
    ]
    assert found_in(tmp_path, photos).groups == ()


def test_groups_are_disjoint_components_and_a_sequence_takes_near_pairs_in() -> None:
    groups = grouped([(0, 1), (1, 2), (5, 6)], [(2, 3), (8, 9)], 12, str, lambda row: (-row,))
    assert [(group.kind, group.members) for group in groups] == [
        ("sequence", ("3", "2", "1", "0")),
        ("near", ("6", "5")),
        ("sequence", ("9", "8")),
    ]


# Real photos


@pytest.mark.realdata
def test_planted_copies_of_real_photos_are_found_by_outlines_alone(tmp_path: Path) -> None:
    planting = paths.load_script("curation/plant_duplicates")
    photos = paths.shared("data", "bccd", "images")
    (tmp_path / "some").mkdir()
    for file in sorted(photos.iterdir())[:60]:
        (tmp_path / "some" / file.name).write_bytes(file.read_bytes())
    truth = planting.plant(tmp_path / "some", tmp_path / "set", share=1, seed=4)
    made = []
    for file in sorted((tmp_path / "set").glob("*/*.jpg")):
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        made.append(photo(file.name, grey.astype(np.uint8), size_wh=(grey.shape[1], grey.shape[0])))
    found = pairs_of(found_in(tmp_path, made))
    wanted = {frozenset((digest(one.copy), digest(one.of))) for one in truth}
    assert len(wanted) == 60
    assert len(wanted & found) >= 0.95 * len(wanted)
    # Two of these photos show the same field of blood, as do their copies.
    same = {digest(one.copy) for one in truth if one.of in ("BloodImage_00037.jpg", "BloodImage_00038.jpg")}
    same |= {digest("BloodImage_00037.jpg"), digest("BloodImage_00038.jpg")}
    wrong = [pair for pair in found - wanted if not pair <= same]
    assert len(wrong) <= 0.05 * len(found)

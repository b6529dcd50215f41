"""Facts about photos: hand-computed light and blur, one decoding each, and EXIF blocks that lie."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from distill.curation.exif import camera, moment
from distill.curation.photo_facts import PhotoFacts, crop, measured, observe, photo_facts, waiting
from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.images import LoadedImage, load
from labeling.sampling import features_of
from labeling.vectors import LOOK
from tests.made_stores import Thing, human, outcome, write

SIZE_WH = (64, 48)


class Photos:
    """Decodes from files and remembers which images were asked for."""

    def __init__(self, store: Store) -> None:
        self._paths = {sha256: store.files_of(sha256) for sha256 in store.states()}
        self.asked: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, sha256: str) -> LoadedImage | None:
        self.asked.append(sha256)
        self.threads.add(threading.get_ident())
        return load(self._paths[sha256][0], max_pixels=10**8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        yield opened


def grey(path: Path, value: int, size_wh: tuple[int, int] = SIZE_WH, exif: Image.Exif | None = None) -> Path:
    """Write a picture of one colour; PNG, so that pixels stay what they are."""
    Image.new("RGB", size_wh, (value, value, value)).save(path, exif=exif or Image.Exif())
    return path


def stored(store: Store, *paths: Path, things: tuple[Thing, ...] = (), size_wh: tuple[int, int] = SIZE_WH) -> list[str]:
    """Write one labelled image per file; return their sha256."""
    outcomes = [outcome([path], things, size_wh) for path in paths]
    write(store, ["box", "cat"], outcomes)
    return [one.sha256 or "" for one in outcomes]


def looks(store: Store, sha256: str) -> dict[str | None, npt.NDArray[np.float16]]:
    rows = store.rows("SELECT annotation_id, data FROM features WHERE sha256 = ? AND model = ?", sha256, LOOK)
    return {name: np.frombuffer(data, dtype="<f2") for name, data in rows}


def only(store: Store) -> PhotoFacts:
    (found,) = photo_facts(store)
    return found


def test_light_of_a_drawn_picture_is_what_the_pencil_says(store: Store, tmp_path: Path) -> None:
    half = np.zeros((48, 64, 3), dtype=np.uint8)
    half[:, 32:] = 200
    Image.fromarray(half).save(tmp_path / "half.png")
    (sha256,) = stored(store, tmp_path / "half.png")
    assert observe(store, Photos(store)) == 1
    facts = only(store)
    assert facts.sha256 == sha256
    assert facts.brightness == pytest.approx(100 / 255)
    assert facts.contrast == pytest.approx(100 / 255)  # half the pixels lie 100 below the mean, half above
    assert (facts.camera, facts.taken_at) == (None, None)
    # The Laplacian is 200 in the dark column beside the edge, -200 in the bright one, 0 elsewhere; its mean is 0.
    assert facts.sharpness == pytest.approx(2 * 200**2 / 64)
    assert facts.thumbnail.shape == (48, 48)
    assert facts.thumbnail.dtype == np.uint8
    assert (facts.thumbnail[:, :23] == 0).all()
    assert (facts.thumbnail[:, 25:] == 200).all()


def test_blur_lowers_sharpness_and_leaves_brightness(tmp_path: Path) -> None:
    import cv2

    sharp = np.random.default_rng(1).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    before, after = measured(sharp), measured(np.asarray(blurred, dtype=np.uint8))
    assert after[0] == pytest.approx(before[0], abs=0.01)
    assert after[2] < before[2] / 50


def test_the_same_scene_is_equally_sharp_from_cameras_of_different_resolution(store: Store, tmp_path: Path) -> None:
    scene = np.random.default_rng(2).integers(0, 255, (384, 512, 3), dtype=np.uint8)
    for factor in (1, 2, 3):
        large = scene.repeat(factor, axis=0).repeat(factor, axis=1)
        Image.fromarray(large).save(tmp_path / f"{factor}.png")
    stored(store, *(tmp_path / f"{factor}.png" for factor in (1, 2, 3)))
    assert observe(store, Photos(store)) == 3
    values = [one.sharpness for one in photo_facts(store)]
    assert max(values) == pytest.approx(min(values), rel=1e-3)


def test_every_box_and_the_image_get_the_look_of_their_pixels(store: Store, tmp_path: Path) -> None:
    things = (Thing("box", (0, 0, 32, 48)), Thing("cat", (32, 0, 64, 48)))
    half = np.zeros((48, 64, 3), dtype=np.uint8)
    half[:, 32:] = (250, 10, 30)
    Image.fromarray(half).save(tmp_path / "half.png")
    (sha256,) = stored(store, tmp_path / "half.png", things=things)
    observe(store, Photos(store))
    found = looks(store, sha256)
    left, right = store.annotations_of(sha256)
    assert set(found) == {None, left.id, right.id}
    for label, colour in ((left, (0, 0, 0)), (right, (250, 10, 30))):
        same = np.broadcast_to(np.array(colour, dtype=np.uint8), (32, 32, 3))
        assert found[label.id] == pytest.approx(features_of(same), abs=1e-3)
    assert len(found[None]) == 80
    assert found[None] != pytest.approx(found[right.id])


def test_a_second_run_decodes_nothing(store: Store, tmp_path: Path) -> None:
    stored(store, grey(tmp_path / "a.png", 10), grey(tmp_path / "b.png", 20), things=(Thing("box", (1, 1, 9, 9)),))
    photos = Photos(store)
    assert observe(store, photos) == 2
    assert sorted(photos.asked) == sorted(store.states())  # each once, not once per box
    assert observe(store, photos) == 0
    assert len(photos.asked) == 2
    assert waiting(store) == []


def test_labels_that_come_later_cost_their_own_image_only(store: Store, tmp_path: Path) -> None:
    first, second = stored(store, grey(tmp_path / "a.png", 10), grey(tmp_path / "b.png", 20))
    photos = Photos(store)
    observe(store, photos)
    photos.asked.clear()
    store.set_reviewed(second, [human(second, "cat", (5.0, 5.0, 20.0, 20.0))], "reviewed")
    before = {one.sha256: one.brightness for one in photo_facts(store)}
    assert observe(store, photos) == 1
    assert photos.asked == [second]
    assert len(looks(store, second)) == 2
    assert len(looks(store, first)) == 1
    assert {one.sha256: one.brightness for one in photo_facts(store)} == before


def test_an_image_that_no_teacher_has_seen_is_looked_at_and_one_that_was_skipped_is_not(
    store: Store, tmp_path: Path
) -> None:
    from dataclasses import replace

    paths = [grey(tmp_path / f"{value}.png", value) for value in (1, 2)]
    new, skipped = (outcome([path], (), SIZE_WH) for path in paths)
    write(store, ["box"], [replace(new, done_key=None), skipped])
    store.set_reviewed(skipped.sha256 or "", (), "skipped")
    assert observe(store, Photos(store)) == 1
    assert only(store).sha256 == new.sha256


def gone(_path: Path) -> None:
    return None


def broken(_path: Path) -> None:
    raise InputError("truncated")


def no_disk(_path: Path) -> None:
    raise OSError("input/output error")


@pytest.mark.parametrize("fails", [gone, broken, no_disk])
def test_a_photo_that_cannot_be_read_is_left_out_and_tried_again(
    store: Store, tmp_path: Path, fails: Callable[[Path], None]
) -> None:
    good, bad = stored(store, grey(tmp_path / "a.png", 10), grey(tmp_path / "b.png", 20))
    photos = Photos(store)
    assert observe(store, lambda sha256: photos(sha256) if sha256 == good else fails(tmp_path)) == 1
    assert [one.sha256 for one in photo_facts(store)] == [good]
    assert waiting(store) == [bad]
    assert observe(store, photos) == 1
    assert waiting(store) == []


def test_the_photo_of_another_image_is_not_believed(store: Store, tmp_path: Path) -> None:
    first, second = stored(store, grey(tmp_path / "a.png", 10), grey(tmp_path / "b.png", 20))
    photos = Photos(store)
    assert observe(store, lambda _: photos(first)) == 1
    assert waiting(store) == [second]


def test_what_was_done_before_a_kill_is_not_done_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.curation.photo_facts._AT_ONCE", 3)
    stored(store, *(grey(tmp_path / f"{value}.png", value) for value in range(10)))
    photos = Photos(store)

    def interrupt(done: int, _of: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(store, photos, progress=interrupt)
    assert len(list(photo_facts(store))) == 6
    told: list[tuple[int, int]] = []
    assert observe(store, photos, progress=lambda *now: told.append(now)) == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(list(photo_facts(store))) == 10


def test_one_worker_and_four_write_the_same(store: Store, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in range(12):
        Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in range(12)]
    found = []
    for workers in (1, 4):
        with Store.open(tmp_path / f"{workers}.db", create=True) as opened:
            stored(opened, *paths, things=(Thing("box", (3, 3, 30, 20)),))
            assert observe(opened, Photos(opened), workers=workers) == 12
            facts = opened.rows("SELECT * FROM photo_facts ORDER BY sha256")
            found.append((facts, opened.rows("SELECT * FROM features ORDER BY sha256, annotation_id, data")))
    assert found[0] == found[1]


def test_a_label_that_is_replaced_while_its_photo_is_decoded_leaves_nothing_behind(
    store: Store, tmp_path: Path
) -> None:
    (sha256,) = stored(store, grey(tmp_path / "a.png", 10), things=(Thing("box", (1, 1, 9, 9)),))
    photos = Photos(store)

    def relabelled(asked: str) -> LoadedImage | None:
        with Store.open(store.path) as other:
            made = outcome([tmp_path / "a.png"], (Thing("cat", (2, 2, 8, 8)),), SIZE_WH)
            other.commit_batch([made], other.start_run("label", {}))
        return photos(asked)

    assert observe(store, relabelled) == 1
    assert set(looks(store, sha256)) == {None}
    assert waiting(store) == [sha256]
    assert observe(store, photos) == 1
    assert len(looks(store, sha256)) == 2


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((2.0, 3.0, 5.0, 7.0), (3, 4)),
        ((2.9, 3.9, 5.1, 7.1), (4, 5)),  # every pixel that it touches
        ((-50.0, -50.0, 1e8, 1e8), (10, 20)),
        ((9.999, 19.999, 10.0, 20.0), (1, 1)),
        ((500.0, 500.0, 600.0, 600.0), (1, 1)),
        ((-9.0, -9.0, -1.0, -1.0), (1, 1)),
        ((4.0, 4.0, 4.0000001, 4.0000001), (1, 1)),
    ],
)
def test_a_crop_is_never_empty_and_never_outside(
    box: tuple[float, float, float, float], expected: tuple[int, int]
) -> None:
    part = crop(np.zeros((20, 10, 3), dtype=np.uint8), box)
    assert (part.shape[1], part.shape[0]) == expected


def test_slivers_and_boxes_outside_have_a_look_so_that_nothing_waits_for_ever(store: Store, tmp_path: Path) -> None:
    things = tuple(
        Thing("box", box) for box in ((900.0, 900.0, 950.0, 950.0), (0.0, 10.0, 64.0, 10.2), (5.0, 0.0, 5.1, 48.0))
    )
    stored(store, grey(tmp_path / "a.png", 10), things=things)
    assert observe(store, Photos(store)) == 1
    assert waiting(store) == []


def test_a_picture_that_is_hardly_more_than_a_line_is_measured(store: Store, tmp_path: Path) -> None:
    stored(store, grey(tmp_path / "a.png", 60, (9000, 10)), size_wh=(9000, 10))
    assert observe(store, Photos(store)) == 1
    assert only(store).brightness == pytest.approx(60 / 255)


def test_facts_are_read_for_named_images_or_for_all(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.curation.photo_facts._ROWS_AT_ONCE", 2)
    images = stored(store, *(grey(tmp_path / f"{value}.png", value) for value in range(5)))
    observe(store, Photos(store))
    assert [one.sha256 for one in photo_facts(store)] == sorted(images)
    assert {one.sha256 for one in photo_facts(store, [images[3], "unknown"])} == {images[3]}


# EXIF


def exif_of(make: object = None, model: object = None, taken: object = None, changed: object = None) -> Image.Exif:
    exif = Image.Exif()
    top = {ExifTags.Base.Make: make, ExifTags.Base.Model: model, ExifTags.Base.DateTime: changed}
    exif.update({int(tag): value for tag, value in top.items() if value is not None})
    if taken is not None:
        block = exif.get_ifd(ExifTags.IFD.Exif)
        block[ExifTags.Base.DateTimeOriginal] = taken
        exif[ExifTags.IFD.Exif] = block  # TIFF is written without it otherwise
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_camera_and_time_come_from_the_file(store: Store, tmp_path: Path, suffix: str) -> None:
    exif = exif_of("ACME", "Eye 3", "2021:06:05 04:03:02")
    stored(store, grey(tmp_path / f"a.{suffix}", 10, exif=exif))
    observe(store, Photos(store))
    assert (only(store).camera, only(store).taken_at) == ("ACME Eye 3", "2021-06-05T04:03:02")


def test_the_time_of_the_last_change_is_no_time_of_a_photo(store: Store, tmp_path: Path) -> None:
    stored(store, grey(tmp_path / "a.jpg", 10, exif=exif_of(changed="2021:06:05 04:03:02")))
    observe(store, Photos(store))
    assert only(store).taken_at is None


def test_a_copy_that_was_replaced_is_not_asked_for_the_camera(store: Store, tmp_path: Path) -> None:
    kept = grey(tmp_path / "b.jpg", 10, exif=exif_of("ACME", "Eye"))
    copy = tmp_path / "a.jpg"
    copy.write_bytes(kept.read_bytes())
    write(store, ["box"], [outcome([copy, kept], (), SIZE_WH)])
    grey(copy, 99, exif=exif_of("Other", "Camera"))
    assert observe(store, lambda _: load(kept, max_pixels=10**6)) == 1
    assert only(store).camera == "ACME Eye"


def test_a_pipe_in_place_of_a_copy_does_not_block(store: Store, tmp_path: Path) -> None:
    kept = grey(tmp_path / "b.jpg", 10, exif=exif_of("ACME", "Eye"))
    copy = tmp_path / "a.jpg"
    copy.write_bytes(kept.read_bytes())
    write(store, ["box"], [outcome([copy, kept], (), SIZE_WH)])
    copy.unlink()
    os.mkfifo(copy)
    assert observe(store, lambda _: load(kept, max_pixels=10**6)) == 1
    assert only(store).camera == "ACME Eye"


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about the damage
@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_block_never_ends_a_run(store: Store, tmp_path: Path, seed: int) -> None:
    exif = exif_of("ACME", "Eye", "2021:06:05 04:03:02")
    path = grey(tmp_path / "a.jpg", 10, exif=exif)
    data, block = bytearray(path.read_bytes()), exif.tobytes()
    start = data.index(block)
    random = np.random.default_rng(seed)
    for at in random.integers(start + 6, start + len(block), 12):
        data[at] = random.integers(0, 256)
    path.write_bytes(data)
    stored(store, path)
    assert observe(store, Photos(store)) == 1
    facts = only(store)
    assert facts.camera is None or facts.camera.isprintable()
    assert facts.taken_at is None or datetime.fromisoformat(facts.taken_at)


@pytest.mark.parametrize(
    ("make", "model", "said"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON CORPORATION NIKON D90"),
        ("ACME", None, "ACME"),
        (None, "Eye", "Eye"),
        ("  ACME \0garbage", "Eye\0\0\0", "ACME Eye"),
        (b"ACME", b"Eye \xff", "ACME Eye \ufffd"),
        ("AC\nME\x1b[31m", "E\u202eye", "AC ME [31m E ye"),
        ("", "", None),
        ("\0", "\x07", None),
        (7, (1, 2), None),
        ("x" * 100_000, "y", "x" * 60),
    ],
)
def test_a_camera_is_one_printable_line(make: object, model: object, said: str | None) -> None:
    assert camera(make, model) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2021:06:05 04:03:02", "2021-06-05T04:03:02"),
        ("2021:06:05 04:03:02\0", "2021-06-05T04:03:02"),
        (b"2021:06:05 04:03:02", "2021-06-05T04:03:02"),
        ("2021-06-05T04:03:02.5+02:00", "2021-06-05T04:03:02"),
        ("2024:02:29 00:00:00", "2024-02-29T00:00:00"),
        ("2023:02:29 00:00:00", None),
        ("0000:00:00 00:00:00", None),
        ("1970:01:01 00:00:00", None),
        ("2021:06:05 24:00:00", None),
        ("2026:01:02 11:59:59", "2026-01-02T11:59:59"),
        ("2026:01:02 12:00:01", None),  # more than a day after now
        ("9999:12:31 23:59:59", None),
        ("٢٠٢١:٠٦:٠٥ ٠٤:٠٣:٠٢", None),
        ("    :  :     :  :  ", None),
        ("yesterday", None),
        (2021, None),
        (None, None),
        ("", None),
    ],
)
def test_a_time_is_a_moment_at_which_photos_were_taken(value: object, said: str | None) -> None:
    assert moment(value, datetime(2026, 1, 1, 12)) == said

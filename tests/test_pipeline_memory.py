"""Pixels in memory at once are bounded, and batches stay what the plan makes of them."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labeling import pipeline
from labeling.core.ontology import parse_classes
from labeling.image_files import FoundFile, scan
from labeling.images import LoadedImage, header_pixels, load
from labeling.pipeline import Pipeline
from labeling.pixel_budget import PixelBudget
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.teacher import Teacher
from tests.fakes import DrawnDetector, DrawnSegmenter

BATCH_PIXELS = 10_000
IN_USE = 19_000


@pytest.fixture(autouse=True)
def _small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BATCH_PIXELS", BATCH_PIXELS)
    monkeypatch.setattr(pipeline, "PIXELS_IN_USE", IN_USE)


class Counting:
    """Decodes, and counts the pixels that something still holds."""

    def __init__(self) -> None:
        self.alive = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> LoadedImage:
        image = load(path, max_pixels=10**8)
        pixels = image.pixels.size // 3
        weakref.finalize(image.pixels, self._add, -pixels)
        self._add(pixels)
        return image

    def _add(self, pixels: int) -> None:
        with self._lock:
            self.alive += pixels
            self.most = max(self.most, self.alive)


def photos(folder: Path, sizes: list[int]) -> list[FoundFile]:
    """Write photos of so many pixels, 100 rows each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(sizes):
        image = np.full((100, pixels // 100, 3), 255, dtype=np.uint8)
        image[0, :3] = [(number % 250, number // 250, 9)] * 3
        Image.fromarray(image).save(folder / f"{number:04}.png")
    return list(scan([folder]).files)


def made(load_image: Counting, batch: int = 8) -> Pipeline:
    ontology = parse_classes("red")
    teacher = Teacher(DrawnDetector(), DrawnSegmenter(), ontology, [0.5], FilterSettings(), "drawn/1")
    return Pipeline(teacher, load_image, done_key="key", batch=batch)


def cut(sizes: list[int], batch: int) -> Iterator[list[int]]:
    """The rule again: full, or the next one would be too much."""
    now: list[int] = []
    for size in sizes:
        if len(now) == batch or (now and sum(now) + size > BATCH_PIXELS):
            yield now
            now = []
        now.append(size)
    yield now


@pytest.mark.parametrize(
    "sizes",
    [
        [9_000] * 12,
        [10_000] * 6,
        [50_000, 60_000, 1_000, 70_000],
        [1_000] * 40,
        random.Random(1).choices((1_000, 3_000, 9_000, 10_000, 30_000), k=40),
    ],
)
def test_pixels_in_memory_are_bounded_and_batches_follow_from_the_files_alone(tmp_path: Path, sizes: list[int]) -> None:
    files, counting = photos(tmp_path / "photos", sizes), Counting()
    batches = []
    for outcomes in made(counting).run(files):
        time.sleep(0.01)  # a slow writer lets the decoders run as far ahead as they may
        batches.append([(outcome.width or 0) * (outcome.height or 0) for outcome in outcomes])
    assert batches == list(cut(sizes, 8))
    assert counting.most <= max(IN_USE, *sizes)
    assert counting.most >= max(sizes)


def test_small_photos_fill_their_batches_whatever_the_budget(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", [1_000] * 22)
    assert [len(outcomes) for outcomes in made(Counting(), batch=5).run(files)] == [5, 5, 5, 5, 2]


def test_a_run_that_goes_on_at_a_border_forms_the_same_batches(tmp_path: Path) -> None:
    sizes = random.Random(2).choices((1_000, 4_000, 9_000, 30_000), k=30)
    files = photos(tmp_path / "photos", sizes)
    whole = [len(outcomes) for outcomes in made(Counting(), batch=4).run(files)]
    for border in range(1, len(whole)):
        rest = files[sum(whole[:border]) :]
        assert [len(outcomes) for outcomes in made(Counting(), batch=4).run(rest)] == whole[border:]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_run_that_is_left_early_ends_while_decoding_waits_for_room(tmp_path: Path, taken: int) -> None:
    files = photos(tmp_path / "photos", [18_000] * 8)
    threads = threading.active_count()
    run = made(Counting()).run(files)
    for _ in range(taken):
        next(run)
    time.sleep(0.1)
    run.close()
    assert threading.active_count() == threads


def test_a_file_that_does_not_decode_gives_its_room_back(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", [18_000] * 5)
    for file in files[:4]:
        whole = file.path.read_bytes()
        file.path.write_bytes(whole[: len(whole) // 2])
        assert header_pixels(file.path) == 18_000
    outcomes = [outcome for batch in made(Counting()).run(files) for outcome in batch]
    assert [outcome.status for outcome in outcomes] == ["quarantined"] * 4 + ["ok"]


def test_the_header_says_how_large_an_image_is_and_nothing_of_what_is_none(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "webp", "tiff", "bmp", "gif"):
        path = tmp_path / f"photo.{suffix}"
        Image.new("RGB", (320, 200)).save(path)
        assert header_pixels(path) == 64_000
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert {header_pixels(tmp_path / name) for name in ("text.jpg", "empty.jpg", "cut.png", "none.jpg")} == {0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30))
def test_a_budget_never_lets_in_more_than_it_has_but_always_one(amounts: list[int]) -> None:
    budget, used = PixelBudget(10), []
    for amount in amounts:
        while not budget.fits(amount):
            budget.give(used.pop(0))
        budget.take(amount)
        used.append(amount)
        assert sum(used) <= 10 or sum(1 for one in used if one) == 1

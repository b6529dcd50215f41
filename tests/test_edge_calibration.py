"""Photos for INT8: of train alone, unlike each other, the same whatever their order, one in memory at a time."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.curation.photo_facts import observe
from distill.split import Split, SplitSettings
from export.calibration import Calibration, choose, frames_for
from export.runtime import Card
from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.core.store_splits import Part
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader
from labeling.vectors import Vectors
from tests import made_stores as made
from tests.made_stores import Thing

CARD = Card(
    "ultralytics", "yolov8n", "detect", ("box",), (320, 320), False, "square", 32, "yolo", "fp32", {"box": 0.25}, 0.7,
    300, None, "AGPL-3.0", "w", "d", "o",
)  # fmt: skip
DARK, RED, GREEN, BLUE = (20, 20, 20), (230, 20, 20), (20, 230, 20), (20, 20, 230)


@dataclass(frozen=True)
class Yard:
    """A project whose photos have a colour each, by name."""

    project: Project
    store: Store
    sha256: Mapping[str, str]
    folder: Path

    def split(self, **parts: list[str]) -> Split:
        places: dict[str, Part] = {self.sha256[name]: part for part in parts for name in parts[part]}  # type: ignore[misc]
        return Split("default", SplitSettings(), places, {}, {one: one for one in places}, {}, ())

    def calibration(self, split: Split, count: int = 128, **more: int) -> Calibration:
        return frames_for(self.project, self.store, split, count, **more)

    def names(self, calibration: Calibration) -> list[str]:
        back = {sha256: name for name, sha256 in self.sha256.items()}
        return [back[one] for one in calibration.images]


COLOURS = {f"dark{number}": DARK for number in range(20)} | {"red": RED, "green": GREEN, "blue": BLUE}


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """Twenty dark photos, and one each in red, green and blue."""
    outcomes, sha256 = [], {}
    for number, (name, colour) in enumerate(COLOURS.items()):
        path = coloured(tmp_path / "photos" / f"{name}.png", colour, number)
        outcome = made.outcome([path], (Thing("box", (10, 10, 50, 50)),))
        sha256[name] = str(outcome.sha256)
        outcomes.append(outcome)
    project = Project.create(tmp_path / "yard", made.ontology(["box"]))
    with project.open_store(create=True) as store:
        made.write(store, ["box"], outcomes)
        observe(store, StoredPhotos(store, loader(project.config.images)).photo)
        yield Yard(project, store, sha256, tmp_path / "photos")


def coloured(path: Path, colour: tuple[int, int, int], salt: int, size_wh: tuple[int, int] = (160, 120)) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size_wh, colour)
    picture.putpixel((0, 0), (salt, 0, 0))
    picture.save(path)
    return path


def test_photos_of_val_and_test_never_come_in(yard: Yard) -> None:
    train = [f"dark{number}" for number in range(5)]
    split = yard.split(train=train, val=["red", *(f"dark{number}" for number in range(5, 12))], test=["green", "blue"])

    found = yard.calibration(split)

    assert sorted(yard.names(found)) == sorted(train)


def test_the_photos_of_the_fold_that_is_val_never_come_in(yard: Yard) -> None:
    split = yard.split(train=list(COLOURS))
    folds = {sha256: place % 2 for place, sha256 in enumerate(sorted(split.parts))}
    split = replace(split, settings=SplitSettings(folds=2), folds=folds)

    found = yard.calibration(split, fold=1)

    assert set(found.images) == {sha256 for sha256, fold in folds.items() if fold == 0}


def test_what_was_set_aside_stays_out(yard: Yard) -> None:
    DecisionLedger(yard.store).change([Decided(yard.sha256["red"], "drop", "")])

    assert "red" not in yard.names(yard.calibration(yard.split(train=list(COLOURS))))


def test_four_of_twenty_three_photos_are_the_four_that_differ(yard: Yard) -> None:
    first, *others = yard.names(yard.calibration(yard.split(train=list(COLOURS)), 4))

    assert first.startswith("dark")  # the most ordinary photo sets the bins of the histograms
    assert sorted(others) == ["blue", "green", "red"]


def test_the_same_photos_come_whatever_order_they_are_in(yard: Yard) -> None:
    names = list(COLOURS)
    reference = yard.calibration(yard.split(train=names), 9)
    random.Random(1).shuffle(names)

    again = yard.calibration(yard.split(train=names), 9)

    assert again.images == reference.images
    assert again.digest(CARD) == reference.digest(CARD)
    assert yard.calibration(yard.split(train=names), 9, seed=5).images != reference.images


def test_the_digest_knows_photos_and_preparation_and_no_order(yard: Yard) -> None:
    found = yard.calibration(yard.split(train=list(COLOURS)), 9)
    turned = replace(found, images=found.images[::-1])

    assert turned.digest(CARD) == found.digest(CARD)
    assert replace(found, images=found.images[1:]).digest(CARD) != found.digest(CARD)
    for other in (replace(CARD, imgsz=(640, 640)), replace(CARD, letterbox="rect"), replace(CARD, dynamic=True)):
        assert found.digest(other) != found.digest(CARD)
    assert found.digest(replace(CARD, thresholds={"box": 0.5})) == found.digest(CARD)


def test_fewer_photos_than_asked_for_are_said_to_be_fewer(yard: Yard) -> None:
    found = yard.calibration(yard.split(train=list(COLOURS)))

    assert len(found.images) == len(COLOURS)
    assert found.remarks == ("calibrated on 23 photos instead of 128: train has no more",)
    assert not yard.calibration(yard.split(train=list(COLOURS)), 23).remarks


def test_a_photo_that_cannot_be_read_is_named_and_the_next_one_takes_its_place(yard: Yard) -> None:
    split = yard.split(train=list(COLOURS))
    (yard.folder / "red.png").write_bytes((yard.folder / "red.png").read_bytes()[:60])
    (yard.folder / "blue.png").unlink()

    found = yard.calibration(split, 4)

    assert len(found.images) == len(list(found.frames())) == 4
    assert {"red", "blue"}.isdisjoint(yard.names(found))
    assert "green" in yard.names(found)
    assert [Path(name).name for name in found.unreadable] == ["blue.png", "red.png"]
    assert found.remarks == ("2 train photos could not be read, others took their places in the calibration",)
    without = yard.split(train=[name for name in COLOURS if name not in ("red", "blue")])
    assert found.images == yard.calibration(without, 4).images  # as if they had never been there


def test_photos_arrive_as_blue_green_red_in_the_order_of_the_images(yard: Yard) -> None:
    found = yard.calibration(yard.split(train=["red", "blue"]))

    frames = dict(zip(yard.names(found), found.frames(), strict=True))

    assert frames["red"][60, 80].tolist() == list(RED[::-1])
    assert frames["blue"][60, 80].tolist() == list(BLUE[::-1])
    assert frames["red"].shape == (120, 160, 3)
    assert frames["red"].flags.c_contiguous


def test_no_photo_that_can_be_read_is_a_reason_to_stop(yard: Yard) -> None:
    for name in COLOURS:
        (yard.folder / f"{name}.png").unlink()

    with pytest.raises(StateError, match="none of 23 train photos of split 'default' can be read"):
        yard.calibration(yard.split(train=list(COLOURS)))
    with pytest.raises(InputError, match="expected 1 or more"):
        yard.calibration(yard.split(train=list(COLOURS)), 0)


def test_a_photo_that_goes_between_the_choice_and_the_calibration_is_a_reason_to_stop(yard: Yard) -> None:
    found = yard.calibration(yard.split(train=["red", "blue"]))
    (yard.folder / "red.png").unlink()

    with pytest.raises(StateError, match="readable a moment ago"):
        list(found.frames())


def test_memory_does_not_grow_with_the_photos(tmp_path: Path) -> None:
    side, outcomes = 800, []
    for number in range(16):
        path = coloured(tmp_path / f"{number}.png", DARK, number, (side, side))
        outcomes.append(made.outcome([path], (), (side, side)))
    project = Project.create(tmp_path / "yard", made.ontology(["box"]))
    with project.open_store(create=True) as store:
        made.write(store, ["box"], outcomes)
        places: dict[str, Part] = {str(one.sha256): "train" for one in outcomes}
        split = Split("default", SplitSettings(), places, {}, {one: one for one in places}, {}, ())
        frames_for(project, store, split, 2)  # what is imported on the way is not counted
        tracemalloc.start()
        seen = sum(1 for _ in frames_for(project, store, split).frames())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert seen == 16
    assert peak < 6 * side * side * 3


def test_photos_that_nobody_has_looked_at_come_last_and_are_spoken_of(yard: Yard) -> None:
    with yard.store.transaction() as db:
        db.execute("DELETE FROM features WHERE sha256 = ?", (yard.sha256["red"],))
    split = yard.split(train=list(COLOURS))

    assert "red" not in yard.names(yard.calibration(split, 22))
    found = yard.calibration(split, 23)
    assert yard.names(found)[-1] == "red"
    assert any(line.startswith("1 of 23 train photos have no look") for line in found.remarks)


@given(
    looks=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
    count=st.integers(1, 14),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_each_image_comes_once_as_many_as_asked_for_in_any_order(
    looks: list[tuple[int, int]], count: int, seed: int, order: random.Random
) -> None:
    candidates = [f"{place:064x}" for place in range(len(looks))]
    features: Vectors = np.array(looks, dtype=np.float32)

    picked = choose(candidates, features, count, seed)

    assert len(picked) == len(set(picked)) == min(count, len(looks))
    rows = list(range(len(looks)))
    order.shuffle(rows)
    assert choose([candidates[row] for row in rows], features[rows], count, seed) == picked
    known = [one for one, look in zip(candidates, looks, strict=True) if any(look)]
    assert set(picked[: len(known)]) <= set(known)

"""What an image teaches: lines computed by hand, nothing twice, nothing that people took back, soft where unsure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.material.labels import as_read
from labeling.core import geometry, masks
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.formats.export import CROWD
from labeling.formats.yolo import box_line
from labeling.formats.yolo_read import read_lines
from tests.dataset_rooms import BOX, CLASSES, OTHER, DatasetRoom, cut, text_of
from tests.made_stores import Thing, ellipse, human, photo

LINE = "0 0.18750000 0.41666667 0.25000000 0.50000000\n"
"""A red BOX in 160 x 120 pixels: its centre is (30, 50), it is 40 wide and 60 high."""

SECOND = "1 0.81250000 0.50000000 0.12500000 0.33333333\n"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[DatasetRoom]:
    made = DatasetRoom.of(tmp_path)
    yield made
    made.store.close()


def test_a_line_is_class_centre_and_size_as_shares_of_the_image(room: DatasetRoom) -> None:
    image = room.reviewed("a.png", [Thing("red", BOX), Thing("green", OTHER)])
    done = room.written([image])
    assert text_of(done, image) == LINE + SECOND
    assert (done.objects, done.backgrounds) == ({"train": 2, "val": 0}, {"train": 0, "val": 0})


def test_a_reader_gets_the_same_boxes_back(room: DatasetRoom) -> None:
    random = np.random.default_rng(4)
    things = []
    for place in range(40):
        x0, y0 = random.uniform(0, 120), random.uniform(0, 90)
        box = (x0, y0, x0 + random.uniform(2, 38), y0 + random.uniform(2, 28))
        things.append(Thing(CLASSES[place % 2], box))
    image = room.reviewed("a.png", things)
    read = read_lines(text_of(room.written([image]), image), "labels", CLASSES, (160, 120))
    assert len(read) == 40
    for thing in things:
        apart = [
            np.abs(np.subtract(one.box_xyxy, thing.box)).max() for one in read if one.class_name == thing.class_name
        ]
        assert min(apart) * 640 / 160 <= 0.01


def test_only_a_review_makes_an_image_empty(room: DatasetRoom) -> None:
    unseen = room.machine("unseen.png", seed=1)
    empty = room.reviewed("empty.png", seed=2)
    image = room.machine("a.png", [Thing("red", BOX)])
    done = room.written([unseen, empty, image])
    assert text_of(done, empty) == ""
    assert (done.images["train"], done.backgrounds["train"]) == (2, 1)
    assert done.left_out == {"the teacher saw nothing and nobody has reviewed it": 1}
    assert not list(done.path.rglob(f"{unseen[:16]}*"))


def test_what_people_dropped_or_skipped_is_nowhere(room: DatasetRoom) -> None:
    kept = room.reviewed("kept.png", [Thing("red", BOX), Thing("green", OTHER)], seed=1)
    dropped = room.reviewed("dropped.png", [Thing("red", BOX)], seed=2)
    skipped = room.machine("skipped.png", [Thing("red", BOX)], seed=3)
    lonely = room.machine("lonely.png", [Thing("red", BOX)], seed=4)
    room.store.set_reviewed(skipped, [], "skipped")
    one = room.store.annotations_of(lonely)[0].id
    DecisionLedger(room.store).change(
        [
            Decided(dropped, "drop"),
            Decided(lonely, "drop", annotation_id=one),
            Decided(kept, "drop", annotation_id=human(kept, "green", OTHER).id),
        ]
    )
    done = room.written([kept, dropped, skipped, lonely])
    assert text_of(done, kept) == LINE
    assert done.images["train"] == 1
    assert done.left_out == {
        "people decided to drop it": 1,
        "people skipped it": 1,
        "the teacher saw nothing and nobody has reviewed it": 1,
    }
    assert done.left_out_objects == {"people decided to drop it": 2}


def test_the_same_label_twice_is_one_line_and_boxes_are_cut_at_the_border(room: DatasetRoom) -> None:
    near = (10.0, 20.0, 50.0, 80.0 + 1e-7)  # another number, but not in single precision
    things = [Thing("red", BOX), Thing("red", near), Thing("red", (-9, -9, -1, -1)), Thing("red", (-40, 20, 40, 140))]
    image = room.machine("a.png", [Thing("red", BOX)])
    room.review(image, things)
    done = room.written([image])
    assert text_of(done, image) == "0 0.12500000 0.58333333 0.25000000 0.83333333\n" + LINE
    assert done.left_out_objects == {
        "nothing of it is inside the image": 1,
        "the same label is there already": 1,
    }


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.floats(0, 440), st.floats(0.5, 700), st.floats(0.5, 700)),
        min_size=2,
        max_size=2,
    )
)
def test_two_lines_are_the_same_only_where_a_trainer_says_so(boxes: list[tuple[float, ...]]) -> None:
    lines = [str(box_line(1, (x, y, x + w, y + h), (640, 480))) for x, y, w, h in boxes]
    rows = np.array([line.split() for line in lines], dtype=np.float32)
    assert (as_read(lines[0]) == as_read(lines[1])) == (len(np.unique(rows, axis=0)) == 1)


def test_unreviewed_images_teach_only_in_train_and_only_if_wanted(room: DatasetRoom) -> None:
    seen = room.reviewed("seen.png", [Thing("red", BOX)], seed=1)
    some = [room.machine(f"{seed}.png", [Thing("red", BOX)], seed=seed) for seed in (2, 3)]
    done = room.written([seen, some[0]], [some[1]])
    assert done.images == {"train": 2, "val": 0}
    assert done.left_out == {"nobody has reviewed it, and part val is to judge by": 1}
    assert room.written([seen, some[0]], pseudo=False).left_out == {"nobody has reviewed it": 1}
    from distill.dataset import materialise

    allowed = cut([seen, some[0]], [some[1]], unreviewed=True)
    assert materialise(room.project, room.store, allowed, room.photo_source().photo).images == {"train": 2, "val": 1}


def test_a_label_of_the_teacher_weighs_its_score_and_one_of_people_weighs_one(room: DatasetRoom) -> None:
    pushed = room.machine("a.png", [Thing("green", OTHER, score=0.4567), Thing("red", BOX, score=0.7)], seed=1)
    people = room.reviewed("b.png", [Thing("red", BOX, score=0.3)], seed=2)
    empty = room.reviewed("c.png", seed=3)
    done = room.written([pushed, people, empty])
    assert done.soft
    assert text_of(done, pushed) == LINE + SECOND
    assert text_of(done, pushed, kind="weights") == "0.7000\n0.4567\n"
    assert text_of(done, people, kind="weights") == "1.0000\n"
    assert text_of(done, empty, kind="weights") == ""
    plain = room.written([pushed, people, empty], weights=False)
    assert not plain.soft
    assert not (plain.path / "weights").exists()
    assert plain.hash != done.hash


def test_faint_boxes_are_ignored_in_unreviewed_images_of_train_alone(room: DatasetRoom) -> None:
    pushed = room.machine("a.png", [Thing("red", BOX)], seed=1)
    people = room.reviewed("b.png", [Thing("red", BOX)], seed=2)
    judged = room.reviewed("c.png", [Thing("red", BOX)], seed=3)
    for image in (pushed, people, judged):
        room.faint(image, "green", OTHER)
    room.faint(pushed, "red", (-20, -20, -5, -5))
    done = room.written([pushed, people], [judged])
    assert text_of(done, pushed, kind="ignore") == SECOND
    assert text_of(done, people, kind="ignore") == ""
    assert [path.name for path in (done.path / "ignore").iterdir()] == ["train"]
    assert text_of(done, pushed) == LINE
    plain = room.written([pushed, people], [judged], ring=False)
    assert not (plain.path / "ignore").exists()
    assert (plain.path / "weights").exists()


def test_a_group_that_nobody_counted_is_ignored_and_not_taught(room: DatasetRoom) -> None:
    image = room.machine("a.png", [Thing("red", BOX)])
    labels = [human(image, "red", BOX), replace(human(image, "green", OTHER), flags=(CROWD,))]
    room.store.set_reviewed(image, labels, "reviewed")
    done = room.written([image])
    assert (text_of(done, image), text_of(done, image, kind="ignore")) == (LINE, SECOND)
    assert done.left_out_objects == {"it is a group that nobody counted": 1}


def test_polygons_are_the_masks_and_a_box_stands_in_where_there_is_none(room: DatasetRoom) -> None:
    round_one = Thing("red", BOX, masked=True)
    image = room.machine("a.png", [round_one, Thing("green", OTHER)])
    done = room.written([image], task="segment")
    green, red = sorted(read_lines(text_of(done, image), "labels", CLASSES, (160, 120)), key=lambda one: one.class_name)
    assert red.rle is not None
    assert masks.iou(red.rle, masks.encode(ellipse(BOX, (160, 120)))) > 0.97
    assert np.allclose(green.box_xyxy, OTHER, atol=1e-3)
    assert {len(line.split()) > 6 for line in text_of(done, image).splitlines()} == {True}
    assert done.altered == {"a box stands for the mask that nobody drew": 1}
    assert (done.task, done.soft) == ("segment", False)


def test_a_mask_in_two_parts_is_one_polygon_and_counted(room: DatasetRoom) -> None:
    path = photo(room.photos / "a.png")
    image = room.take(path, [Thing("red", (10, 10, 90, 50))])
    both = ellipse((10, 10, 40, 50), (160, 120)) | ellipse((60, 10, 90, 50), (160, 120))
    label = replace(human(image, "red", (10, 10, 90, 50)), rle=masks.encode(both))
    room.store.set_reviewed(image, [label], "reviewed")
    done = room.written([image], task="segment")
    (read,) = read_lines(text_of(done, image), "labels", CLASSES, (160, 120))
    assert read.rle is not None
    assert masks.iou(read.rle, masks.encode(both)) > 0.95
    assert geometry.iou([read.box_xyxy], [(10, 10, 90, 50)])[0, 0] > 0.97
    assert done.altered == {"a mask in several parts became one polygon": 1}

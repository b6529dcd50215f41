"""The dataset folder: a function of what is taught, whole or not there, read-only, and checked file by file."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.curation.readiness import repeat_factor
from distill.dataset import materialise, read_dataset, verify
from distill.material.labels import Example
from distill.material.plan import plan
from labeling.core.config import ImagesConfig
from labeling.core.errors import InputError, StateError
from labeling.formats.datasets import Entry
from labeling.formats.yolo_dataset import open_yolo
from labeling.images import LoadedImage
from tests.dataset_rooms import BOX, OTHER, DatasetRoom, cut, text_of
from tests.made_stores import Thing
from tests.outcomes import digest
from tests.privileges import bound_by_file_modes


@pytest.fixture
def room(tmp_path: Path) -> Iterator[DatasetRoom]:
    made = DatasetRoom.of(tmp_path)
    yield made
    made.store.close()


def three(room: DatasetRoom) -> list[str]:
    return [room.reviewed(f"{seed}.png", [Thing("red", BOX), Thing("green", OTHER)], seed=seed) for seed in range(3)]


def needs_decoding(room: DatasetRoom, name: str = "grey.jpg") -> str:
    """Add a photo that cannot be copied as it is."""
    from PIL import Image

    path = room.photos / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (120, 160), dtype=np.uint8)).save(path)
    return room.take(path, [Thing("red", BOX)])


def datasets(room: DatasetRoom) -> list[str]:
    return sorted(os.listdir(room.project.datasets_path))


def test_it_is_a_yolo_folder_that_may_lie_anywhere(room: DatasetRoom, tmp_path: Path) -> None:
    images = three(room)
    done = room.written(images[:2], images[2:])
    assert done.path == room.project.datasets_path / done.hash
    assert (done.path / "data.yaml").read_text() == (
        "# Made by labelstill from labels.db: change labels there, not here.\n"
        'train: train.txt\nval: images/val\nnames:\n  0: "red"\n  1: "green"\n'
    )
    done.path.rename(tmp_path / "moved")
    read = open_yolo(tmp_path / "moved", None)
    entries = [entry for entry in read.entries() if isinstance(entry, Entry)]
    assert read.class_names == ("red", "green")
    assert len(entries) == 3
    for entry in entries:
        objects = sorted(entry.objects((160, 120)), key=lambda one: one.class_name, reverse=True)
        assert [one.class_name for one in objects] == ["red", "green"]
        apart = np.abs(np.subtract([one.box_xyxy for one in objects], [BOX, OTHER])).max()
        assert apart * 640 / 160 <= 0.01


def test_another_class_is_another_folder_although_the_files_are_as_long(room: DatasetRoom) -> None:
    images = three(room)
    first = room.written(images)
    room.review(images[1], [Thing("green", BOX), Thing("green", OTHER)])
    second = room.written(images)
    assert second.hash != first.hash
    assert datasets(room) == sorted([first.hash, second.hash])
    assert text_of(first, images[1])[0] == "0"
    assert text_of(second, images[1])[0] == "1"
    room.review(images[1], [Thing("red", BOX), Thing("green", OTHER)])
    assert room.written(images) == first


def test_the_part_of_an_image_and_the_names_of_classes_count(room: DatasetRoom, tmp_path: Path) -> None:
    images = three(room)
    hashes = [room.written(images).hash, room.written(images[:2], images[2:]).hash]
    other = DatasetRoom.of(tmp_path / "other", ["red", "green", "blue"])
    hashes.append(other.written(three(other)).hash)
    other.store.close()
    assert len(set(hashes)) == 3


def test_the_order_in_which_things_were_labelled_does_not_count(room: DatasetRoom, tmp_path: Path) -> None:
    images = three(room)
    other = DatasetRoom.of(tmp_path / "other")
    for seed in (2, 0, 1):
        made = other.machine(f"again-{seed}.png", [Thing("red", BOX), Thing("green", OTHER)], seed=seed)
        other.review(made, [Thing("green", OTHER), Thing("red", BOX)])
    assert other.written(reversed(images)).hash == room.written(images).hash
    other.store.close()


def test_the_same_content_is_not_written_again(room: DatasetRoom) -> None:
    images = three(room)
    first = room.written(images)
    times = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}

    def never(sha256: str) -> LoadedImage:
        raise AssertionError("no photo is decoded")

    assert materialise(room.project, room.store, cut(images), never) == first
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == times
    assert verify(first.path) == read_dataset(first.path) == first


def test_a_folder_that_lost_a_file_is_made_anew(room: DatasetRoom) -> None:
    images = three(room)
    first = room.written(images)
    next((first.path / "labels" / "train").iterdir()).unlink()
    assert room.written(images) == first
    verify(first.path)


def test_nothing_in_it_can_be_written(room: DatasetRoom) -> None:
    done = room.written(three(room))
    modes = Counter(stat.S_IMODE(path.lstat().st_mode) for path in (done.path, *done.path.rglob("*")))
    assert modes == {0o555: 7, 0o444: 9}
    with bound_by_file_modes():
        with pytest.raises(PermissionError):
            (done.path / "labels" / "train.cache").write_text("x")
        with pytest.raises(PermissionError):
            (done.path / "data.yaml").open("a")


@pytest.mark.parametrize("name", ["labels/train/{}.txt", "images/train/{}.png", "data.yaml", "train.txt"])
def test_a_file_that_differs_is_named(room: DatasetRoom, name: str) -> None:
    images = three(room)
    done = room.written(images)
    path = done.path / name.format(images[0][:16])
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateError, match=f"{path.name}: is not what was written"):
        verify(done.path)


def test_files_that_are_gone_or_were_added_are_named_and_label_caches_are_not(room: DatasetRoom) -> None:
    done = room.written(three(room))
    (done.path / "labels" / "train.cache").write_bytes(b"x")
    verify(done.path)
    (done.path / "images" / "val" / "more.jpg").symlink_to("elsewhere")
    with pytest.raises(StateError, match=r"images/val/more\.jpg: was added"):
        verify(done.path)
    (done.path / "data.yaml").unlink()
    with pytest.raises(StateError, match=r"data\.yaml: is gone"):
        verify(done.path)


def test_what_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is no dataset"):
        read_dataset(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(StateError, match=r"manifest\.json"):
            verify(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_leaves_nothing(room: DatasetRoom, error: type[BaseException]) -> None:
    images = [*three(room), needs_decoding(room)]

    def interrupted(sha256: str) -> LoadedImage:
        raise error

    with pytest.raises(error):
        materialise(room.project, room.store, cut(images), interrupted)
    assert datasets(room) == []


def test_what_is_killed_leaves_no_dataset_and_the_next_call_cleans_up(room: DatasetRoom) -> None:
    images = [*three(room), needs_decoding(room)]

    def killed(sha256: str) -> LoadedImage:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    child = os.fork()
    if child == 0:
        materialise(room.project, room.project.open_store(), cut(images), killed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = datasets(room)
    assert left.startswith(".")
    for folder, _, _ in os.walk(room.project.datasets_path / left):
        Path(folder).chmod(0o555)
    with bound_by_file_modes():
        done = room.written(images)
    assert datasets(room) == [done.hash]
    verify(done.path)


def test_a_file_that_was_edited_to_the_same_size_is_written_anew(room: DatasetRoom) -> None:
    images = three(room)
    done = room.written(images)
    label = next(path for path in sorted((done.path / "labels" / "train").iterdir()) if path.stat().st_size)
    before = label.read_text()
    label.chmod(0o644)
    label.write_text("1" + before[1:] if before[0] == "0" else "0" + before[1:])
    again = room.written(images)
    assert again == done
    assert label.read_text() == before
    verify(done.path)


@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"hash": "../../etc"},
        {"hash": "0" * 16},
        {"files": []},
        {"files": {"data.yaml": 3}},
        {"names": "red"},
        {"images": [1, 2]},
        {"soft": "yes"},
        {"remarks": [3]},
    ],
)
def test_a_damaged_manifest_is_one_sentence_and_the_dataset_is_written_anew(
    room: DatasetRoom, change: dict[str, object]
) -> None:
    images = three(room)
    done = room.written(images)
    manifest = done.path / "manifest.json"
    whole = manifest.read_text()
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(json.loads(whole) | change))
    if change.get("hash") != "0" * 16:  # which could be true
        with pytest.raises(StateError, match=r"manifest\.json: is damaged"):
            read_dataset(done.path)
    assert room.written(images) == done
    assert manifest.read_text() == whole


def test_a_full_disk_leaves_nothing_and_is_said(room: DatasetRoom) -> None:
    images = three(room)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StateError, match="the disk is full"):
            room.written(images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert datasets(room) == []
    assert room.written(images).images["train"] == 3


def test_a_folder_that_may_not_be_written_is_named(room: DatasetRoom) -> None:
    images = three(room)
    room.project.datasets_path.mkdir()
    room.project.datasets_path.chmod(0o555)
    with bound_by_file_modes(), pytest.raises(InputError, match="datasets: cannot be written"):
        room.written(images)


def test_no_image_to_learn_from_is_one_sentence(room: DatasetRoom) -> None:
    image = room.machine("a.png")
    with pytest.raises(StateError, match=r"1 left out: the teacher saw nothing.*labelstill split"):
        room.written([image])
    with pytest.raises(StateError, match="no image to teach: label"):
        room.written([])
    assert not room.project.datasets_path.exists()


def test_what_is_missing_is_remarked(room: DatasetRoom) -> None:
    image = room.machine("a.png", [Thing("red", BOX)])
    done = room.written([image], subtle=("red",))
    assert done.names == ("red", "green")
    assert done.remarks == (
        "no image of part train holds green: the student cannot learn that",
        "few images to learn from, 500 are a start: red has 1",
        "part val is empty: nothing says when to stop, and no threshold can be chosen",
        "nobody has reviewed an image of part train: the student learns what the teacher says, errors included",
    )
    assert read_dataset(done.path).remarks == done.remarks


def test_the_test_part_is_not_where_a_trainer_reads_unless_asked_for(room: DatasetRoom) -> None:
    images = three(room)
    split, photos = cut(images[:1], images[1:2], images[2:]), room.photo_source()
    without = materialise(room.project, room.store, split, photos.photo)
    assert not list(without.path.rglob(f"{images[2][:16]}*"))
    assert without.images == {"train": 1, "val": 1}
    asked = materialise(room.project, room.store, split, photos.photo, parts=("train", "val", "test"))
    assert asked.images == {"train": 1, "val": 1, "test": 1}
    assert "test: images/test\n" in (asked.path / "data.yaml").read_text()


def test_a_fold_is_val_and_the_others_teach(room: DatasetRoom) -> None:
    images = three(room)
    whole = cut(images, folds=3)
    split = replace(whole, folds={image: fold for fold, image in enumerate(images)})
    for fold, image in enumerate(images):
        done = materialise(room.project, room.store, split, room.photo_source().photo, fold=fold)
        assert done.images == {"train": 2, "val": 1}
        assert [path.stem for path in (done.path / "images" / "val").iterdir()] == [image[:16]]


def test_images_of_thin_classes_are_listed_as_often_as_their_factor_says() -> None:
    def example(number: int) -> Example:
        classes = frozenset([0, 1] if number < 10 else [0])
        return Example(digest(str(number)), "train", True, ("0 .5 .5 1 1",), (1.0,), (), classes)

    found = sorted(map(example, range(1000)), key=lambda one: one.sha256)
    rare = [digest(str(number)) for number in range(10)]
    times = []
    for seed in range(200):
        made = plan(found, ["a", "b"], ["train"], "detect", ImagesConfig(), oversample=True, seed=seed)
        assert set(made.repeats[image] for image in made.repeats if image not in rare) == {1}
        times += [made.repeats[image] for image in rare]
    factor = repeat_factor(0.01)
    assert factor == pytest.approx(np.sqrt(10))
    assert set(times) == {3, 4}
    assert np.mean(times) == pytest.approx(factor, abs=4 * np.sqrt(0.16 * 0.84 / len(times)))


def test_repeats_are_listed_and_told_and_switched_off(room: DatasetRoom) -> None:
    rare = room.reviewed("rare.png", [Thing("green", BOX)], seed=100)
    images = [rare, *(room.reviewed(f"{seed}.png", [Thing("red", BOX)], seed=seed) for seed in range(39))]
    done = room.written(images)  # 1 of 40 images: sqrt(0.1 / 0.025) = 2
    listed = Counter((done.path / "train.txt").read_text().split())
    assert listed.pop(f"./images/train/{rare[:16]}.png") == 2
    assert set(listed.values()) == {1}
    assert len(listed) == 39
    assert done.repeats == {f"{rare[:16]}.png": 2}
    assert done.images["train"] == len(list((done.path / "images" / "train").iterdir())) == 40
    assert room.written(images, oversample=False).repeats == {}


def test_the_manifest_says_where_it_came_from(room: DatasetRoom) -> None:
    done = room.written(three(room), seed=3)
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["ontology"] == room.project.ontology.hash
    assert manifest["hash"] == done.hash == done.path.name
    assert manifest["settings"]["seed"] == 3
    assert manifest["settings"]["split"] == "default"
    assert manifest["settings"]["images"] == room.project.config.images.model_dump()


@pytest.mark.torch
def test_the_scan_of_a_trainer_finds_every_label_and_class(room: DatasetRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    images = [*three(room), needs_decoding(room), room.reviewed("empty.png", seed=7)]
    done = room.written(images[1:], images[:1])
    monkeypatch.chdir("/")
    found = check_det_dataset(str(done.path / "data.yaml"), autodownload=False)
    assert found["names"] == {0: "red", 1: "green"}
    with bound_by_file_modes():
        scanned = {part: YOLODataset(img_path=found[part], data=found, augment=False) for part in ("train", "val")}
    labels = scanned["train"].labels
    assert sum(len(one["cls"]) for one in labels) == done.objects["train"] == 5
    assert (len(labels), len(scanned["val"].labels)) == (done.images["train"], done.images["val"]) == (4, 1)
    assert sum(not len(one["cls"]) for one in labels) == done.backgrounds["train"] == 1
    assert not list(done.path.rglob("*.cache"))
    verify(done.path)

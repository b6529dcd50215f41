"""labeling.label: the boxes of the command, one record per image in order, lazily, and no thread left behind."""

from __future__ import annotations

import inspect
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import labeling
from labeling.api import as_ontology
from labeling.commands.label import read_request
from labeling.core import masks
from labeling.core.errors import BackendError, InputError, LabelstillError
from labeling.core.masks import decode
from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.demo.photos import CLASSES, write_photos
from tests.fakes import COLOURS, Drawn, draw, draw_photos, poison
from tests.paths import ROOT

pytestmark = pytest.mark.usefixtures("drawn_backend")

DRAWN = "crimson: red box, leaf: green box, sea: blue box, sun: yellow box"
NAME_OF = {"red": "crimson", "green": "leaf", "blue": "sea", "yellow": "sun"}


@pytest.fixture
def choice(tmp_path: Path) -> dict[str, Any]:
    """The teacher of the fakes."""
    weights = tmp_path / "weights"
    weights.write_text("drawn")
    return {"detector": "drawn", "weights": weights, "segmenter": "drawn", "segmenter_weights": weights}


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("detect", "decode"))}


def shapes_of(result: labeling.LabelResult) -> set[tuple[str, tuple[int, ...]]]:
    boxes = result.detections.xyxy.astype(int).tolist()
    return {(name, tuple(box)) for name, box in zip(result.detections.data["class_name"], boxes, strict=True)}


def drawn_in(photo: Drawn) -> set[tuple[str, tuple[int, ...]]]:
    return {(NAME_OF[colour], box) for colour, box in photo.shapes}


def test_a_folder_gives_one_exact_result_per_image_sorted(tmp_path: Path, choice: dict[str, Any]) -> None:
    photos = draw_photos(tmp_path / "photos", 11)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    results = list(labeling.label(tmp_path / "photos", DRAWN, **choice))
    assert [result.path for result in results] == [photo.path for photo in photos]
    assert [result.index for result in results] == list(range(11))
    names = parse_classes(DRAWN).names
    for photo, result in zip(photos, results, strict=True):
        assert result.error is None
        assert result.size_wh == (96, 64)
        assert shapes_of(result) == drawn_in(photo)
        rows = result.detections
        assert [names[class_id] for class_id in rows.class_id] == list(rows.data["class_name"])
        assert [NAME_OF[prompt.split()[0]] for prompt in rows.data["prompt"]] == list(rows.data["class_name"])
        for (x0, y0, x1, y1), rle in zip(rows.xyxy.astype(int), result.rles, strict=True):
            mask = np.zeros((64, 96), dtype=bool)
            mask[y0:y1, x0:x1] = True
            assert rle is not None
            assert (decode(rle) == mask).all()
    assert sum(len(result.detections) for result in results) > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "weights"]


def test_types_and_columns_are_the_same_with_and_without_rows(tmp_path: Path, choice: dict[str, Any]) -> None:
    draw(tmp_path / "photos" / "a.png", [("red", (1, 1, 20, 20))])
    draw(tmp_path / "photos" / "b.png", [])
    (tmp_path / "photos" / "c.png").write_bytes(b"")
    found, empty, failed = labeling.label(tmp_path / "photos", DRAWN, **choice)
    for result, number in ((found, 1), (empty, 0), (failed, 0)):
        rows = result.detections
        assert rows.xyxy.shape == (number, 4)
        assert (rows.xyxy.dtype, rows.confidence.dtype, rows.class_id.dtype) == (np.float32, np.float32, np.int64)
        assert list(rows.data) == ["class_name", "prompt", "rle", "mask_score", "flags"]
        assert {len(column) for column in rows.data.values()} == {number}
        assert len(result.rles) == number
    with pytest.raises(FrozenInstanceError):
        found.index = 7  # type: ignore[misc]


def test_rows_stay_with_their_masks_after_filtering(tmp_path: Path, choice: dict[str, Any]) -> None:
    draw(tmp_path / "a.png", [("red", (1, 1, 20, 20)), ("blue", (40, 5, 60, 50))])
    (result,) = labeling.label(tmp_path / "a.png", DRAWN, **choice)
    (sea,) = result.detections[result.detections.data["class_name"] == "sea"].data["rle"]
    assert coco.toBbox(sea).tolist() == [40, 5, 20, 45]


def test_masks_for_annotators_hold_every_pixel(tmp_path: Path, choice: dict[str, Any]) -> None:
    draw(tmp_path / "a.png", [("red", (1, 1, 20, 20)), ("blue", (40, 5, 96, 64))])
    (result,) = labeling.label(tmp_path / "a.png", DRAWN, **choice)
    assert result.detections.mask is None
    rows = result.masked()
    assert rows.mask is not None
    assert (np.asarray(rows.mask) == np.stack([decode(rle) for rle in result.rles if rle])).all()
    assert rows.mask.area.tolist() == [19 * 19, 56 * 59]
    boxes_only = {**choice, "segmenter": "none", "segmenter_weights": None}
    (result,) = labeling.label(tmp_path / "a.png", DRAWN, **boxes_only)
    assert result.masked().mask is None
    assert result.rles == (None, None)
    assert all(math.isnan(score) for score in result.detections.data["mask_score"])


def test_a_mask_that_leaves_its_box_and_one_that_is_missing_survive(tmp_path: Path, choice: dict[str, Any]) -> None:
    draw(tmp_path / "a.png", [("red", (1, 1, 20, 20)), ("blue", (40, 5, 60, 50))])
    (result,) = labeling.label(tmp_path / "a.png", DRAWN, **choice)
    rle = result.detections.data["rle"]
    rle[0], rle[1] = rle[1], None
    mask = result.masked().mask
    assert mask is not None
    assert mask.area.tolist() == [20 * 45, 0]


def test_one_bad_image_is_a_record_in_its_place(tmp_path: Path, choice: dict[str, Any]) -> None:
    photos = draw_photos(tmp_path / "photos", 6)
    (tmp_path / "photos" / "photo-002a.png").write_bytes(photos[0].path.read_bytes()[:60])
    poison(tmp_path / "photos" / "photo-003a.png")
    (tmp_path / "photos" / "photo-004a.dng").write_bytes(b"II*\0 raw")
    results = list(labeling.label(str(tmp_path / "photos"), DRAWN, **choice))
    assert [result.path and result.path.name for result in results] == sorted(
        path.name for path in (tmp_path / "photos").iterdir()
    )
    errors = {result.index: str(result.error).partition(":")[0] for result in results if result.error}
    assert errors == {3: "truncated", 5: "teacher_failed", 7: "unsupported_format"}
    assert results[3].size_wh is None
    assert results[5].size_wh == (96, 64)
    good = [result for result in results if result.error is None]
    assert [shapes_of(result) for result in good] == [drawn_in(photo) for photo in photos]


def test_copies_and_repeated_names_are_answered_each(tmp_path: Path, choice: dict[str, Any]) -> None:
    photo = draw(tmp_path / "photos" / "a.png", [("red", (1, 1, 20, 20))])
    (tmp_path / "photos" / "b.png").write_bytes(photo.path.read_bytes())
    results = list(labeling.label([tmp_path / "photos", photo.path, photo.path], DRAWN, **choice))
    assert [result.path and result.path.name for result in results] == ["a.png", "b.png", "a.png", "a.png"]
    assert [shapes_of(result) for result in results] == [drawn_in(photo)] * 4


def test_lists_keep_their_order_and_answer_for_every_entry(tmp_path: Path, choice: dict[str, Any]) -> None:
    photos = draw_photos(tmp_path / "photos", 3)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    first, second, third = (photo.path for photo in photos)
    given = [third, tmp_path / "gone.png", first, tmp_path / "notes.txt", tmp_path / "empty", str(second)]
    results = list(labeling.label(given, DRAWN, batch=2, **choice))
    assert [result.path for result in results] == [Path(path) for path in given]
    assert [result.error is None for result in results] == [True, False, True, False, False, True]
    assert "no such file" in str(results[1].error)
    assert "no image in" in str(results[3].error)
    assert [shapes_of(results[place]) for place in (0, 2, 5)] == [drawn_in(photos[place]) for place in (2, 0, 1)]


def test_arrays_are_images_too(tmp_path: Path, choice: dict[str, Any]) -> None:
    photos = draw_photos(tmp_path / "photos", 5)
    arrays = [np.asarray(Image.open(photo.path).convert("RGB")) for photo in photos]
    for images in (arrays, iter(arrays), np.stack(arrays), [array[::-1][::-1] for array in arrays]):
        results = list(labeling.label(images, DRAWN, batch=2, **choice))
        assert [result.path for result in results] == [None] * 5
        assert [shapes_of(result) for result in results] == [drawn_in(photo) for photo in photos]
    (alone,) = labeling.label(arrays[0], DRAWN, **choice)
    assert shapes_of(alone) == drawn_in(photos[0])
    with pytest.raises(InputError, match="image 0 was given as an array"):
        alone.read()


def test_frames_may_share_one_buffer(choice: dict[str, Any]) -> None:
    def frames() -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
        buffer = np.empty((64, 96, 3), dtype=np.uint8)
        for column in range(20):
            buffer[:] = 255
            buffer[10:20, column : column + 10] = COLOURS["green"]
            yield buffer

    for column, result in enumerate(labeling.label(frames(), DRAWN, **choice)):
        assert shapes_of(result) == {("leaf", (column, 10, column + 10, 20))}


def test_what_is_no_image_array_is_a_record(choice: dict[str, Any]) -> None:
    good = np.full((64, 96, 3), 255, dtype=np.uint8)
    given: list[Any] = [good, good / 255, good[:, :, 0], good[:5], Image.fromarray(good), None, good]
    results = list(labeling.label(given, DRAWN, **choice))
    assert [str(result.error).partition(":")[0] for result in results] == [
        "None", "unsupported_dtype", "unsupported_dtype", "too_small", "not_an_image", "not_an_image", "None",
    ]  # fmt: skip
    assert "got 64x96x3 float64" in str(results[1].error)


def test_it_is_lazy_and_looks_a_bounded_number_of_images_ahead(choice: dict[str, Any]) -> None:
    made: list[int] = []

    def frames() -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
        for number in range(10_000):
            made.append(number)
            yield np.full((64, 96, 3), 255, dtype=np.uint8)

    results = labeling.label(frames(), DRAWN, batch=4, **choice)
    assert made == []
    window = 4 + min(16, len(os.sched_getaffinity(0)))
    for number in range(40):
        assert next(results).index == number
        # One batch with the caller, one finished, one in the detector, and the window of the decoders.
        assert len(made) <= number + 1 + 3 * 4 + window
    assert threads() != set()
    results.close()
    assert threads() == set()
    assert len(made) < 100


def test_what_the_iterable_raises_comes_after_what_it_gave(choice: dict[str, Any]) -> None:
    def frames() -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
        for _ in range(7):
            yield np.full((64, 96, 3), 255, dtype=np.uint8)
        raise ConnectionError("the camera is gone")

    results = labeling.label(frames(), DRAWN, batch=4, **choice)
    assert [next(results).index for _ in range(7)] == list(range(7))
    with pytest.raises(ConnectionError, match="the camera is gone"):
        next(results)
    assert threads() == set()


def test_an_error_of_the_caller_ends_the_threads(tmp_path: Path, choice: dict[str, Any]) -> None:
    draw_photos(tmp_path / "photos", 30)

    def first_row() -> None:
        for result in labeling.label(tmp_path / "photos", DRAWN, batch=2, **choice):
            raise KeyError(result.index)

    with pytest.raises(KeyError):
        first_row()
    assert threads() == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ontology": ""}, "expected classes such as"),
        ({"ontology": ["box", "box"]}, "'box' comes twice"),
        ({"detector": "dino"}, "unknown detector 'dino'"),
        ({"segmenter": "sam9"}, "unknown segmenter 'sam9'"),
        ({"score": 1.5}, "score is 1.5"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": "4"}, "batch is '4'"),
        ({"class_names": "nowhere.txt"}, "nowhere.txt: expected a file"),
        ({"images": "nowhere"}, "nowhere: no such file or folder"),
        ({"images": "empty"}, "no image in"),
    ],
)
def test_mistakes_are_refused_at_once(
    change: Mapping[str, Any], said: str, tmp_path: Path, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    draw_photos(tmp_path / "photos", 1)
    with pytest.raises(InputError, match=said):
        labeling.label(**{"images": "photos", "ontology": DRAWN, **choice, **change})


def test_missing_weights_and_a_broken_teacher_are_raised(tmp_path: Path, choice: dict[str, Any]) -> None:
    for number in range(3):
        poison(tmp_path / "photos" / f"{number}.png")
    with pytest.raises(BackendError, match="do not exist"):
        labeling.label(tmp_path / "photos", DRAWN, **{**choice, "weights": "not/a/model"})
    with pytest.raises(BackendError, match="failed on the first 3 images"):
        list(labeling.label(tmp_path / "photos", DRAWN, **choice))
    assert threads() == set()


@pytest.mark.parametrize(
    "classes",
    [
        "crimson: red box | red thing, leaf",
        {"crimson": ["red box", "red thing"], "leaf": ["leaf"]},
        {"red box": "crimson", "red thing": "crimson", "leaf": "leaf"},
        parse_classes("crimson: red box | red thing, leaf"),
    ],
)
def test_every_way_to_name_the_classes_gives_the_same_ontology(classes: Any, tmp_path: Path) -> None:
    expected = parse_classes("crimson: red box | red thing, leaf")
    assert as_ontology(classes) == expected
    if isinstance(classes, dict):
        path = tmp_path / "classes.json"
        path.write_text(json.dumps({"red box": "crimson", "red thing": "crimson", "leaf": "leaf"}))
        assert as_ontology(path) == expected


def test_names_are_their_own_prompts_and_mixed_values_are_refused() -> None:
    assert as_ontology(["forklift", "wooden pallet"]) == parse_classes("forklift, wooden pallet")
    wrong: Sequence[Any] = ({"a": ["b"], "c": "d"}, {"a": [1]}, [1], {}, [])
    for classes in wrong:
        with pytest.raises(InputError):
            as_ontology(classes)


def test_the_choices_are_those_of_the_command() -> None:
    flags = set(inspect.signature(read_request).parameters)
    arguments = inspect.signature(labeling.label).parameters
    assert {"detector", "weights", "score"} < flags & set(arguments)
    # The images and classes have types of their own; nothing is written, so there is no project and no frame of a
    # video; the rest is equal.
    assert set(arguments) - flags == {"images"}
    of_videos = {"every", "fps", "seconds", "propagate", "propagate_every"}
    assert flags - set(arguments) - of_videos - {"preview"} == {"photos", "project", "classes", "limit", "as_json"}
    assert arguments["detector"].default == "grounding-dino"


def test_import_is_light_and_unknown_names_are_refused() -> None:
    code = "import labeling, sys; print(labeling.__all__, *sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "torch", "supervision", "pydantic"} & set(shown.split())
    code = "import labeling.api, sys; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "supervision"} & set(shown.split())
    assert {"LabelResult", "label"} <= set(dir(labeling))
    with pytest.raises(AttributeError, match="no attribute 'labels'"):
        labeling.labels  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.torch
def test_the_bundled_teacher_says_what_the_command_writes(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 6)
    (tmp_path / "photos" / "warehouse-002b.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    arguments = ["label", "photos", "--project", "project", "--classes", CLASSES, "--detector", "bundled", "--json"]
    code = "import sys; from labeling.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    by_command = json.loads(done.stdout)
    results = list(labeling.label(tmp_path / "photos", CLASSES, detector="bundled"))
    assert [result.path for result in results] == sorted((tmp_path / "photos").iterdir())
    assert [result.index for result in results if result.error] == [2]
    dropped: dict[str, int] = {}
    with Store.open(tmp_path / "project" / "labels.db") as store:
        written = {image.paths[0]: store.annotations_of(image.sha256 or "") for image in store.iter_images()}
    for result in results:
        for reason, number in result.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + number
        if result.error is None:
            mine, theirs = seen(result), as_seen(written[str(result.path)])
            assert [one[:2] for one in mine] == [one[:2] for one in theirs]
            for (*_, box, score, rle), (*_, other_box, other_score, other_rle) in zip(mine, theirs, strict=True):
                # Two processes round alike only to the last digits: matrix products depend on where memory lies.
                assert box == pytest.approx(other_box, rel=1e-4)
                assert score == pytest.approx(other_score, rel=1e-4)
                assert masks.iou(rle, other_rle) > 0.999
    assert dropped == by_command["dropped"]
    assert sum(len(result.detections) for result in results) == sum(by_command["objects"].values()) > 6
    for result in results:
        if result.error is None:
            assert result.read().shape == (480, 640, 3)
        else:
            with pytest.raises(LabelstillError):
                result.read()


def seen(result: labeling.LabelResult) -> list[tuple[Any, ...]]:
    rows = result.detections
    columns = (rows.data["class_name"], rows.data["prompt"], rows.xyxy.tolist(), rows.confidence.tolist(), result.rles)
    return sorted(zip(*columns, strict=True), key=lambda one: (one[0], str(one[1]), one[2][0]))


def as_seen(labels: list[Annotation]) -> list[tuple[Any, ...]]:
    rows = [
        (one.class_name, one.provenance.prompt, list(one.box_xyxy), one.provenance.score, one.rle) for one in labels
    ]
    return sorted(rows, key=lambda one: (one[0], str(one[1]), one[2][0]))


@pytest.mark.parametrize("images", [None, 5, b"abc", 1.5])
def test_what_can_be_no_image_is_refused_at_once(images: Any) -> None:
    with pytest.raises(InputError, match="expected a folder, files or arrays"):
        labeling.label(images, "box", detector="bundled")


def test_an_empty_path_is_not_the_working_folder(tmp_path: Path, choice: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="an empty path"):
        labeling.label("", DRAWN, **choice)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.png")
    given = ["", "~nobody-of-this-name/x.jpg", tmp_path / "a.png"]
    results = list(labeling.label(given, DRAWN, **choice))
    assert [result.error is None for result in results] == [False, False, True]


@pytest.mark.parametrize("ontology", [None, 5, {"a": 1}, {1: "a"}, {"a": [1]}, [1]])
def test_classes_of_another_kind_are_refused(ontology: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        labeling.label("photos", ontology, detector="bundled")


def test_a_score_that_is_no_number_is_refused() -> None:
    score: Any = "0.5"
    with pytest.raises(InputError, match="score is"):
        labeling.label("photos", "box", detector="bundled", score=score)


def test_a_grey_array_is_one_image_that_is_refused(choice: dict[str, Any]) -> None:
    grey: Any = np.zeros((40, 60), np.uint8)
    results = list(labeling.label(grey, DRAWN, **choice))
    assert len(results) == 1
    assert "40x60" in str(results[0].error)


@pytest.mark.torch
def test_two_threads_load_the_same_weights(tmp_path: Path) -> None:
    """In a fresh process, since the fault that this guards against needs a cold library and outlives the call."""
    write_photos(tmp_path, 1)
    script = """
import threading, labeling
found = []
def work():
    results = labeling.label(".", "box", detector="bundled")
    found.append([len(result.detections) for result in results])
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
work()
assert len(found) == 4 and all(one == found[0] for one in found), found
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]

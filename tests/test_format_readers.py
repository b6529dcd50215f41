"""Readers of label files: what they accept, and that nothing but a clear error comes of rubbish."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labeling.core import masks
from labeling.core.errors import InputError
from labeling.formats import coco_read, yolo_read
from labeling.formats.datasets import Dataset, Entry, PathRefused, Refused, Unlabelled, find_picture, inside
from labeling.formats.sources import SOURCES, open_dataset
from tests import made_stores as made

SIZE = (64, 48)
NAMES = ("box", "disc")
CATEGORIES = {1: "box", 7: "disc"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def found_in(form: str, path: Path, images: Path | None = None) -> list[Any]:
    return list(open_dataset(form, path, images).entries())


# COCO


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 20]} | changes


def read(**changes: Any) -> Any:
    return coco_read.read_annotation(annotation(**changes), "x.json: annotations[0]", CATEGORIES, SIZE)


def test_coco_box_and_mask_kinds() -> None:
    assert read().box_xyxy == (1, 2, 11, 22)
    assert read(segmentation=[]).rle is None
    parts = read(segmentation=[[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 14, 10, 14, 14, 10, 14]])
    assert masks.area(parts.rle) == 32
    without_box = read(bbox=None, segmentation=[[0, 0, 4, 0, 4, 6, 0, 6]])
    assert without_box.box_xyxy == (0, 0, 4, 6)
    assert read(category_id=7.0, iscrowd=1).crowd
    assert [read(source=who).source for who in ("teacher", "human", "imported", None, 3)] == [
        "machine", "human", "human", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"category_id": 2}, "category_id: 2 is none of the 2 categories"),
        ({"category_id": "7"}, "category_id: expected a whole number, got '7'"),
        ({"category_id": True}, "expected a whole number"),
        ({"bbox": [1, 2, 0, 4]}, "bbox: expected a width and a height above 0"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox: expected a number, got nan"),
        ({"bbox": [1, 2, 10**400, 4]}, "bbox: expected a number"),
        ({"bbox": None}, "expected [x, y, width, height], got nothing and no mask"),
        ({"iscrowd": 2}, "iscrowd: expected 0 or 1, got 2"),
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentation[0]: expected [x, y, x, y, …] with three points"),
        ({"segmentation": [[1, 2, 3, 4, 5, 10**6]]}, "expected corners near the 64 x 48 image"),
        ({"segmentation": {"size": [64, 48], "counts": [3072]}}, "size: expected [48, 64] as the image"),
        ({"segmentation": {"size": [48, 64], "counts": [3071]}}, "expected runs that fill 64 x 48 px, got 3071"),
        ({"segmentation": {"size": [48, 64], "counts": [-1, 3073]}}, "expected runs that fill"),
        ({"segmentation": {"size": [48, 64], "counts": "rubbish"}}, "runs of a mask do not fill"),
        ({"segmentation": "x"}, "expected polygons or run lengths"),
        ({"score": 2}, "score: expected a number in [0, 1]"),
    ],
)
def test_broken_coco_annotation_names_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(**changes)
    assert said in str(caught.value)
    assert str(caught.value).startswith(("x.json: annotations[0]: ", "polygon 0: "))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["category_id", "bbox", "segmentation", "iscrowd", "score", "source"]), JSON))
def test_any_coco_annotation_is_an_item_or_an_input_error(changes: dict[str, Any]) -> None:
    try:
        item = read(**changes)
    except InputError:
        return
    assert item.class_name in CATEGORIES.values()


COCO_KEYS = ("images", "annotations", "categories")


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.fixed_dictionaries({key: JSON | st.lists(JSON, max_size=3) for key in COCO_KEYS}))
def test_any_json_is_read_or_refused_as_coco(document: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_text(json.dumps(document))
        consume("coco", path)


def consume(form: str, path: Path) -> None:
    """Read everything; only InputError may come of it."""
    with contextlib.suppress(InputError):
        for found in open_dataset(form, path, None).entries():
            if isinstance(found, Entry):
                use(found)


def use(entry: Entry) -> None:
    for step in (entry.picture, lambda: entry.objects(SIZE)):
        with contextlib.suppress(InputError):
            step()


def test_images_with_one_id_are_refused_and_labels_of_none_are_named(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "c.png"}]
    document = {"images": images, "annotations": [annotation()], "categories": [{"id": 7, "name": "disc"}]}
    (tmp_path / "x.json").write_text(json.dumps(document))
    found = found_in("coco", tmp_path)
    assert [type(one) for one in found] == [Refused, Refused, Entry]
    assert "id 1 belongs to several images" in found[0].reason


def test_what_is_not_read_of_a_coco_file_is_said(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [annotation(keypoints=[1, 2, 2]), annotation(keypoints=[])],
        "categories": [{"id": 7, "name": "disc"}, {"id": 8, "name": "disc"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    dataset = open_dataset("coco", tmp_path, None)
    assert dataset.notes == (
        "1 classes have the name of another one and are taken for the same class",
        "not read of objects: 'keypoints' (1)",
    )
    assert dataset.category_ids == {"disc": 7}


# YOLO


def test_yolo_lines_box_score_and_segment() -> None:
    text = "0 0.5 0.5 0.5 0.5\n1.0 0.5 0.5 0.5 0.5 0.25\n\n 1 0 0 1 0 1 1 0 1 \n"
    box, scored, segment = yolo_read.read_lines(text, "x.txt", NAMES, SIZE)
    assert (box.class_name, box.box_xyxy, box.score) == ("box", (16, 12, 48, 36), None)
    assert (scored.class_name, scored.score) == ("disc", 0.25)
    assert (segment.box_xyxy, masks.area(segment.rle or {"size": [], "counts": ""})) == ((0, 0, 64, 48), 64 * 48)


@settings(max_examples=300)
@given(
    st.text()
    | st.lists(st.lists(st.floats() | st.integers(-1, 2), max_size=9)).map(
        lambda rows: "\n".join(" ".join(map(str, row)) for row in rows)
    )
)
def test_any_yolo_text_is_items_or_an_input_error(text: str) -> None:
    try:
        items = yolo_read.read_lines(text, "x.txt", NAMES, SIZE)
    except InputError as error:
        assert str(error).startswith("x.txt:")  # noqa: PT017
        return
    assert all(np.isfinite(item.box_xyxy).all() for item in items)


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("images/train/1.jpg", "labels/train/1.txt"),
        ("images/images/1.x.jpg", "images/labels/1.x.txt"),
        ("train/images/1.jpg", "train/labels/1.txt"),
        ("photos/1.jpg", "photos/1.txt"),
        ("my_images/1.jpg", "my_images/1.txt"),
    ],
)
def test_label_lies_where_ultralytics_looks(picture: str, label: str) -> None:
    assert yolo_read.label_name(picture) == label


def test_names_are_a_list_or_numbers() -> None:
    assert yolo_read.class_names({"names": ["a", 3]}, "x") == ("a", "3")
    assert yolo_read.class_names({"names": {1: "b", "0": "a"}}, "x") == ("a", "b")
    for bad in ({}, {"names": []}, {"names": {0: "a", 2: "b"}}, {"names": {"x": "a"}}, {"names": [None]}, {"names": 3}):
        with pytest.raises(InputError, match="x: names: expected"):
            yolo_read.class_names(bad, "x")


def photos(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        made.photo(root / name, seed=seed, size_wh=SIZE)
        label = root / yolo_read.label_name(name)
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.5 0.5\n")


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("train: images/a\nval: images/b\n", ["images/a/1.png", "images/b/1.png"]),
        ("train: [images/a, images/b]\n", ["images/a/1.png", "images/b/1.png"]),
        ("train: list.txt\n", ["images/b/1.png", "images/a/1.png"]),
        ("path: images\ntrain: a\nval: a\n", ["a/1.png"]),
        ("path: /somewhere/else\ntrain: images/a\nval: images/b\n", ["images/a/1.png", "images/b/1.png"]),
        ("train: ../images/a\nval: ../images/b\ntest: null\n", ["images/a/1.png", "images/b/1.png"]),
        ("validation: images\n", ["images/a/1.png", "images/b/1.png"]),
    ],
)
def test_splits_are_found_as_trainers_find_them(tmp_path: Path, yaml: str, expected: list[str]) -> None:
    photos(tmp_path, "images/a/1.png", "images/b/1.png")
    (tmp_path / "list.txt").write_text(f"./images/b/1.png\n{tmp_path}/images/a/1.png\n\n")
    (tmp_path / "data.yaml").write_text(yaml + "names: [box]\n")
    found = found_in("yolo", tmp_path / "data.yaml")
    assert [one.name for one in found] == expected
    assert all(isinstance(one, Entry) and len(one.objects(SIZE)) == 1 for one in found)


def test_folder_without_data_yaml_reads_classes_txt_and_labels_beside(tmp_path: Path) -> None:
    photos(tmp_path, "1.png", "sub/2.png")
    made.photo(tmp_path / "3.png", seed=9)
    (tmp_path / "classes.txt").write_text("box\ndisc\n\n")
    found = found_in("yolo", tmp_path)
    assert [(type(one), one.name) for one in found] == [(Entry, "1.png"), (Unlabelled, "3.png"), (Entry, "sub/2.png")]


def test_photos_elsewhere_are_given_by_hand(tmp_path: Path) -> None:
    photos(tmp_path / "set", "images/1.png")
    (tmp_path / "set/images").rename(tmp_path / "photos")
    (tmp_path / "set/classes.txt").write_text("box\n")
    (entry,) = found_in("yolo", tmp_path / "set", tmp_path / "photos")
    assert len(entry.objects(SIZE)) == 1


@pytest.mark.parametrize("yaml", ["train: /etc\n", "train: ../..\n", "train: link\n"])
def test_data_yaml_cannot_lead_out_of_its_folder(tmp_path: Path, yaml: str) -> None:
    root = tmp_path / "set"
    photos(root, "images/1.png")
    (root / "link").symlink_to(tmp_path)
    (root / "data.yaml").write_text(yaml + "names: [box]\n")
    with pytest.raises(PathRefused, match="leads out of"):
        found_in("yolo", root)
    (root / "data.yaml").write_text("path: /etc\ntrain: passwd\nnames: [box]\n")
    with pytest.raises(InputError, match=r"path: /etc is not in the folder of data\.yaml: add --images /etc"):
        found_in("yolo", root)


def test_list_of_images_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    photos(root, "images/1.png")
    (tmp_path / "secret.png").write_bytes(b"")
    (root / "list.txt").write_text("../secret.png\nimages/1.png\n" + str(tmp_path / "secret.png"))
    (root / "data.yaml").write_text("train: list.txt\nnames: [box]\n")
    assert [type(one) for one in found_in("yolo", root)] == [Refused, Entry, Refused]


def test_label_file_cannot_be_a_link_out_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    photos(root, "images/1.png")
    (tmp_path / "elsewhere.txt").write_text("")
    (root / "labels/1.txt").unlink()
    (root / "labels/1.txt").symlink_to(tmp_path / "elsewhere.txt")
    (root / "classes.txt").write_text("box\n")
    (entry,) = found_in("yolo", root)
    with pytest.raises(InputError, match="leads out"):
        entry.objects(SIZE)


# Paths


def test_names_stay_in_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    (root / "sub/1.png").write_bytes(b"")
    (root / "inner.png").symlink_to(root / "sub/1.png")
    (root / "outer.png").symlink_to("/etc/passwd")
    (root / "loop").symlink_to(root)
    assert find_picture([root], "sub/1.png") == root / "sub/1.png"
    assert find_picture([root], "sub/../sub/1.png") == root / "sub/1.png"
    assert find_picture([root], str(root / "sub/1.png")) == root / "sub/1.png"
    assert find_picture([root], "inner.png") == root / "inner.png"
    assert find_picture([root], "loop/sub/1.png") == root / "loop/sub/1.png"
    for name in ("", ".", "..", "../photos2", "/etc/passwd", "sub/../../x", "outer.png", "a\0b", "\ud800"):
        with pytest.raises(PathRefused):
            inside(root, name)
    with pytest.raises(InputError, match="missing"):
        find_picture([root], "n" * 300)


@given(st.text())
def test_no_name_leads_out(name: str) -> None:
    root = Path("/srv/photos")
    try:
        path = inside(root, name)
    except PathRefused:
        return
    assert path.is_relative_to(root)
    assert path != root


@pytest.mark.parametrize("form", ["coco", "voc", "labelstudio"])
def test_folder_of_photos_cannot_be_a_link_out_of_the_dataset(form: str, tmp_path: Path) -> None:
    made.photo(tmp_path / "private/1.png", size_wh=SIZE)
    root = tmp_path / "set"
    root.mkdir()
    (root / "images").symlink_to(tmp_path / "private")
    (root / "1.xml").write_text("<annotation><filename>1.png</filename></annotation>")
    coco = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [], "categories": []}
    task = {"id": 1, "data": {"image": "1.png"}, "annotations": [{"result": []}]}
    (root / "labels.json").write_text(json.dumps(coco if form == "coco" else [task]))
    found = [one for one in open_dataset(form, root, None).entries() if isinstance(one, Entry)]
    assert len(found) == 1
    with pytest.raises(InputError, match="missing"):
        found[0].picture()
    (given,) = open_dataset(form, root, root / "images").entries()
    assert isinstance(given, Entry)
    assert given.picture() == tmp_path / "private/1.png"


# All of them


@pytest.mark.parametrize("form", sorted(SOURCES))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    raw=st.binary(max_size=200), head=st.sampled_from([b"", b"[", b'{"images": [', b"<annotation>", b"names: [a]\n"])
)
def test_rubbish_gives_input_errors_only(form: str, raw: bytes, head: bytes) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        made.photo(root / "images/1.png", size_wh=SIZE)
        (root / "labels").mkdir()
        for name in ("labels/1.txt", "annotations.json", "tasks.json", "1.xml", "data.yaml", "classes.txt"):
            (root / name).write_bytes(head + raw)
        for path in (root, root / "annotations.json", root / "data.yaml"):
            consume(form, path)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    made.photo(tmp_path / "images/x.png", size_wh=SIZE)
    made.photo(tmp_path / "images/y 1.png", size_wh=SIZE, seed=1)
    return tmp_path


def test_label_studio_photos_are_found_under_their_uploaded_and_local_names(tasks: Path) -> None:
    addresses = [
        "/data/upload/3/0a1b2c3d-x.png", "/data/local-files/?d=out/images/y%201.png", "http://host/a/x.png",
        "/data/local-files/?d=../../etc/passwd",
    ]  # fmt: skip
    document = [{"id": i, "data": {"image": url}, "annotations": [{"result": []}]} for i, url in enumerate(addresses)]
    document += [{"id": 9, "data": {"image": "x.png"}, "annotations": []}]
    (tasks / "export.json").write_text(json.dumps(document))
    dataset: Dataset = open_dataset("labelstudio", tasks, None)
    *found, nobody = dataset.entries()
    assert isinstance(nobody, Unlabelled)
    assert [one.picture().name for one in found[:3] if isinstance(one, Entry)] == ["x.png", "y 1.png", "x.png"]
    assert isinstance(found[3], Entry)
    with pytest.raises(PathRefused):
        found[3].picture()


def test_relative_folder_finds_each_label_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """data.yaml names its folder absolutely, the command line relatively: both are the same place."""
    folder = tmp_path / "set"
    for split in ("train", "valid"):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        Image.new("RGB", (8, 8)).save(folder / split / "images" / f"{split}.png")
        (folder / split / "labels" / f"{split}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text(
        f"path: {folder}\ntrain: train/images\nval: valid/images\nnames: [a]\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    for form in ("yolo", "autodistill"):
        found = list(open_dataset(form, Path("set"), None).entries())
        assert [type(one) for one in found] == [Entry, Entry], (form, found)


def test_autodistill_labels_go_with_photos_that_lie_elsewhere(tmp_path: Path) -> None:
    folder, photos = tmp_path / "set", tmp_path / "photos"
    photos.mkdir()
    for split in ("train", "valid"):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        Image.new("RGB", (8, 8)).save(photos / f"{split}.png")
        (folder / split / "labels" / f"{split}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("names: [a]\n", encoding="utf-8")
    found = list(open_dataset("autodistill", folder, photos).entries())
    assert sorted(one.name for one in found if isinstance(one, Entry)) == ["train.png", "valid.png"]
    assert len(found) == 2

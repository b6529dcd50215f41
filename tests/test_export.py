"""Exports read back by those they are written for: pycocotools and the loader of ultralytics."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from labeling.core import masks
from labeling.core.errors import InputError
from labeling.core.store import Labels, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.formats.export import export_labels
from labeling.formats.written import Written
from labeling.image_copies import normalised_copy
from tests import made_stores as made
from tests.made_stores import Thing

CLASSES = ["größe", "box", "北京 barrel", "yes"]
COPY = partial(normalised_copy, max_pixels=10**8)

SHELF = (
    Thing("box", (10.25, 20.5, 60.0, 80.75), 0.9),
    Thing("北京 barrel", (70.0, 10.0, 150.0, 110.0), 0.31, masked=True),
)
FLOOR = (Thing("größe", (0.0, 0.0, 40.0, 30.0), 0.5, masked=True),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Six images: same stem or name twice, unicode, empty, turned by EXIF, same bytes twice; and one refused file."""
    photos = tmp_path / "photos"
    turned = photos / "turned.jpg"
    Image.new("RGB", (120, 160), "white").save(turned.parent.mkdir() or turned, exif=_orientation(6))
    shutil.copy(made.photo(photos / "twice.png", FLOOR, seed=5), photos / "zz again.png")
    with Store.open(tmp_path / "labels.db", create=True) as store:
        made.write(
            store,
            CLASSES,
            [
                made.outcome([made.photo(photos / "a/1.png", SHELF, seed=1)], SHELF),
                made.outcome([made.photo(photos / "b/1.png", (), seed=2)], ()),
                made.outcome([made.photo(photos / "b/1.bmp", FLOOR, seed=3)], FLOOR),
                made.outcome([made.photo(photos / "foto größe 北京.png", FLOOR, seed=4)], FLOOR),
                made.outcome([photos / "twice.png", photos / "zz again.png"], FLOOR),
                made.outcome([turned], SHELF),
                made.refused(photos / "bad.jpg", "unreadable"),
            ],
        )
        yield store


def export_to(to: str, store: Store, out: Path, labels: Labels, *, force: bool) -> Written:
    return export_labels(store, made.ontology(CLASSES), to, out, labels, COPY, force=force)


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[274] = value
    return exif.tobytes()


def read_coco(out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / "annotations.json"))


def test_coco_file_comes_back_exactly(store: Store, tmp_path: Path) -> None:
    done = export_to("coco", store, tmp_path / "out", "best", force=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["annotations.json"]
    assert (done.images, done.empty, done.objects.total()) == (6, 1, 7)
    read = read_coco(tmp_path / "out")
    assert [(c["id"], c["name"]) for c in read.loadCats(read.getCatIds())] == list(enumerate(CLASSES, start=1))
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in read.imgs.values()}
    shas = {image["file_name"]: image["sha256"] for image in read.imgs.values()}
    second = next(image for image in store.iter_images() if image.paths[0].endswith("b/1.png")).sha256 or ""
    names = {"1.png", f"1-{second[:8]}.png", "1.bmp", "foto größe 北京.png", "twice.png", "turned.jpg"}
    assert sizes == dict.fromkeys(names, (160, 120))
    found = {image["file_name"]: read.loadAnns(read.getAnnIds(imgIds=[image["id"]])) for image in read.imgs.values()}
    for name, things in {"1.png": SHELF, "1.bmp": FLOOR, "turned.jpg": SHELF, f"1-{second[:8]}.png": ()}.items():
        assert len(found[name]) == len(things)
        for entry, thing in zip(found[name], things, strict=True):
            x, y, width, height = entry["bbox"]
            assert (x, y, x + width, y + height) == thing.box
            assert (CLASSES[entry["category_id"] - 1], entry["score"]) == (thing.class_name, thing.score)
            assert (entry["source"], entry["prompt"], entry["model"]) == ("teacher", f"a {thing.class_name}", "drawn/1")
            assert ("segmentation" in entry) == thing.masked
            if thing.masked:
                drawn = made.ellipse(thing.box, (160, 120))
                back = read.annToMask(entry).astype(bool)
                assert (drawn & back).sum() / (drawn | back).sum() >= 0.99
                assert entry["area"] == drawn.sum()
    assert shas["1.png"] == next(i.sha256 for i in store.iter_images() if i.paths[0].endswith("a/1.png"))


def test_labels_of_people_replace_the_machine_s_and_have_no_score(store: Store, tmp_path: Path) -> None:
    shas = {Path(image.paths[0]).name: image.sha256 or "" for image in store.iter_images("machine")}
    store.set_reviewed(shas["turned.jpg"], [made.human(shas["turned.jpg"], "yes", (1, 2, 30, 40))], "reviewed")
    store.set_reviewed(shas["twice.png"], [], "reviewed-empty")
    store.set_reviewed(shas["1.bmp"], [], "skipped")
    counts = {}
    for labels in ("best", "human", "machine"):
        done = export_to("coco", store, tmp_path / labels, labels, force=False)
        counts[labels] = (done.images, done.empty, done.objects["yes"], done.objects.total())
    assert counts == {"best": (5, 2, 1, 4), "human": (2, 1, 1, 1), "machine": (6, 1, 0, 7)}
    (entry,) = read_coco(tmp_path / "human").anns.values()
    assert "score" not in entry
    assert entry["source"] == "human"


def test_what_people_decided_to_drop_is_left_out(store: Store, tmp_path: Path) -> None:
    shas = {Path(image.paths[0]).name: image.sha256 or "" for image in store.iter_images("machine")}
    box = store.annotations_of(shas["turned.jpg"])[0]
    ledger = DecisionLedger(store)
    ledger.change([Decided(shas["twice.png"], "drop"), Decided(shas["turned.jpg"], "drop", "no box", box.id)])
    done = export_to("coco", store, tmp_path / "out", "best", force=False)
    assert (done.images, done.objects["box"], done.objects.total()) == (5, 1, 5)
    assert ledger.dropped_labels() == {box.id}
    ledger.change([Decided(image.sha256 or "", "drop") for image in store.iter_images("machine")])
    assert ledger.dropped_labels() == frozenset()
    with pytest.raises(InputError, match="decided to drop"):
        export_to("coco", store, tmp_path / "none", "best", force=False)


def test_project_without_such_labels_is_one_clear_line(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind 'human': nobody has reviewed"):
        export_to("coco", store, tmp_path / "out", "human", force=False)
    assert not (tmp_path / "out").exists()


def test_yolo_folder_has_every_image_once_and_an_empty_file_for_an_empty_image(store: Store, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*") if path.is_file()}
    out = tmp_path / "out"
    done = export_to("yolo", store, out, "best", force=False)
    assert (done.images, done.empty, done.objects.total(), done.missing) == (6, 1, 7, [])
    images = sorted(path.stem for path in (out / "images").iterdir())
    assert images == sorted(path.stem for path in (out / "labels").iterdir())
    assert len(set(images)) == 6
    assert {"turned", "twice", "foto größe 北京", "1"} <= set(images)
    assert sum(path.read_text() == "" for path in (out / "labels").iterdir()) == 1
    read = yaml.safe_load((out / "data.yaml").read_text())
    assert read["names"] == dict(enumerate(CLASSES))
    assert Path(read["path"]) == out
    with Image.open(out / "images/turned.jpg") as turned:
        assert turned.size == (160, 120)
        assert 274 not in turned.getexif()
    assert before == {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*") if path.is_file()}


def test_photo_that_is_gone_or_changed_is_left_out_and_named(store: Store, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "turned.jpg").unlink()
    (photos / "twice.png").unlink()  # its copy still holds the same bytes
    made.photo(photos / "b/1.bmp", (), seed=99)
    done = export_to("yolo", store, tmp_path / "out", "best", force=False)
    assert done.images == 4
    assert [(Path(path).name, reason.split(":")[0]) for path, reason in done.missing] == [
        ("1.bmp", "changed"),
        ("turned.jpg", "missing"),
    ]
    assert (tmp_path / "out/images/twice.png").exists()


def test_yolo_segments_follow_the_masks_and_count_what_they_cannot_hold(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export_to("yolo-seg", store, out, "best", force=False)
    assert +done.losses == {"rectangles": 2, "scores": 7, "copies": 2}
    lines = (out / "labels/turned.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    rectangle = np.array(lines[0].split()[1:], dtype=float).reshape(-1, 2) * (160, 120)
    assert rectangle.min(axis=0) == pytest.approx([10.25, 20.5], abs=1e-3)
    assert rectangle.max(axis=0) == pytest.approx([60, 80.75], abs=1e-3)
    polygon = np.array(lines[1].split()[1:], dtype=float).reshape(-1, 2) * (160, 120)
    drawn = masks.encode(made.ellipse(SHELF[1].box, (160, 120)))
    assert masks.iou(masks.polygons_to_rle([polygon], (120, 160)), drawn) >= 0.98


def test_force_replaces_an_earlier_dataset_whole(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_to("yolo", store, out, "best", force=False)
    with pytest.raises(InputError, match="not empty"):
        export_to("yolo", store, out, "best", force=False)
    (out / "images/theirs.txt").write_text("keep")
    shas = {Path(image.paths[0]).name: image.sha256 or "" for image in store.iter_images("machine")}
    store.set_reviewed(shas["turned.jpg"], [], "skipped")
    export_to("yolo", store, out, "best", force=True)
    assert len(list((out / "labels").iterdir())) == 5
    assert (out / "images/theirs.txt").read_text() == "keep"
    assert not (out / "images/turned.jpg").exists()


@pytest.mark.torch
@pytest.mark.parametrize("segments", [False, True])
def test_loader_of_ultralytics_finds_every_image_class_and_box(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: bool
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    out = tmp_path / "a folder/with größe"
    export_to("yolo-seg" if segments else "yolo", store, out, "best", force=False)
    data = check_det_dataset(str(out / "data.yaml"), autodownload=False)
    assert data["names"] == dict(enumerate(CLASSES))
    dataset = YOLODataset(data["train"], data=data, task="segment" if segments else "detect", augment=False)
    scan = np.load(out / "labels.cache", allow_pickle=True).item()["results"]
    assert tuple(scan) == (6, 0, 1, 0, 6)  # found, missing, empty, corrupt, total
    assert len(dataset.labels) == 6
    by_stem = {Path(label["im_file"]).stem: label for label in dataset.labels}
    for stem, things in {"1": SHELF, "turned": SHELF, "twice": FLOOR, "foto größe 北京": FLOOR}.items():
        if stem == "1":
            stem = next(name for name, label in by_stem.items() if name.startswith("1") and len(label["cls"]) == 2)
        label = by_stem[stem]
        assert [CLASSES[int(i)] for i in label["cls"][:, 0]] == [thing.class_name for thing in things]
        assert label["shape"] == (120, 160)
        centres, sizes = label["bboxes"][:, :2] * (160, 120), label["bboxes"][:, 2:] * (160, 120)
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
        assert np.abs(boxes - np.array([thing.box for thing in things])).max() <= (1.0 if segments else 0.5)

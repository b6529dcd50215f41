"""What we write, loaded by those it is written for; what they load, loaded by us: the same boxes either way."""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from pycocotools.coco import COCO

from labeling.core.store import Store
from labeling.formats.datasets import Entry
from labeling.formats.export import export_labels
from labeling.formats.sources import open_dataset
from labeling.image_copies import normalised_copy
from tests import made_stores as made
from tests.made_stores import Thing

CLASSES = ["größe", "box", "yes"]
SIZE = (160, 120)
COPY = partial(normalised_copy, max_pixels=10**8)
THINGS = {
    "a/1.png": (
        Thing("box", (10.25, 20.5, 60.0, 80.75), 0.9),
        Thing("yes", (70.0, 10.0, 150.0, 110.0), 0.3, masked=True),
    ),
    "b/1.png": (Thing("größe", (0.0, 0.0, 40.0, 30.0), 0.5, masked=True),),
    "empty.png": (),
    "größe 北京.png": (Thing("yes", (5.0, 6.0, 100.0, 119.5), 0.5, masked=True),),
    "more.png": (Thing("box", (5.0, 6.0, 30.0, 40.5), 0.5, masked=True),),
}

Boxes = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One export of every format, of the same labels of people."""
    root = tmp_path_factory.mktemp("exported")
    with Store.open(root / "labels.db", create=True) as store:
        outcomes = [
            made.outcome([made.photo(root / "photos" / name, things, seed=i)], things)
            for i, (name, things) in enumerate(THINGS.items())
        ]
        made.write(store, CLASSES, outcomes)
        for form in ("coco", "yolo", "yolo-seg", "yolo-obb", "voc", "labelstudio", "autodistill"):
            export_labels(store, made.ontology(CLASSES), form, root / form, "best", COPY, force=False)
    return root


def ours(form: str, path: Path, images: Path | None = None) -> dict[str, list[tuple[str, Boxes]]]:
    """Return (class, box) of every object, by the sorted boxes of its image, as we read them."""
    found = {}
    for entry in open_dataset(form, path, images).entries():
        assert isinstance(entry, Entry)
        found[entry.picture().stem] = [(item.class_name, np.array(item.box_xyxy)) for item in entry.objects(SIZE)]
    assert len(found) == len(THINGS)
    return found


def same(one: dict[str, list[tuple[str, Boxes]]], other: dict[str, list[tuple[str, Boxes]]], within: float) -> None:
    assert one.keys() == other.keys()
    for stem, things in one.items():
        rows, others = (sorted(each, key=lambda row: row[1].tolist()) for each in (things, other[stem]))
        assert [name for name, _ in rows] == [name for name, _ in others], stem
        for (_, box), (_, around) in zip(rows, others, strict=True):
            assert np.abs(box - around).max() <= within, stem


@pytest.mark.torch
@pytest.mark.parametrize("form", ["yolo", "yolo-seg", "yolo-obb", "autodistill"])
def test_ultralytics_reads_the_same_as_we_do(exported: Path, form: str) -> None:
    from ultralytics.data.utils import img2label_paths, verify_image_label

    names = yaml.safe_load((exported / form / "data.yaml").read_text())["names"]
    theirs = {}
    for picture in sorted((exported / form).rglob("*.png")):
        label = img2label_paths([str(picture)])[0]
        loaded = verify_image_label((str(picture), label, "", False, len(CLASSES), 0, 0, False))
        _, rows, shape, segments, _, missing, found, empty, corrupt, said = loaded
        assert (shape, missing, corrupt, said) == ((120, 160), 0, 0, "")
        assert found == 1
        assert empty == (len(rows) == 0)
        boxes = [(names[int(row[0])], corners_of(row[1:])) for row in rows.tolist()]
        if form == "yolo-obb":
            assert all(len(segment) == 4 for segment in segments)
        theirs[picture.stem] = boxes
    same(ours(form, exported / form), theirs, 0.01)


@pytest.mark.torch
@pytest.mark.parametrize("form", ["yolo", "yolo-seg", "yolo-obb"])
def test_supervision_reads_the_same_yolo(exported: Path, form: str) -> None:
    import supervision as sv

    root = exported / form
    dataset = sv.DetectionDataset.from_yolo(
        str(root / "images"), str(root / "labels"), str(root / "data.yaml"), is_obb=form == "yolo-obb"
    )
    assert dataset.classes == CLASSES
    same(ours(form, root), of_supervision(dataset), 0.02)


@pytest.mark.torch
def test_supervision_reads_both_parts_of_the_autodistill_folder(exported: Path) -> None:
    import supervision as sv

    root = exported / "autodistill"
    theirs = {}
    for part in ("train", "valid"):
        folder = root / part
        dataset = sv.DetectionDataset.from_yolo(str(folder / "images"), str(folder / "labels"), str(root / "data.yaml"))
        assert len(dataset) >= 1
        theirs |= of_supervision(dataset)
    same(ours("autodistill", root), theirs, 0.02)


@pytest.mark.torch
def test_supervision_reads_the_same_voc(exported: Path) -> None:
    import supervision as sv

    root = exported / "voc"
    dataset = sv.DetectionDataset.from_pascal_voc(str(root / "JPEGImages"), str(root / "Annotations"))
    assert sorted(dataset.classes) == sorted(CLASSES)
    same(ours("voc", root), of_supervision(dataset), 0.01)


@pytest.mark.torch
def test_supervision_and_pycocotools_read_the_same_coco(exported: Path) -> None:
    import supervision as sv

    path = exported / "coco/annotations.json"
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(path))
    theirs = {}
    for image in read.imgs.values():
        entries = read.loadAnns(read.getAnnIds(imgIds=[image["id"]]))
        theirs[Path(image["file_name"]).stem] = [
            (read.cats[entry["category_id"]]["name"], np.add(entry["bbox"], [0, 0, *entry["bbox"][:2]]))
            for entry in entries
        ]
    found = {
        Path(entry.name).stem: [(item.class_name, np.array(item.box_xyxy)) for item in entry.objects(SIZE)]
        for entry in open_dataset("coco", path, exported / "photos").entries()
        if isinstance(entry, Entry)
    }
    same(found, theirs, 1e-9)
    # Supervision wants the pictures beside each other; only the names matter here.
    dataset = sv.DetectionDataset.from_coco(str(exported / "yolo/images"), str(path))
    assert dataset.classes == CLASSES
    same(found, of_supervision(dataset), 0.01)


@pytest.mark.torch
@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_we_read_what_supervision_writes(exported: Path, form: str, tmp_path: Path) -> None:
    import supervision as sv

    source = exported / "yolo"
    dataset = sv.DetectionDataset.from_yolo(str(source / "images"), str(source / "labels"), str(source / "data.yaml"))
    images = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "yolo":
            dataset.as_yolo(str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml"))
            (tmp_path / "data.yaml").write_text((tmp_path / "data.yaml").read_text() + "train: images\n")
        elif form == "voc":
            dataset.as_pascal_voc(str(tmp_path / "JPEGImages"), str(tmp_path / "Annotations"))
        else:
            dataset.as_coco(str(tmp_path / "images"), str(tmp_path / "x.json"))
            images = tmp_path / "images"
    same(ours(form, tmp_path, images), of_supervision(dataset), 1.0 if form == "voc" else 0.02)


def corners_of(cxcywhn: list[float]) -> Boxes:
    cx, cy, w, h = np.array(cxcywhn) * (*SIZE, *SIZE)
    return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def of_supervision(dataset: object) -> dict[str, list[tuple[str, Boxes]]]:
    found = {}
    for path, _, detections in dataset:  # type: ignore[attr-defined]
        classes = dataset.classes  # type: ignore[attr-defined]
        boxes = np.asarray(detections.xyxy, dtype=np.float64)
        found[Path(path).stem] = [
            (classes[i], box) for i, box in zip(detections.class_id if len(boxes) else [], boxes, strict=True)
        ]
    return found

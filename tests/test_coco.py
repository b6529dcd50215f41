"""The COCO codec against hand-computed entries and pycocotools as the reader."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO

from labeling.core import masks
from labeling.core.records import Provenance, Rle
from labeling.formats import coco
from labeling.formats.items import Item, LabelledImage

SIZE_WH = (64, 48)
HEAD = {"info": {"description": "drawn"}, "licenses": [], "categories": coco.categories([("größe", 1), ("disc", 2)])}


def rectangle() -> npt.NDArray[np.bool_]:
    mask = np.zeros((48, 64), dtype=bool)
    mask[7:27, 5:15] = True
    return mask


def frame() -> npt.NDArray[np.bool_]:
    mask = rectangle()
    mask[11:23, 8:12] = False
    return mask


def two_parts() -> npt.NDArray[np.bool_]:
    mask = rectangle()
    mask[30:40, 40:60] = True
    return mask


Box = tuple[float, float, float, float]


def labelled(box: Box, rle: Rle | None = None, score: float | None = 0.75, crowd: bool = False) -> Item:
    human = score is None
    made = Provenance("human") if human else Provenance("teacher", model="m@1", prompt="a disc", score=score)
    return Item("disc", box, rle, crowd=crowd, score=score, made=made)


def read_back(entries: list[dict[str, object]], folder: Path) -> COCO:
    path = folder / "annotations.json"
    images = [coco.image_entry(i, f"北京 {i}.jpg", LabelledImage("", SIZE_WH, (), "a" * 64)) for i in (1, 2)]
    path.write_text(
        "".join(coco.document(HEAD, map(coco.as_json, images), map(coco.as_json, entries))), encoding="utf-8"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_categories_count_from_one_in_the_order_of_the_ontology() -> None:
    assert [(c["id"], c["name"]) for c in HEAD["categories"]] == [(1, "größe"), (2, "disc")]  # type: ignore[index]


def test_machine_box_is_written_exactly_with_who_made_it() -> None:
    assert coco.annotation_entry(labelled((5.25, 7.0, 15.5, 27.0)), 9, 3, 2) == {
        "id": 9, "image_id": 3, "category_id": 2, "bbox": [5.25, 7.0, 10.25, 20.0], "area": 205.0, "iscrowd": 0,
        "source": "teacher", "score": 0.75, "prompt": "a disc", "model": "m@1",
    }  # fmt: skip


def test_human_label_has_no_score() -> None:
    entry = coco.annotation_entry(labelled((0, 0, 4, 4), score=None), 1, 1, 1)
    assert entry["source"] == "human"
    assert entry.keys().isdisjoint({"score", "prompt", "model"})


def test_one_solid_part_becomes_a_polygon_and_everything_else_run_lengths() -> None:
    assert isinstance(coco.segmentation(masks.encode(rectangle())), list)
    for mask in (frame(), two_parts()):
        rle = masks.encode(mask)
        assert coco.segmentation(rle) == {"size": [48, 64], "counts": rle["counts"]}


def test_pycocotools_reads_back_boxes_masks_areas_and_empty_images(tmp_path: Path) -> None:
    drawn = [rectangle(), frame(), two_parts()]
    boxes = [(5.0, 7.0, 15.0, 27.0), (5.0, 7.0, 15.0, 27.0), (5.0, 7.0, 60.0, 40.0)]
    entries = [
        coco.annotation_entry(labelled(box, masks.encode(mask)), i, 1, 2)
        for i, (mask, box) in enumerate(zip(drawn, boxes, strict=True), start=1)
    ]
    read = read_back(entries, tmp_path)
    assert [image["file_name"] for image in read.loadImgs([1, 2])] == ["北京 1.jpg", "北京 2.jpg"]
    assert read.getAnnIds(imgIds=[2]) == []
    assert len(read.anns) == 3
    for number, (mask, box) in enumerate(zip(drawn, boxes, strict=True), start=1):
        back = read.annToMask(read.anns[number]).astype(bool)
        assert (back & mask).sum() / (back | mask).sum() >= coco.POLYGON_IOU
        x, y, width, height = read.anns[number]["bbox"]
        assert (x, y, x + width, y + height) == box
        assert read.anns[number]["area"] == mask.sum()
        assert read.anns[number]["iscrowd"] == 0


def test_document_without_images_is_valid_json() -> None:
    empty = json.loads("".join(coco.document(HEAD, [], [])))
    assert empty == {**HEAD, "images": [], "annotations": []}

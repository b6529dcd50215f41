"""A real detector on real photos, through the command line, against the labels of people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from labeling.core import masks
from labeling.core.store import Store
from labeling.formats.export import export_labels
from labeling.image_copies import normalised_copy
from labeling.teachers.interfaces import RgbImage, Segmented
from tests import made_stores as made
from tests.paths import SHARED, load_script, shared


@pytest.fixture
def script() -> ModuleType:
    return load_script("measure_real_photos")


@pytest.mark.realdata
@pytest.mark.torch
def test_labels_of_real_photos_reach_the_floor_and_both_evaluators_agree(script: ModuleType, tmp_path: Path) -> None:
    shared("data/coco-photos/instances.json"), shared("weights/yolov8n-coco-fp16.safetensors")
    figures = script.measure(SHARED, tmp_path / "work", script.LOW_SCORE)
    assert figures["images"] == 156
    one, other = figures["pycocotools"], figures["faster-coco-eval"]
    assert one["AP50"] >= script.FLOOR_AP50
    assert one["AP50"] == pytest.approx(other["AP50"], abs=1e-3)
    assert one["AP50-95"] == pytest.approx(other["AP50-95"], abs=1e-3)


def test_boxes_get_the_ids_of_the_human_labels_by_file_and_class_name(script: ModuleType) -> None:
    truth = {
        "images": [{"id": 30, "file_name": "b.jpg"}, {"id": 9, "file_name": "a.jpg"}],
        "categories": [{"id": 44, "name": "cup"}, {"id": 1, "name": "person"}],
    }
    labels = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "person"}],
        "annotations": [{"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
    }
    assert script.results(truth, labels) == [{"image_id": 30, "category_id": 44, "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(SystemExit, match="1 file names"):
        script.results({**truth, "images": truth["images"][:1]}, labels)


class BoxFiller:
    """A segmenter that calls the whole box the object."""

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        answers = []
        for image, boxes in zip(images, boxes_xyxy, strict=True):
            rles = []
            for x0, y0, x1, y1 in boxes.astype(int):
                mask = np.zeros(image.shape[:2], dtype=bool)
                mask[y0:y1, x0:x1] = True
                rles.append(masks.encode(mask))
            answers.append(Segmented(tuple(rles), np.ones(len(rles), dtype=np.float32)))
        return answers


def test_masks_from_human_boxes_are_measured_by_size(tmp_path: Path) -> None:
    drawn = {
        "1.png": (made.Thing("disc", (20, 10, 140, 110), masked=True), made.Thing("disc", (0, 0, 20, 20), masked=True)),
        "2.png": (),
        "3.png": (made.Thing("disc", (30, 30, 90, 90), masked=True),),
    }
    with Store.open(tmp_path / "labels.db", create=True) as store:
        photos = [
            made.photo(tmp_path / "images" / name, things, seed=i) for i, (name, things) in enumerate(drawn.items())
        ]
        made.write(store, ["disc"], [made.outcome([path], drawn[path.name]) for path in photos])
        copy = partial(normalised_copy, max_pixels=10**8)
        export_labels(store, made.ontology(["disc"]), "coco", tmp_path / "coco", "best", copy, force=False)
    truth = (tmp_path / "coco/annotations.json").rename(tmp_path / "truth.json")
    figures = load_script("measure_box_prompts").measure(BoxFiller(), truth, batch=2)
    assert figures["photos"] == 3
    assert [figures[size]["n"] for size in ("all", "small", "medium", "large")] == [3, 1, 1, 1]
    # An ellipse fills pi / 4 of its box.
    assert figures["all"]["mean"] == pytest.approx(math.pi / 4, abs=0.02)
    assert figures["box_alone"]["mean"] == pytest.approx(figures["all"]["mean"], abs=0.001)
    assert figures["all"]["share_above_0.75"] == 1.0

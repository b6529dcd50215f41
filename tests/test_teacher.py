"""A teacher of exact parts: what reaches the segmenter, what comes out, and that nothing is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from labeling.core import masks
from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import Ontology, parse_classes
from labeling.teachers.backends import TeacherSpec
from labeling.teachers.filters import FilterSettings
from labeling.teachers.interfaces import Detected, RgbImage, Segmented
from labeling.teachers.teacher import Labelled, Teacher, build_teacher
from tests import tiny_models

pytestmark = pytest.mark.torch

ONTOLOGY = parse_classes("box: red box | crate, cone")


class ScriptedDetector:
    """Says the same of every image: (box, score, class id, prompt) rows."""

    def __init__(self, rows: Sequence[tuple[Sequence[float], float, int, str]], features: bool = True) -> None:
        self.rows = rows
        self.features = features
        self.floors: list[float] = []

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        import supervision as sv

        self.floors.append(floor)
        rows = [row for row in self.rows if row[1] >= floor]
        prompts = np.empty(len(rows), dtype=object)
        prompts[:] = [row[3] for row in rows]
        detections = sv.Detections(
            xyxy=np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4),
            confidence=np.array([row[1] for row in rows], dtype=np.float32),
            class_id=np.array([row[2] for row in rows], dtype=int),
            data={"prompt": prompts},
        )
        feature = np.ones(4, dtype=np.float16) if self.features else None
        return [Detected(detections, feature, Counter(not_finite=1)) for _ in images]


class BoxSegmenter:
    """Fills each box; a box narrower than 6 pixels gets no mask."""

    def __init__(self) -> None:
        self.boxes: list[list[list[float]]] = []

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        self.boxes += [boxes.tolist() for boxes in boxes_xyxy]
        return [self._one(image, boxes) for image, boxes in zip(images, boxes_xyxy, strict=True)]

    def _one(self, image: RgbImage, boxes: npt.NDArray[np.float32]) -> Segmented:
        rles = []
        for x0, y0, x1, y1 in boxes.astype(int):
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[y0:y1, x0:x1] = True
            rles.append(masks.encode(mask) if x1 - x0 >= 6 else None)
        return Segmented(tuple(rles), np.linspace(0.9, 0.5, len(boxes), dtype=np.float32), np.zeros(2, np.float16))


ROWS = [
    ((40, 40, 44, 60), 0.4, 1, "cone"),
    ((5, 7, 15, 27), 0.6, 0, "crate"),
    ((5, 7, 15, 27), 0.8, 0, "red box"),
    ((20, 7, 35, 27), 0.17, 1, "cone"),
    ((30, 40, 38, 60), 0.25, 0, "crate"),
    ((20, 30, 28, 38), 0.07, 1, "cone"),
]
IMAGE = np.zeros((64, 48, 3), dtype=np.uint8)


def test_boxes_are_filtered_before_they_are_segmented() -> None:
    detector, segmenter = ScriptedDetector(ROWS), BoxSegmenter()
    teacher = Teacher(detector, segmenter, ONTOLOGY, (0.3, 0.2), FilterSettings())
    (labelled, other) = teacher.label([IMAGE, IMAGE])
    assert detector.floors == [pytest.approx(0.16)]
    assert segmenter.boxes == [[[5, 7, 15, 27], [40, 40, 44, 60]]] * 2
    found = labelled.detections
    assert found.class_id.tolist() == [0, 1]
    assert found.data["prompt"].tolist() == ["red box", "cone"]
    assert found.data["flags"].tolist() == [(), ()]
    assert masks.decode(found.data["rle"][0]).sum() == 200
    assert found.data["rle"][1] is None
    assert found.data["mask_score"].tolist() == pytest.approx([0.9, 0.5])
    assert found.data["mask_score"].dtype == np.float32
    # A drop is what the detector would have been asked for anyway: at least the lowest score of all classes.
    assert labelled.drops == {("nms", "box"): 1, ("score", "box"): 1, ("not_finite", ""): 1}
    assert labelled.faint.class_id.tolist() == [0, 1]
    assert labelled.faint.xyxy.tolist() == [[30, 40, 38, 60], [20, 7, 35, 27]]
    assert labelled.faint.confidence.tolist() == pytest.approx([0.25, 0.17])
    assert labelled.image_feature is not None
    assert labelled.image_feature.tolist() == [1, 1, 1, 1]
    assert other.drops == labelled.drops


def test_labels_and_drops_are_the_same_with_faint_boxes_or_without() -> None:
    def labelled(share: float) -> Labelled:
        teacher = Teacher(ScriptedDetector(ROWS), None, ONTOLOGY, (0.3, 0.2), FilterSettings(faint_share=share))
        return teacher.label([IMAGE])[0]

    many, none = labelled(0.1), labelled(1.0)
    assert many.detections.xyxy.tolist() == none.detections.xyxy.tolist()
    assert many.drops == none.drops
    assert (len(many.faint), len(none.faint)) == (3, 0)


def test_without_a_segmenter_the_columns_are_there_and_empty() -> None:
    teacher = Teacher(ScriptedDetector(ROWS), None, ONTOLOGY, (0.3, 0.2), FilterSettings())
    (labelled,) = teacher.label([IMAGE])
    assert labelled.detections.data["rle"].tolist() == [None, None]
    assert np.isnan(labelled.detections.data["mask_score"]).all()


def test_no_boxes_are_a_result_too() -> None:
    teacher = Teacher(ScriptedDetector([], features=False), BoxSegmenter(), ONTOLOGY, (0.3, 0.2), FilterSettings())
    (labelled,) = teacher.label([IMAGE])
    assert len(labelled.detections) == 0
    assert set(labelled.detections.data) == {"prompt", "flags", "rle", "mask_score"}
    assert labelled.image_feature is not None
    assert labelled.image_feature.tolist() == [0, 0]  # the segmenter's, where the detector has none
    assert teacher.label([]) == []


def test_a_backend_that_breaks_its_promise_is_named() -> None:
    class Forgetful(ScriptedDetector):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            return super().detect(images[:-1], ontology, floor)

    with pytest.raises(BackendError, match="1 results for 2 images"):
        Teacher(Forgetful(ROWS), None, ONTOLOGY, (0.3, 0.2), FilterSettings()).label([IMAGE, IMAGE])
    with pytest.raises(InputError, match="expected 2 scores, one per class, got 1"):
        Teacher(ScriptedDetector(ROWS), None, ONTOLOGY, (0.3,), FilterSettings())


def test_a_teacher_is_built_from_a_spec_and_labels(tmp_path: Path) -> None:
    tiny_models.save_grounding_dino(tmp_path / "detector")
    tiny_models.save_sam2(tmp_path / "segmenter")
    spec = TeacherSpec(
        weights=str(tmp_path / "detector"), segmenter_weights=str(tmp_path / "segmenter"), score=0.2, device="cpu"
    )
    teacher = build_teacher(spec, ONTOLOGY, FilterSettings())
    assert teacher.model == "grounding-dino/detector + sam2/segmenter"
    images = [np.random.default_rng(seed).integers(0, 255, (50, 70, 3), dtype=np.uint8) for seed in range(2)]
    for labelled in teacher.label(images):
        found = labelled.detections
        assert len(found) > 0
        assert found.data["feature"].shape == (len(found), 64)
        assert all(rle is None or rle["size"] == [50, 70] for rle in found.data["rle"])
    with pytest.raises(InputError, match="vocabulary does not have the word"):
        build_teacher(spec, parse_classes("☂"), FilterSettings())

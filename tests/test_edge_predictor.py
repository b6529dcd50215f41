"""A model of the edge asked as a student: its preparation and decoding are those of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labeling.core import masks
from tests.made_onnx import NAMES, make_onnx, photo

pytest.importorskip("onnxruntime")
pytest.importorskip("distill.student")  # prepares ultralytics: it must not be imported before

pytestmark = pytest.mark.torch

SIZES = ((64, 64), (48, 120), (150, 70), (33, 200), (211, 97), (64, 65), (640, 480), (31, 17), (7, 90), (1, 1))


@pytest.mark.parametrize("floor", [0.001, 0.25])
@pytest.mark.parametrize(
    ("model", "margin"),
    [("yolov8n", 0), ("yolov8n", 8), ("yolov8n-seg", 0), ("yolov8n-seg", 8), ("yolo11n", 0), ("dfine-n", 0)],
)
def test_same_objects_as_the_student_at_home_on_photos_of_any_size(
    tmp_path: Path, model: str, margin: int, floor: float
) -> None:
    from distill.students import Predictor, kind_of, student
    from export.predictor import EdgePredictor
    from export.runtime import Model, OnnxSession

    path = make_onnx(tmp_path, model, margin=margin, dynamic=model != "dfine-n")
    edge: Predictor = EdgePredictor(Model(OnnxSession(path, threads=1)))
    home = student(kind_of(model)).load(tmp_path / "student.safetensors", "cpu")
    assert (edge.names, edge.imgsz) == (home.names, home.imgsz) == (NAMES, 64)
    photos = [photo(*size, seed) for seed, size in enumerate(SIZES * 2)]
    total = 0
    for ours, theirs in zip(edge.predict(photos, floor), home.predict(photos, floor), strict=True):
        assert ours.size_wh == theirs.size_wh
        assert len(ours) == len(theirs)
        # Objects of nearly the same score may change places.
        order, other = (np.lexsort((one.class_ids, *one.boxes_xyxy.round(1).T)) for one in (ours, theirs))
        # Where two classes score 1 to the last bit, either may be named.
        sure = theirs.scores[other] > 1 - 1e-6
        assert (sure | (ours.class_ids[order] == theirs.class_ids[other])).all()
        assert np.abs(ours.boxes_xyxy[order] - theirs.boxes_xyxy[other]).max(initial=0) < 1e-2
        assert np.abs(ours.scores[order] - theirs.scores[other]).max(initial=0) < 1e-3
        assert (ours.rles is None) == (theirs.rles is None) == (not model.endswith("-seg"))
        if ours.rles is not None and theirs.rles is not None:
            for row, place in zip(order.tolist(), other.tolist(), strict=True):
                one, two = ours.rles[row], theirs.rles[place]
                assert one is not None
                assert two is not None
                assert masks.area(one) == masks.area(two) == 0 or masks.iou(one, two) > 0.95
        total += len(ours)
    assert total > 20


def test_model_with_nms_in_the_graph_is_the_same_predictor(tmp_path: Path) -> None:
    from export.predictor import EdgePredictor
    from export.runtime import Model, OnnxSession

    plain, nms = (
        EdgePredictor(Model(OnnxSession(make_onnx(tmp_path / str(nms), dynamic=True, nms=nms), threads=1)))
        for nms in (False, True)
    )
    photos = [photo(*size, seed) for seed, size in enumerate(SIZES)]
    for one, two in zip(plain.predict(photos, 0.25), nms.predict(photos, 0.25), strict=True):
        assert one.class_ids.tolist() == two.class_ids.tolist()
        assert np.abs(one.boxes_xyxy - two.boxes_xyxy).max(initial=0) < 1e-2
        assert np.abs(one.scores - two.scores).max(initial=0) < 1e-4


def test_predictor_takes_a_student_through_speakers_and_latency(tmp_path: Path) -> None:
    from distill import speakers
    from distill.evaluate import measure_latency
    from export.predictor import EdgePredictor
    from export.runtime import Model, OnnxSession
    from labeling.images import LoadedImage

    edge = EdgePredictor(Model(OnnxSession(make_onnx(tmp_path), threads=1)))
    shas = [f"{number:064x}" for number in range(5)]
    said = speakers.student(
        edge, shas, lambda sha256: LoadedImage(sha256, photo(70, 90, int(sha256, 16)), "PNG"), ("other", *NAMES)
    )
    assert said.images == tuple(shas)
    assert {int(one) for found in said.objects for one in found.class_ids} <= {1, 2, 3}
    assert measure_latency(edge, [photo(70, 90)], repeats=2).n == 2

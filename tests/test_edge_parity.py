"""Parity: what torch says and what files say, and that a single wrong weight does not pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.agreement import compared
from export.raw_outputs import RawLimits, apart, beyond
from export.runtime import Card, Floats, Frame, Model, Objects
from labeling.core.errors import InputError
from tests.made_onnx import NAMES, coco_student, make_onnx, make_student, photo

if TYPE_CHECKING:
    from export.parity import Limits

THRESHOLDS = (0.5, 0.5, 0.5)
SIZES = ((64, 64), (48, 120), (150, 70), (33, 200), (211, 97), (64, 65))


def _objects(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Objects:
    return Objects(
        np.array([row[2] for row in rows], dtype=np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.float32),
        np.array([row[0] for row in rows], dtype=np.int64),
    )


class Said:
    """A session that says of the images what it was given, in turn, as D-FINE would."""

    def __init__(self, answers: Sequence[Objects], thresholds: Mapping[str, float] | None = None) -> None:
        self.card = Card(
            "dfine", "dfine-n", "detect", NAMES, (64, 64), False, "stretch", 32, "queries", "fp32",
            thresholds or dict.fromkeys(NAMES, 0.5), 0.7, 300, None, "Apache-2.0", "0" * 64, "d", "o",
        )  # fmt: skip
        self._answers = iter(answers)

    def run(self, tensor: Floats) -> list[Floats]:
        found = next(self._answers)
        scores = np.zeros((1, len(found.scores), len(NAMES)), dtype=np.float32)
        scores[0, np.arange(len(found.scores)), found.class_ids] = found.scores
        low, high = found.boxes_xyxy[:, :2], found.boxes_xyxy[:, 2:]
        return [scores, np.concatenate(((low + high) / 2, high - low), axis=1)[None] / 100]


def _frames(count: int) -> list[tuple[str, Frame]]:
    return [(f"{number}.png", np.full((100, 100, 3), 90, dtype=np.uint8)) for number in range(count)]


def test_figures_are_those_that_a_person_computes() -> None:
    pytest.importorskip("faster_coco_eval")
    from export.parity import compare

    # An IoU of 0.9 and a score 0.1 less; the same; a class that changed; two that one alone sees, one at its threshold.
    ours = [
        _objects((0, 0.9, (0, 0, 10, 10)), (1, 0.8, (20, 20, 40, 40)), (2, 0.7, (50, 50, 60, 60))),
        _objects((0, 0.505, (0, 0, 10, 10))),
        _objects(),
    ]
    theirs = [
        _objects((0, 0.8, (0, 0, 10, 9)), (1, 0.8, (20, 20, 40, 40)), (1, 0.7, (50, 50, 60, 60))),
        _objects(),
        _objects((0, 0.95, (70, 70, 90, 90))),
    ]
    parity = compare(Said(ours), Said(theirs), _frames(3))
    assert (parity.frames, parity.reference, parity.other, parity.all.matched) == (3, 4, 4, 2)
    assert parity.all.min_iou == pytest.approx(0.9, abs=1e-5)
    assert parity.all.median_iou == pytest.approx(0.95, abs=1e-5)
    assert parity.all.max_score == pytest.approx(0.1, abs=1e-6)
    assert parity.all.median_mask_iou is None
    assert parity.class_agreement == pytest.approx(2 / 3)
    assert [(one.frame, one.class_id, one.reference) for one in parity.alone] == [
        ("0.png", 2, True),
        ("0.png", 1, False),
        ("1.png", 0, True),
        ("2.png", 0, False),
    ]
    assert parity.classes["drum"].matched == 1
    assert (parity.classes["ladder"].matched, parity.classes["ladder"].min_iou, parity.classes["ladder"].alone) == (
        0,
        None,
        1,
    )
    assert parity.worst is not None
    assert parity.worst.name == "2.png"


def _objects_only() -> Limits:
    """The limits of FP32 without those of raw outputs."""
    from export.parity import FP32

    return dataclasses.replace(FP32, raw=RawLimits(True, 1e9, 1e9, 1e9))


def test_object_at_its_threshold_is_not_missed_but_one_above_it_is() -> None:
    from export.parity import compare

    seen = _objects((0, 0.9, (0, 0, 10, 10)))
    for score, faults in ((0.5009, 0), (0.503, 1)):
        ours = _objects((0, 0.9, (0, 0, 10, 10)), (1, score, (50, 50, 60, 60)))
        parity = compare(Said([ours]), Said([seen]), _frames(1))
        assert (parity.all.alone, len(parity.faults(_objects_only()))) == (1, faults)


def test_images_without_any_object_prove_nothing() -> None:
    from export.parity import FP32, compare

    assert "show nothing" in compare(Said([_objects()] * 4), Said([_objects()] * 4), _frames(4)).faults(FP32)[0]


def test_models_with_other_thresholds_are_not_compared() -> None:
    from export.parity import compare

    with pytest.raises(InputError, match="other classes or thresholds"):
        compare(Said([]), Said([], dict.fromkeys(NAMES, 0.3)), _frames(1))


def test_worst_image_shows_both(tmp_path: Path) -> None:
    from export.parity import compare, worst_picture

    ours, theirs = _objects((0, 0.9, (10, 10, 50, 50))), _objects((0, 0.9, (40, 40, 90, 90)))
    parity = compare(Said([ours]), Said([theirs]), _frames(1))
    worst_picture(parity, tmp_path / "worst.png")
    drawn = cv2.imread(str(tmp_path / "worst.png"))
    assert drawn.shape == (100, 100, 3)
    assert drawn[10, 20].tolist() != [90, 90, 90]
    assert drawn[89, 80].tolist() != [90, 90, 90]
    assert drawn[10, 20].tolist() != drawn[89, 80].tolist()
    assert drawn[5, 5].tolist() == [90, 90, 90]


def test_loss_of_precision_against_the_truth_is_a_fault() -> None:
    pytest.importorskip("faster_coco_eval")
    from distill.objects import Objects as Truth
    from export.parity import compare

    box = (10.0, 10.0, 50.0, 50.0)
    truth = {"0.png": Truth("a" * 64, (100, 100), np.array([box]), np.array([0]), np.ones(1))}
    # Below the threshold the other sees nothing: only AP, which looks from 0.001 on, can tell.
    sure = (1, 0.9, (60.0, 60.0, 90.0, 90.0))
    parity = compare(Said([_objects(sure, (0, 0.4, box))]), Said([_objects(sure)]), _frames(1), truth=truth)
    assert parity.ap == pytest.approx((1.0, 0.0))
    assert parity.faults(_objects_only()) == ["AP falls by 1.0000, expected at most 0.001 (worst image: 0.png)"]


_BOX = st.tuples(
    st.sampled_from((0, 1, 2)),
    st.floats(0.5, 1, width=32),
    st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_BOX, max_size=8), st.lists(_BOX, max_size=8))
def test_every_object_is_in_one_pair_or_alone_and_sides_may_change(
    ours: list[tuple[int, float, tuple[float, float, float, float]]],
    theirs: list[tuple[int, float, tuple[float, float, float, float]]],
) -> None:
    one, two = _objects(*ours), _objects(*theirs)
    there, back = compared("a", one, two, THRESHOLDS), compared("a", two, one, THRESHOLDS)
    assert len(there.alone) + 2 * len(there.pairs) == len(ours) + len(theirs)
    assert sum(pair.iou for pair in there.pairs) == pytest.approx(sum(pair.iou for pair in back.pairs))
    itself = compared("a", one, one, THRESHOLDS)
    assert not itself.alone
    assert all(pair.iou == pytest.approx(1) for pair in itself.pairs)


# What real files do.


def _photos(count: int = 12) -> list[tuple[str, Frame]]:
    return [(f"{seed}.png", photo(*SIZES[seed % len(SIZES)], seed)) for seed in range(count)]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("model", "dynamic", "nms"),
    [
        ("yolov8n", False, False),
        ("yolov8n", True, False),
        ("yolov8n", False, True),
        ("yolov8n", True, True),
        ("yolov8n-seg", False, False),
        ("yolov8n-seg", True, False),
        ("yolov8n-seg", True, True),
        ("yolo11n", True, False),
        ("dfine-n", False, False),
    ],
)
def test_file_says_what_torch_says_in_full_and_nearly_in_half_precision(
    tmp_path: Path, model: str, dynamic: bool, nms: bool
) -> None:
    pytest.importorskip("distill.student")
    pytest.importorskip("onnxruntime")
    from export.parity import FP16, FP32, compare
    from export.predictor import TorchSession
    from export.runtime import OnnxSession
    from export.to_onnx import to_half

    path = make_onnx(tmp_path, model, dynamic=dynamic, nms=nms)
    session = OnnxSession(path, threads=1)
    reference = TorchSession(tmp_path / "student.safetensors", session.card)
    parity = compare(reference, session, _photos())
    assert parity.faults(FP32) == []
    assert parity.all.matched >= 20
    assert len(parity.classes) == len(NAMES)
    assert (parity.all.median_mask_iou is not None) == model.endswith("-seg")
    to_half(path, tmp_path / "half.onnx")
    halved = compare(reference, OnnxSession(tmp_path / "half.onnx", threads=1), _photos())
    assert halved.faults(FP16) == []
    assert halved.faults(FP32) != []


@pytest.mark.torch
@pytest.mark.parametrize("model", ["yolov8n", "dfine-n"])
def test_one_wrong_weight_fails_and_the_right_ones_pass(tmp_path: Path, model: str) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("distill.student")
    from export.parity import FP32, compare
    from export.predictor import TorchSession
    from export.runtime import OnnxSession

    path = make_onnx(tmp_path, model)
    reference = TorchSession(tmp_path / "student.safetensors", OnnxSession(path).card)
    assert compare(reference, OnnxSession(path, threads=1), _photos()).faults(FP32) == []
    read = onnx.load(path)
    convolutions = [node.input[1] for node in read.graph.node if node.op_type == "Conv"]
    kernels = [one for name in convolutions for one in read.graph.initializer if one.name == name]
    for place in (0, len(kernels) // 3, len(kernels) // 2):
        changed = onnx.load(path)
        tensor = next(one for one in changed.graph.initializer if one.name == kernels[place].name)
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.flat[values.size // 2] += 5 * np.abs(values).max()
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(changed, tmp_path / "changed.onnx")
        faults = compare(reference, OnnxSession(tmp_path / "changed.onnx", threads=1), _photos()).faults(FP32)
        assert faults, f"weight of {tensor.name}"
        assert ".png" in faults[0]


def _changed(path: Path, name: str, how: Any) -> Path:
    """Write a model beside another in which one array was changed in place."""
    import onnx

    model = onnx.load(path)
    tensor = next(one for one in model.graph.initializer if one.name.endswith(name))  # NMS puts a prefix
    values = onnx.numpy_helper.to_array(tensor).copy()
    how(values)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path.with_name("changed.onnx"))
    return path.with_name("changed.onnx")


def _ten_times(values: Any) -> None:
    values.flat[values.size // 2] += 10 * np.abs(values).max()


def _zero(values: Any) -> None:
    values[...] = 0


def _not_a_number(values: Any) -> None:
    values.flat[0] = np.nan


@pytest.mark.torch
@pytest.mark.parametrize("nms", [False, True])
def test_a_weight_of_any_head_or_of_the_neck_is_noticed_though_hardly_an_object_is_seen(
    tmp_path: Path, nms: bool
) -> None:
    pytest.importorskip("distill.student")
    from export.parity import FP32, compare
    from export.predictor import TorchSession
    from export.runtime import OnnxSession

    # At this threshold nearly all objects come from the finest of the three heads, and they are few.
    path = make_onnx(tmp_path, nms=nms, thresholds=dict.fromkeys(NAMES, 0.6))
    session = OnnxSession(path, threads=1)
    reference = TorchSession(tmp_path / "student.safetensors", session.card)
    photos = _photos(6)
    intact = compare(reference, session, photos)
    assert intact.faults(FP32) == []
    assert intact.all.matched
    heads = [f"model.22.{head}.{level}" for head in ("cv2", "cv3") for level in (0, 1, 2)]
    layers = [*(f"{head}.0.conv" for head in heads), *(f"{head}.2" for head in heads), "model.21.cv2.conv"]
    for layer in (*layers, "model.18.m.0.cv1.conv", "model.15.cv1.conv", "model.12.cv2.conv", "model.8.cv1.conv"):
        for how in (_ten_times, _zero):
            changed = _changed(path, f"{layer}.weight", how)
            faults = compare(reference, OnnxSession(changed, threads=1), photos).faults(FP32)
            assert any(".png" in fault for fault in faults), f"{how.__name__} {layer}"
    changed = _changed(path, "model.22.cv2.2.2.weight", _not_a_number)
    assert compare(reference, OnnxSession(changed, threads=1), photos).faults(FP32)


@pytest.mark.torch
@pytest.mark.parametrize("layer", ["model.22.cv2.2.2", "model.22.cv3.2.2", "model.21.cv2.conv", "model.22.cv2.1.2"])
def test_a_dead_head_or_neck_is_no_matter_of_half_precision(tmp_path: Path, layer: str) -> None:
    pytest.importorskip("distill.student")
    from export.parity import FP16, compare
    from export.runtime import OnnxSession
    from export.to_onnx import to_half

    path = make_onnx(tmp_path, thresholds=dict.fromkeys(NAMES, 0.6))
    to_half(_changed(path, f"{layer}.weight", _zero), tmp_path / "half.onnx")
    whole = OnnxSession(path, threads=1)
    parity = compare(whole, OnnxSession(tmp_path / "half.onnx", threads=1), _photos(6))
    assert any(fault.startswith("raw ") for fault in parity.faults(FP16))


def test_raw_differences_are_those_that_a_person_computes_and_name_their_image() -> None:
    card = dataclasses.replace(Said([]).card, kind="ultralytics", layout="yolo", letterbox="square")
    model = Model(Said([]))
    model.card = card
    canvas = model.prepare(np.zeros((64, 64, 3), dtype=np.uint8))
    ours = np.full((1, 7, 84), 0.2, dtype=np.float32)
    theirs = ours.copy()
    theirs[0, 0, 3] += 4  # one coordinate of one box, by 4 pixels
    theirs[0, 5, 9] = 0.25  # one score, by a fifth of the larger
    limits = RawLimits(True, 0.1, 1, 1)
    found = apart("a.png", (model, model), ([ours], [theirs]), canvas)
    assert {one.part: one.largest for one in found} == {"score": pytest.approx(0.2), "box": pytest.approx(4)}
    assert [one.most for one in found] == [0, 0]
    assert all("a.png" in sentence for sentence in beyond(found, limits))
    assert len(list(beyond(found, limits))) == 2
    assert not list(beyond(found, dataclasses.replace(limits, everywhere=False)))
    theirs[0, 1, 2] = np.nan
    (lost,) = beyond(apart("b.png", (model, model), ([ours], [theirs]), canvas), RawLimits(False, 1, 9, 1))
    assert lost == "the raw box outputs of b.png are no numbers, or missing, at 1 places"
    ours[0, 1, 2] = np.nan
    assert not list(beyond(apart("c.png", (model, model), ([ours], [theirs]), canvas), RawLimits(False, 1, 9, 1)))


def test_classes_that_nobody_sees_are_named() -> None:
    from export.parity import compare

    seen = _objects((1, 0.9, (0, 0, 10, 10)))
    assert compare(Said([seen]), Said([seen]), _frames(1)).unseen == ("crate", "ladder")


@pytest.mark.torch
def test_another_student_is_no_reference(tmp_path: Path) -> None:
    pytest.importorskip("distill.student")
    from export.onnx_files import read_card
    from export.predictor import TorchSession

    card = read_card(make_onnx(tmp_path))
    with pytest.raises(InputError, match="is not the student that the ONNX file was made of"):
        TorchSession(make_student(tmp_path / "other", seed=1), card)
    fp16 = TorchSession(tmp_path / "student.safetensors", dataclasses.replace(card, precision="fp16"))
    assert fp16.card.precision == "fp32"


@pytest.mark.torch
@pytest.mark.realdata
@pytest.mark.slow
def test_published_weights_agree_at_640_pixels_in_every_form(tmp_path: Path) -> None:
    from export.parity import FP16, FP32, compare
    from export.predictor import TorchSession
    from export.runtime import OnnxSession
    from export.to_onnx import ExportSettings, to_half, to_onnx
    from tests.paths import shared

    weights = coco_student(tmp_path)
    files = sorted(shared("data").rglob("*.jpg"))
    files = files[:: max(1, len(files) // 10)][:10]
    frames = [(file.name, frame) for file in files if (frame := cv2.imread(str(file))) is not None]
    for dynamic, nms in ((False, False), (True, False), (False, True)):
        path = tmp_path / f"{dynamic}{nms}.onnx"
        to_onnx(weights, path, ExportSettings(dynamic=dynamic, nms=nms))
        session = OnnxSession(path)
        reference = TorchSession(weights, session.card)
        assert compare(reference, session, frames).faults(FP32) == []
        to_half(path, tmp_path / "half.onnx")
        assert compare(reference, OnnxSession(tmp_path / "half.onnx"), frames).faults(FP16) == []

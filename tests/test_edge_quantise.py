"""INT8: a graph that TensorRT takes, ranges in flat memory, and the layer that hurts goes back to float first."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.int8_gate import Verdict, gate
from export.onnx_files import check_onnx, read_card, save_onnx
from export.qdq import Method, calibrate, layers
from export.quantise import noise, quantise, search, sensitive, tensors
from export.runtime import Card, Floats, Frame, Model, OnnxSession
from labeling.core.errors import InputError
from tests.made_onnx import coco_student, make_onnx, photo
from tests.paths import load_script, shared

pytestmark = pytest.mark.torch

SIDE = 32


def frames(count: int = 4, start: int = 0) -> Iterator[Frame]:
    return (photo(60, 80, seed) for seed in range(start, start + count))


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of 64 x 64 pixels with random weights."""
    return make_onnx(tmp_path_factory.mktemp("yolo"))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Three convolutions. The second reads colours beside a channel a thousand times as large, which it hardly uses."""
    from onnx import TensorProto, helper, numpy_helper

    colours = np.vstack((np.eye(3), [[1000, 0, 0]]))
    boxes_and_score = np.array([[8, 0, 0, 0], [0, 8, 0, 0], [8, 0, 0, 0], [0, 0, 8, 0], [0, 1, 0, 1e-5]])
    weights = {"first": colours, "hurt": boxes_and_score, "last": np.eye(5)}
    nodes, before = [], "images"
    for name in weights:
        nodes.append(
            helper.make_node("Conv", [before, f"{name}.weight"], [f"{name}.out"], name=name, kernel_shape=[1, 1])
        )
        before = f"{name}.out"
    nodes.append(helper.make_node("Reshape", [before, "shape"], ["output0"], name="flat"))
    stored = [
        numpy_helper.from_array(value.astype(np.float32)[:, :, None, None], f"{name}.weight")
        for name, value in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, SIDE * SIDE])],
        [*stored, numpy_helper.from_array(np.array([1, 5, -1]), "shape")],
    )
    card = Card(
        "ultralytics", "planted", "detect", ("box",), (SIDE, SIDE), False, "square", 32, "yolo", "fp32", {"box": 0.25},
        0.7, 300, None, "none", "w", "d", "o",
    )  # fmt: skip
    path = tmp_path / "planted.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save_onnx(model, path, card)
    return path


def outputs(path: Path, frame: Frame) -> list[Floats]:
    model = Model(OnnxSession(path, threads=1))
    return model.session.run(model.prepare(frame).tensor)


def off(exact: Path, other: Path, seed: int = 50) -> float:
    """Return the noise of a model on a frame that it was not calibrated on."""
    frame = photo(60, 80, seed)
    return noise(outputs(exact, frame), outputs(other, frame), read_card(exact))


def verdict(error: float, limit: float) -> Verdict:
    faults = () if error <= limit else (f"{error} is more than {limit}",)
    return Verdict(1, 1.0, 1.0 - error, 1.0, 1.0 - error, error, (), limit, limit, 1, faults, 500)


def judge(exact: Path, limit: float) -> Callable[[Path], Verdict]:
    return lambda path: verdict(off(exact, path), limit)


def nodes_of(path: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the graph, the maker of each tensor, and the stored arrays."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    return graph, {name: node for node in graph.node for name in node.output}, stored


def test_the_graph_is_what_tensorrt_asks_for(yolo: Path, tmp_path: Path) -> None:
    int8 = tmp_path / "int8.onnx"
    card = quantise(yolo, int8, frames())

    check_onnx(int8)
    assert read_card(int8) == card
    assert card.precision == "int8"
    graph, makers, stored = nodes_of(int8)
    quantised = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantised) > 100
    for node in quantised:
        zero_points = stored[node.input[2]]
        assert zero_points.dtype == np.int8
        assert not zero_points.any()
    for node in (one for one in graph.node if one.op_type == "Conv" and one.name in layers(yolo)):
        data, weight = makers[node.input[0]], makers[node.input[1]]
        assert data.op_type == weight.op_type == "DequantizeLinear"
        assert stored[weight.input[0]].dtype == np.int8
        assert stored[weight.input[1]].shape == (stored[weight.input[0]].shape[0],)  # a scale per output channel
        assert stored[node.input[2]].dtype == np.float32  # the bias


def test_no_rounding_parts_a_convolution_from_its_activation(yolo: Path, tmp_path: Path) -> None:
    quantise(yolo, tmp_path / "int8.onnx", frames())
    graph, makers, _stored = nodes_of(tmp_path / "int8.onnx")

    rounded = [
        makers[node.input[0]].op_type
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in makers
    ]

    assert rounded
    assert "Conv" not in rounded


def test_what_makes_boxes_and_scores_stays_in_float(yolo: Path, tmp_path: Path) -> None:
    quantise(yolo, tmp_path / "int8.onnx", frames())
    graph, makers, _stored = nodes_of(tmp_path / "int8.onnx")

    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    (averaging,) = (node for node in graph.node if softmax.output[0] in node.input)
    assert averaging.op_type == "Conv"
    assert averaging.name not in layers(yolo)
    assert makers[averaging.input[0]].op_type == "Softmax"
    assert len(layers(yolo)) == Counter(node.op_type for node in graph.node)["Conv"] - 1
    assert makers[graph.output[0].name].op_type == "Concat"


@pytest.mark.parametrize("method", ["percentile", "minmax"])
def test_the_int8_model_says_nearly_what_the_float_model_says(yolo: Path, tmp_path: Path, method: Method) -> None:
    quantise(yolo, tmp_path / "int8.onnx", frames(8), method=method)

    assert 0 < off(yolo, tmp_path / "int8.onnx") < 0.1


def test_a_model_with_every_layer_kept_is_the_float_model(yolo: Path, tmp_path: Path) -> None:
    quantise(yolo, tmp_path / "int8.onnx", frames(), keep=layers(yolo))

    assert off(yolo, tmp_path / "int8.onnx") == 0


def test_a_kept_layer_sees_its_input_unrounded_although_another_reads_it_in_int8(yolo: Path, tmp_path: Path) -> None:
    box, score = "/model.22/cv2.0/cv2.0.0/conv/Conv", "/model.22/cv3.0/cv3.0.0/conv/Conv"
    quantise(yolo, tmp_path / "int8.onnx", frames(), keep=[box])

    graph, makers, _stored = nodes_of(tmp_path / "int8.onnx")
    by_name = {node.name: node for node in graph.node}
    shared_tensor = makers[makers[by_name[score].input[0]].input[0]].input[0]
    assert by_name[box].input[0] == shared_tensor
    assert by_name[box].input[1] in {one.name for one in graph.initializer}


def test_the_layer_that_hurts_is_found_and_ranked_by_far_the_worst(planted: Path, tmp_path: Path) -> None:
    inputs = list(tensors(planted, frames()))
    calibrate(planted, inputs, tmp_path / "ranges.json")

    ranked = sensitive(planted, tmp_path / "ranges.json", inputs)

    assert ranked[0].name == "hurt"
    assert {layer.name for layer in ranked} == {"first", "hurt", "last"}
    assert ranked[0].noise > 0.5
    assert ranked[1].noise < 0.005


def test_the_search_puts_back_the_layer_that_hurts_and_then_stops(planted: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    found = search(planted, tmp_path / "int8.onnx", frames(), judge(planted, 0.001), tell=lines.append)

    assert [step.kept for step in found.steps] == [(), ("hurt",)]
    assert [step.verdict.passed for step in found.steps] == [False, True]
    assert found.passed
    assert found.frames == 4
    assert found.sentence.endswith("2 of 3 layers in INT8, 1 kept in float")
    assert read_card(tmp_path / "int8.onnx").precision == "int8"
    assert off(planted, tmp_path / "int8.onnx") <= 0.001
    assert len(lines) == 4


def test_a_search_that_passes_at_once_ranks_nothing(planted: Path, tmp_path: Path) -> None:
    found = search(planted, tmp_path / "int8.onnx", frames(), judge(planted, 10.0))

    assert [step.kept for step in found.steps] == [()]
    assert found.ranked == ()
    assert (tmp_path / "int8.onnx").exists()


def test_a_search_that_never_passes_ends_at_its_bound_and_leaves_no_model(planted: Path, tmp_path: Path) -> None:
    found = search(planted, tmp_path / "int8.onnx", frames(), judge(planted, -1.0), steps=(0, 1, 2, 16))

    assert [len(step.kept) for step in found.steps] == [0, 1, 2, 3]
    assert not found.passed
    assert found.verdict.precision == "fp16"
    assert not (tmp_path / "int8.onnx").exists()


def test_the_same_frames_give_the_same_bytes(planted: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantise(planted, tmp_path / name, frames())

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_ranges_are_measured_one_frame_at_a_time(planted: Path, tmp_path: Path) -> None:
    given: list[weakref.ref[Any]] = []
    most = 0

    def stream() -> Iterator[Floats]:
        nonlocal most
        for _ in range(12):
            tensor = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)
            given.append(weakref.ref(tensor))
            most = max(most, sum(one() is not None for one in given))
            yield tensor

    assert calibrate(planted, stream(), tmp_path / "ranges.json") == 12
    assert most <= 3


def test_the_range_of_the_input_is_that_of_the_prepared_frames(planted: Path, tmp_path: Path) -> None:
    calibrate(
        planted, tensors(planted, [np.full((40, 40, 3), 51, dtype=np.uint8)] * 3), tmp_path / "r", method="minmax"
    )

    stored = json.loads((tmp_path / "r").read_text())["data"]["images"]
    assert max(abs(json_number(stored["lowest"])), json_number(stored["highest"])) == pytest.approx(0.2)


def json_number(stored: Any) -> float:
    return float(np.ravel(stored["data"] if isinstance(stored, dict) else stored)[0])


def test_a_dynamic_model_is_calibrated_at_the_shapes_of_its_letterbox(tmp_path: Path) -> None:
    dynamic = make_onnx(tmp_path, dynamic=True, imgsz=96)

    assert [one.shape[2:] for one in tensors(dynamic, [photo(60, 90), photo(90, 40)])] == [(64, 96), (96, 64)]
    quantise(dynamic, tmp_path / "int8.onnx", [photo(60, 90), photo(90, 40), photo(90, 90)])
    assert 0 < off(dynamic, tmp_path / "int8.onnx") < 0.1


def test_masks_are_part_of_the_noise(tmp_path: Path) -> None:
    segmenter = make_onnx(tmp_path, "yolov8n-seg")
    exact = outputs(segmenter, photo(60, 80))
    spoilt = [exact[0], exact[1] + exact[1].std()]

    assert noise(exact, exact, read_card(segmenter)) == 0
    assert noise(exact, spoilt, read_card(segmenter)) > 0.1


def test_what_cannot_be_quantised_is_said(yolo: Path, planted: Path, tmp_path: Path) -> None:
    int8 = tmp_path / "int8.onnx"
    with pytest.raises(InputError, match="there is no photo to calibrate on"):
        quantise(planted, int8, [])
    with pytest.raises(InputError, match="'nothing' is no layer"):
        quantise(planted, int8, frames(1), keep=["nothing"])
    assert not int8.exists()
    quantise(planted, int8, frames(1))
    with pytest.raises(InputError, match="is int8: expected a model in fp32"):
        quantise(int8, tmp_path / "again.onnx", frames(1))


def test_nothing_of_the_library_is_printed(
    planted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    quantise(planted, tmp_path / "int8.onnx", frames(2))

    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_tensorrt_parses_and_builds_the_graph_and_refuses_one_with_other_zero_points(
    yolo: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    from onnx import numpy_helper

    int8 = tmp_path / "int8.onnx"
    quantise(yolo, int8, frames(), keep=layers(yolo)[:2])

    assert built(int8.read_bytes()) > 100_000

    import onnx

    model = onnx.load(int8)
    name = next(node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear")
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.array(3, dtype=np.int8), name))
    assert built(model.SerializeToString()) == 0


def built(model: bytes) -> int:
    """Return the bytes of the engine for Ada that TensorRT for RTX builds without a GPU, 0 where it refuses."""
    import tensorrt_rtx as trt

    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    if not trt.OnnxParser(network, log).parse(model):
        return 0
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    engine = builder.build_serialized_network(network, config)
    return 0 if engine is None else int(engine.nbytes)


@pytest.mark.realdata
def test_honest_ranges_pass_the_gate_on_real_photos_and_wrongly_scaled_ones_are_refused(tmp_path: Path) -> None:
    from export.to_onnx import ExportSettings, to_onnx

    photos = load_script("edge/measure_int8").Photos(shared("data", "coco-photos"))
    onnx = tmp_path / "model.onnx"
    to_onnx(coco_student(tmp_path), onnx, ExportSettings(imgsz=(320, 320)))
    some = list(photos.truth)[:40]
    reference = photos.evaluation(onnx, some)

    def real(path: Path) -> Verdict:
        return gate(reference, photos.evaluation(path, some), photos.names)

    honest = search(onnx, tmp_path / "int8.onnx", photos.frames(some), real)
    dark = (frame // 255 for frame in photos.frames(some))
    wrong = search(onnx, tmp_path / "wrong.onnx", dark, real, steps=(0,))

    assert reference.ap50_95 is not None
    assert reference.ap50_95 > 0.25
    assert honest.passed
    assert not wrong.passed
    assert wrong.verdict.lost is not None
    assert wrong.verdict.lost > 0.03
    assert not (tmp_path / "wrong.onnx").exists()
    assert wrong.verdict.sentence.endswith("FP16 stays the default")

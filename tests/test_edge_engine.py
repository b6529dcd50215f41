"""TensorRT engines: the real parser and builder on exported graphs, and what a build needs to know of them.

tensorrt_rtx has the API of tensorrt and builds without a GPU.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import to_engine
from export.runtime import Model, RuntimeFault, card_of
from tests.made_cards import CARD, made
from tests.made_onnx import make_onnx, photo


def quiet(_line: str) -> None:
    """Take a line of TensorRT and forget it."""


# --- the real builder


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_onnx(tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_onnx(tmp_path_factory.mktemp("dynamic"), dynamic=True)


def quantised(onnx: Path, biases: bool = False) -> Path:
    """Write onnx as QDQ beside it, symmetric, per channel; ``biases`` are what TensorRT does not take quantised."""
    from onnxruntime import quantization as ort

    from export.onnx_files import read_card, write_card

    tensors = iter([{"images": np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)}])
    path = onnx.with_name("model.int8.onnx")
    ort.quantize_static(
        str(onnx),
        str(path),
        SimpleNamespace(get_next=lambda: next(tensors, None)),
        quant_format=ort.QuantFormat.QDQ,
        activation_type=ort.QuantType.QInt8,
        weight_type=ort.QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": biases},
    )
    write_card(path, replace(read_card(onnx), precision="int8"))
    return path


@pytest.mark.torch
@pytest.mark.parametrize(
    "model", ["yolov8n", "yolov8n-seg", "yolo26n", pytest.param("dfine-n", marks=pytest.mark.slow)]
)
def test_a_static_student_becomes_an_engine(rtx: Any, tmp_path: Path, model: str) -> None:
    onnx = make_onnx(tmp_path, model)
    assert to_engine.check(onnx, log=quiet) == f"tensorrt_rtx {rtx.__version__}"


@pytest.mark.torch
def test_the_engine_lies_beside_what_it_was_built_from(
    rtx: Any, static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", rtx)
    engine = tmp_path / "engine" / "model.engine"
    facts = to_engine.build(static, engine, precision="fp32", api="python", log=quiet)
    # The weights of the convolutions are in it.
    assert engine.stat().st_size > 0.8 * static.stat().st_size
    assert facts == json.loads((engine.parent / "engine.json").read_text())
    assert facts["engine_sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert facts["onnx_sha256"] == hashlib.sha256(static.read_bytes()).hexdigest()
    assert (facts["precision"], facts["tensorrt"], facts["onnx"]) == ("fp32", rtx.__version__, "model.onnx")
    assert {"cuda", "jetpack", "sm", "device", "built_at"} <= set(facts)
    assert {path.name for path in engine.parent.iterdir()} == {"model.engine", "engine.json", "timing.cache"}


@pytest.mark.torch
def test_a_dynamic_student_becomes_an_engine_with_the_sizes_of_its_card(
    rtx: Any, dynamic: Path, tmp_path: Path
) -> None:
    from export.onnx_files import write_card

    lines: list[str] = []
    plan, _ = to_engine.serialise(rtx, dynamic, "fp32", log=lines.append)
    assert len(plan) > 1_000_000
    # Without its sizes the same graph is refused.
    static = Path(shutil.copy(dynamic, tmp_path / "model.onnx"))
    write_card(static, replace(card_of(dynamic), dynamic=False))
    with pytest.raises(RuntimeFault, match="optimization profile"):
        to_engine.serialise(rtx, static, "fp32", log=quiet)


@pytest.mark.torch
def test_fp16_comes_from_the_half_model_where_tensorrt_does_not_choose(
    rtx: Any, static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.to_onnx import to_half

    monkeypatch.setitem(sys.modules, "tensorrt", rtx)
    onnx, engine = Path(shutil.copy(static, tmp_path / "model.onnx")), tmp_path / "engine" / "model.engine"
    with pytest.raises(RuntimeFault, match=r"model\.fp16\.onnx: is not there"):
        to_engine.build(onnx, engine, precision="fp16", api="python", log=quiet)
    to_half(onnx, tmp_path / "model.fp16.onnx")
    facts = to_engine.build(onnx, engine, precision="fp16", api="python", log=quiet)
    assert facts["onnx"] == "model.fp16.onnx"
    full, _ = to_engine.serialise(rtx, onnx, "fp32", log=quiet)
    assert engine.stat().st_size < 0.75 * len(full)


@pytest.mark.torch
def test_int8_comes_from_the_quantised_model(rtx: Any, static: Path, tmp_path: Path) -> None:
    onnx = Path(shutil.copy(static, tmp_path / "model.onnx"))
    with pytest.raises(RuntimeFault, match=r"model\.int8\.onnx: is not there"):
        to_engine.check(onnx, "int8", log=quiet)
    plan, _ = to_engine.serialise(rtx, quantised(onnx), "int8", log=quiet)
    full, _ = to_engine.serialise(rtx, onnx, "fp32", log=quiet)
    assert len(plan) < len(full)
    assert to_engine.check(onnx, "int8", log=quiet)


@pytest.mark.torch
def test_quantised_biases_are_refused_with_the_node_and_what_to_do(rtx: Any, static: Path, tmp_path: Path) -> None:
    onnx = quantised(Path(shutil.copy(static, tmp_path / "model.onnx")), biases=True)
    with pytest.raises(RuntimeFault) as told:
        to_engine.serialise(rtx, onnx, "int8", log=quiet)
    assert "bias" in str(told.value)
    assert "(DequantizeLinear): quantise it symmetrically to signed INT8, biases left as they are" in str(told.value)
    assert "Int32" in str(told.value)


@pytest.mark.torch
def test_nms_in_the_graph_is_refused_by_tensorrt_rtx_with_its_node(rtx: Any, tmp_path: Path) -> None:
    onnx = make_onnx(tmp_path, nms=True)
    with pytest.raises(RuntimeFault, match=r"its node \S+ \(Non\w+\): export it without NMS in the graph"):
        to_engine.check(onnx, log=quiet)


@pytest.mark.torch
def test_timings_of_another_build_that_are_broken_stop_nothing(rtx: Any, static: Path) -> None:
    _, timings = to_engine.serialise(rtx, static, "fp32", log=quiet)
    for known in (timings, b"rubbish"):
        plan, _ = to_engine.serialise(rtx, static, "fp32", timings=known, log=quiet)
        assert len(plan) > 1_000_000


@pytest.mark.torch
def test_a_failed_build_leaves_the_older_engine_as_it_was(
    rtx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", rtx)
    engine = tmp_path / "engine" / "model.engine"
    engine.parent.mkdir()
    engine.write_bytes(b"older")
    engine.with_name("engine.json").write_text("{}")
    with pytest.raises(RuntimeFault):
        to_engine.build(made(tmp_path / "model.onnx"), engine, precision="fp32", api="python", log=quiet)
    assert {path.name: path.read_bytes() for path in engine.parent.iterdir()} == {
        "model.engine": b"older",
        "engine.json": b"{}",
    }


# --- the sizes


def test_the_usual_size_is_that_of_a_camera() -> None:
    card = replace(CARD, imgsz=(640, 640), dynamic=True, letterbox="rect")
    # 640 x 9/16 = 360, and 384 is the next multiple of 32.
    assert to_engine.shapes(card) == ((1, 3, 32, 32), (1, 3, 384, 640), (1, 3, 640, 640))
    assert to_engine.shapes(replace(card, imgsz=(320, 640)))[1] == (1, 3, 320, 640)


@given(high=st.integers(8, 500), wide=st.integers(8, 500), imgsz=st.tuples(st.integers(2, 8), st.integers(2, 8)))
def test_every_frame_fits_between_the_smallest_and_the_largest_size(
    high: int, wide: int, imgsz: tuple[int, int]
) -> None:
    card = replace(CARD, dynamic=True, letterbox="rect", imgsz=(imgsz[0] * 32, imgsz[1] * 32))
    least, usual, most = to_engine.shapes(card)
    canvas = Model(SimpleNamespace(card=card)).prepare(photo(high, wide)).tensor
    for size in (canvas.shape, usual):
        assert all(low <= side <= top for low, side, top in zip(least, size, most, strict=True))

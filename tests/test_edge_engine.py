"""TensorRT engines: the real parser and builder of tensorrt_rtx on exported graphs, and a stand-in for trtexec.

tensorrt_rtx has the same API as tensorrt and builds without a GPU. The trtexec here is a small program that answers as
NVIDIA's would: that one cannot be installed without a Jetson or a GPU, so it only proves how ours is called and read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import to_engine, trtexec
from export.runtime import CARD_KEY, Card, Model, RuntimeFault
from tests.made_onnx import make_onnx, photo

ROOT = Path(__file__).resolve().parents[1]
CARD = Card(
    kind="ultralytics",
    model="yolov8n",
    task="detect",
    names=("crate", "drum"),
    imgsz=(64, 96),
    dynamic=False,
    letterbox="square",
    stride=32,
    layout="yolo",
    precision="fp32",
    thresholds={"crate": 0.25, "drum": 0.5},
    nms_iou=0.7,
    max_objects=300,
    second_look=None,
    licence="AGPL-3.0",
    weights="ab" * 32,
    dataset="cd" * 8,
    ontology="ef" * 8,
)


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
    assert facts["onnx_sha256"] == hashlib.sha256(static.read_bytes()).hexdigest()
    assert (facts["precision"], facts["tensorrt"], facts["onnx"]) == ("fp32", rtx.__version__, "model.onnx")
    assert {"cuda", "jetpack", "sm", "device", "built_at"} <= set(facts)
    assert Card.read(json.dumps(facts["card"]), "engine.json") == to_engine.card_of(static)
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
    static = shutil.copy(dynamic, tmp_path / "model.onnx")
    write_card(static, replace(to_engine.card_of(dynamic), dynamic=False))
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
    assert facts["card"]["precision"] == "fp16"
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


# --- the card and the sizes


def made(path: Path, card: Card = CARD) -> Path:
    """Write a protobuf by hand with a card: ir_version 8 and one entry of metadata_props; it has no graph."""
    from dataclasses import asdict

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    entry = field(1, CARD_KEY.encode()) + field(2, json.dumps(asdict(card)).encode())
    path.write_bytes(b"\x08\x08" + field(2, b"by hand") + field(14, entry))
    return path


def test_a_card_is_read_without_a_library_for_onnx(tmp_path: Path) -> None:
    assert to_engine.card_of(made(tmp_path / "model.onnx")) == CARD


@pytest.mark.torch
def test_a_card_is_the_one_that_the_library_reads(static: Path, dynamic: Path) -> None:
    from export.onnx_files import read_card

    for onnx in (static, dynamic):
        assert to_engine.card_of(onnx) == read_card(onnx)


@given(content=st.binary(max_size=200), cut=st.integers(0, 2000))
def test_a_broken_file_is_said_to_be_one(tmp_path_factory: pytest.TempPathFactory, content: bytes, cut: int) -> None:
    path = tmp_path_factory.mktemp("broken") / "model.onnx"
    whole = made(path).read_bytes()
    for broken in (content, whole[: cut % len(whole)], content + whole):
        path.write_bytes(broken)
        told = ""
        try:
            to_engine.card_of(path)
        except RuntimeFault as fault:
            told = str(fault)
        assert not told or told.startswith(f"{path}: ")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match=r"model\.onnx: cannot be read \(No such file"):
        to_engine.card_of(tmp_path / "model.onnx")


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
    canvas = Model(SimpleNamespace(card=card)).prepare(photo(high, wide)).tensor  # type: ignore[arg-type]
    for size in (canvas.shape, usual):
        assert all(low <= side <= top for low, side, top in zip(least, size, most, strict=True))


# --- trtexec

OLD = "--onnx=<file> --fp16 --int8 --buildOnly --memPoolSize=poolspec"
NEW = "--onnx=<file> --skipInference --memPoolSize=poolspec --stronglyTyped"


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, help_: str = OLD, said: str = "", end: str = "") -> Path:
    """Put a trtexec on PATH that keeps its arguments, says something and writes an engine, unless told how to end."""
    program = folder / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        f"if '--help' in sys.argv: print({help_!r}); sys.exit(0)\n"
        f"pathlib.Path({str(folder / 'asked.json')!r}).write_text(json.dumps(sys.argv[1:]))\n"
        "print('&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec')\n"
        f"print({said!r}, file=sys.stderr)\n"
        f"{end or 'pass'}\n"
        "to = next(one for one in sys.argv if one.startswith('--saveEngine=')).partition('=')[2]\n"
        "pathlib.Path(to).write_bytes(b'an engine')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    return folder / "asked.json"


def test_trtexec_is_told_what_to_build_in_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(tmp_path, monkeypatch)
    onnx = made(tmp_path / "model.onnx", replace(CARD, dynamic=True, imgsz=(640, 640), letterbox="rect"))
    engine = tmp_path / "of $(touch bad); 'it'" / "model.engine"
    lines: list[str] = []
    facts = to_engine.build(onnx, engine, precision="fp16", api="trtexec", workspace_mb=512, log=lines.append)
    assert json.loads(asked.read_text()) == [
        f"--onnx={onnx}",
        f"--saveEngine={engine}.part",
        f"--timingCacheFile={engine.with_name('timing.cache')}",
        "--fp16",
        "--buildOnly",
        "--memPoolSize=workspace:512",
        "--minShapes=images:1x3x32x32",
        "--optShapes=images:1x3x384x640",
        "--maxShapes=images:1x3x640x640",
    ]
    assert (facts["onnx"], facts["precision"], facts["tensorrt"]) == ("model.onnx", "fp16", "8.5.2")
    assert facts["card"]["precision"] == "fp16"
    assert engine.read_bytes() == b"an engine"
    assert {path.name for path in engine.parent.iterdir()} == {"model.engine", "engine.json"}
    assert lines[0].startswith("&&&& RUNNING")
    assert not (tmp_path / "bad").exists()


def test_a_trtexec_without_precisions_gets_the_half_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(tmp_path, monkeypatch, help_=NEW)
    onnx, half = made(tmp_path / "model.onnx"), made(tmp_path / "model.fp16.onnx", replace(CARD, precision="fp16"))
    engine = tmp_path / "engine" / "model.engine"
    facts = to_engine.build(onnx, engine, precision="fp16", api="trtexec", log=quiet)
    told = json.loads(asked.read_text())
    assert told[0] == f"--onnx={half}"
    assert told[3:] == ["--skipInference"]
    assert facts["onnx_sha256"] == hashlib.sha256(half.read_bytes()).hexdigest()


def test_int8_may_also_compute_in_fp16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(tmp_path, monkeypatch)
    made(tmp_path / "model.int8.onnx", replace(CARD, precision="int8"))
    onnx, engine = made(tmp_path / "model.onnx"), tmp_path / "engine" / "model.engine"
    to_engine.build(onnx, engine, precision="int8", api="auto", log=quiet)
    assert json.loads(asked.read_text())[3:5] == ["--int8", "--fp16"]


NODE = """[11/22/2026-14:21:33] [E] [TRT] ModelImporter.cpp:773: While parsing node number 5 [GridSample -> "/x_out"]:
[11/22/2026-14:21:33] [E] [TRT] ModelImporter.cpp:774: --- Begin node ---
[11/22/2026-14:21:33] [E] [TRT] ModelImporter.cpp:775: input: "a"
output: "/x_out"
name: "/decoder/GridSample"
op_type: "GridSample"
[11/22/2026-14:21:33] [E] [TRT] ModelImporter.cpp:776: --- End node ---
[11/22/2026-14:21:33] [E] [TRT] ModelImporter.cpp:779: builtin_op_importers.cpp:4870 In function importFallback:
[8] Assertion failed: creator && "Plugin not found, are the plugin name, version, and namespace correct?"
"""


@pytest.mark.parametrize(
    ("said", "end", "told"),
    [
        (
            NODE,
            "sys.exit(1)",
            r"node /decoder/GridSample \(GridSample\) \(first error: \[8\] Assertion failed: creator",
        ),
        (
            "[1] [E] Error[10]: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find any "
            "implementation for node {x} due to insufficient workspace. See verbose log for requested sizes.)",
            "sys.exit(1)",
            r"raise --workspace-mb or leave it away \(first error: Error\[10\]: \[optimizer",
        ),
        (
            "[1] [E] Error[2]: [virtualMemoryBuffer.cpp::63] Error Code 2: OutOfMemory",
            "sys.exit(1)",
            "memory of the device",
        ),
        ("", "os.kill(os.getpid(), 9)", "memory of the device was not enough"),
        ("[1] [E] Cuda failure: no CUDA-capable device is detected", "os.abort()", "no CUDA device answers"),
        ("[1] [E] Unknown option: --skipInference 1", "sys.exit(1)", "too old or too new"),
        ("[1] [E] Something new", "sys.exit(3)", r"TensorRT refused it \(first error: Something new\)"),
        ("", "sys.exit(3)", "trtexec ended with 3 and wrote no engine"),
        ("[1] [W] all is well", "sys.exit(0)", "trtexec ended with 0 and wrote no engine"),
    ],
)
def test_what_trtexec_says_when_it_fails_is_put_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, end: str, told: str
) -> None:
    stand_in(tmp_path, monkeypatch, said=said, end=end)
    onnx, engine = made(tmp_path / "model.onnx"), tmp_path / "engine" / "model.engine"
    engine.parent.mkdir()
    engine.write_bytes(b"older")
    engine.with_name("engine.json").write_text("{}")
    with pytest.raises(RuntimeFault, match=told):
        to_engine.build(onnx, engine, precision="fp16", api="trtexec", log=quiet)
    assert engine.read_bytes() == b"older"
    assert {path.name for path in engine.parent.iterdir()} == {"model.engine", "engine.json"}


def test_an_engine_that_was_not_finished_takes_the_place_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, end="pathlib.Path(sys.argv[2].partition('=')[2]).write_bytes(b'ha'); sys.exit(1)")
    with pytest.raises(RuntimeFault):
        to_engine.build(made(tmp_path / "model.onnx"), tmp_path / "engine" / "model.engine", api="trtexec", log=quiet)
    assert list((tmp_path / "engine").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "version"),
    [(8502, "8.5.2"), (8601, "8.6.1"), (100300, "10.3.0"), (101303, "10.13.3"), (110201, "11.2.1")],
)
def test_the_version_of_trtexec_is_read_as_it_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, version: str
) -> None:
    stand_in(tmp_path, monkeypatch, end=f"print('&&&& PASSED TensorRT.trtexec [TensorRT v{number}]')")
    program = tmp_path / "bin" / "trtexec"
    program.write_text(program.read_text().replace("v8502", f"v{number}"))
    engine = tmp_path / "model.engine"
    assert trtexec.run(str(program), tmp_path / "model.onnx", engine, [], quiet) == version


# --- the command


def test_the_command_builds_what_the_manifest_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = stand_in(tmp_path, monkeypatch)
    made(tmp_path / "model.onnx")
    made(tmp_path / "model.int8.onnx", replace(CARD, precision="int8"))
    (tmp_path / "manifest.json").write_text('{"precision": "int8"}')
    assert to_engine.main([str(tmp_path), "--api", "trtexec", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "int8"
    assert "--int8" in json.loads(asked.read_text())
    assert to_engine.main([str(tmp_path), "--api", "trtexec", "--precision", "fp32"]) == 0
    assert "fp32, TensorRT 8.5.2" in capsys.readouterr().out
    assert not {"--int8", "--fp16"} & set(json.loads(asked.read_text()))
    (tmp_path / "manifest.json").write_text("[]")
    assert to_engine.main([str(tmp_path), "--api", "trtexec"]) == 1
    assert "manifest.json: cannot be read" in capsys.readouterr().err


def test_without_tensorrt_the_files_of_a_bundle_say_how_to_get_it(tmp_path: Path) -> None:
    for name in ("to_engine.py", "trtexec.py", "device.py", "runtime.py"):
        shutil.copy(ROOT / "export" / name, tmp_path)
    made(tmp_path / "model.onnx")
    for api in ("auto", "python", "trtexec"):
        ended = subprocess.run(
            [sys.executable, "to_engine.py", "--api", api],
            cwd=tmp_path,
            env={"PATH": "/nowhere"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.count("\n") == 1
        assert "is not installed: on a Jetson sudo apt install" in ended.stderr
    assert not (tmp_path / "engine" / "model.engine").exists()

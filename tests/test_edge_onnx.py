"""ONNX files of students: what is in them, that they are the same each time, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.core.errors import BackendError, InputError
from tests.made_onnx import ABOUT, NAMES, make_onnx, make_student, photo

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("distill.student")  # prepares ultralytics: it must not be imported before

from export.onnx_files import check_onnx, read_card, read_onnx, write_card  # noqa: E402 (needs the libraries above)
from export.raw_outputs import GRAPH_FLOOR  # noqa: E402
from export.runtime import Model, OnnxSession  # noqa: E402
from export.to_onnx import DEFAULT_THRESHOLD, ExportSettings, to_half, to_onnx  # noqa: E402

pytestmark = pytest.mark.torch

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static yolov8n of 64 px, with the weights beside it."""
    return make_onnx(tmp_path_factory.mktemp("plain"))


def _shapes(values: Any) -> dict[str, list[int | str]]:
    return {
        value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim] for value in values
    }


@pytest.mark.parametrize(
    ("model", "changes", "letterbox", "layout", "taken", "given"),
    [
        ("yolov8n", {}, "square", "yolo", [1, 3, 64, 64], {"output0": [1, 7, 84]}),
        ("yolov8n", {"imgsz": (32, 96)}, "square", "yolo", [1, 3, 32, 96], {"output0": [1, 7, 63]}),
        ("yolov8n", {"nms": True}, "square", "nms", [1, 3, 64, 64], {"output0": [1, 300, 6]}),
        (
            "yolov8n-seg",
            {},
            "square",
            "yolo",
            [1, 3, 64, 64],
            {"output0": [1, 39, 84], "output1": [1, 32, 16, 16]},
        ),
        (
            "yolov8n-seg",
            {"nms": True},
            "square",
            "nms",
            [1, 3, 64, 64],
            {"output0": [1, 300, 38], "output1": [1, 32, 16, 16]},
        ),
        ("dfine-n", {}, "stretch", "queries", [1, 3, 64, 64], {"scores": [1, 20, 3], "boxes": [1, 20, 4]}),
    ],
)
def test_graph_has_stable_names_shapes_and_opset_and_a_card_that_says_so(
    tmp_path: Path,
    model: str,
    changes: dict[str, Any],
    letterbox: str,
    layout: str,
    taken: list[int],
    given: dict[str, list[int]],
) -> None:
    weights, path = make_student(tmp_path, model), tmp_path / "model.onnx"
    card = to_onnx(weights, path, ExportSettings(**changes), thresholds={"crate": 0.2, "drum": 0.3, "ladder": 0.4})
    read = onnx.load(path)
    assert _shapes(read.graph.input) == {"images": taken}
    assert _shapes(read.graph.output) == given
    assert {value.type.tensor_type.elem_type for value in (*read.graph.input, *read.graph.output)} == {_FLOAT}
    assert [(one.domain, one.version) for one in read.opset_import if one.domain in ("", "ai.onnx")] == [("", 17)]
    assert read.ir_version <= 8  # what the runtimes of the oldest JetPack read
    assert card == read_card(path) == OnnxSession(path).card
    assert (card.letterbox, card.layout, card.precision, card.imgsz) == (letterbox, layout, "fp32", tuple(taken[2:]))
    assert (card.model, card.task) == (model, "segment" if "seg" in model else "detect")
    assert (card.names, card.thresholds) == (NAMES, {"crate": 0.2, "drum": 0.3, "ladder": 0.4})
    assert card.licence == ("Apache-2.0" if model == "dfine-n" else "AGPL-3.0")
    assert card.weights == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (card.dataset, card.ontology) == (ABOUT["dataset"], ABOUT["ontology"])


@pytest.mark.parametrize("model", ["yolov8n", "yolov8n-seg"])
@pytest.mark.parametrize("nms", [False, True])
def test_dynamic_graph_takes_one_image_of_any_multiple_of_32(tmp_path: Path, model: str, nms: bool) -> None:
    path = make_onnx(tmp_path, model, dynamic=True, nms=nms)
    shapes = _shapes(onnx.load(path).graph.input)["images"]
    assert shapes[:2] == [1, 3]
    assert all(isinstance(one, str) for one in shapes[2:])
    session = OnnxSession(path)
    assert (session.card.dynamic, session.card.letterbox) == (True, "rect")
    for height, width in ((64, 64), (32, 64), (96, 32), (64, 160)):
        outputs = session.run(np.full((1, 3, height, width), 0.5, dtype=np.float32))
        anchors = sum(height // stride * (width // stride) for stride in (8, 16, 32))
        assert outputs[0].shape[1:3] == (
            (300, 6 + 32 * (len(outputs) - 1)) if nms else (7 + 32 * (len(outputs) - 1), anchors)
        )


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("yolov8n", ExportSettings()),
        ("yolov8n-seg", ExportSettings(dynamic=True, nms=True)),
        ("dfine-n", ExportSettings()),
    ],
)
def test_second_export_has_the_same_bytes_and_neither_leaves_anything_else(
    tmp_path: Path, model: str, settings: ExportSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    weights = make_student(tmp_path / "run", model)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        to_onnx(weights, tmp_path / name / f"{name}.onnx", settings)
        to_half(tmp_path / name / f"{name}.onnx", tmp_path / name / f"{name}.fp16.onnx")
    for suffix in ("onnx", "fp16.onnx"):
        first, second = ((tmp_path / name / f"{name}.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
        for secret in (str(tmp_path), str(Path(__file__).parents[1]), "site-packages", ".py"):
            assert secret.encode() not in first
        assert not re.search(rb"20\d\d-\d\d-\d\dT", first)
    left = sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file())
    assert left == [
        "first/first.fp16.onnx",
        "first/first.onnx",
        "run/student.safetensors",
        "second/second.fp16.onnx",
        "second/second.onnx",
    ]


def test_graph_with_nms_lets_scores_from_the_floor_of_evaluation_through(tmp_path: Path) -> None:
    without, within = (make_onnx(tmp_path / str(nms), nms=nms) for nms in (False, True))
    frame = photo(64, 64, 4)
    canvas = Model(OnnxSession(without)).prepare(frame)
    raw, rows = (OnnxSession(path).run(canvas.tensor)[0][0] for path in (without, within))
    kept = rows[rows[:, 4] > 0]
    assert len(kept) > 20
    assert kept[:, 4].min() >= GRAPH_FLOOR
    assert kept[:, 4].max() == pytest.approx(raw[4:].max(), abs=1e-5)
    assert (kept[:, 4] < DEFAULT_THRESHOLD).any()


def test_card_is_replaced_and_one_that_makes_no_sense_leaves_the_file_as_it_was(plain: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(plain, tmp_path / "model.onnx"))
    card = dataclasses.replace(read_card(path), second_look={"below": 0.1, "share": 0.05, "per_minute": 6.0})
    write_card(path, card)
    assert read_card(path) == card == OnnxSession(path).card
    keys = [entry.key for entry in onnx.load(path).metadata_props]
    assert keys.count("labelstill") == 1
    assert "names" in keys  # other programs still know the classes
    before = path.read_bytes()
    with pytest.raises(InputError, match="makes no sense"):
        write_card(path, dataclasses.replace(card, thresholds={"crate": 0.5}))
    assert path.read_bytes() == before


def _with_external(source: Path, path: Path, location: str, *, nested: bool = False) -> None:
    """Write a model one of whose tensors claims to lie elsewhere, in its graph or in a branch of an If."""
    model = onnx.load(source)
    tensor = model.graph.initializer[0]
    if nested:
        branch = onnx.helper.make_graph(
            [], "branch", [], [], [onnx.TensorProto(name="hidden", data_type=_FLOAT, dims=[4])]
        )
        node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)
        tensor = model.graph.node[-1].attribute[0].g.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("place", ["../secret.bin", "absolute", "symlink.bin", "hardlink.bin", "beside.bin"])
def test_model_with_external_data_is_refused_wherever_it_lies(
    plain: Path, tmp_path: Path, place: str, nested: bool
) -> None:
    secret, folder = tmp_path / "secret.bin", tmp_path / "models"
    folder.mkdir()
    secret.write_bytes(bytes(10_000))
    (folder / "symlink.bin").symlink_to(secret)
    os.link(secret, folder / "hardlink.bin")
    (folder / "beside.bin").write_bytes(bytes(10_000))
    location = str(secret) if place == "absolute" else place
    path = folder / "model.onnx"
    _with_external(plain, path, location, nested=nested)
    name = "hidden" if nested else onnx.load(plain).graph.initializer[0].name
    card = read_card(plain)
    for use in (check_onnx, read_onnx, read_card, lambda one: write_card(one, card), lambda one: to_half(one, one)):
        with pytest.raises(InputError, match=re.escape(f"{name!r} lies in another file, {location!r}")):
            use(path)


def test_link_to_another_folder_and_files_that_are_no_onnx_are_refused(plain: Path, tmp_path: Path) -> None:
    link, text, empty = (tmp_path / name for name in ("link.onnx", "text.onnx", "empty.onnx"))
    link.symlink_to(plain)
    text.write_text("this is no model")
    empty.write_bytes(b"")
    for path, said in (
        (link, "is a link to a file of another folder"),
        (text, "cannot be read as ONNX"),
        (empty, "is no valid ONNX model"),
        (tmp_path / "none.onnx", "there is none"),
    ):
        with pytest.raises(InputError, match=said):
            check_onnx(path)
    check_onnx(plain)


def test_graph_that_does_not_obey_the_format_is_refused(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(plain)
    model.graph.node[0].input[0] = "nobody gives this"
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(InputError, match="is no valid ONNX model"):
        check_onnx(tmp_path / "broken.onnx")


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        (ExportSettings(imgsz=(60, 64)), {}, "60 x 64 pixels: expected multiples of 32"),
        (ExportSettings(imgsz=(0, 64)), {}, "0 x 64 pixels: expected multiples of 32"),
        (ExportSettings(), {"nms_iou": 0.0}, "the IoU of NMS is 0.0"),
        (ExportSettings(), {"thresholds": {"crate": 0.5, "drum": 0.5}}, "'ladder' is only on one side"),
        (ExportSettings(), {"thresholds": dict.fromkeys((*NAMES, "cat"), 0.5)}, "'cat' is only on one side"),
        (ExportSettings(), {"thresholds": dict.fromkeys(NAMES, 1.0)}, "that of 'crate' is 1.0"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence_and_write_nothing(
    plain: Path, tmp_path: Path, settings: ExportSettings, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        to_onnx(plain.with_name("student.safetensors"), tmp_path / "model.onnx", settings, **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings", [ExportSettings(dynamic=True), ExportSettings(nms=True), ExportSettings(imgsz=(96, 96))]
)
def test_dfine_has_one_input_size_and_no_nms(tmp_path: Path, settings: ExportSettings) -> None:
    weights = make_student(tmp_path, "dfine-n")
    with pytest.raises(InputError, match="dfine-n"):
        to_onnx(weights, tmp_path / "model.onnx", settings)


def test_weights_that_are_no_student_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, dtype=np.float32)}, tmp_path / "any.safetensors")
    with pytest.raises(BackendError, match="expected a student of kind ultralytics or dfine"):
        to_onnx(tmp_path / "any.safetensors", tmp_path / "model.onnx", ExportSettings())


@pytest.mark.parametrize(("model", "nms"), [("yolov8n", False), ("yolov8n", True), ("yolov8n-seg", False)])
def test_half_model_is_half_as_large_and_takes_and_gives_float32(tmp_path: Path, model: str, nms: bool) -> None:
    path, half = make_onnx(tmp_path, model, nms=nms), tmp_path / "half.onnx"
    card = to_half(path, half)
    assert card == read_card(half) == dataclasses.replace(read_card(path), precision="fp16")
    assert half.stat().st_size < 0.55 * path.stat().st_size
    read = onnx.load(half)
    large = [one for one in read.graph.initializer if np.prod(one.dims) > 2000]
    assert {one.data_type for one in large} == {_HALF}
    assert {value.type.tensor_type.elem_type for value in (*read.graph.input, *read.graph.output)} == {_FLOAT}
    with pytest.raises(InputError, match="is fp16: expected a model in fp32"):
        to_half(half, tmp_path / "quarter.onnx")


def test_a_full_disk_is_named_and_the_library_says_nothing(tmp_path: Path) -> None:
    weights = make_student(tmp_path)
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom export.to_onnx import ExportSettings, to_onnx\n"
        "from labeling.core.errors import StateError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"try:\n    to_onnx(Path({str(weights)!r}), Path({str(tmp_path / 'a.onnx')!r}), ExportSettings())\n"
        "except StateError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert "the disk is full: free space and export again" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")

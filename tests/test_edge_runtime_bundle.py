"""A bundle on the device: what is refused before a model runs, the self-check, and the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from export import runtime  # noqa: E402
from export.runtime import (  # noqa: E402
    CARD_KEY,
    Card,
    Model,
    OnnxSession,
    RuntimeFault,
    card_of,
    engine_card,
    main,
    open_model,
    self_check,
    verify,
)
from tests.test_edge_runtime import BOUND, a_video, grey  # noqa: E402
from tests.test_edge_runtime import CARD as SQUARE  # noqa: E402

pytestmark = pytest.mark.torch

CARD = replace(SQUARE, letterbox="stretch")  # no grey bars that could be the brightest


def write_onnx(path: Path, card: Card, faintness: float = 1.0) -> Path:
    """Write a model that calls the whole canvas a crate, as sure as its brightest pixel is bright."""
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, *values: float) -> Any:
        return numpy_helper.from_array(np.array(values, dtype=np.float32).reshape(1, -1, 1), name)

    high, wide = card.imgsz
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["images"], ["most"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["most", "share"], ["score"]),
            helper.make_node("Concat", ["box", "score", "others"], ["output0"], axis=1),
        ],
        "brightest",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, high, wide])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 1])],
        [constant("share", faintness), constant("box", wide / 2, high / 2, wide, high), constant("others", 0, 0)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="author", value="somebody")
    model.metadata_props.add(key=CARD_KEY, value=json.dumps(asdict(card)))
    path.write_bytes(model.SerializeToString())
    return path


def seal(folder: Path, card: Card = CARD, **changed: Any) -> None:
    """Write the manifest of what lies in a folder."""
    (folder / "manifest.json").unlink(missing_ok=True)
    files = {
        path.relative_to(folder).as_posix(): runtime._sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "format": 1,
        "files": files,
        "weights": card.weights,
        "precision": "fp16",
        "models": {"fp32": "model.onnx"},
        "classes": list(card.names),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changed))


def make_bundle(folder: Path, card: Card = CARD) -> Path:
    """Write a bundle whose golden outputs are those of its model, on three images."""
    (folder / "golden").mkdir(parents=True)
    model = Model(OnnxSession(write_onnx(folder / "model.onnx", card), threads=1))
    golden: dict[str, Any] = {}
    for number, value in enumerate((30, 150, 240)):
        frame = grey(value, 80, 120)
        cv2.imwrite(str(folder / "golden" / f"{number}.png"), frame)
        found = model(frame)
        golden |= {f"{number}.boxes": found.boxes_xyxy, f"{number}.scores": found.scores}
        golden[f"{number}.class_ids"] = found.class_ids
    np.savez(folder / "golden.npz", **golden)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in card.names))
    shutil.copy(runtime.__file__, folder / "runtime.py")
    seal(folder, card)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def test_a_whole_bundle_is_verified_and_checks_itself(bundle: Path) -> None:
    found = verify(bundle)
    assert found.cards == {"fp32": CARD}
    check = self_check(bundle, open_model(bundle, threads=1))
    assert check == (3, 2, 0, pytest.approx(1), 0, True)


def test_the_card_is_read_without_a_library(bundle: Path) -> None:
    assert card_of(bundle / "model.onnx") == CARD
    for text in (b"", b"no model", (bundle / "model.onnx").read_bytes()[:-5], b"\x08" + b"\xff" * 40):
        (bundle / "model.onnx").write_bytes(text)
        with pytest.raises(RuntimeFault, match=r"is no ONNX model|has no card"):
            card_of(bundle / "model.onnx")


def change(name: str) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return tamper


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def link_away(folder: Path) -> None:
    (folder / "classes.txt").rename(folder.parent / "classes.txt")
    (folder / "classes.txt").symlink_to(folder.parent / "classes.txt")


def climb(folder: Path) -> None:
    (folder.parent / "secret").write_text("secret")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    seal(folder, files=files | {"../secret": runtime._sha256(folder.parent / "secret")})


def other_weights(folder: Path) -> None:
    write_onnx(folder / "model.onnx", replace(CARD, weights="00" * 32))
    seal(folder)


def other_classes(folder: Path) -> None:
    write_onnx(folder / "model.onnx", replace(CARD, names=CARD.names[::-1]))
    seal(folder)


def other_list(folder: Path) -> None:
    (folder / "classes.txt").write_text("crate\nladder\ndrum\n")
    seal(folder)


def no_list(folder: Path) -> None:
    (folder / "classes.txt").unlink()
    seal(folder)


def no_card(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    del model.metadata_props[:]
    onnx.save(model, str(folder / "model.onnx"))
    seal(folder)


def elsewhere(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    seal(folder)


def elsewhere_in_a_subgraph(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    inner = onnx.TensorProto(name="t", data_type=1, dims=[1])
    inner.external_data.add(key="location", value="../weights.bin")
    branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["c"], value=inner)], "g", [], [])
    node = onnx.helper.make_node("If", ["most"], ["unused"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    seal(folder)


def far_tags(folder: Path) -> None:
    """Hide where a tensor lies behind tags that other readers cut to 32 bits."""

    def tag(number: int, form: int) -> bytes:
        return bytes([number << 3 & 127 | form | 128, 128, 128, 128, 16])  # 1 << 32 is on top

    model = onnx.load(str(folder / "model.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    entry = onnx.StringStringEntryProto(key="location", value="../weights.bin").SerializeToString()
    data = tensor.SerializeToString() + tag(13, 2) + bytes([len(entry)]) + entry + tag(14, 0) + b"\x01"
    graph = b"\x2a" + bytes([len(data)]) + data
    assert max(len(data), len(graph)) < 128
    (folder / "model.onnx").write_bytes(model.SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph)
    seal(folder)


def shadowing(name: str) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")

    return tamper


def manifest(text: str | bytes) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())

    return tamper


TAMPERED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed model": (change("model.onnx"), "model.onnx: is not as it left home"),
    "a changed program": (change("runtime.py"), "runtime.py: is not as it left home"),
    "a changed golden image": (change("golden/1.png"), "1.png: is not as it left home"),
    "a missing golden file": (remove("golden.npz"), "golden.npz: is missing"),
    "a missing list of classes": (remove("classes.txt"), "classes.txt: is missing"),
    "no list of classes at all": (no_list, "does not list classes.txt"),
    "a missing manifest": (remove("manifest.json"), "manifest.json: cannot be read"),
    "a manifest that is none": (lambda folder: (folder / "manifest.json").write_text("[]") and None, "cannot be read"),
    "a format of tomorrow": (lambda folder: seal(folder, format=2), "has format 2"),
    "one model too many": (lambda folder: (folder / "old.onnx").write_bytes(b"") and None, "old.onnx: does not belong"),
    "tensors in another file": (lambda folder: (folder / "m.data").touch(), "m.data: does not belong"),
    "a file that is a link": (link_away, "is a link or lies outside"),
    "a file that lies outside": (climb, "is a link or lies outside"),
    "another student": (other_weights, "was made of other weights"),
    "other classes": (other_classes, "was made of other classes"),
    "another list of classes": (other_list, "names other classes"),
    "a model without a card": (no_card, "has no card"),
    "external data": (elsewhere, "keeps tensors in another file"),
    "external data behind a tag of five bytes": (far_tags, "is no ONNX model"),
    "a module in place of a library": (shadowing("numpy.py"), "numpy.py: does not belong"),
    "a compiled module in place of a library": (shadowing("cv2.abi3.so"), "cv2.abi3.so: does not belong"),
    "a package in place of a library": (shadowing("onnxruntime/__init__.py"), "__init__.py: does not belong"),
    "a model with capitals": (shadowing("old.ONNX"), "old.ONNX: does not belong"),
    "no model at all": (lambda folder: seal(folder, models={}), "manifest.json: cannot be read"),
    "a list of files that is none": (lambda folder: seal(folder, files=3), "manifest.json: cannot be read"),
    "a class that is no word": (lambda folder: seal(folder, classes=[3]), "manifest.json: cannot be read"),
    "a name with NUL": (lambda folder: seal(folder, files={"a\0": ""}), "manifest.json: cannot be read"),
    "a manifest without an end": (manifest("[" * 200_000), "manifest.json: cannot be read"),
    "a manifest in another encoding": (manifest(b"{\xff}"), "manifest.json: cannot be read"),
    "external data in a subgraph": (elsewhere_in_a_subgraph, "keeps tensors in another file"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_bundle_is_refused_in_one_sentence(bundle: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    tamper, words = TAMPERED[what]
    tamper(bundle)
    assert main(["check", "--bundle", str(bundle)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


NAN = float("nan")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("more", 1),
        *(("names", one) for one in ([], 3, [1, 2, 3], ["crate"] * 3, None)),
        *(("imgsz", one) for one in ([64], [64, 0], [64, 64.5], ["64", 64], 64, [1 << 40, 64])),
        *(("stride", one) for one in (0, "32", None, True)),
        *(("thresholds", one) for one in ({"crate": 1}, [0.5], dict.fromkeys(SQUARE.names, NAN))),
        *(("thresholds", dict.fromkeys(SQUARE.names, one)) for one in (2, "0.5", None, True)),
        *(("nms_iou", one) for one in (NAN, 1.5, None)),
        *(("max_objects", one) for one in (0, 1.5, "all")),
        *(("second_look", one) for one in (3, {}, {"below": 0.5}, {"below": NAN, "per_minute": 1})),
        *((key, one) for key in ("layout", "letterbox", "precision", "task", "kind") for one in ("oval", [], {}, 3)),
        *((key, 3) for key in ("model", "licence", "weights", "dataset", "ontology", "dynamic")),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(key: str, wrong: Any) -> None:
    with pytest.raises(RuntimeFault, match=r"^here: "):
        Card.read(json.dumps(asdict(CARD) | {key: wrong}), "here")


def test_a_card_that_is_no_card_is_refused() -> None:
    for text in ("[]", "null", "3", "[" * 200_000):
        with pytest.raises(RuntimeFault, match=r"^here: its card cannot be read"):
            Card.read(text, "here")


def test_a_card_of_another_size_than_its_graph_is_refused(bundle: Path) -> None:
    model = onnx.load(str(bundle / "model.onnx"))
    (entry,) = (one for one in model.metadata_props if one.key == CARD_KEY)
    entry.value = json.dumps(asdict(replace(CARD, imgsz=(96, 64))))
    onnx.save(model, str(bundle / "model.onnx"))
    with pytest.raises(RuntimeFault, match=r"takes \(64, 64\), its card says \(96, 64\)"):
        OnnxSession(bundle / "model.onnx")


@pytest.mark.parametrize("threads", [-5, 99_999])
def test_threads_that_no_device_has_are_refused(bundle: Path, threads: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--bundle", str(bundle), "--threads", str(threads)]) == 1
    assert f"error: {threads} threads: expected 0 to " in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--keep-per-minute", "nan"), ("--keep-per-minute", "inf"), ("--log-files", "0")])
def test_numbers_that_are_none_are_refused(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["folder", ".", *option])
    assert ended.value.code == 1  # 2 says that files were left out
    assert "expected a number from" in capsys.readouterr().err


def test_a_model_that_is_not_in_the_bundle_is_refused(bundle: Path) -> None:
    with pytest.raises(RuntimeFault, match="has no model in int8: expected one of fp32"):
        open_model(bundle, precision="int8")


def test_a_provider_that_is_not_there_is_refused(bundle: Path) -> None:
    with pytest.raises(RuntimeFault, match="has no NoExecutionProvider"):
        OnnxSession(bundle / "model.onnx", providers=["NoExecutionProvider"])


# Engines


def facts_of(bundle: Path, **changed: Any) -> dict[str, Any]:
    sha256 = json.loads((bundle / "manifest.json").read_text())["files"]["model.onnx"]
    return {"onnx_sha256": sha256, "precision": "fp16", "tensorrt": "10.3.0", "sm": "8.7", **changed}


@pytest.mark.parametrize("sm", ["8.7", "87", 87, "SM87", 8.7])
def test_an_engine_of_this_device_has_the_card_of_its_model(bundle: Path, sm: Any) -> None:
    card = engine_card(verify(bundle), facts_of(bundle, sm=sm), "10.3.0", "8.7")
    assert card == replace(CARD, precision="fp16")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"onnx_sha256": "00" * 32}, "built from another model"),
        ({"onnx_sha256": None}, "built from another model"),
        ({"tensorrt": "8.5.2"}, "is of TensorRT 8.5.2, here is 10.3.0"),
        ({"sm": "7.2"}, "for a GPU of SM 7.2, this one has 8.7"),
        ({"sm": None}, "for a GPU of SM None"),
        ({"precision": []}, "unknown precision"),
        ({"precision": "int4"}, "int4"),
    ],
)
def test_a_foreign_engine_is_refused_with_the_command_that_makes_one(
    bundle: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(RuntimeFault, match=words) as caught:
        engine_card(verify(bundle), facts_of(bundle, **changed), "10.3.0", "8.7")
    assert "run ./build.sh" in str(caught.value)


def test_the_major_number_of_a_gpu_is_told_from_the_minor_one(bundle: Path) -> None:
    assert engine_card(verify(bundle), facts_of(bundle, sm="12.1"), "10.3.0", "12.1")
    assert engine_card(verify(bundle), facts_of(bundle, sm="121"), "10.3.0", "12.1")
    with pytest.raises(RuntimeFault, match=r"SM 1\.21, this one has 12\.1"):
        engine_card(verify(bundle), facts_of(bundle, sm="1.21"), "10.3.0", "12.1")


@pytest.mark.parametrize("facts", ["[]", "null", "3", "[" * 200_000, "{}"])
def test_an_engine_that_nothing_is_known_of_is_refused(bundle: Path, facts: str) -> None:
    (bundle / "engine").mkdir()
    (bundle / "engine" / "model.engine").write_bytes(b"an engine")
    (bundle / "engine" / "engine.json").write_text(facts)
    with pytest.raises(RuntimeFault, match=r"run \./build\.sh"):
        open_model(bundle, backend="tensorrt")


def test_an_engine_that_was_swapped_is_refused(bundle: Path) -> None:
    (bundle / "engine").mkdir()
    engine = bundle / "engine" / "model.engine"
    engine.write_bytes(b"an engine")
    facts = facts_of(bundle, engine_sha256=runtime._sha256(engine))
    (bundle / "engine" / "engine.json").write_text(json.dumps(facts))
    engine.write_bytes(b"another engine")
    with pytest.raises(RuntimeFault, match=r"is not the TensorRT engine that engine\.json speaks of"):
        open_model(bundle, backend="tensorrt")


def test_memory_that_could_not_be_had_is_not_used_again() -> None:
    class OneTime:
        """Memory of a GPU that is full after the first piece."""

        def __init__(self) -> None:
            self.freed: list[int] = []

        def allocate(self, size: int) -> int:
            if size > 10:
                raise RuntimeFault("out of memory")
            return 77

        def free(self, address: int) -> None:
            self.freed.append(address)

    session: Any = object.__new__(runtime.TensorRtSession)
    session._cuda, session._buffers = OneTime(), {}
    assert session._buffer("images", 10) == session._buffer("images", 5) == 77
    for _ in range(2):
        with pytest.raises(RuntimeFault, match="out of memory"):
            session._buffer("images", 20)
    assert session._cuda.freed == [0, 77, 0]
    assert session._buffer("images", 5) == 77


def test_an_engine_that_was_never_built_is_said(bundle: Path) -> None:
    with pytest.raises(RuntimeFault, match=r"there is no engine yet.*run \./build\.sh"):
        open_model(bundle, backend="tensorrt")


# The self-check


def test_a_golden_output_that_differs_fails_the_check(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(bundle / "golden.npz") as stored:
        golden = dict(stored)
    model = open_model(bundle)

    def checked(**changed: Any) -> Any:
        np.savez(bundle / "golden.npz", **(golden | changed))
        return self_check(bundle, model)

    nothing = {"1.boxes": np.zeros((0, 4)), "1.scores": np.zeros(0), "1.class_ids": np.zeros(0)}
    assert checked().passed
    assert checked(**{"1.scores": golden["1.scores"] + 9e-4}).passed
    assert not checked(**{"1.scores": golden["1.scores"] + 2e-3}).passed
    assert not checked(**{"1.boxes": golden["1.boxes"] * 0.98}).passed
    assert checked(**{"1.class_ids": golden["1.class_ids"] + 1}).unmatched == 2
    assert checked(**nothing).unmatched == 1
    assert not checked(**nothing).passed
    nan, words = np.full_like(golden["1.scores"], np.nan), golden["1.scores"].astype(str)
    for wrong in (np.zeros(7), nan, words, golden["1.scores"][None]):
        with pytest.raises(RuntimeFault, match=r"golden\.npz: is not made of numbers"):
            checked(**{"1.scores": wrong})
    checked(**{"1.scores": golden["1.scores"] + 2e-3})
    seal(bundle)
    assert main(["check", "--bundle", str(bundle), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_golden_outputs_that_are_damaged_are_said_in_one_sentence(bundle: Path) -> None:
    model, whole = open_model(bundle), (bundle / "golden.npz").read_bytes()
    torn = bytearray(whole)
    torn[60:90] = bytes(30)
    packed = bytearray(whole)
    packed[8] = packed[whole.rindex(b"PK\x01\x02") + 10] = 99  # a compression nobody has
    for data in (b"", b"PK\x03\x04", whole[:-30], bytes(torn), bytes(packed), b"\x93NUMPY"):
        (bundle / "golden.npz").write_bytes(data)
        with pytest.raises(RuntimeFault, match=r"golden\.npz: .*copy the bundle anew"):
            self_check(bundle, model)


def test_golden_images_without_objects_prove_little_and_say_so(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"0.boxes": np.zeros((0, 4)), "0.scores": np.zeros(0), "0.class_ids": np.zeros(0)}
    np.savez(bundle / "golden.npz", **empty)
    seal(bundle)
    assert main(["check", "--bundle", str(bundle)]) == 0
    assert "0 golden objects on 1 images" in (said := capsys.readouterr().out)
    assert "this proves little" in said


def test_a_model_whose_outputs_are_no_numbers_fails_the_check(bundle: Path) -> None:
    write_onnx(bundle / "model.onnx", CARD, faintness=float("nan"))
    with pytest.raises(RuntimeFault, match="numbers that are none"):
        self_check(bundle, Model(OnnxSession(bundle / "model.onnx")))


def test_another_precision_may_differ_more(bundle: Path) -> None:
    write_onnx(bundle / "model.onnx", replace(CARD, precision="int8"), faintness=0.9)
    assert self_check(bundle, Model(OnnxSession(bundle / "model.onnx"))).passed
    write_onnx(bundle / "model.onnx", replace(CARD, precision="fp16"), faintness=0.9)
    assert not self_check(bundle, Model(OnnxSession(bundle / "model.onnx"))).passed


# The command line


def photos(folder: Path) -> Path:
    folder.mkdir()
    for number, value in enumerate((20, 105, 250)):
        cv2.imwrite(str(folder / f"{number}.png"), grey(value))
    (folder / "notes.txt").write_text("none")
    return folder


def test_a_folder_becomes_lines_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "bundle", replace(CARD, second_look=BOUND))
    shots, out = photos(tmp_path / "shots"), tmp_path / "out"
    wanted = ["--out", str(out), "--log", str(tmp_path / "logs"), "--keep-frames", "kept"]
    wanted += ["--second-look-dir", str(tmp_path / "unsure"), "--shadow", str(bundle), "--json"]
    assert main(["folder", str(shots), "--bundle", str(bundle), *wanted]) == 2
    said = capsys.readouterr()
    tally = json.loads(said.out)
    assert (tally["seen"], tally["unreadable"], tally["objects"]) == (3, 1, 2)
    assert (tally["doubtful"], tally["second"], tally["kept"]) == (1, 1, 1)
    assert "notes.txt: cannot be read" in said.err
    lines = [json.loads(line) for line in (out / "objects.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["0.png", "1.png", "2.png"]
    assert [line["objects"] for line in lines] == [[], [[0, 0.412, 0, 0, 64, 48]], [[0, 0.98, 0, 0, 64, 48]]]
    assert sorted(path.name for path in out.glob("*.jpg")) == ["0.png.jpg", "1.png.jpg", "2.png.jpg"]
    (log,) = (tmp_path / "logs").glob("*.jsonl")
    head, *logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert head["model"] == CARD.weights
    assert [line["shadow"] for line in logged] == [line["objects"] for line in lines]
    assert [line["second"] for line in logged] == [False, True, False]
    assert (log.parent / logged[1]["kept"]).resolve() == next((tmp_path / "logs" / "kept").iterdir()).resolve()
    (unsure,) = (tmp_path / "unsure").iterdir()
    assert (cv2.imread(str(unsure)) == 105).all()


def test_what_an_earlier_run_wrote_is_never_touched(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shots, out = photos(tmp_path / "shots"), tmp_path / "out"
    other = make_bundle(tmp_path / "other", replace(CARD, names=CARD.names[::-1]))
    asked = ["folder", str(shots), "--bundle", str(bundle), "--out", str(out)]
    assert main(asked) == 2
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert main([*asked, "--shadow", str(other)]) == 1
    assert "same classes in the same order" in capsys.readouterr().err
    assert not (tmp_path / "out-2").exists()
    assert main([*asked]) == 2
    assert f"out {tmp_path / 'out-2'}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert {path.name: path.read_bytes() for path in (tmp_path / "out-2").iterdir()} == {
        path.name: data for path, data in before.items()
    }


def test_a_line_is_on_the_disk_before_the_next_frame(bundle: Path, tmp_path: Path) -> None:
    a_video(tmp_path / "long.avi", 3000)
    command = [sys.executable, str(bundle / "runtime.py"), "video", "long.avi", "--out", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1) as process:
        while not list((tmp_path / "out").glob("*-00000009.jpg")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert len((tmp_path / "out" / "objects.jsonl").read_text().splitlines()) >= 9


def test_a_picture_that_cannot_be_written_does_not_end_the_run(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shots").mkdir()
    long = "x" * 251 + ".png"
    for name in (long, "z.jpg", "z.jpg.jpg", "z.png"):
        (tmp_path / "shots" / name).write_bytes(cv2.imencode(name[-4:], grey(250))[1].tobytes())
    out = tmp_path / "out"
    asked = ["folder", str(tmp_path / "shots"), "--bundle", str(bundle), "--out", str(out), "--json"]
    assert main(asked) == 2
    said = capsys.readouterr()
    assert "not written (File name too long), the run goes on" in said.err
    tally = json.loads(said.out)
    assert (tally["seen"], tally["unsaved"], tally["unreadable"]) == (4, 1, 0)
    assert {path.name for path in out.glob("*.jpg")} == {"z.jpg", "z.jpg.jpg", "z.png.jpg"}
    (tmp_path / "shots" / long).unlink()
    assert main(asked) == 0


def test_a_video_and_a_camera_become_lines(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = a_video(tmp_path / "hall.avi")
    assert main(["video", str(video), "--bundle", str(bundle)]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["n"] for line in said.out.splitlines()] == list(range(12))
    assert "seen 12" in said.err
    assert main(["camera", str(video), "--bundle", str(bundle)]) == 1
    assert "gave no more frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["folder", "none"], "there is no file in it"),
        (["video", "none.mp4"], "cannot be opened"),
        (["folder", ".", "--keep-frames", "kept"], "--keep-frames: nothing says which frames"),
        (["folder", ".", "--out", "./out"], "lies in the folder that is read"),
        (["folder", ".", "--shadow", "none"], "none/manifest.json: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    bundle: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--bundle", str(bundle)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert words in said[-1]


def test_the_file_alone_runs_beside_its_bundle_and_stops_as_a_service_does(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(bundle / "runtime.py")]
    done = subprocess.run([*command, "verify"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "7 files are as they left home\n"
    a_video(tmp_path / "long.avi", 3000)
    with subprocess.Popen([*command, "video", "long.avi"], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted True" in error
    assert "Traceback" not in error


def test_the_command_line_leaves_signals_as_they_were(bundle: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["verify", "--bundle", str(bundle)]) == 0
    assert signal.getsignal(signal.SIGTERM) is before

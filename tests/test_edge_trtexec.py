"""trtexec: how it is called, how what it says is read, and the command around it.

The trtexec here is a small program that answers as NVIDIA's would: that one cannot be installed without a Jetson or a
GPU. So this proves nothing of TensorRT itself.
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

import pytest

from export import to_engine, trtexec
from export.runtime import RuntimeFault
from tests.made_cards import CARD, made

ROOT = Path(__file__).resolve().parents[1]


def quiet(_line: str) -> None:
    """Take a line of trtexec and forget it."""


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
    assert facts["engine_sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert json.loads(engine.with_name("engine.json").read_text()) == facts


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
    assert not (tmp_path / "engine").exists()


def test_the_version_is_the_one_that_the_runtime_will_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch)
    onnx, engine = made(tmp_path / "model.onnx"), tmp_path / "engine" / "model.engine"
    for module, version in (("8.5.2.2", "8.5.2.2"), ("8.5.20.1", "8.5.2"), ("10.3.0", "8.5.2")):
        monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=module))
        assert to_engine.build(onnx, engine, api="trtexec", log=quiet)["tensorrt"] == version


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


def test_a_place_where_nothing_can_be_written_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path, monkeypatch)
    made(tmp_path / "model.onnx")
    (tmp_path / "engine").write_text("a file")
    assert to_engine.main([str(tmp_path), "--api", "trtexec"]) == 1
    said = capsys.readouterr().err
    assert "engine: File exists: no engine was built: check whose folder it is" in said.splitlines()[-1]
    assert (tmp_path / "engine").read_text() == "a file"
    assert to_engine.main([str(tmp_path), "--api", "trtexec", "--workspace-mb", "-5"]) == 1
    (tmp_path / "manifest.json").write_text("[" * 200_000)
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
    assert not (tmp_path / "engine").exists()
    assert not (tmp_path / "__pycache__").exists()

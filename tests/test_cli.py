"""The command line: the verb table, one way to fail, exit codes, and a help that imports nothing heavy."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

import pytest

from labeling.cli import VERBS, guarded, main
from labeling.core.errors import InputError

HEAVY = {"torch", "supervision", "cv2", "transformers", "ultralytics", "matplotlib", "scipy"}
ROOT = Path(__file__).resolve().parents[1]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    done = python("import sys; from labeling.cli import main; main(['--help']); print(*sys.modules)")
    text, modules = done.stdout.rsplit("\n", 2)[0], set(done.stdout.split())
    assert done.returncode == 0
    assert [verb for verb in VERBS if re.search(rf"^  {verb} ", text, re.M)] == list(VERBS)
    assert len(VERBS) == 27
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith(("labeling.commands.", "pydantic", "numpy"))}


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: labelstill" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_found_and_its_help_imports_nothing_heavy(verb: str) -> None:
    module, function = VERBS[verb][0].split(":")
    assert callable(getattr(import_module(module), function))
    done = python("import sys; from labeling.cli import main; main([sys.argv[1], '--help']); print(*sys.modules)", verb)
    assert f"Usage: labelstill {verb}" in done.stdout
    assert "--json" in done.stdout
    assert not set(done.stdout.split()) & (HEAVY - {"cv2", "scipy"})


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"labelstill {metadata.version('labelstill')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lable"], "Did you mean 'label'?"),
        (["label", "--scroe", "0.2"], "--score"),
        (["label", "--score", "high"], "'--score'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_usage_errors_are_one_line_and_exit_1(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert said in output.err


def failing(error: BaseException, arguments: Sequence[str] = ()) -> int:
    def command(_arguments: Sequence[str]) -> int:
        raise error

    return guarded(command, arguments)


def test_an_expected_failure_is_one_line_and_json_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(InputError("no such folder: photos"), ["label", "--json"]) == 1
    output = capsys.readouterr()
    assert output.err == "error: no such folder: photos\n"
    assert json.loads(output.out) == {"error": "no such folder: photos"}


def test_several_problems_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(InputError("project.yaml:1: a\nproject.yaml:4: b")) == 1
    assert capsys.readouterr().err == "error: project.yaml:1: a\nerror: project.yaml:4: b\n"


def test_an_unexpected_failure_has_no_traceback_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failing(KeyError("x")) == 1
    assert capsys.readouterr().err == "error: unexpected KeyError: 'x' (a defect; LABELSTILL_DEBUG=1 shows where)\n"
    monkeypatch.setenv("LABELSTILL_DEBUG", "1")
    assert failing(KeyError("x")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_operating_system_error_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(OSError(28, "No space left on device", "labels.db")) == 1
    assert capsys.readouterr().err == "error: labels.db: No space left on device\n"


def test_ctrl_c_is_130_and_says_how_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == 130
    assert "the same command continues" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_verb_can_say_itself_how_it_continues(capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    def cut_off(_arguments: Sequence[str]) -> int:
        stop = SystemExit(143)
        stop.add_note("stopped: labelstill train --resume 7 continues")
        raise stop

    assert guarded(cut_off, ["train", *flags]) == 143
    said = capsys.readouterr()
    assert said.err == "stopped: labelstill train --resume 7 continues\n"
    assert said.out == ('{"error": "stopped: labelstill train --resume 7 continues"}\n' if flags else "")


def test_what_typer_makes_of_ctrl_c_is_one_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda _: 130, ["label", "--json"]) == 130
    assert list(json.loads(capsys.readouterr().out)) == ["error"]


def test_cut_off_with_json_there_is_still_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    def cut_off(_arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    assert guarded(cut_off, ["label", "--json"]) == 130
    assert list(json.loads(capsys.readouterr().out)) == ["error"]


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    code = (
        "import sys; from labeling.cli import guarded\n"
        "sys.exit(guarded(lambda _: print('x', flush=True) or 0, ['--json']))"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped() -> None:
    code = (
        "import sys; from labeling.cli import guarded; sys.exit(guarded(lambda _: print('caf\\xe9 \\udcff') or 0, []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\\xe9 \\udcff\n", b"")


def test_sigterm_unwinds_and_is_143() -> None:
    unwound = False

    def command(_arguments: Sequence[str]) -> int:
        nonlocal unwound
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            unwound = True
        return 0

    assert guarded(command, []) == 143
    assert unwound
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = (
        "import sys; from labeling.cli import guarded\n"
        "def chatter(_):\n"
        "    for _ in range(100_000): print('x' * 100)\n"
        "    return 0\n"
        "sys.exit(guarded(chatter, []))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""

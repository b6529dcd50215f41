"""Progress: a bar on a real terminal, plain lines in a pipe, nothing with --json, and words that hold in every case."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labeling.commands.progress import Pace, duration
from labeling.label_run import Summary
from tests.fakes import draw_photos
from tests.paths import ROOT
from tests.test_label_command import command

STOPPED = "stopped: the same command continues from what was written"


def summary(files: int, seconds: float) -> Summary:
    return Summary(files=files, seconds=seconds)


@pytest.mark.parametrize(
    ("files", "seconds", "rate", "left"),
    [
        (0, 0.0, "", ""),
        (4, 0.0, "", "0 s left"),
        (1, 20.0, "20 s per image", "33 min 00 s left"),
        (50, 0.25, "200 images/s", "0 s left"),
        (50, 10.0, "5.0 images/s", "10 s left"),
        (40, 80.0, "0.50 images/s", "2 min 00 s left"),
        (4, 60.0, "15 s per image", "24 min 00 s left"),
        (1, 600.0, "600 s per image", "16 h 30 min left"),
        (100, 50.0, "2.0 images/s", ""),
        (104, 50.0, "2.1 images/s", ""),
    ],
)
def test_speed_and_the_time_that_is_left(files: int, seconds: float, rate: str, left: str) -> None:
    pace = Pace(total=100)
    assert (pace.rate(summary(files, seconds)), pace.left(summary(files, seconds))) == (rate, left)


def test_what_was_done_before_counts_as_done_and_not_as_speed() -> None:
    pace = Pace(total=100, before=900)
    assert pace.counts(summary(0, 0.0)) == "900/1,000"
    assert pace.counts(summary(10, 5.0)) == "910/1,000"
    assert pace.rate(summary(10, 5.0)) == "2.0 images/s"
    assert pace.left(summary(10, 5.0)) == "45 s left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"), (9e4, "25 h 00 min"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def run(arguments: list[str], stderr: int, **settings: str) -> subprocess.Popen[bytes]:
    program, wide = [sys.executable, "-m", "tests.fakes"], {"COLUMNS": "100", "TERM": "xterm"}
    return subprocess.Popen(
        [*program, *arguments], cwd=ROOT, env=os.environ | wide | settings, stdout=subprocess.PIPE, stderr=stderr
    )


def on_a_terminal(arguments: list[str], **settings: str) -> tuple[int, str, str]:
    """Run the command with stderr on a pseudo-terminal; return exit code, stdout, and what the terminal was sent."""
    ours, theirs = pty.openpty()
    sent = b""
    with run(arguments, theirs, **settings) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # which is how a terminal says that the other side is closed
            while part := os.read(ours, 4096):
                sent += part
        said, _ = process.communicate()
    os.close(ours)
    return process.returncode, said.decode(), sent.decode()


def in_a_pipe(arguments: list[str]) -> tuple[int, str, str]:
    with run(arguments, subprocess.PIPE) as process:
        said, sent = process.communicate()
    return process.returncode, said.decode(), sent.decode()


def test_a_terminal_gets_a_bar_that_counts_and_is_gone_in_the_end(tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 24)
    code, said, sent = on_a_terminal(command(tmp_path, "--batch", "4"))
    assert code == 0
    assert "labelled     24 images" in said
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sent)
    assert "0/24  starting" in plain
    assert re.search(r"labelling .*24/24  [\d.]+ images/s", plain)
    assert sent.rstrip().endswith(("\x1b[2K", "\x1b[1A\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))
    assert "Traceback" not in plain


def test_a_bar_goes_on_from_what_was_done_before(tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 12)
    assert in_a_pipe(command(tmp_path, "--limit", "8"))[0] == 0
    _, _, sent = on_a_terminal(command(tmp_path))
    assert "8/12  starting" in sent
    assert re.search(r"12/12", sent)
    code, said, sent = on_a_terminal(command(tmp_path))
    assert (code, sent) == (0, ""), "with nothing to do there is nothing to show"
    assert "unchanged    12 images" in said


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 12)
    assert in_a_pipe(command(tmp_path, "--limit", "5"))[0] == 0
    code, said, sent = in_a_pipe(command(tmp_path))
    assert code == 0
    assert "labelled     7 images" in said
    first, *_, last = sent.splitlines()
    assert first == "labelling 7 files, 5 are done"
    assert re.fullmatch(r"12/12 files, [\d.]+ images/s", last)
    assert "\x1b" not in sent
    assert "\r" not in sent


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 3)
    _, _, sent = on_a_terminal(command(tmp_path), TERM="dumb")
    assert sent.splitlines()[0] == "labelling 3 files"
    assert "\x1b" not in sent


def test_json_shows_nothing_even_on_a_terminal(tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 3)
    code, said, sent = on_a_terminal(command(tmp_path, "--json"))
    assert (code, sent) == (0, "")
    assert json.loads(said)["labelled"] == 3


# Ctrl-C before the verb has begun: what is imported shows how far the process is.


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize("imported", ["typer._click.core", "typer", "pydantic", "sqlite3"])
def test_ctrl_c_in_the_first_moments_is_130_without_a_traceback(
    tmp_path: Path, imported: str, flags: list[str]
) -> None:
    code = "import sys; from labeling.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-c", code, "label", str(tmp_path), *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == imported:
                process.send_signal(signal.SIGINT)
                break
        rest, said = process.stderr.read(), process.stdout.read()
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert STOPPED in rest
    assert said == (json.dumps({"error": STOPPED}) + "\n" if flags else "")

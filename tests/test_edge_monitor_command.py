"""`labelstill monitor` as people type it: words, exit codes, JSON, the page, and frames that come back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.project import Project
from tests.made_edge_logs import NAMES, World, drawn_log, frames, write
from tests.made_stores import ontology

DARK = World(light=0.3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Project.create(tmp_path / "project", ontology(NAMES)).root


def said(capsys: pytest.CaptureFixture[str], code: int, *typed: str) -> str:
    capsys.readouterr()
    assert main(["monitor", *typed]) == code
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], code: int, *typed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(capsys, code, *typed, "--json"))
    return found


def test_quiet_logs_exit_with_0_and_drift_with_3(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = str(write(home.parent / "a.jsonl", frames(World(), 4000)))
    words = said(capsys, 0, usual, "--project", str(home), "--window", "500")
    assert words.startswith("Nothing has drifted in 4 windows of 500 frames.")
    assert "at most 0.01 of such calls raise an alarm where nothing has drifted" in words
    dark = str(write(home.parent / "b.jsonl", frames(DARK, 1000, start=4000), started="2026-03-02"))
    words = said(capsys, 3, dark, "--project", str(home), "--window", "500")
    assert words.startswith("The world of this device has drifted: light")
    assert re.search(
        r"mean grey 0\.50 before, 0\.30 now .* in the window that began 2023-11-14 22:20 UTC, 2 of 2 windows", words
    )
    assert "fewer than 1 in 1,000" in words
    assert "wrote " in words


def test_json_carries_everything(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = str(write(home.parent / "a.jsonl", [*frames(World(), 3000), *frames(DARK, 1000, start=3000)]))
    found = answer(capsys, 3, usual, "--project", str(home), "--window", "500")
    assert found["state"] == "drift"
    assert found["drifts"][0]["statistic"] == "light"
    assert found["reference"]["frames"] == 2000
    assert Path(found["reference"]["file"]).is_file()
    assert len(found["windows"]) == 4
    assert found["windows"][-1]["means"]["light"] == pytest.approx(0.3, abs=0.01)
    assert set(found["limits"]) == set(found["windows"][0]["index"])
    assert found["damaged_lines"] == {}
    assert found["frames_without_picture"] == 4000
    assert found["opened"] is None


def test_logs_that_end_within_the_reference_are_no_alarm(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = str(write(home.parent / "a.jsonl", frames(World(), 2000)))
    words = said(capsys, 0, few, "--project", str(home), "--window", "500")
    assert words.startswith("The first 2,000 frames are the reference now")
    words = said(capsys, 0, few, "--project", str(home), "--window", "500")
    assert words.startswith("These logs hold nothing after the frames of the reference")
    more = str(write(home.parent / "b.jsonl", frames(World(), 100, start=2000), started="2026-03-02"))
    assert "fill no window: 100 of 500" in said(capsys, 1, more, "--project", str(home), "--window", "500")


def test_a_reference_that_is_too_small_says_what_it_needs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = str(write(home.parent / "a.jsonl", frames(World(memory=0.98), 900)))
    words = said(capsys, 1, few, "--project", str(home))
    assert re.match(r"900 frames are too few for a reference: it needs [\d,]+ to keep false alarms", words)
    assert "name whole cycles with --first N" in words
    assert "what was looked at as a reference, and not kept: 900 frames" in words
    assert "learned" not in words


def test_names_in_a_log_command_neither_terminal_nor_page(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["<img src=x onerror=alert(1)>", "\x1b[2J", "ok"]
    lines = [*frames(World(), 3000), *frames(World(mix=(0.0, 0.9, 0.1)), 1000, start=3000)]
    log = str(write(home.parent / "a.jsonl", lines, names=names, device="<b>\x1b[1m"))
    words = said(capsys, 3, log, "--project", str(home), "--window", "500")
    assert "mix of the classes" in words
    assert "\x1b" not in words
    page = (home / "reports" / "monitor.html").read_text()
    assert "<img" not in page
    assert "<b>\x1b" not in page
    assert "&lt;img" in page
    assert "<script" not in page


def test_without_a_project_the_logs_are_judged_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    log = str(write(tmp_path / "a.jsonl", frames(World(), 3000)))
    words = said(capsys, 0, log, "--window", "500")
    assert "no project here, so the reference was not kept" in words
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert main(["monitor", log, "--open", "3"]) == 1
    assert "is no project" in capsys.readouterr().err


@pytest.mark.parametrize("typed", [("--false-alarms", "0"), ("--false-alarms", "0.5"), ("--window", "0")])
def test_numbers_out_of_range_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], typed: tuple[str, str]
) -> None:
    log = str(write(home.parent / "a.jsonl", frames(World(), 10)))
    assert main(["monitor", log, *typed]) == 1
    assert typed[0] in capsys.readouterr().err


def test_two_students_are_compared_in_words_and_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line | {"shadow": line["objects"]} for line in frames(World(), 100)]
    log = str(write(home.parent / "a.jsonl", lines))
    assert said(capsys, 0, log, "--shadow").startswith("They agree on 100% of the objects (100% to 100%)")
    found = answer(capsys, 0, log, "--shadow")
    assert found["frames"] == 100
    assert found["overall"]["agreement"] == 1
    assert len(found["classes"]) == 3


@pytest.mark.parametrize("model", ["../../../evil", "/tmp/evil"])
def test_a_log_cannot_say_where_the_reference_is_written(
    home: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    log = str(write(home.parent / "a.jsonl", frames(World(), 2000), model=model))
    before = sorted(home.parent.rglob("*"))
    assert main(["monitor", log, "--project", str(home), "--window", "500"]) == 1
    assert "expected the sha256 of the weights" in capsys.readouterr().err
    assert sorted(home.parent.rglob("*")) == before


def test_the_page_shows_the_limit_over_the_bars_and_a_scale(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(write(home.parent / "a.jsonl", [*frames(World(), 3000), *frames(DARK, 1000, start=3000)]))
    said(capsys, 3, log, "--project", str(home), "--window", "500")
    page = (home / "reports" / "monitor.html").read_text()
    plot = page[page.index("<svg") : page.index("</svg>")]
    assert plot.rindex("<rect") < plot.index('class="limit"')
    assert ".limit{stroke:var(--ink)" in page
    assert len(re.findall(r"<text [^>]*>[\d.]+</text>", plot)) == 3


def test_frames_come_back_as_new_images_and_are_labelled(
    home: Path, capsys: pytest.CaptureFixture[str], drawn_backend: None
) -> None:
    log = drawn_log(home.parent / "logs", 8)
    words = said(capsys, 0, str(log), "--project", str(home), "--open", "5")
    assert "opened 5 frames as new images in" in words
    assert "8 frames have a picture, 4 were logged without one" in words
    assert f"next: labelstill label {home}/edge-frames --project {home}" in words
    main(["status", "--project", str(home), "--json"])
    assert json.loads(capsys.readouterr().out)["images"] == {"new": 5}
    again = answer(capsys, 0, str(log), "--project", str(home), "--open", "2")
    assert len(again["opened"]["new"]) == 2
    assert again["opened"]["known"] >= 2
    weights = home.parent / "weights"
    weights.write_bytes(b"")
    typed = ["label", f"{home}/edge-frames", "--project", str(home), "--detector", "drawn", "--segmenter", "none"]
    assert main([*typed, "--weights", str(weights), "--classes", ", ".join(NAMES)]) == 0
    capsys.readouterr()
    main(["status", "--project", str(home), "--json"])
    assert json.loads(capsys.readouterr().out)["images"] == {"prelabelled": 7}
    words = said(capsys, 0, str(log), "--project", str(home), "--open", "1")
    assert f" --detector drawn --weights {weights} --segmenter none" in words
    student = home / "runs" / "train" / "one"
    student.mkdir(parents=True)
    (student / "student.safetensors").write_bytes(b"")
    (student / "run.json").write_text(json.dumps({"finished_at": "2026-03-01"}))
    with Project.open(home).open_store() as store:
        assert store.counts()["images"] == {"prelabelled": 7, "new": 1}
    (log.parent / "kept" / "0.png").write_bytes((log.parent / "kept" / "0.png").read_bytes() + b"x")
    words = said(capsys, 0, str(log), "--project", str(home), "--open", "1")
    assert words.rstrip().endswith(" --detector student")

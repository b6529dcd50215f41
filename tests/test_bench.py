"""The benches run in a tiny setting and print the rows that they promise; how fast anything is plays no part here."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.paths import ROOT
from tests.studio_servers import need_label_studio

BENCH = ROOT / "scripts" / "bench"
#: Script -> smallest options, and the beginnings of the rows that must be there.
SCRIPTS: dict[str, tuple[list[str], list[str]]] = {
    "pipeline": (["--photos", "2", "--rounds", "1"], ["whole run ÷ (decode + forward", "best batch", "objects"]),
    "overlap": (["--photos", "2", "--rounds", "1"], [f"{ms} ms teacher: % of max" for ms in (0, 5, 20, 50)]),
    "classes": (
        ["--photos", "1", "--rounds", "1"],
        ["300 classes: forward passes", "300 classes: classes left out", "300 classes: recall lost"],
    ),
    "masks": (
        ["--boxes", "4", "--peer-boxes", "2", "--rounds", "1"],
        ["1080p: peer ÷ ours, 1 box", "12 MP: peak memory, 4 boxes"],
    ),
    "brush": (["--masks", "1", "--rounds", "1"], ["720p, 2 %: SDK ÷ ours, both", "12 MP, 10 %: SDK ÷ ours from"]),
    "resume": (
        ["--most", "20", "--kills", "2", "--rounds", "1"],
        ["nothing to do, 20 images", "finished batches done again", "torn files"],
    ),
    "growth": (
        ["--images", "12", "--megapixels", "1", "--rounds", "1"],
        ["12 images: CPU s", "peak memory at 12", "0.3 MP photo: CPU ms per megapixel"],
    ),
    "gpu": (["--rounds", "1"], ["images/s"]),
    "edge": (
        ["--photos", "2", "--rounds", "1"],
        ["640 px: frames -> boxes", "640 px: JPEG -> boxes", "320 px: frames/s of a video, overlapped"],
    ),
}
KEYS = {"figure", "value", "spread", "goal", "floor", "goal_reached", "floor_reached", "why"}


def run(name: str, options: list[str], cache: Path) -> dict[str, Any]:
    command = [sys.executable, str(BENCH / f"{name}.py"), *options, "--json"]
    settings = os.environ | {"LABELSTILL_BENCH_CACHE": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("rounds")


@pytest.mark.torch
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_bench_prints_its_rows(name: str, cache: Path) -> None:
    options, expected = SCRIPTS[name]
    answer = run(name, options, cache)
    assert answer["bench"] == name
    assert answer["machine"]["cores"] >= 1
    assert all(set(row) == KEYS for row in answer["rows"])
    figures = [row["figure"] for row in answer["rows"]]
    assert len(set(figures)) == len(figures)
    for beginning in expected:
        assert any(figure.startswith(beginning) for figure in figures), (beginning, figures)
    counted = {row["figure"]: row for row in answer["rows"] if row["goal"] in ("<= 0", "<= 4.5")}
    assert all(row["goal_reached"] for row in counted.values()), counted


@pytest.mark.torch
def test_the_labelling_bench_meets_its_peer(cache: Path) -> None:
    package = ROOT / ".bench" / "peer"
    if not (package / "autodistill").is_dir():
        pytest.skip("autodistill is not in the cache of the benches: run scripts/bench/label_loop.py once")
    (cache / "peer").symlink_to(package)
    answer = run("label_loop", ["--photos", "2", "--rounds", "1"], cache)
    figures = [row["figure"] for row in answer["rows"]]
    for classes in (5, 20):
        assert f"{classes} classes: images/s, ours ÷ peer" in figures
        scores = [row["value"] for row in answer["rows"] if row["figure"].startswith(f"{classes} classes: AP50")]
        assert len(scores) == 2
        assert all(0 <= score <= 1 for score in scores)
    assert "roboflow" in answer["notes"][0]


@pytest.mark.torch
def test_without_a_gpu_the_gpu_bench_says_so(cache: Path) -> None:
    (row,) = run("gpu", [], cache)["rows"]
    assert row["value"] is None
    assert row["why"] == "no CUDA device"


@pytest.mark.server
def test_the_bench_of_the_round_trip_loses_no_task_and_leaves_no_server(cache: Path) -> None:
    need_label_studio()
    answer = run("studio", ["--tasks", "20", "--heavy", "2", "--rounds", "1"], cache)
    rows = {row["figure"]: row for row in answer["rows"]}
    assert len(rows) == len(answer["rows"])
    for beginning in (
        "20 tasks x 5 regions: push ÷ SDK",
        "push with nothing to do ÷ plain listing",
        "pull with nothing to do ÷ plain listing",
        "first pull of 20 answered tasks",
        "push: peak memory at 20 tasks ÷ at 2",
        "pull: peak memory at 20 tasks ÷ at 2",
        "copy of a tiny photo",
        "1920 x 1080: brush ÷ polygon in bytes",
        "2 tasks of brushes: largest request",
    ):
        (row,) = (row for figure, row in rows.items() if figure.startswith(beginning))
        assert row["value"] > 0
    assert not list((cache / "studio").iterdir())
    assert not [process for process in Path("/proc").glob("[0-9]*/environ") if str(cache / "studio") in _text(process)]


def test_rounds_alternate_and_every_step_runs_in_each(rounds: ModuleType) -> None:
    order: list[str] = []
    times = rounds.interleave({"peer": lambda: order.append("peer"), "ours": lambda: order.append("ours")}, 3)
    assert order == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert {name: len(seconds) for name, seconds in times.items()} == {"peer": 3, "ours": 3}


def test_a_ratio_is_the_median_over_rounds_with_its_spread(rounds: ModuleType) -> None:
    times = {"peer": [4.0, 9.0, 10.0], "ours": [2.0, 3.0, 1.0]}
    assert rounds.ratio(times, "peer", "ours") == (3.0, 2.0, 10.0)


@pytest.mark.parametrize(
    ("value", "said"), [(6.0, "|  |"), (4.0, "| missed: slow |"), (2.0, "| below the floor: slow |")]
)
def test_a_missed_goal_stands_in_the_table_with_its_reason(rounds: ModuleType, value: float, said: str) -> None:
    row = rounds.measured("speed", (value, value - 1, value + 1), ">= 5", ">= 3", "slow")
    assert rounds.table([row]).splitlines()[-1].endswith(said)
    assert row.as_dict()["why"] == ("" if value > 5 else "slow")


def test_what_was_not_measured_says_why(rounds: ModuleType) -> None:
    assert "| not measured |" in rounds.table([rounds.Row("speed", None, why="no GPU")])
    assert "no GPU" in rounds.table([rounds.Row("speed", None, why="no GPU")])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended, or belongs to somebody else
        return ""

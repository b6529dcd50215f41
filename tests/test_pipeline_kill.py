"""Kill -9 and a full disk at any moment: the same command continues, and in the end nothing differs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from tests import fakes
from tests.fakes import draw, draw_photos

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, BATCH, BATCHES = 62, 4, 16
KILLS = 16

# Each run is a process forked from one that has imported everything: a kill meets the run and not the imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.fakes", "supervision", "labeling.commands.label"])

# Everything that a run leaves behind, except when and in which run.
CONTENT = {
    "images": "SELECT sha256, width, height, state, reason, notes FROM images ORDER BY sha256",
    "files": "SELECT path, size, sha256, status, reason FROM files ORDER BY path",
    "annotations": "SELECT id, sha256, class_name, x0, y0, x1, y1, rle, score, mask_score, source, prompt, model, "
    "annotator, parent_id, flags FROM annotations ORDER BY id",
    "order": "SELECT id FROM annotations ORDER BY sha256, rowid",
    "labelled": "SELECT sha256, done_key FROM labelled ORDER BY sha256",
    "drops": "SELECT * FROM drops ORDER BY sha256, reason, class_name",
    "features": "SELECT sha256, annotation_id, model, dim, data FROM features ORDER BY sha256, annotation_id",
    "classes": "SELECT * FROM classes ORDER BY position",
}


def content(project: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(project / "labels.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {name: db.execute(sql).fetchall() for name, sql in CONTENT.items()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    drawn = draw_photos(folder, PHOTOS - 2, seed=3)
    (folder / "broken.png").write_bytes(drawn[0].path.read_bytes()[:200])
    (folder / "twin.png").write_bytes(drawn[7].path.read_bytes())
    return folder


def command(photos: Path, project: Path) -> list[str]:
    weights = project.parent / "drawn.weights"
    weights.write_text("the same every time")
    return [
        "label", str(photos), "--project", str(project), "--batch", str(BATCH),
        "--classes", "crimson: red box, leaf: green box, sea: blue box, sun: yellow box",
        "--detector", "drawn", "--weights", str(weights), "--segmenter", "drawn", "--segmenter-weights", str(weights),
    ]  # fmt: skip


def run(arguments: list[str], **settings: object) -> tuple[int, str]:
    """Run the command in a process of its own; return its exit code, -9 when it was killed, and what it said."""
    output = Path(arguments[3]).with_suffix(".output")
    process = PROCESSES.Process(target=fakes.run_command, args=(arguments, environment(**settings), output))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, output.read_text()


def environment(**settings: object) -> dict[str, str]:
    """Return what tests.fakes reads: log, gate, kill_s, largest_file."""
    return {f"LABELSTILL_TEST_{name.upper()}": str(value) for name, value in settings.items()}


def calls(log: Path) -> Counter[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.split()[0] for line in lines)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    folder = tmp_path_factory.mktemp("whole")
    code, said = run(command(photos, folder / "project"), log=folder / "log")
    assert code == 2, said
    assert calls(folder / "log") == {"detect": BATCHES, "segment": BATCHES}
    result = content(folder / "project")
    assert len(result["images"]) == PHOTOS - 1
    assert len(result["annotations"]) > 50
    return result


def test_killed_at_random_moments_it_continues_and_ends_the_same(
    photos: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    random = Random(20)
    kills: list[int] = []  # how many files were done by then
    began = monotonic()
    assert run(command(photos, tmp_path / "timed"), log=tmp_path / "log-timed")[0] == 2
    longest = 1.2 * (monotonic() - began)  # kills are spread over a whole run, however fast this machine is
    for number in range(6 * KILLS):
        project, log = tmp_path / f"project-{number}", tmp_path / f"log-{number}"
        arguments = command(photos, project)
        killed_before = len(kills)
        while (result := run(arguments, log=log, kill_s=random.uniform(0.0, longest)))[0] == -signal.SIGKILL:
            kills.append(files_done(project))
            assert kills[-1] % BATCH == 0 or kills[-1] == PHOTOS, "a kill never leaves half a batch"
        assert result[0] == 2, result[1]
        assert content(project) == whole
        # A kill costs the batch on its way to labels.db; the detector may have begun on one more.
        assert calls(log)["segment"] <= BATCHES + len(kills) - killed_before
        assert calls(log)["detect"] <= BATCHES + 2 * (len(kills) - killed_before)
        met_half_done = len([files for files in kills if 0 < files < PHOTOS])
        if len(kills) >= KILLS and met_half_done >= KILLS // 3:
            break
    assert len(kills) >= KILLS
    assert met_half_done >= KILLS // 3, "too few kills met a run half done"


def files_done(project: Path) -> int:
    """Return how many files labels.db knows, after checking that it is sound."""
    if not (project / "labels.db").exists():
        return 0
    with sqlite3.connect(project / "labels.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
            return 0
        return int(db.execute("SELECT count(*) FROM files").fetchone()[0])


@pytest.mark.parametrize("stop_with", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_signal_ends_after_a_batch_and_loses_nothing(
    photos: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path, stop_with: signal.Signals
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    arguments = command(photos, tmp_path / "project")
    os.mkfifo(gate)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | environment(log=log, gate=gate), text=True,
    ) as process:  # fmt: skip
        # The third batch is in the detector, and waits for this pipe to be closed.
        with gate.open("w"):
            process.send_signal(stop_with)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + stop_with, errors
    assert "the same command continues" in errors
    assert "labelled" in output
    done = calls(log)["segment"]
    assert 1 <= done < BATCHES
    assert run(arguments, log=log)[0] == 2
    assert calls(log)["segment"] == BATCHES
    assert content(tmp_path / "project") == whole


def test_a_full_disk_is_one_clear_line_and_what_was_committed_stays(
    photos: Path, whole: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    arguments = command(photos, tmp_path / "project")
    code, said = run(arguments, largest_file=300_000)
    assert code == 1, said
    assert said.count("error: ") == 1
    assert "full" in said
    assert "Traceback" not in said
    with sqlite3.connect(tmp_path / "project" / "labels.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert run(arguments)[0] == 2
    assert content(tmp_path / "project") == whole


def test_a_second_process_on_the_same_project_is_told_who_holds_it(photos: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    project = tmp_path / "project"
    arguments = command(photos, project)
    draw(tmp_path / "one.png", [("red", (5, 5, 20, 20))])
    assert run(["label", str(tmp_path / "one.png"), *arguments[2:]])[0] == 0
    with FileLock(project / ".labelstill.lock"):
        code, said = run(arguments)
    assert code == 1
    assert "another process is writing" in said

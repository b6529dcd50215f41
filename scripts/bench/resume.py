"""B6: a run with nothing to do over 10,000 and 100,000 finished images, and runs that are killed at random moments.

Usage: python scripts/bench/resume.py [--most N] [--kills N] [--rounds N] [--json]

The run with nothing to do is `labelstill label` through its console script, a whole process from start to exit. Its
photos are tiny JPEGs with different bytes, and its labels.db, three labels per image, was filled through the store and
not by a model. Wall time is what people wait; processor time of the process is printed beside it, for a busy machine.

The killed runs label 64 photos with a teacher that sleeps 10 ms per image. Each kill is a SIGKILL at a random moment.
Counted is what each of them cost: batches that had come out of the segmenter, the last step before labels.db, and were
not in labels.db afterwards. A file is torn if labels.db fails its integrity check, holds part of a batch, or if
project.yaml cannot be read. In the end the labels are those of a run that was never killed, or the bench fails.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import sleepy
from photos import cache, sha256, tiny
from processes import run_to_end
from rounds import Row, arguments, measured, publish, spread

from labeling.core.config import load_config
from labeling.core.errors import LabelstillError
from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation, Provenance
from labeling.core.store import FileStamp, ImageOutcome
from labeling.job import LabelJob, LabelRequest
from labeling.project import Project

CLASSES = "forklift, pallet, box"
GOALS_S = {10_000: "<= 0.5", 100_000: "<= 3"}
PHOTOS, BATCH, SLEEP_S = 64, 4, 0.01
_LABELS_PER_IMAGE = 3
_PER_COMMIT = 1000


def bench(most: int, kills: int, rounds: int) -> list[Row]:
    """Return the rows."""
    rows = []
    for images in (*(size for size in GOALS_S if size < most), most):
        rows += _nothing_to_do(images, rounds)
    return rows + (_killed(kills) if kills else [])


def finished(images: int) -> tuple[Path, Path]:
    """Return a folder of photos and a project in which they all have their labels; made once and kept."""
    photos = tiny(images)
    project = cache(f"finished-{images}")
    if not (project / "done").exists():
        ontology = parse_classes(CLASSES)
        if not Project.exists(project):
            Project.create(project, ontology)
        job = LabelJob(LabelRequest((photos,), project, CLASSES, detector="bundled"))
        with job.open_project() as (opened, store):
            opened.with_ontology(ontology, store)
            key, run_id = job.key(store), store.start_run("label", {})
            files = job.plan(store).files
            for start in range(0, len(files), _PER_COMMIT):
                chunk = files[start : start + _PER_COMMIT]
                stamps = [FileStamp(os.fsencode(file.path), file.size, file.mtime_ns) for file in chunk]
                store.commit_batch([_outcome(stamp, key) for stamp in stamps], run_id)
            store.finish_run(run_id, {})
        (project / "done").touch()
    return photos, project


def _outcome(stamp: FileStamp, key: str) -> ImageOutcome:
    image = sha256(os.fsdecode(stamp.path))
    made = Provenance("teacher", "bundled", None, "box", 0.9, 0.8, None)
    labels = tuple(
        Annotation(
            id=f"{image[:30]}{number:02d}", sha256=image, class_name="box", box_xyxy=(1, 1, 9, 9), provenance=made
        )
        for number in range(_LABELS_PER_IMAGE)
    )
    return ImageOutcome((stamp,), image, 32, 24, annotations=labels, done_key=key)


def _nothing_to_do(images: int, rounds: int) -> list[Row]:
    photos, project = finished(images)
    command = [str(Path(sys.executable).with_name("labelstill")), "label", str(photos), "--project", str(project)]
    command += ["--classes", CLASSES, "--detector", "bundled"]
    wall, cpu = [], []
    for number in range(rounds + 1):
        began = time.perf_counter()
        said, used = run_to_end(command)
        took = time.perf_counter() - began
        if f"unchanged    {images} images" not in said.replace(",", ""):
            raise SystemExit(f"the run over {images} finished images had something to do:\n{said}")
        if number:  # the first one fills the caches of the file system
            wall.append(took)
            cpu.append(used)
    why = "see the row of its processor time: the machine was busy" if spread(cpu)[0] < 0.6 * spread(wall)[0] else ""
    goal = GOALS_S.get(images, "")
    return [
        measured(f"nothing to do, {images:,} images: s, whole process", spread(wall), goal, "", why),
        measured(f"nothing to do, {images:,} images: CPU s", spread(cpu)),
    ]


@dataclass(slots=True)
class _Cost:
    """What one kill cost, in batches, and how many images were in labels.db by then."""

    finished: int
    detected: int
    done: int


def _killed(kills: int) -> list[Row]:
    random, costs, torn = Random(20), [], 0
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["sleepy", "supervision", "labeling.commands.label"])
    photos = tiny(PHOTOS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def run(project: Path, kill_s: float | None) -> int:
            log = project.with_suffix(".log")
            log.unlink(missing_ok=True)
            settings = {f"{sleepy.PREFIX}LOG": str(log), f"{sleepy.PREFIX}SLEEP_S": str(SLEEP_S)}
            if kill_s is not None:
                settings[f"{sleepy.PREFIX}KILL_S"] = str(kill_s)
            flags = sleepy.flags(photos, project, root / "weights", batch=BATCH, segmenter="sleepy")
            process = processes.Process(target=sleepy.run, args=(flags, settings, project.with_suffix(".out")))
            process.start()
            process.join()
            if process.exitcode not in (0, -signal.SIGKILL):
                raise SystemExit(f"a run ended with {process.exitcode}:\n{project.with_suffix('.out').read_text()}")
            return process.exitcode

        run(root / "warm-up", None)  # the server that forks the others imports everything first
        began = time.perf_counter()
        run(root / "whole", None)
        longest = time.perf_counter() - began
        expected = _labels(root / "whole")
        for number in count():
            if len(costs) >= kills:
                break
            project, before = root / f"killed-{number}", 0
            while run(project, random.uniform(0, longest)):
                sound, done = _state(project)
                torn += not sound
                calls = project.with_suffix(".log").read_text().split() if project.with_suffix(".log").exists() else []
                committed = (done - before) // BATCH
                costs.append(_Cost(calls.count("segment") - committed, calls.count("detect") - committed, done))
                before = done
            if _labels(project) != expected:
                raise SystemExit(f"{project.name}: the labels differ from those of a run that was never killed")
    return [
        Row("kills", len(costs)),
        Row("kills that met a run half done", sum(0 < cost.done < PHOTOS for cost in costs)),
        Row(
            "finished batches done again after a kill, at most",
            max(cost.finished for cost in costs),
            goal="<= 1",
            why="a bug",
        ),
        Row("batches of the detector done again after a kill, at most", max(cost.detected for cost in costs)),
        Row("torn files", torn, goal="<= 0", why="a bug"),
    ]


def _state(project: Path) -> tuple[bool, int]:
    """Say whether everything in a project is sound, and how many files labels.db knows."""
    try:
        if (project / "project.yaml").exists():
            load_config(project / "project.yaml")
        if not (project / "labels.db").exists():
            return True, 0
        with sqlite3.connect(project / "labels.db") as db:
            if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return False, 0
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
                return True, 0
            done = int(db.execute("SELECT count(*) FROM files").fetchone()[0])
            return done % BATCH == 0, done
    except (LabelstillError, sqlite3.Error):
        return False, 0


def _labels(project: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(project / "labels.db") as db:
        return db.execute(
            "SELECT id, sha256, class_name, x0, y0, x1, y1, score FROM annotations ORDER BY id"
        ).fetchall()


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, most=100_000, kills=20).parse_args()
    publish("resume", bench(options.most, options.kills, options.rounds), options)


if __name__ == "__main__":
    main()

"""B2: how much of the teacher's time is lost around it: a teacher that sleeps 0 to 50 ms per image, on 720p JPEGs.

Usage: python scripts/bench/overlap.py [--photos N] [--rounds N] [--json]

The floor of a run is max(teacher, CPU per core): what the teacher sleeps in all, or the processor time of the run
divided by the cores, whichever is longer. Compared are

- ours: decode, detect and write overlapped, one transaction per batch;
- a loop in the shape of FiftyOne's apply_model: a torch DataLoader whose worker processes decode, the main process runs
  the teacher on a batch and then writes that batch;
- a serial loop in the shape of autodistill's: read an image, run the teacher on it, next image; written at the end.

All three decode with the same function and write the same rows with the same code into a labels.db that is new each
time and made before the clock runs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from photos import Photo, scenes
from rounds import Row, arguments, interleave, measured, publish, ratio, spread
from sleepy import SleepyDetector

from labeling.core.ontology import Ontology, parse_classes
from labeling.core.store import FileStamp, Store
from labeling.image_files import FoundFile
from labeling.images import LoadedImage, load
from labeling.label_run import AUTO_BATCH
from labeling.outcomes import labelled_outcome
from labeling.pipeline import Pipeline
from labeling.teachers.filters import FilterSettings
from labeling.teachers.teacher import Teacher

SLEEPS_MS = (0, 5, 20, 50)
BATCH = AUTO_BATCH["cpu"]
_WHY_SHARE = "the first batch is decoded and the last one written while the teacher waits"
_WHY_FIFTYONE = (
    "a slow teacher hides the peer's decoding too: what is left to gain is the writing and the hand-over of pixels, a "
    "few ms per image; no loop can be faster than our % of max divided by this ratio says of the peer"
)
_KEY = "bench"


class Bench:
    """One speed of the teacher."""

    def __init__(self, root: Path, photos: Sequence[Photo], sleep_ms: float, runs: int) -> None:
        self._files = [_found(photo.path) for photo in photos]
        ontology: Ontology = parse_classes("box")
        self._teacher = Teacher(SleepyDetector(sleep_ms / 1000), None, ontology, [0.5], FilterSettings(), "sleepy")
        self._stores = iter([self._store(root / f"{number}.db") for number in range(runs)])
        self.cpu_s: list[float] = []

    def ours(self) -> None:
        """Label through the pipeline, and note the processor time of all threads."""
        began = time.process_time()
        with next(self._stores) as store:
            run_id = store.start_run("label", {})
            for outcomes in Pipeline(self._teacher, _load, done_key=_KEY, batch=BATCH).run(self._files):
                store.commit_batch(outcomes, run_id)
        self.cpu_s.append(time.process_time() - began)

    def fiftyone_shaped(self) -> None:
        """Decode in the worker processes of a DataLoader, run the teacher, write the batch, take the next one."""
        from torch.utils.data import DataLoader

        paths = [file.path for file in self._files]
        cores = len(os.sched_getaffinity(0))
        with next(self._stores) as store:
            run_id = store.start_run("label", {})
            batches: Any = DataLoader(_Photos(paths), batch_size=BATCH, num_workers=cores, collate_fn=list)
            files = iter(self._files)
            for batch in batches:
                images = [LoadedImage(sha256, pixels.numpy(), "JPEG") for sha256, pixels in batch]
                store.commit_batch(list(self._outcomes(files, images)), run_id)

    def serial(self) -> None:
        """One image at a time; everything is written at the end."""
        done: list[Any] = []
        with next(self._stores) as store:
            run_id = store.start_run("label", {})
            for file in self._files:
                done += self._outcomes(iter([file]), [_load(file.path)])
            store.commit_batch(done, run_id)

    def _outcomes(self, files: Iterator[FoundFile], images: Sequence[LoadedImage]) -> Iterator[Any]:
        answers = self._teacher.label([image.pixels for image in images])
        for image, labelled in zip(images, answers, strict=True):
            file = next(files)
            stamp = FileStamp(os.fsencode(file.path), file.size, file.mtime_ns)
            yield labelled_outcome(stamp, image, labelled, self._teacher.ontology.names, "sleepy", _KEY)

    def _store(self, path: Path) -> Store:
        store = Store.open(path, create=True)
        store.write_classes(self._teacher.ontology)
        return store


class _Photos:
    """What a DataLoader calls a map-style dataset."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[str, Any]:
        import torch

        image = _load(self._paths[index])
        return image.sha256, torch.from_numpy(image.pixels)


def bench(count: int, rounds: int) -> list[Row]:
    """Return the rows."""
    cores = len(os.sched_getaffinity(0))
    rows = []
    for sleep_ms in SLEEPS_MS:
        photos = scenes(count if sleep_ms <= 20 else -(-count // 2))
        with tempfile.TemporaryDirectory(dir=photos[0].path.parents[1]) as folder:
            one = Bench(Path(folder), photos, sleep_ms, runs=3 * rounds + 2)
            for warm_up in (one.ours, one.fiftyone_shaped):
                warm_up()
            one.cpu_s.clear()
            steps = {"ours": one.ours, "FiftyOne": one.fiftyone_shaped, "serial": one.serial}
            times = interleave(steps, rounds)
        floors = [max(len(photos) * sleep_ms / 1000, cpu_s / cores) for cpu_s in one.cpu_s]
        share = spread([100 * floor / took for floor, took in zip(floors, times["ours"], strict=True)])
        goal, least = (">= 97", ">= 93") if sleep_ms == 20 else ("", "")
        rows += [
            measured(f"{sleep_ms} ms teacher: % of max(teacher, CPU per core)", share, goal, least, _WHY_SHARE),
            measured(
                f"{sleep_ms} ms: ours ÷ FiftyOne-shaped", ratio(times, "FiftyOne", "ours"), ">= 1.3", "", _WHY_FIFTYONE
            ),
            measured(f"{sleep_ms} ms: ours ÷ serial", ratio(times, "serial", "ours")),
            measured(f"{sleep_ms} ms: images/s, ours", spread([len(photos) / each for each in times["ours"]])),
        ]
    rows.append(measured("CPU ms per image, ours", spread([1000 * cpu_s / len(photos) for cpu_s in one.cpu_s])))
    return rows


def _load(path: Path) -> LoadedImage:
    return load(path, max_pixels=10**8)


def _found(path: Path) -> FoundFile:
    info = path.stat()
    return FoundFile(str(path), path.parent, info.st_size, info.st_mtime_ns)


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, photos=96).parse_args()
    publish(
        "overlap", bench(options.photos, options.rounds), options, [f"batch {BATCH} everywhere but in the serial loop"]
    )


if __name__ == "__main__":
    main()

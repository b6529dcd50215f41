"""B1, second half: the whole labelling run against the bare work that it cannot do without, on the same 720p photos.

Usage: python scripts/bench/pipeline.py [--photos N] [--rounds N] [--json]

The bare work is one decode of each file, one after the other, and then detector, filters and segmenter (which encodes
the masks) on pixels that are in memory, at whichever batch size is fastest here. The whole run adds search, planning,
hand-over between threads and labels.db, and overlaps what it can. Both find the same objects, or the bench fails.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Event

from photos import NOUNS, folder_of, scenes
from rounds import Row, arguments, interleave, measured, publish, ratio, spread

from labeling.images import load
from labeling.job import LabelJob, LabelRequest
from labeling.label_run import AUTO_BATCH

BATCHES = (1, 2, 4, 8, 16)
_WHY = "labels.db is written and synchronised to disk once per batch, and the first batch has nothing to overlap with"


def bench(count: int, rounds: int) -> list[Row]:
    """Return the rows."""
    photos = scenes(count)
    with tempfile.TemporaryDirectory(dir=photos[0].path.parents[1]) as folder:
        root = Path(folder)
        searched = folder_of(photos, root / "photos")
        names = iter(range(10**6))

        def job() -> LabelJob:
            request = LabelRequest((searched,), root / f"run-{next(names)}", ", ".join(NOUNS), detector="bundled")
            return LabelJob(request)

        teacher = job().teacher
        pixels = [load(photo.path, max_pixels=10**8).pixels for photo in photos]

        def forward(batch: int) -> int:
            parts = (pixels[start : start + batch] for start in range(0, count, batch))
            return sum(len(one.detections) for part in parts for one in teacher.label(part))

        def decode() -> None:
            for photo in photos:
                load(photo.path, max_pixels=10**8)

        def whole() -> int:
            one = job()
            one.__dict__["teacher"] = teacher  # loaded once: the bench is about images, not about loading
            with one.open_project() as (project, store):
                return one.run(one.plan(store), project, store, Event(), lambda _: None).objects.total()

        found = {forward(AUTO_BATCH["cpu"]), whole()}
        if len(found) != 1:
            raise SystemExit(f"the two ways found different numbers of objects: {sorted(found)}")
        sizes = {f"batch {batch}": (lambda batch=batch: forward(batch)) for batch in BATCHES if batch <= count}  # type: ignore[misc]
        times = interleave({"whole": whole, "decode": decode, **sizes}, rounds)
    best = min(sizes, key=lambda name: spread(times[name])[0])
    bare = [forward_s + decode_s for forward_s, decode_s in zip(times[best], times["decode"], strict=True)]
    times["bare"] = bare
    return [
        measured(
            "whole run ÷ (decode + forward at its best batch)", ratio(times, "whole", "bare"), "<= 1.15", "", _WHY
        ),
        measured("whole run ÷ forward alone", ratio(times, "whole", best)),
        Row("best batch of the forward pass", int(best.split()[1])),
        Row("batch of the whole run", AUTO_BATCH["cpu"]),
        measured("images/s, whole run", spread([count / each for each in times["whole"]])),
        *(measured(f"images/s, forward, {name}", spread([count / each for each in times[name]])) for name in sizes),
        measured("images/s, decode on one core", spread([count / each for each in times["decode"]])),
        Row("objects", found.pop()),
    ]


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, photos=48).parse_args()
    publish("pipeline", bench(options.photos, options.rounds), options)


if __name__ == "__main__":
    main()

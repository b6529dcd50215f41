"""B1: the whole job on 720p JPEGs, against autodistill's own `label()` loop on the same modules, at 5 and 20 classes.

Usage: python scripts/bench/label_loop.py [--photos N] [--rounds N] [--json]

Ours is a labelling job from the search for files to the last commit in labels.db, on a project that is new every time,
and in a second row also the YOLO folder, which the peer writes too. Models are loaded before the clock runs, for both.
Beside the speed stands AP50 of the labels that each of the two delivered, against the truth of the drawn scenes.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import peer
from photos import COLOURS, HD, NOUNS, Photo, folder_of, scenes
from rounds import Row, arguments, interleave, measured, publish, ratio

from labeling import cli
from labeling.core.store import Store
from labeling.job import LabelJob, LabelRequest
from labeling.teachers.backends import DETECTORS, SEGMENTERS

sys.path.append(str(Path(__file__).resolve().parents[1]))
from measure_demo_teacher import ap50

SETTINGS = {5: NOUNS, 20: tuple(f"{colour} {noun}" for colour, noun in product(COLOURS, NOUNS))}
GOALS = {5: (">= 5", ">= 3"), 20: (">= 15", ">= 8")}
_DETECTOR, _SEGMENTER = (Path(str(table["bundled"].default_weights)) for table in (DETECTORS, SEGMENTERS))


class Bench:
    """One number of classes."""

    def __init__(self, root: Path, photos: Sequence[Photo], classes: Sequence[str]) -> None:
        self.photos = photos
        self.classes = tuple(classes)
        self._root = root / f"{len(classes)}-classes"
        self._folder = folder_of(photos, self._root / "photos")
        self._names = iter(range(10**6))
        self._peer = peer.GroundedSam(classes, _DETECTOR, _SEGMENTER, DETECTORS["bundled"].default_score)
        self._teacher = self._job(self._root / "unused").teacher

    def ours(self) -> Path:
        """Label a new project and return its folder."""
        project = self._new()
        job = self._job(project)
        job.__dict__["teacher"] = self._teacher  # loaded once: the bench is about images, not about loading
        with job.open_project() as (opened, store):
            job.run(job.plan(store), opened, store, Event(), lambda _: None)
        return project

    def ours_and_yolo(self) -> None:
        """Label a new project and write it as a YOLO folder."""
        project = self.ours()
        with contextlib.redirect_stdout(io.StringIO()):
            code = cli.main(
                ["convert", "--project", str(project), "--to", "yolo-seg", "--out", str(project / "exports" / "yolo")]
            )
        if code:
            raise RuntimeError(f"labelstill convert ended with {code}")

    def theirs(self) -> dict[str, Any]:
        """Run the peer and return its detections by file name."""
        return dict(peer.label(self._peer, self._folder, self._new()))

    def quality(self) -> dict[str, tuple[float, int]]:
        """Return AP50 and the number of boxes of what each of the two delivers."""
        answers = {"ours": self._from_store(self.ours()), "theirs": self.theirs()}
        return {
            name: (self._ap50(found), sum(len(one.xyxy) for one in found.values())) for name, found in answers.items()
        }

    def _job(self, project: Path) -> LabelJob:
        return LabelJob(LabelRequest((self._folder,), project, ", ".join(self.classes), detector="bundled"))

    def _new(self) -> Path:
        return self._root / f"run-{next(self._names)}"

    def _from_store(self, project: Path) -> dict[str, Any]:
        found = {}
        with Store.open(project / "labels.db") as store:
            for image in store.iter_images():
                rows = store.annotations_of(image.sha256 or "")
                found[Path(image.paths[0]).name] = SimpleNamespace(
                    xyxy=np.array([row.box_xyxy for row in rows]).reshape(-1, 4),
                    class_id=np.array([self.classes.index(row.class_name) for row in rows], dtype=int),
                    confidence=np.array([row.provenance.score for row in rows]),
                )
        return found

    def _ap50(self, found: dict[str, Any]) -> float:
        width, height = HD
        frame = np.empty((height, width, 0))
        pairs = [
            (SimpleNamespace(picture=frame, things=photo.things), SimpleNamespace(detections=found[photo.path.name]))
            for photo in self.photos
        ]
        if not any(len(one.xyxy) for one in found.values()):
            return 0.0
        by_colour = self.classes[0] not in NOUNS
        return float(np.mean(list(ap50(pairs, self.classes, by_colour=by_colour).values())))  # type: ignore[arg-type]


def bench(count: int, rounds: int) -> list[Row]:
    """Return the rows."""
    peer.install()
    photos = scenes(count)
    rows = []
    with tempfile.TemporaryDirectory(dir=photos[0].path.parents[1]) as folder:  # beside the photos, for hard links
        for number, classes in SETTINGS.items():
            one = Bench(Path(folder), photos, classes)
            quality = one.quality()  # warms both up
            steps = {"peer": one.theirs, "ours": one.ours, "ours and YOLO": one.ours_and_yolo}
            times = interleave(steps, rounds)
            goal, floor = GOALS[number]
            rows += [
                measured(f"{number} classes: images/s, ours ÷ peer", ratio(times, "peer", "ours"), goal, floor, _WHY),
                measured(
                    f"{number} classes: the same, ours with a YOLO folder too", ratio(times, "peer", "ours and YOLO")
                ),
                measured(f"{number} classes: images/s, ours", _pace(count, times["ours"])),
                measured(f"{number} classes: images/s, peer", _pace(count, times["peer"])),
            ]
            for name, (quality_ap50, boxes) in quality.items():
                rows.append(Row(f"{number} classes: AP50 of the labels delivered, {name}, {boxes} boxes", quality_ap50))
    return rows


_WHY = (
    "with the small bundled teacher preparing and decoding a photo costs about as much as one detector pass, and that "
    "part is not saved N times"
)


def _pace(count: int, seconds: Sequence[float]) -> tuple[float, float, float]:
    paces = sorted(count / each for each in seconds)
    return float(np.median(paces)), paces[0], paces[-1]


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, photos=16).parse_args()
    publish("label_loop", bench(options.photos, options.rounds), options, [peer.NOTE])


if __name__ == "__main__":
    main()

"""A teacher that only waits, in place of a model: it sleeps, which frees the GIL as a device does, and finds one box.

`python scripts/bench/sleepy.py label …` is the labelstill command with one more detector and segmenter, `sleepy`, which
take any file for their weights. The environment says what they do:

LABELSTILL_BENCH_SLEEP_S  seconds that the detector sleeps per image; 0 when left out
LABELSTILL_BENCH_LOG      file that gets a line per finished call, "detect" or "segment"
LABELSTILL_BENCH_KILL_S   the process kills itself, wherever it is, that long after its teacher was loaded
LABELSTILL_BENCH_PEAK     file that gets the peak memory of the process in MB at the end
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from rounds import peak_mb

from labeling import cli
from labeling.core.ontology import Ontology
from labeling.teachers import backends
from labeling.teachers.interfaces import Detected, RgbImage, Segmented

PREFIX = "LABELSTILL_BENCH_"
CLASSES = "box"


class SleepyDetector:
    """Sleeps and answers one box in the middle of each image."""

    def __init__(self, seconds_per_image: float, log: Path | None = None) -> None:
        self.seconds_per_image = seconds_per_image
        self.log = log

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        if images and self.seconds_per_image:
            time.sleep(self.seconds_per_image * len(images))
        found = [self._middle(image, ontology) for image in images]
        if images:
            _note(self.log, "detect")
        return found

    @staticmethod
    def _middle(image: RgbImage, ontology: Ontology) -> Detected:
        import supervision as sv

        height, width = image.shape[:2]
        prompt, class_id = ontology.prompts[0]
        return Detected(
            sv.Detections(
                xyxy=np.array([[width // 4, height // 4, width // 2, height // 2]], dtype=np.float32),
                confidence=np.array([0.9], dtype=np.float32),
                class_id=np.array([class_id]),
                data={"prompt": np.array([prompt], dtype=object)},
            )
        )


class SleepySegmenter:
    """Answers no mask."""

    def __init__(self, log: Path | None = None) -> None:
        self.log = log

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        _note(self.log, "segment")
        return [Segmented((None,) * len(boxes), np.zeros(len(boxes), dtype=np.float32)) for boxes in boxes_xyxy]


def load_detector(weights: Path, device: str) -> SleepyDetector:
    """Build the detector that the environment describes."""
    delay = os.environ.get(f"{PREFIX}KILL_S")
    if delay is not None:
        kill = threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL))
        kill.daemon = True
        kill.start()
    return SleepyDetector(float(os.environ.get(f"{PREFIX}SLEEP_S", "0")), _log())


def load_segmenter(weights: Path, device: str) -> SleepySegmenter:
    """Build the segmenter, with the same log."""
    return SleepySegmenter(_log())


def register() -> None:
    """Add `sleepy` to the tables of backends."""
    detector = backends.Backend("sleepy:load_detector", "dev", None, "none", default_score=0.5)
    segmenter = backends.Backend("sleepy:load_segmenter", "dev", None, "none")
    cast(dict[str, backends.Backend], backends.DETECTORS)["sleepy"] = detector
    cast(dict[str, backends.Backend], backends.SEGMENTERS)["sleepy"] = segmenter


def flags(photos: Path, project: Path, weights: Path, *, batch: int, segmenter: str = "none") -> list[str]:
    """Return the arguments that label photos with `sleepy`; the weights are made where there are none."""
    if not weights.exists():
        weights.write_text("no weights\n", encoding="utf-8")
    flags = ["label", str(photos), "--project", str(project), "--classes", CLASSES, "--batch", str(batch), "--json"]
    flags += ["--detector", "sleepy", "--weights", str(weights), "--segmenter", segmenter]
    return flags if segmenter == "none" else [*flags, "--segmenter-weights", str(weights)]


def run(arguments: Sequence[str], settings: dict[str, str], output: Path) -> None:
    """Be the command, in a process that was forked for it; what it says goes to a file."""
    os.environ.update(settings)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    register()
    sys.exit(cli.main(arguments))


def _log() -> Path | None:
    log = os.environ.get(f"{PREFIX}LOG")
    return Path(log) if log is not None else None


def _note(log: Path | None, line: str) -> None:
    if log is not None:
        with log.open("ab", buffering=0) as file:  # on the disk's side of a SIGKILL when this returns
            file.write(f"{line}\n".encode())


if __name__ == "__main__":
    register()
    code = cli.main()
    if f"{PREFIX}PEAK" in os.environ:
        Path(os.environ[f"{PREFIX}PEAK"]).write_text(str(peak_mb()), encoding="utf-8")
    sys.exit(code)

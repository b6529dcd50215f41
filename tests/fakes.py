"""A teacher whose answers are exact: it finds rectangles drawn in pure colours, without torch.

`python -m tests.fakes label …` is the labelstill command with one more detector and segmenter, `drawn`, which take any
file for their weights.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from labeling import cli
from labeling.core import masks
from labeling.core.errors import BackendError
from labeling.core.ontology import Ontology
from labeling.teachers import backends
from labeling.teachers.interfaces import Detected, RgbImage, Segmented

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
#: A picture whose first pixel has this colour is one that the detector cannot work on.
POISON = (255, 0, 255)

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn into one picture: (colour, x0, y0, x1, y1), half-open, never touching each other."""

    path: Path
    shapes: tuple[tuple[str, Box], ...]


def draw(path: Path, shapes: Sequence[tuple[str, Box]], salt: int = 0) -> Drawn:
    """Write a lossless picture; ``salt`` changes the bytes of the file and nothing else that matters."""
    pixels = np.full((64, 96, 3), 255, dtype=np.uint8)
    pixels[-1, -1] = (254 - salt % 50, 254, 254 - salt // 50)
    for colour, (x0, y0, x1, y1) in shapes:
        pixels[y0:y1, x0:x1] = COLOURS[colour]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return Drawn(path, tuple(shapes))


def poison(path: Path) -> Path:
    """Write a picture that decodes and that the detector fails on."""
    pixels = np.full((64, 96, 3), POISON, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def draw_photos(folder: Path, count: int, seed: int = 0) -> list[Drawn]:
    """Write ``count`` different pictures, 0 to 3 rectangles each, one per colour at most."""
    random = Random(seed)
    photos = []
    for number in range(count):
        shapes: list[tuple[str, Box]] = []
        for column, colour in enumerate(random.sample(sorted(COLOURS), random.randint(0, 3))):
            x0, y0 = 32 * column + random.randint(1, 8), random.randint(1, 30)
            shapes.append((colour, (x0, y0, x0 + random.randint(5, 20), y0 + random.randint(5, 30))))
        photos.append(draw(folder / f"photo-{number:03d}.png", shapes, salt=number))
    return photos


class DrawnDetector:
    """Finds the box around all pixels of a colour; a prompt's first word names the colour.

    Args:
        log: file that gets one line per finished call: how many images it saw.
        fits: how many images a call can hold before it runs out of memory.
        gate: pipe that the third call waits for.
    """

    def __init__(self, log: Path | None = None, fits: int | None = None, gate: Path | None = None) -> None:
        self.log = log
        self.fits = fits
        self.gate = gate
        self.calls: list[int] = []

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        if self.fits is not None and len(images) > self.fits:
            raise MemoryError("no room for that many")
        if self.gate is not None and len(self.calls) == 2:
            self.gate.read_bytes()
        if any(tuple(image[0, 0]) == POISON for image in images):
            raise BackendError("this picture is poison")
        if images:
            self.calls.append(len(images))
            note(self.log, f"detect {len(images)}")
        return [self._one(image, ontology) for image in images]

    def _one(self, image: RgbImage, ontology: Ontology) -> Detected:
        import supervision as sv

        boxes, class_ids, prompts = [], [], []
        for prompt, class_id in ontology.prompts:
            found = _where(image, prompt)
            if found.any():
                rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
                boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                class_ids.append(class_id)
                prompts.append(prompt)
        detections = sv.Detections(
            xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            confidence=np.full(len(boxes), 0.9, dtype=np.float32),
            class_id=np.array(class_ids, dtype=int),
            data={"prompt": np.array(prompts, dtype=object)},
        )
        return Detected(detections, image_feature=image.mean(axis=(0, 1)).astype(np.float16))


class DrawnSegmenter:
    """The mask of a box is what has the colour of its middle pixel."""

    def __init__(self, log: Path | None = None) -> None:
        self.log = log

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        note(self.log, f"segment {len(images)}")
        return [self._one(image, boxes) for image, boxes in zip(images, boxes_xyxy, strict=True)]

    def _one(self, image: RgbImage, boxes: npt.NDArray[np.float32]) -> Segmented:
        rles = []
        for x0, y0, x1, y1 in boxes.astype(int):
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[y0:y1, x0:x1] = (image[y0:y1, x0:x1] == image[(y0 + y1) // 2, (x0 + x1) // 2]).all(axis=2)
            rles.append(masks.encode(mask))
        return Segmented(tuple(rles), np.full(len(boxes), 0.8, dtype=np.float32))


def load_detector(weights: Path, device: str) -> DrawnDetector:
    """Build the detector; what a test wants of this process stands in the environment.

    LABELSTILL_TEST_LOG is its log. LABELSTILL_TEST_GATE is a pipe: the third call waits until it is opened.
    LABELSTILL_TEST_KILL_S kills the process, wherever it is, that long after this.
    """
    gate, delay = os.environ.get("LABELSTILL_TEST_GATE"), os.environ.get("LABELSTILL_TEST_KILL_S")
    if delay is not None:
        kill = threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL))
        kill.daemon = True
        kill.start()
    return DrawnDetector(_log(), gate=Path(gate) if gate is not None else None)


def load_segmenter(weights: Path, device: str) -> DrawnSegmenter:
    """Build the segmenter, with the same log."""
    return DrawnSegmenter(_log())


def _log() -> Path | None:
    log = os.environ.get("LABELSTILL_TEST_LOG")
    return Path(log) if log is not None else None


def register() -> None:
    """Add `drawn` to the tables of backends."""
    detector = backends.Backend("tests.fakes:load_detector", "dev", None, "none", default_score=0.5)
    segmenter = backends.Backend("tests.fakes:load_segmenter", "dev", None, "none")
    cast(dict[str, backends.Backend], backends.DETECTORS)["drawn"] = detector
    cast(dict[str, backends.Backend], backends.SEGMENTERS)["drawn"] = segmenter


def unregister() -> None:
    """Take `drawn` out of the tables again."""
    for table in (backends.DETECTORS, backends.SEGMENTERS):
        cast(dict[str, backends.Backend], table).pop("drawn")


def note(log: Path | None, line: str) -> None:
    """Append a line that is on the disk's side of a SIGKILL when this returns."""
    if log is not None:
        with log.open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())


def _where(image: RgbImage, prompt: str) -> npt.NDArray[np.bool_]:
    colour = COLOURS.get(prompt.split()[0])
    if colour is None:
        return np.zeros(image.shape[:2], dtype=bool)
    found: npt.NDArray[np.bool_] = (image == np.array(colour, dtype=np.uint8)).all(axis=2)
    return found


def run_command(arguments: Sequence[str], settings: Mapping[str, str], output: Path) -> None:
    """Be the command, in a process that was forked for it: both outputs go to one file."""
    os.environ.update(settings)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if "LABELSTILL_TEST_LARGEST_FILE" in settings:
        largest = int(settings["LABELSTILL_TEST_LARGEST_FILE"])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    register()
    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    register()
    sys.exit(cli.main())

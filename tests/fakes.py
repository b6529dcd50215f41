"""A teacher whose answers are exact: it finds rectangles drawn in pure colours, without torch.

`python -m tests.fakes label …` is the labelstill command with one more detector and segmenter, `drawn`. Their "weights"
are a JSON file with settings of the fake.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
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
    """

    def __init__(self, log: Path | None = None, fits: int | None = None, error: type[BaseException] = MemoryError):
        self.log = log
        self.fits = fits
        self.error = error
        self.calls: list[int] = []

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        if self.fits is not None and len(images) > self.fits:
            raise self.error("no room for that many")
        if any(tuple(image[0, 0]) == POISON for image in images):
            raise BackendError("this picture is poison")
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
    """Build the detector from its settings: log, fits.

    LABELSTILL_TEST_KILL_S kills the process, wherever it is, that long after this.
    """
    settings = json.loads(weights.read_text())
    delay = os.environ.get("LABELSTILL_TEST_KILL_S")
    if delay is not None:
        import supervision  # noqa: F401 (a second of import would blur the moment)

        kill = threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL))
        kill.daemon = True
        kill.start()
    return DrawnDetector(Path(settings["log"]) if "log" in settings else None, settings.get("fits"))


def load_segmenter(weights: Path, device: str) -> DrawnSegmenter:
    """Build the segmenter from its settings: log."""
    settings = json.loads(weights.read_text())
    return DrawnSegmenter(Path(settings["log"]) if "log" in settings else None)


def register() -> None:
    """Add `drawn` to the tables of backends."""
    options = {"extra": "dev", "default_weights": None, "licence": "none"}
    drawn = backends.Backend("tests.fakes:load_detector", default_score=0.5, **options)
    cast(dict[str, backends.Backend], backends.DETECTORS)["drawn"] = drawn
    cast(dict[str, backends.Backend], backends.SEGMENTERS)["drawn"] = backends.Backend(
        "tests.fakes:load_segmenter", **options
    )


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


if __name__ == "__main__":
    register()
    sys.exit(cli.main())

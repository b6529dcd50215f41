"""A labels.db with exact labels on drawn photos, written through the store's own methods."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from labeling.core import masks
from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.records import Annotation, Provenance
from labeling.core.store import FileStamp, ImageOutcome, Store

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object to draw and to label: box in pixels, score, and whether it has a mask (an ellipse)."""

    class_name: str
    box: Box
    score: float = 0.8
    masked: bool = False


def ellipse(box: Box, size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the mask of the ellipse that fills a box, (height, width)."""
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[: size_wh[1], : size_wh[0]] + 0.5
    across, down = (columns - (x0 + x1) / 2) / (x1 - x0) * 2, (rows - (y0 + y1) / 2) / (y1 - y0) * 2
    return np.asarray(across**2 + down**2 <= 1)


def photo(path: Path, things: Sequence[Thing] = (), size_wh: tuple[int, int] = (160, 120), seed: int = 0) -> Path:
    """Draw the things on noise, so that no two seeds give the same bytes, and write the file by its suffix."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 120, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    for thing in things:
        colour = np.frombuffer(hashlib.sha256(thing.class_name.encode()).digest()[:3], dtype=np.uint8)
        if thing.masked:
            pixels[ellipse(thing.box, size_wh)] = colour
        else:
            x0, y0, x1, y1 = (round(value) for value in thing.box)
            pixels[y0:y1, x0:x1] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def outcome(paths: Sequence[Path], things: Sequence[Thing], size_wh: tuple[int, int] = (160, 120)) -> ImageOutcome:
    """Return what a teacher that sees everything would have written about the image in these files."""
    sha256 = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    return ImageOutcome(
        files=tuple(stamp(path) for path in paths),
        sha256=sha256,
        width=size_wh[0],
        height=size_wh[1],
        annotations=tuple(_annotation(sha256, index, thing, size_wh) for index, thing in enumerate(things)),
        done_key="done",
    )


def stamp(path: Path) -> FileStamp:
    """Return what tells whether the file has changed."""
    info = path.stat()
    return FileStamp(os.fsencode(path), info.st_size, info.st_mtime_ns)


def refused(path: Path, reason: str) -> ImageOutcome:
    """Return the outcome of a file that could not be read."""
    return ImageOutcome(files=(FileStamp(os.fsencode(path), 0, 0),), status="quarantined", reason=reason)


def write(store: Store, class_names: Sequence[str], outcomes: Sequence[ImageOutcome]) -> None:
    """Write classes and outcomes as one finished run."""
    store.write_classes(ontology(class_names))
    run = store.start_run("label", {"detector": "drawn"})
    store.commit_batch(outcomes, run)
    store.finish_run(run, {"labelled": len(outcomes)})


def ontology(class_names: Sequence[str]) -> Ontology:
    """Return classes whose prompt is their name."""
    return Ontology(tuple(OntologyClass(name, (name,)) for name in class_names))


def human(sha256: str, class_name: str, box: Box) -> Annotation:
    """Return a label that a person drew."""
    identity = hashlib.sha256(f"{sha256}{class_name}{box}".encode()).hexdigest()[:32]
    return Annotation(identity, sha256, class_name, box, Provenance("human", annotator="ann"))


def dropped(made: ImageOutcome, drops: dict[tuple[str, str], int]) -> ImageOutcome:
    """Return the outcome with counts of boxes that the filters dropped."""
    from dataclasses import replace

    return replace(made, drops=Counter(drops))


def _annotation(sha256: str, index: int, thing: Thing, size_wh: tuple[int, int]) -> Annotation:
    identity = hashlib.sha256(f"{sha256}{index}{thing}".encode()).hexdigest()[:32]
    made = Provenance(
        "teacher",
        model="drawn/1",
        prompt=f"a {thing.class_name}",
        score=thing.score,
        mask_score=0.9 if thing.masked else None,
    )
    rle = masks.encode(ellipse(thing.box, size_wh)) if thing.masked else None
    return Annotation(identity, sha256, thing.class_name, thing.box, made, rle)

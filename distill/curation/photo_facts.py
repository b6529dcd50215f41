"""What a photo is like, whatever is labelled in it: light, blur, camera, time, a thumbnail, and its look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.images import LoadedImage, Pixels
from labeling.sampling import features_of
from labeling.vectors import LOOK

from .exif import camera_and_time
from .scenes import LABELLED_STATES

PhotoOf = Callable[[str], LoadedImage | None]
"""Decodes the image of a sha256; None where no file holds it any more or it cannot be read."""

Box = tuple[float, float, float, float]

THUMBNAIL_PX = 48
SIDE_PX = 512
"""The longer side at which light and blur are measured, so that cameras of all resolutions can be compared."""

_LOOK_PX = 32
_AT_ONCE = 256
"""So many photos are looked at between two commits."""

_ROWS_AT_ONCE = 1000
_STATES = ", ".join(f"'{state}'" for state in sorted({*LABELLED_STATES, "new"}))
_WAITING = f"""SELECT i.sha256 FROM images i
    WHERE i.state IN ({_STATES}) AND EXISTS (SELECT 1 FROM files f WHERE f.sha256 = i.sha256) AND (
        NOT EXISTS (SELECT 1 FROM photo_facts p WHERE p.sha256 = i.sha256)
        OR EXISTS (SELECT 1 FROM annotations a WHERE a.sha256 = i.sha256 AND NOT EXISTS
            (SELECT 1 FROM features f WHERE f.annotation_id = a.id AND f.model = ?)))
    ORDER BY i.sha256"""


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFacts:
    """One photo.

    Attributes:
        sha256: the image.
        brightness: mean of the grey values, in [0, 1].
        contrast: their standard deviation, in [0, 0.5].
        sharpness: variance of the Laplacian of grey values from 0 to 255, the longer side at most 512 px (Pech-Pacheco
            et al., 2000, "Diatom autofocusing in brightfield microscopy"); it grows with the square of the contrast.
        camera: make and model, as the camera wrote them.
        taken_at: ISO 8601 in seconds without a zone: the camera's own clock.
        thumbnail: (48, 48) uint8, grey values of the whole picture, squeezed into a square.
    """

    sha256: str
    brightness: float
    contrast: float
    sharpness: float
    camera: str | None
    taken_at: str | None
    thumbnail: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    sha256: str
    paths: tuple[Path, ...] | None  # files that may hold it; None where its facts are known
    boxes: tuple[tuple[str, Box], ...]  # annotation id and box of those that have no look


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    sha256: str
    facts: PhotoFacts | None
    looks: list[tuple[str | None, npt.NDArray[np.float16]]]  # of the image (None) and of boxes, by annotation id


def observe(
    store: Store, photo_of: PhotoOf, *, progress: Callable[[int, int], None] | None = None, workers: int = 2
) -> int:
    """Look once at every photo in use that has no facts yet, or whose boxes have no look; return how many were seen.

    A photo that cannot be read is left out and stays in ``waiting``. What was committed before a run is cut off is not
    done again. Few photos are in memory at once: one per worker.

    Args:
        store: labels.db; facts, and features of the model LOOK, are added to it.
        photo_of: decodes a photo; called in several threads at once, while nothing else uses the store.
        progress: is told after each photo how many of how many are through.
        workers: threads that decode.
    """
    found = waiting(store)
    seen = through = 0
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(found), _AT_ONCE):
            results: list[_Seen] = []
            for result in pool.map(partial(_look, photo_of), _jobs(store, found[start : start + _AT_ONCE])):
                through += 1
                if result is not None:
                    results.append(result)
                if progress is not None:
                    progress(through, len(found))
            _write(store, results)
            seen += len(results)
    return seen


def waiting(store: Store) -> list[str]:
    """Return the images in use that ``observe`` has still to look at; just after it, those it could not read."""
    return [sha256 for (sha256,) in store.rows(_WAITING, LOOK)]


def photo_facts(store: Store, images: Sequence[str] | None = None) -> Iterator[PhotoFacts]:
    """Yield what is known about photos, few at a time in memory; images without facts are left out.

    Args:
        store: labels.db.
        images: sha256 each, in any order; None is every image, by sha256.
    """
    columns = "sha256, brightness, contrast, sharpness, camera, taken_at, thumbnail"
    if images is not None:
        for row in store.rows_of(f"SELECT {columns} FROM photo_facts WHERE sha256 IN ({{}}) ORDER BY sha256", images):
            yield _facts(*row)
        return
    sql = f"SELECT {columns} FROM photo_facts WHERE sha256 > ? ORDER BY sha256 LIMIT {_ROWS_AT_ONCE}"
    rows = store.rows(sql, "")
    while rows:
        for row in rows:
            yield _facts(*row)
        rows = store.rows(sql, rows[-1][0])


def _facts(
    sha256: str, brightness: float, contrast: float, sharpness: float, camera: str, taken_at: str, thumbnail: bytes
) -> PhotoFacts:
    grey = np.frombuffer(thumbnail, dtype=np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX)
    return PhotoFacts(sha256, brightness, contrast, sharpness, camera, taken_at, grey)


def _jobs(store: Store, images: Sequence[str]) -> list[_Job]:
    known = {sha256 for (sha256,) in store.rows_of("SELECT sha256 FROM photo_facts WHERE sha256 IN ({})", images)}
    boxes: dict[str, list[tuple[str, Box]]] = {}
    sql = (
        "SELECT a.sha256, a.id, a.x0, a.y0, a.x1, a.y1 FROM annotations a WHERE a.sha256 IN ({}) AND NOT EXISTS "
        "(SELECT 1 FROM features f WHERE f.annotation_id = a.id AND f.model = ?) ORDER BY a.rowid"
    )
    for sha256, name, *box in store.rows_of(sql, images, LOOK):
        boxes.setdefault(sha256, []).append((name, (box[0], box[1], box[2], box[3])))
    return [
        _Job(sha256, None if sha256 in known else store.files_of(sha256), tuple(boxes.get(sha256, ())))
        for sha256 in images
    ]


def _look(photo_of: PhotoOf, job: _Job) -> _Seen | None:
    try:
        loaded = photo_of(job.sha256)
    except (InputError, OSError, MemoryError):
        return None
    if loaded is None or loaded.sha256 != job.sha256:
        return None
    looks: list[tuple[str | None, npt.NDArray[np.float16]]] = []
    facts = None
    if job.paths is not None:
        small = _shrunk(loaded.pixels)
        camera, taken_at = camera_and_time(job.paths, loaded)
        facts = PhotoFacts(job.sha256, *measured(small), camera, taken_at, _thumbnail(small))
        looks.append((None, look_of(small)))
    looks += [(name, look_of(crop(loaded.pixels, box))) for name, box in job.boxes]
    return _Seen(job.sha256, facts, looks)


def measured(small: Pixels) -> tuple[float, float, float]:
    """Return brightness, contrast and sharpness of a picture as it is, see ``PhotoFacts``.

    Args:
        small: (height, width, 3) uint8, RGB.
    """
    import cv2

    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    (mean, spread), (_, edges) = cv2.meanStdDev(grey), cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return float(mean[0, 0]) / 255, float(spread[0, 0]) / 255, float(edges[0, 0]) ** 2


def look_of(pixels: Pixels) -> npt.NDArray[np.float16]:
    """Return colours and edges of a picture or of a part of one, (80,), see ``sampling.features_of``."""
    import cv2

    square = cv2.resize(pixels, (_LOOK_PX, _LOOK_PX), interpolation=cv2.INTER_AREA)
    return features_of(np.asarray(square, dtype=np.uint8)).astype(np.float16)


def crop(pixels: Pixels, box_xyxy: Box) -> Pixels:
    """Return the part of a picture that a box touches, at least one pixel; a box outside has the pixels beside it."""
    height, width = pixels.shape[:2]
    x0, y0 = (int(min(max(edge, 0), side - 1)) for edge, side in zip(box_xyxy[:2], (width, height), strict=True))
    x1, y1 = (int(np.ceil(min(max(edge, 0), side))) for edge, side in zip(box_xyxy[2:], (width, height), strict=True))
    return pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _shrunk(pixels: Pixels) -> Pixels:
    import cv2

    height, width = pixels.shape[:2]
    scale = SIDE_PX / max(height, width)
    if scale >= 1:
        return pixels
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _thumbnail(small: Pixels) -> npt.NDArray[np.uint8]:
    import cv2

    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    square = cv2.resize(grey, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(square, dtype=np.uint8)


def _write(store: Store, seen: Sequence[_Seen]) -> None:
    """Write a batch; a label that was replaced in the meantime has no place for its look any more."""
    if not seen:
        return
    facts = [
        (one.sha256, one.brightness, one.contrast, one.sharpness, one.camera, one.taken_at, one.thumbnail.tobytes())
        for one in (result.facts for result in seen)
        if one is not None
    ]
    looks = [
        (result.sha256, name, LOOK, look.size, look.astype("<f2").tobytes())
        for result in seen
        for name, look in result.looks
    ]
    with store.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO photo_facts VALUES (?, ?, ?, ?, ?, ?, ?)", facts)
        db.executemany(
            "INSERT OR REPLACE INTO features SELECT ?1, ?2, ?3, ?4, ?5 "
            "WHERE ?2 IS NULL OR EXISTS (SELECT 1 FROM annotations WHERE id = ?2)",
            looks,
        )

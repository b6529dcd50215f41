"""What a detector says about images before thresholds and NMS, asked once and then kept in files."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..core.errors import BackendError, InputError
from ..core.file_hashes import cached_hash
from ..core.ontology import Ontology
from ..core.store import Store
from ..project import Project
from ..stored_photos import StoredPhotos, loader
from ..teachers import backends, filters
from ..teachers.filter_settings import FilterSettings
from ..teachers.interfaces import Detected, Detector, RgbImage
from ..teachers.tiles import tiling_of
from ..teachers.tiling import TiledDetector

if TYPE_CHECKING:
    import supervision as sv

FLOOR = 0.05
"""No threshold below this is ever proposed, so nothing below is asked for."""

_BATCH = 4
_HOPELESS = 3

Progress = Callable[[int, int], None]
"""Called with how many images are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a detector says about one image, raw.

    Attributes:
        sha256: the image.
        size_wh: upright width and height in pixels.
        boxes_xyxy: (n, 4) float64 absolute pixels, not clipped, in the detector's order.
        class_ids: (n,) int64 positions in the ontology.
        scores: (n,) float64 in [0, 1].
        prompts: the prompt that won each box.
    """

    sha256: str
    size_wh: tuple[int, int]
    boxes_xyxy: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    prompts: tuple[str, ...]


def ask(
    project: Project,
    store: Store,
    spec: backends.TeacherSpec,
    ontology: Ontology,
    images: Sequence[str],
    *,
    floor: float = FLOOR,
    progress: Progress | None = None,
    failed: MutableMapping[str, str] | None = None,
    detectors: MutableMapping[backends.TeacherSpec, Detector] | None = None,
) -> list[Opinion]:
    """Return the detector's raw boxes for images, in their order; no segmenter runs.

    One file per image lies under runs/opinions/KEY, where KEY follows from the detector, the prompts and the floor, so
    a second call and one after a kill ask for what is missing alone, and load no model where nothing is.

    Args:
        project: where the files lie.
        store: labels.db.
        spec: which detector; scores and segmenter play no part.
        ontology: classes and prompts.
        images: sha256 each.
        floor: smallest score asked for.
        progress: told after each batch.
        failed: gets the reason by sha256 of each image that could not be decoded or asked; such are left out.
        detectors: loaded ones, kept there for the next call.

    Raises:
        BackendError, MissingExtraError, InputError: see ``backends.build_detector``; a detector that fails on the
            first images without having answered for one.
    """
    folder = project.runs_path / "opinions" / opinions_key(store, spec, ontology, floor)
    names = ontology.names
    known = {sha256: one for sha256 in images if (one := _read(folder, sha256, len(names))) is not None}
    wanted = [sha256 for sha256 in dict.fromkeys(images) if sha256 not in known]
    if wanted:
        held = {} if detectors is None else detectors
        if spec not in held:
            held[spec] = load_detector(spec)
        detector = held[spec]
        detector.detect([], ontology, floor)
        folder.mkdir(parents=True, exist_ok=True)
        photos = StoredPhotos(store, loader(project.config.images))
        reasons: dict[str, str] = {}
        before = done = len(known)
        for start in range(0, len(wanted), _BATCH):
            some = wanted[start : start + _BATCH]
            for one in _asked(detector, ontology, floor, photos, some, reasons):
                _write(folder, one)
                known[one.sha256] = one
            if len(reasons) >= _HOPELESS and not known:
                raise BackendError(f"the detector cannot be asked: {next(iter(reasons.values()))}")
            done += len(some)
            if progress is not None:
                progress(done, before + len(wanted))
        if failed is not None:
            failed.update(reasons)
    return [known[sha256] for sha256 in images if sha256 in known]


def load_detector(spec: backends.TeacherSpec) -> Detector:
    """Load a detector that looks at large images in tiles, as a labelling run does; see ``backends.build_detector``."""
    tiling = tiling_of(spec.tile)
    detector = backends.build_detector(spec)
    return detector if tiling is None else TiledDetector(detector, tiling)


def opinions_key(store: Store, spec: backends.TeacherSpec, ontology: Ontology, floor: float = FLOOR) -> str:
    """Return 16 hex digits that change with anything that can change raw boxes."""
    fingerprint = backends.teacher_fingerprint(replace(spec, segmenter="none"), partial(cached_hash, store))
    return hashlib.sha256(f"1 {fingerprint} {ontology.hash} {floor:.6f}".encode()).hexdigest()[:16]


def kept(
    opinion: Opinion,
    thresholds: Sequence[float],
    nms_iou: float,
    class_agnostic: bool = False,
    min_area_px: float = 4.0,
) -> Opinion:
    """Return what the filters of a labelling run would keep, clipped to the image, best first.

    Args:
        opinion: raw.
        thresholds: smallest score kept, one per class.
        nms_iou, class_agnostic, min_area_px: see ``FilterSettings``.
    """
    import supervision as sv

    n = len(opinion.scores)
    if n == 0:
        return opinion
    found = sv.Detections(
        xyxy=opinion.boxes_xyxy.astype(np.float32),
        confidence=opinion.scores.astype(np.float32),
        class_id=opinion.class_ids.astype(int),
        data={"row": np.arange(n)},
    )
    settings = FilterSettings(nms_iou, class_agnostic, min_area_px)
    names = [str(number) for number in range(len(thresholds))]
    left, _ = filters.apply(found, opinion.size_wh, names, thresholds, settings)
    rows = left.data["row"].astype(int)
    return replace(
        opinion,
        boxes_xyxy=left.xyxy.astype(np.float64),
        class_ids=opinion.class_ids[rows],
        scores=opinion.scores[rows],
        prompts=tuple(opinion.prompts[row] for row in rows),
    )


def _asked(
    detector: Detector,
    ontology: Ontology,
    floor: float,
    photos: StoredPhotos,
    some: Sequence[str],
    reasons: dict[str, str],
) -> Iterator[Opinion]:
    """Yield the opinions about a batch; an image on which the detector fails even alone is noted in ``reasons``."""
    loaded: dict[str, RgbImage] = {}
    for sha256 in some:
        photo = photos.photo(sha256, sha256)
        if photo is None:
            reasons[sha256] = photos.vanished[sha256]
        else:
            loaded[sha256] = photo.pixels
    answers = _detect(detector, ontology, floor, loaded)
    for sha256, answer in answers.items():
        if isinstance(answer, str):
            reasons[sha256] = answer
        else:
            height, width = loaded[sha256].shape[:2]
            yield _opinion(sha256, (width, height), answer.detections)


def _detect(
    detector: Detector, ontology: Ontology, floor: float, loaded: dict[str, RgbImage]
) -> dict[str, Detected | str]:
    """Return an answer, or in words why there is none, per image."""
    if not loaded:
        return {}
    try:
        return dict(zip(loaded, detector.detect(list(loaded.values()), ontology, floor), strict=True))
    except InputError:
        raise
    except Exception as error:  # a library may raise anything, and one bad image must not end the run
        if len(loaded) == 1:
            return dict.fromkeys(loaded, f"the detector failed: {error}".splitlines()[0])
    return {
        sha256: answer
        for sha256, image in loaded.items()
        for answer in _detect(detector, ontology, floor, {sha256: image}).values()
    }


def _opinion(sha256: str, size_wh: tuple[int, int], found: sv.Detections) -> Opinion:
    finite = np.isfinite(found.xyxy).all(axis=1) & np.isfinite(found.confidence)
    prompts = found.data.get("prompt", np.full(len(found), "", dtype=object))
    return Opinion(
        sha256,
        size_wh,
        found.xyxy[finite].astype(np.float64).reshape(-1, 4),
        found.class_id[finite].astype(np.int64),
        found.confidence[finite].astype(np.float64),
        tuple(str(prompt) for prompt in prompts[finite]),
    )


def _write(folder: Path, one: Opinion) -> None:
    # Unfinished files have names that nobody reads.
    part = folder / f".{one.sha256}.{os.getpid()}"
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            size_wh=np.array(one.size_wh),
            boxes=one.boxes_xyxy,
            classes=one.class_ids,
            scores=one.scores,
            prompts=np.array(one.prompts, dtype=np.str_),
        )
    part.replace(folder / f"{one.sha256}.npz")


def _read(folder: Path, sha256: str, classes: int) -> Opinion | None:
    """Return a kept opinion; None where there is none or its file is broken."""
    path = folder / f"{sha256}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            held: dict[str, Any] = {name: file[name] for name in file.files}
        boxes, ids, scores = held["boxes"].reshape(-1, 4), held["classes"], held["scores"]
        prompts = tuple(str(prompt) for prompt in held["prompts"])
        width, height = (int(side) for side in held["size_wh"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if not len(boxes) == len(ids) == len(scores) == len(prompts) or (
        len(ids) and not 0 <= ids.min() <= ids.max() < classes
    ):
        return None
    return Opinion(sha256, (width, height), boxes, ids.astype(np.int64), scores.astype(np.float64), prompts)

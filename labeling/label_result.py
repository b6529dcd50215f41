"""What `labeling.label` yields: one record per image, also for an image that could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .core.config import ImagesConfig
from .core.errors import InputError
from .core.records import Annotation, Rle
from .core.store import ImageOutcome
from .images import LoadedImage, Pixels, load
from .sources import Refused

if TYPE_CHECKING:
    import supervision as sv


@dataclass(frozen=True, slots=True, eq=False)
class LabelResult:
    """What was found in one image, or why it could not be used.

    Attributes:
        index: position among the results, from 0.
        path: the file, absolute, links resolved; None for an image that was given as an array.
        size_wh: width and height of the upright image in pixels; None where it could not be decoded.
        detections: best first; ``xyxy`` (n, 4) float32 absolute pixels of the upright image, ``confidence`` (n,)
            float32 in [0, 1], ``class_id`` (n,) int positions in the ontology. ``data`` has, aligned with the rows
            also after indexing, ``class_name``, ``prompt`` (the one that won the box), ``rle`` (COCO run-length
            encoding of the whole image, or None), ``mask_score`` (float32, NaN without a mask) and ``flags`` (tuple
            of str). ``mask`` is None: see ``masked``. Without rows where ``error`` is set.
        dropped: how many boxes the filters dropped, by reason, as `labelstill label` counts them.
        notes: remarks of the image gate, such as "orientation_applied".
        error: why there is no answer for this image, ``reason: detail``; None where there is one.
    """

    index: int
    path: Path | None
    size_wh: tuple[int, int] | None
    detections: sv.Detections = field(repr=False)
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def rles(self) -> tuple[Rle | None, ...]:
        """COCO run-length encoding per row of ``detections``; None where there is no mask."""
        return tuple(self.detections.data["rle"])

    def masked(self) -> sv.Detections:
        """Return the detections with ``mask`` set, as supervision.CompactMask, for annotators that draw masks.

        Made on request, since it costs milliseconds per mask and most uses want the RLE. Without a segmenter ``mask``
        stays None.
        """
        from pycocotools import mask as coco
        from supervision import CompactMask

        rows = self.detections[np.arange(len(self.detections))]
        if self.size_wh is None or all(rle is None for rle in self.rles):
            return rows
        width, height = self.size_wh
        nothing: Rle = coco.encode(np.zeros((height, width, 1), dtype=np.uint8, order="F"))[0]
        rles = [nothing if rle is None else rle for rle in self.rles]
        # Cropped to the mask and not to the box, which a mask may leave; CompactMask counts the last pixel in.
        extent = coco.toBbox(rles)
        extent[:, 2:] = np.maximum(extent[:, :2] + extent[:, 2:] - 1, extent[:, :2])
        rows.mask = CompactMask.from_coco_rle(rles, extent, (height, width))
        return rows

    def read(self) -> Pixels:
        """Return the upright pixels, (height, width, 3) uint8 RGB, decoded once more from the file.

        Raises:
            InputError: the image was given as an array. ImageRejected, an InputError: the file is no usable image.
        """
        if self.path is None:
            raise InputError(f"image {self.index} was given as an array: there is no file to read it from again")
        return decoded(self.path).pixels


def decoded(path: Path) -> LoadedImage:
    """Decode a file as a project with the default settings does. Raises ImageRejected."""
    return load(path, **ImagesConfig().model_dump(include={"max_pixels", "background", "accept_truncated"}))


def answered(index: int, path: Path | None, outcome: ImageOutcome, names: Sequence[str]) -> LabelResult:
    """Return the record of an image that went through the pipeline; ``names`` in the order of the ontology."""
    sized = outcome.width is not None and outcome.height is not None
    dropped: Counter[str] = Counter()
    for (reason, _class_name), number in outcome.drops.items():
        dropped[reason] += number
    return LabelResult(
        index=index,
        path=path,
        size_wh=(outcome.width or 0, outcome.height or 0) if sized else None,
        detections=_detections(outcome.annotations, names),
        dropped=dict(dropped),
        notes=outcome.notes,
        error=outcome.reason,
    )


def refused(index: int, entry: Refused, names: Sequence[str]) -> LabelResult:
    """Return the record of something that is no image."""
    return LabelResult(index, entry.path, None, _detections((), names), {}, (), entry.reason)


def _detections(annotations: Sequence[Annotation], names: Sequence[str]) -> sv.Detections:
    import supervision as sv

    def column(values: Iterable[object]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
        filled = np.empty(len(annotations), dtype=object)
        for row, value in enumerate(values):
            filled[row] = value
        return filled

    made = [annotation.provenance for annotation in annotations]
    places = {name: position for position, name in enumerate(names)}
    scores = [np.nan if one.mask_score is None else one.mask_score for one in made]
    return sv.Detections(
        xyxy=np.array([one.box_xyxy for one in annotations], dtype=np.float32).reshape(-1, 4),
        confidence=np.array([one.score for one in made], dtype=np.float32),
        class_id=np.array([places[one.class_name] for one in annotations], dtype=int),
        data={
            "class_name": column(one.class_name for one in annotations),
            "prompt": column(one.prompt for one in made),
            "rle": column(one.rle for one in annotations),
            "mask_score": np.array(scores, dtype=np.float32),
            "flags": column(one.flags for one in annotations),
        },
    )

"""Images as samples of FiftyOne: every field that they have, and nothing in it that is no number of its range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from labeling.core import masks
from labeling.core.errors import InputError
from labeling.core.geometry import xyxy_to_xywh
from labeling.core.records import Annotation, Rle
from labeling.core.store_decisions import Decided

from .doubts import Suspect
from .scenes import Scene

LABEL_FIELDS = ("labels", "missing", "claims")
"""Fields with boxes; a decision about a label that stands in several is a tag of the first."""

SLACK_PX = 1.0
"""A box may reach so far outside the picture before it is refused; what is outside is not shown."""

_MASK_SIDE_PX = 512
_LARGEST = 1e12


@dataclass(frozen=True, slots=True)
class Looks:
    """What is known of an image besides its labels; None and empty where nothing is.

    Attributes:
        brightness: in [0, 1].
        sharpness: at least 0.
        camera: make and model.
        taken_at: as the camera wrote it.
        near_duplicates: number of its group, from 1.
        keep: whether it is the one of its group to keep.
        similarity: to the image that is most like it, in [0, 1].
        series: number of the series that it was taken in, from 1.
        gap: number of the gap that it is an example of, from 1.
    """

    brightness: float | None = None
    sharpness: float | None = None
    camera: str | None = None
    taken_at: str | None = None
    near_duplicates: int | None = None
    keep: bool | None = None
    similarity: float | None = None
    series: int | None = None
    gap: int | None = None


@dataclass(frozen=True, slots=True)
class Remarks:
    """What findings and decisions say about one image.

    Attributes:
        suspects: of its labels, by id.
        missing: objects that nobody labelled.
        decided: tags of what was decided, by id of the label, "" for the image.
        looks: see ``Looks``.
    """

    suspects: Mapping[str, Suspect] = field(default_factory=dict)
    missing: Sequence[Suspect] = ()
    decided: Mapping[str, Sequence[str]] = field(default_factory=dict)
    looks: Looks = field(default_factory=Looks)


def declare(dataset: Any) -> None:
    """Declare every field of an empty dataset, those of the boxes too, so that the app offers them.

    FiftyOne reads them all from one sample that has everything, and that is removed again; one by one they take
    several seconds.
    """
    import fiftyone as fo

    def boxes() -> Any:
        doubts = {"kind": "", "why": "", "suspicion": 0.0, "signals": [""]}
        texts = dict.fromkeys(("source", "model", "annotator", "prompt", "labelstill_id"), "")
        return fo.Detections(detections=[fo.Detection(**doubts, **texts, decided=[""])])

    everything = fo.Sample(
        filepath="/everything.jpg",
        metadata=fo.ImageMetadata(),
        **{name: boxes() for name in LABEL_FIELDS},
        **dict.fromkeys(("labelstill_id", "name", "state", "camera", "taken_at"), ""),
        **dict.fromkeys(("suspicion", "brightness", "sharpness", "similarity"), 0.0),
        **dict.fromkeys(("near_duplicates", "series", "gap"), 1),
        keep=False,
        decided=[""],
    )
    dataset.add_sample(everything, dynamic=True, validate=False)
    dataset.delete_samples([everything.id])
    dataset.create_index("labelstill_id", unique=True)
    dataset.create_index("suspicion")


def sample(scene: Scene, path: str, remarks: Remarks) -> tuple[Any, list[str]]:
    """Return the sample of one image, and what was refused of it, one sentence each with the image's name."""
    import fiftyone as fo

    refused: list[str] = []
    tagged = dict(remarks.decided)

    def boxes(annotations: Sequence[Annotation], suspects: Mapping[str, Suspect]) -> Any:
        made = []
        for annotation in annotations:
            try:
                made.append(_detection(fo, annotation, scene, suspects.get(annotation.id), tagged))
            except InputError as error:
                refused.append(f"{scene.name}: {error}")
        return fo.Detections(detections=made)

    def number(name: str, value: float | None, most: float = _LARGEST) -> float | None:
        try:
            return _number(name, value, most)
        except InputError as error:
            refused.append(f"{scene.name}: {error}")
            return None

    candidates = {one.claim.id: one for one in remarks.missing if one.claim is not None}
    looks, suspicions = remarks.looks, [one.suspicion for one in (*remarks.suspects.values(), *remarks.missing)]
    made = fo.Sample(
        filepath=path,
        tags=list(remarks.decided.get("", ())),
        decided=list(remarks.decided.get("", ())),
        labelstill_id=scene.sha256,
        name=scene.name,
        state=scene.state,
        labels=boxes(scene.labels, remarks.suspects),
        missing=boxes([one.claim for one in candidates.values() if one.claim is not None], candidates),
        claims=boxes(scene.claims, {}),
        suspicion=number("suspicion", max((one for one in suspicions if math.isfinite(one)), default=0.0), 1.0),
        brightness=number("brightness", looks.brightness, 1.0),
        sharpness=number("sharpness", looks.sharpness),
        camera=looks.camera,
        taken_at=looks.taken_at,
        near_duplicates=looks.near_duplicates,
        keep=looks.keep,
        similarity=number("similarity", looks.similarity, 1.0),
        series=looks.series,
        gap=looks.gap,
    )
    if scene.size_wh != (0, 0):
        made["metadata"] = fo.ImageMetadata(width=scene.size_wh[0], height=scene.size_wh[1], num_channels=3)
    return made, refused


def tags_by_label(decided: Sequence[Decided], tags: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the tags of decisions about one image, by id of the label, "" for the image."""
    found: dict[str, list[str]] = {}
    for one, words in zip(decided, tags, strict=True):
        found.setdefault(one.annotation_id, []).extend(words)
    return found


def relative_box(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> list[float]:
    """Return left, top, width and height as fractions of the image; nothing is clipped."""
    left, top, width, height = (float(value) for value in xyxy_to_xywh([box_xyxy])[0])
    return [left / size_wh[0], top / size_wh[1], width / size_wh[0], height / size_wh[1]]


def _detection(
    fo: Any, annotation: Annotation, scene: Scene, suspect: Suspect | None, tagged: dict[str, Sequence[str]]
) -> Any:
    relative, window = _relative(annotation.box_xyxy, scene.size_wh)
    made = annotation.provenance
    confidence = _number("confidence", made.score, 1.0)
    suspicion = _number("suspicion", suspect.suspicion, 1.0) if suspect else None
    mask = None if annotation.rle is None else _mask(annotation.rle, window, scene.size_wh)
    decided = list(tagged.pop(annotation.id, ()))
    return fo.Detection(
        label=annotation.class_name,
        bounding_box=relative,
        confidence=confidence,
        mask=mask,
        tags=list(decided),
        # The app shows them in this order.
        kind=suspect.kind if suspect and suspect.suspicion else None,
        why="; ".join(suspect.reasons) if suspect else None,
        suspicion=suspicion,
        signals=list(suspect.signals) if suspect else [],
        source=made.source,
        model=made.model,
        annotator=made.annotator,
        prompt=made.prompt,
        labelstill_id=annotation.id,
        decided=decided,
    )


def _relative(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> tuple[list[float], tuple[int, int, int, int]]:
    """Return left, top, width, height as fractions of the image, and the window of whole pixels around the box."""
    width, height = size_wh
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    far = not all(math.isfinite(value) for value in (x0, y0, x1, y1)) or not (
        -SLACK_PX <= x0 < x1 <= width + SLACK_PX and -SLACK_PX <= y0 < y1 <= height + SLACK_PX
    )
    x0, x1, y0, y1 = max(x0, 0.0), min(x1, width), max(y0, 0.0), min(y1, height)
    if far or not (x0 < x1 and y0 < y1):
        box = ", ".join(f"{value:g}" for value in box_xyxy)
        raise InputError(f"box ({box}) does not lie in the picture of {width} x {height} pixels: it is not shown")
    left, top = min(round(x0), width - 1), min(round(y0), height - 1)
    return relative_box((x0, y0, x1, y1), size_wh), (left, top, max(round(x1), left + 1), max(round(y1), top + 1))


def _mask(rle: Rle, window: tuple[int, int, int, int], size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the part of a mask inside a window of whole pixels, thinned out where that has many."""
    width, height = size_wh
    if list(rle["size"]) != [height, width]:
        raise InputError(f"a mask of {rle['size'][::-1]} pixels in a picture of {width} x {height}: it is not shown")
    left, top, right, bottom = window
    columns, starts, ends = masks.column_runs(rle)
    inside = (columns >= left) & (columns < right) & (starts < bottom) & (ends > top)
    columns, starts, ends = columns[inside] - left, starts[inside], ends[inside]
    # A run sets its first pixel and takes the one behind its last back.
    steps = np.zeros((bottom - top + 1, right - left), dtype=np.int8)
    np.add.at(steps, (np.maximum(starts - top, 0), columns), 1)
    np.add.at(steps, (np.minimum(ends, bottom) - top, columns), -1)
    mask = np.cumsum(steps[:-1], axis=0, dtype=np.int8) > 0
    every = -(-max(mask.shape) // _MASK_SIDE_PX)
    return np.ascontiguousarray(mask[::every, ::every])


def _number(name: str, value: float | None, most: float) -> float | None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= most):
        raise InputError(f"{name} is {value}: expected a number from 0 to {most:g}: it is not shown")
    return None if value is None else float(value)

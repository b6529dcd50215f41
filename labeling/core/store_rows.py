"""What goes into labels.db and comes out of it, and how each thing is written as a row."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .records import Annotation, ImageState, Provenance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PIXELS = "pixels:"
"""How the model of a feature begins that was made of the picture alone; it outlives the labels of its image."""

FileStatus = Literal["ok", "quarantined"]
Labels = Literal["best", "machine", "human", "claims"]
Machine = Literal["teacher", "student"]

_BESIDE = " student:"
"""How the key of a student follows that of the teacher in one text."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells whether a file is still the one that was read.

    Attributes:
        path: absolute path as the file system has it (``os.fsencode``).
        size: bytes.
        mtime_ns: time of the last change in nanoseconds.
    """

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """What labels.db knows about one file; ``sha256`` is None where it could not be read."""

    size: int
    mtime_ns: int
    sha256: str | None
    status: FileStatus
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A pooled feature of an image or of one box.

    Attributes:
        annotation_id: the box; None for the whole image.
        model: name and version of the encoder; features of different models cannot be compared.
        vector: (dim,) float16.
    """

    annotation_id: str | None
    model: str
    vector: npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Faint:
    """What a machine saw with a score below its threshold: no label, but a reason not to teach that nothing is there.

    Attributes:
        class_name: name in the ontology.
        box_xyxy: as of ``Annotation``.
        score: in [0, 1].
    """

    class_name: str
    box_xyxy: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class ImageOutcome:
    """How one image ended in a run.

    Attributes:
        files: the files that hold these bytes.
        sha256: identity of the image; None where the bytes could not be read, which needs ``quarantined``.
        width: upright width in pixels; None for an image that could not be decoded.
        height: upright height in pixels.
        notes: remarks of the image gate.
        status: ok or quarantined.
        reason: why it is quarantined.
        annotations: machine labels.
        features: of the image and of its boxes.
        drops: boxes that the filters dropped, by (reason, class name).
        done_key: what the image was labelled with, or refused with; None says that this run did not label it.
        machine: who labelled it.
        faint: boxes below the thresholds, not far.
    """

    files: tuple[FileStamp, ...]
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    notes: tuple[str, ...] = ()
    status: FileStatus = "ok"
    reason: str | None = None
    annotations: tuple[Annotation, ...] = ()
    features: tuple[Feature, ...] = ()
    drops: Counter[tuple[str, str]] = field(default_factory=Counter)
    done_key: str | None = None
    machine: Machine = "teacher"
    faint: tuple[Faint, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """One image, and what people said about it; ``state`` None says nothing and changes its files only."""

    outcome: ImageOutcome
    annotations: tuple[Annotation, ...] = ()
    state: ImageState | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One use of a verb that writes; ``finished_at`` and ``summary`` are None where it was cut off.

    Times are UTC in ISO 8601.
    """

    id: int
    verb: str
    started_at: str
    finished_at: str | None
    settings: Mapping[str, Any]
    summary: Mapping[str, Any] | None


ANNOTATION_COLUMNS = ", ".join(
    (
        *("id", "sha256", "class_name", "x0", "y0", "x1", "y1", "rle", "score", "mask_score"),
        *("source", "prompt", "model", "annotator", "parent_id", "flags", "sources"),
    )
)


def annotation_to_row(annotation: Annotation) -> tuple[object, ...]:
    """Return the values of ANNOTATION_COLUMNS."""
    made = annotation.provenance
    return (
        annotation.id,
        annotation.sha256,
        annotation.class_name,
        *(float(edge) for edge in annotation.box_xyxy),
        None if annotation.rle is None else to_json(annotation.rle),
        None if made.score is None else float(made.score),
        None if made.mask_score is None else float(made.mask_score),
        made.source,
        made.prompt,
        made.model,
        made.annotator,
        made.parent_id,
        to_json(annotation.flags),
        to_json(made.sources),
    )


def annotation_from_row(row: tuple[Any, ...]) -> Annotation:
    """Return the annotation that ANNOTATION_COLUMNS describe."""
    key, sha256, class_name, x0, y0, x1, y1, rle, score, mask_score, *made, flags, sources = row
    source, prompt, model, who, parent = made
    seen_by = tuple((name, seen) for name, seen in json.loads(sources))
    return Annotation(
        id=key,
        sha256=sha256,
        class_name=class_name,
        box_xyxy=(x0, y0, x1, y1),
        provenance=Provenance(source, model, who, prompt, score, mask_score, parent, seen_by),
        rle=None if rle is None else json.loads(rle),
        flags=tuple(json.loads(flags)),
    )


def keys_to_text(keys: Mapping[Machine, str]) -> str:
    """Return what an image is done for as it rests in labels.db: one text, that of the teacher as it always was."""
    return keys["teacher"] + (_BESIDE + keys["student"] if keys["student"] else "")


def keys_from_text(text: str) -> dict[Machine, str]:
    """Return what an image is done for by machine; "" for one that has not looked at it."""
    teacher, _, student = text.partition(_BESIDE)
    return {"teacher": teacher, "student": student}


def shown_path(path: bytes) -> str:
    """Return a path as valid text for people: NFC, bytes that are no UTF-8 as ``\\xNN``."""
    return unicodedata.normalize("NFC", path.decode("utf-8", "backslashreplace"))


def to_json(value: object) -> str:
    """Return compact JSON; NaN and infinity raise ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

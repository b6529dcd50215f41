"""The only types that rest on disk: an image, an annotation, and who made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

ImageState = Literal["new", "prelabelled", "pushed", "reviewed", "reviewed-empty", "skipped", "quarantined"]
Source = Literal["teacher", "human", "student", "imported"]

#: States in which people have spoken: machine labels of such an image are never replaced.
REVIEWED_STATES: tuple[ImageState, ...] = ("reviewed", "reviewed-empty", "skipped")

#: Note of an image that the teacher looked at piece by piece.
TILED = "tiled"


class Rle(TypedDict):
    """COCO run-length encoding of one mask of the whole image, compressed, as text."""

    size: list[int]  # [height, width] in pixels
    counts: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who made an annotation.

    Attributes:
        source: kind of author.
        model: name and version of the model; None for people.
        annotator: name of the person or of the imported file; None for models.
        prompt: the prompt that won the box; None where no prompt was used.
        score: detector score in [0, 1]; not a probability; None for people.
        mask_score: the segmenter's own estimate of its mask in [0, 1].
        parent_id: id of the annotation that this one corrects.
        sources: (model, score) of each detector of an ensemble that saw the object; empty for a single one.
    """

    source: Source
    model: str | None = None
    annotator: str | None = None
    prompt: str | None = None
    score: float | None = None
    mask_score: float | None = None
    parent_id: str | None = None
    sources: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object in one image.

    Attributes:
        id: 32 hex digits, a function of the content, so that a repeated run gives the same id.
        sha256: identity of the image: hash of the bytes of its file.
        class_name: name in the ontology; class ids are never stored.
        box_xyxy: x0, y0, x1, y1 in absolute pixels of the upright image, float, half-open.
        rle: mask of the whole upright image, or None.
        flags: remarks of the filters for reviewers, such as "full_image".
    """

    id: str
    sha256: str
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    provenance: Provenance
    rle: Rle | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image, by its bytes.

    Attributes:
        sha256: hash of the bytes of the file; None where the file could not be read.
        width: upright width in pixels; None for an image that was never decoded.
        height: upright height in pixels.
        state: where the image stands.
        reason: why it is quarantined; None otherwise.
        paths: every file that holds these bytes, as shown to people (valid text), sorted.
        notes: remarks of the image gate such as "format_mismatch" or "multiframe".
    """

    sha256: str | None
    width: int | None
    height: int | None
    state: ImageState
    reason: str | None
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()

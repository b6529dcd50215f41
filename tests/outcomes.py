"""Builders of labels and outcomes of images, for tests of what happens to them; light enough for a child process."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

from labeling.core.records import Annotation, Provenance, Rle
from labeling.core.store import FileStamp, ImageOutcome

RLE: Rle = {"size": [4, 6], "counts": "d0"}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def machine(image: str, number: int = 0, class_name: str = "box", **changes: object) -> Annotation:
    """Return a teacher's label in the image of that name; number makes its id."""
    made = Provenance("teacher", model="m1", prompt="a box", score=0.75, mask_score=0.5)
    label = Annotation(digest(f"{image}/{number}")[:32], digest(image), class_name, (1.5, 2.0, 5.0, 3.5), made, RLE)
    return replace(label, **changes)  # type: ignore[arg-type]


def human(image: str, number: int = 0, parent: str | None = None) -> Annotation:
    made = Provenance("human", annotator="ann", parent_id=parent)
    return Annotation(digest(f"{image}/human/{number}")[:32], digest(image), "pallet", (0.0, 0.0, 2.0, 2.0), made)


def outcome(image: str, *labels: Annotation, key: str | None = "k1", paths: tuple[str, ...] = ()) -> ImageOutcome:
    """Return how a labelled image ends; its bytes are its name."""
    files = tuple(FileStamp(os.fsencode(path), 10, 20) for path in paths or (f"/photos/{image}.jpg",))
    return ImageOutcome(files, digest(image), 6, 4, annotations=labels, done_key=key)


def refused(image: str, reason: str = "truncated", **changes: object) -> ImageOutcome:
    bad = replace(outcome(image, key=None), width=None, height=None, status="quarantined", reason=reason)
    return replace(bad, **changes)  # type: ignore[arg-type]

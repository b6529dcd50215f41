"""What a teacher says about one image, as the records that rest in labels.db."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from .core.records import Annotation, Provenance
from .core.store import Feature, FileStamp, ImageOutcome
from .core.store_rows import Faint, Machine

if TYPE_CHECKING:
    from .images import LoadedImage
    from .teachers.teacher import Labelled


def labelled_outcome(
    stamp: FileStamp,
    image: LoadedImage,
    labelled: Labelled,
    names: tuple[str, ...],
    model: str,
    done_key: str,
    machine: Machine = "teacher",
) -> ImageOutcome:
    """Return the outcome of an image that a teacher, or a student in its place, has seen.

    Args:
        stamp: the file.
        image: the image.
        labelled: the teacher's answer.
        names: class names in the order of the ontology.
        model: name of the teacher, for the provenance.
        done_key: what the image is done for.
        machine: whose labels they are.
    """
    rows = labelled.detections
    annotations = tuple(_annotation(image.sha256, index, rows, names, model, machine) for index in range(len(rows)))
    features = []
    if labelled.image_feature is not None:
        features.append(Feature(None, model, labelled.image_feature))
    if "feature" in rows.data:
        vectors = zip(annotations, rows.data["feature"], strict=True)
        features += [Feature(annotation.id, model, vector) for annotation, vector in vectors]
    height, width = image.pixels.shape[:2]
    return ImageOutcome(
        files=(stamp,),
        sha256=image.sha256,
        width=width,
        height=height,
        notes=tuple(sorted({*image.notes, *labelled.notes})),
        annotations=annotations,
        features=tuple(features),
        drops=labelled.drops,
        done_key=done_key,
        machine=machine,
        faint=_faint(labelled.faint, names),
    )


def known_outcome(stamp: FileStamp, image: LoadedImage) -> ImageOutcome:
    """Return the outcome of a file whose image has its labels already: one more path."""
    height, width = image.pixels.shape[:2]
    return ImageOutcome((stamp,), image.sha256, width, height, image.notes)


def quarantined_outcome(stamp: FileStamp, reason: str, sha256: str | None, image: LoadedImage | None) -> ImageOutcome:
    """Return the outcome of a file that could not be read, or of an image on which the teacher failed."""
    height, width = image.pixels.shape[:2] if image is not None else (None, None)
    notes = image.notes if image is not None else ()
    return ImageOutcome((stamp,), sha256, width, height, notes, status="quarantined", reason=reason)


def _faint(rows: Any, names: tuple[str, ...]) -> tuple[Faint, ...]:
    return tuple(
        Faint(names[class_id], (x0, y0, x1, y1), score)
        for (x0, y0, x1, y1), class_id, score in zip(
            rows.xyxy.tolist(), rows.class_id.tolist(), rows.confidence.tolist(), strict=True
        )
    )


def _annotation(sha256: str, index: int, rows: Any, names: tuple[str, ...], model: str, machine: Machine) -> Annotation:
    x0, y0, x1, y1 = (float(edge) for edge in rows.xyxy[index])
    class_name = names[int(rows.class_id[index])]
    prompt, mask_score = str(rows.data["prompt"][index]), float(rows.data["mask_score"][index])
    # No time and no run in the id: the same content always gets the same one.
    content = [sha256, machine, model, class_name, prompt, [round(edge, 2) for edge in (x0, y0, x1, y1)], index]
    return Annotation(
        id=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32],
        sha256=sha256,
        class_name=class_name,
        box_xyxy=(x0, y0, x1, y1),
        provenance=Provenance(
            source=machine,
            model=model,
            prompt=prompt,
            score=float(rows.confidence[index]),
            mask_score=None if math.isnan(mask_score) else mask_score,
            sources=tuple(rows.data["sources"][index]) if "sources" in rows.data else (),
        ),
        rle=rows.data["rle"][index],
        flags=tuple(rows.data["flags"][index]),
    )

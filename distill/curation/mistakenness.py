"""FiftyOne's own opinion: how likely a label is a mistake, given what a machine claims about the same image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from labeling.core.records import Annotation, Provenance

from .doubts import Doubt
from .samples import relative_box
from .scenes import Scene

SIGNAL = "mistakenness"

_LEAST = 0.5
"""FiftyOne's scale runs from 0, surely right, over 0.5, no idea, to 1, surely a mistake."""

_FIELD = "mistakenness"
_SPURIOUS = "possible_spurious"
_MISSING = "possible_missing"
_AT_ONCE = 500


def mistakenness(dataset: Any) -> Iterator[Doubt]:
    """Yield what ``fiftyone.brain.compute_mistakenness`` doubts in the field "labels", given the field "claims".

    Only images with claims are looked at; claims without a confidence are left out, since the measure rests on it.
    It is computed on a copy that is removed again, so that the dataset gets no field, evaluation or brain run.

    Args:
        dataset: with the fields that ``curate.build`` writes.
    """
    from fiftyone import ViewField as F

    scored = dataset.select_fields(["labelstill_id", "labels", "claims"])
    scored = scored.filter_labels("claims", F("confidence") >= 0, only_matches=True)
    copy = scored.clone(f"labelstill-mistakenness-{uuid4().hex}")
    try:
        yield from _doubts(copy, {})
    finally:
        copy.delete()


def mistaken(scenes: Iterable[Scene]) -> Iterator[Doubt]:
    """Yield the same for images that are in no dataset yet; FiftyOne must be connected already."""
    import fiftyone as fo

    dataset = fo.Dataset(f"labelstill-mistakenness-{uuid4().hex}")
    try:
        for name in ("labels", "claims"):
            dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
            dataset.add_sample_field(f"{name}.detections.labelstill_id", fo.StringField)
        dataset.add_sample_field("labelstill_id", fo.StringField)
        known: dict[str, Annotation] = {}
        samples = []
        for scene in scenes:
            claims = [claim for claim in scene.claims if claim.provenance.score is not None]
            if not claims:
                continue
            known.update({one.id: one for one in (*scene.labels, *claims)})
            samples.append(
                fo.Sample(
                    filepath=f"/{scene.sha256}.jpg",  # no picture is looked at
                    labelstill_id=scene.sha256,
                    metadata=fo.ImageMetadata(width=scene.size_wh[0], height=scene.size_wh[1]),
                    labels=_detections(fo, scene.labels, scene.size_wh),
                    claims=_detections(fo, claims, scene.size_wh),
                )
            )
            if len(samples) == _AT_ONCE:
                dataset.add_samples(samples, expand_schema=False, validate=False, progress=False)
                samples = []
        dataset.add_samples(samples, expand_schema=False, validate=False, progress=False)
        if len(dataset):
            yield from _doubts(dataset, known)
    finally:
        dataset.delete()


def _detections(fo: Any, annotations: Iterable[Annotation], size_wh: tuple[int, int]) -> Any:
    return fo.Detections(
        detections=[
            fo.Detection(
                label=one.class_name,
                bounding_box=relative_box(one.box_xyxy, size_wh),
                confidence=one.provenance.score,
                labelstill_id=one.id,
            )
            for one in annotations
        ]
    )


def _doubts(dataset: Any, known: dict[str, Annotation]) -> Iterator[Doubt]:
    """Compute, and yield the doubts; ``known`` are the annotations by id, made from the boxes where it is empty."""
    import fiftyone.brain as fob

    if not len(dataset):
        return
    fob.compute_mistakenness(
        dataset,
        "claims",
        label_field="labels",
        mistakenness_field=_FIELD,
        missing_field=_MISSING,
        spurious_field=_SPURIOUS,
        progress=False,
    )
    for sample in dataset.iter_samples(progress=False):
        sha256 = sample["labelstill_id"]
        size_wh = (sample.metadata.width, sample.metadata.height)

        def annotation(box: Any, sha256: str = sha256, size_wh: tuple[int, int] = size_wh) -> Annotation:
            return known.get(box["labelstill_id"]) or _annotation(box, sha256, size_wh)

        for box in sample["labels"].detections:
            yield from _of_label(sha256, box, annotation(box))
        for box in sample["claims"].detections:
            if _value(box, _MISSING):
                reason = f"FiftyOne: a machine is {box.confidence:.2f} sure of a {box.label} where nothing is labelled"
                yield Doubt(sha256, "missing", None, annotation(box), float(box.confidence), SIGNAL, reason)


def _of_label(sha256: str, box: Any, label: Annotation) -> Iterator[Doubt]:
    if _value(box, _SPURIOUS):
        # FiftyOne says yes or no here, and no more.
        yield Doubt(sha256, "spurious", label, None, _LEAST, SIGNAL, f"FiftyOne: no machine sees this {box.label}")
    for field, kind, what in (
        (_FIELD, "wrong class", "of this class"),
        (f"{_FIELD}_loc", "bad box", "of this box"),
    ):
        value = _value(box, field)
        if value is not None and value > _LEAST:
            reason = f"FiftyOne: mistakenness {what} is {value:.2f}"
            yield Doubt(sha256, kind, label, None, float(value), SIGNAL, reason)  # type: ignore[arg-type]


def _value(box: Any, field: str) -> Any:
    return box[field] if box.has_field(field) else None


def _annotation(box: Any, sha256: str, size_wh: tuple[int, int]) -> Annotation:
    x, y, width, height = box.bounding_box
    across, down = size_wh
    made = Provenance(
        box["source"], model=box["model"], annotator=box["annotator"], prompt=box["prompt"], score=box.confidence
    )
    edges = (x * across, y * down, (x + width) * across, (y + height) * down)
    return Annotation(box["labelstill_id"], sha256, box.label, edges, made)

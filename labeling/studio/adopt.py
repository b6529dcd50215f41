"""A task that is on the server and not in the ledger: what people are shown there, as the ledger would have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.records import Annotation, Provenance
from ..core.store import Store
from ..core.store_studio import Task, content_hash
from .chunks import LOT_KEY
from .convert import read


def adopted(
    store: Store, sha256: str, task: Mapping[str, Any], size_wh: tuple[int, int] | None
) -> tuple[Task, list[Annotation]]:
    """Return the row of the ledger for a task, still to be confirmed, and the labels that it was pushed with.

    Labels that are in labels.db are taken from there. Others are read from the prediction, and count as changed since.

    Args:
        store: labels.db.
        sha256: a known image.
        task: as listed in full.
        size_wh: of the image; None where it was never decoded.
    """
    prediction = newest_prediction(task)
    labels = _labels(store, sha256, prediction, size_wh)
    version = str(prediction.get("model_version") or "") if prediction is not None else ""
    number = int(task["id"])
    blind, drawn = prediction is None, LOT_KEY in task["data"]
    return Task(sha256, None, "intended", number - 1, content_hash(labels), version, blind, drawn), labels


def newest_prediction(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the prediction that people are shown."""
    predictions: Sequence[Mapping[str, Any]] = task.get("predictions") or ()
    return max(predictions, key=lambda one: int(one["id"]), default=None)


def region_ids(prediction: Mapping[str, Any]) -> list[str]:
    """Return the ids of the regions of a prediction, each once, in their order."""
    result = prediction.get("result")
    regions = result if isinstance(result, Sequence) else ()
    return list(
        dict.fromkeys(str(region["id"]) for region in regions if isinstance(region, Mapping) and "id" in region)
    )


def _labels(
    store: Store, sha256: str, prediction: Mapping[str, Any] | None, size_wh: tuple[int, int] | None
) -> list[Annotation]:
    machine = store.annotations_of(sha256, "machine")
    if prediction is None:
        return machine
    shown = region_ids(prediction)
    for labels in (machine, store.annotations_of(sha256, "human")):
        if [annotation.id for annotation in labels] == shown:
            return labels
    if size_wh is None:
        return []
    result = prediction.get("result") or []
    scores = {str(region.get("id")): region.get("score") for region in result if isinstance(region, Mapping)}
    drawn, _ = read(result, size_wh)
    return [
        Annotation(
            one.region_id,
            sha256,
            one.class_name,
            one.box_xyxy,
            Provenance("teacher", model=prediction.get("model_version") or None, score=scores.get(one.region_id)),
            one.rle,
        )
        for one in drawn
    ]

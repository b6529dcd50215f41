"""FiftyOne's mistakenness over labels and claims, alone: a ranked list that nothing of curation took part in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from errors_curves import Row

from distill.curation.scenes import Scene
from labeling.core.records import Annotation
from labeling.project import Project

_FIELD = "mistakenness"
_SPURIOUS, _MISSING = "possible_spurious", "possible_missing"


@contextlib.contextmanager
def database(work: Path) -> Iterator[None]:
    """Connect FiftyOne to a database of this measurement's own, below a folder."""
    from distill.fiftyone_server import database as connected

    root = work / "fiftyone"
    with connected(Project.open(root) if Project.exists(root) else Project.create(root)):
        yield


def mistakenness_alone(scenes: Iterable[Scene], name: str, seed: int) -> list[Row]:
    """Return every label and every object that FiftyOne takes for missing, the most mistaken first.

    A label comes by the larger of the mistakenness of its class and of its place, and first where it may be spurious,
    as does a missing object. Rows of one score, of which there are many, come by lot.

    Args:
        scenes: images with labels and claims.
        name: of the dataset, which is removed in the end.
        seed: of the lots.
    """
    import fiftyone as fo
    import fiftyone.brain as fob

    known: dict[str, Annotation] = {}
    samples = []
    for scene in scenes:
        known |= {one.id: one for one in (*scene.labels, *scene.claims)}
        fields = {
            field: fo.Detections(detections=[_detection(fo, one, scene.size_wh) for one in some])
            for field, some in (("labels", scene.labels), ("claims", scene.claims))
        }
        samples.append(fo.Sample(filepath=f"/{scene.sha256}.jpg", **fields))
    dataset = fo.Dataset(name, overwrite=True)
    try:
        dataset.add_samples(samples, progress=False)
        fob.compute_mistakenness(dataset, "claims", label_field="labels", progress=False)
        scored: list[tuple[float, Row]] = []
        for sample in dataset.iter_samples():
            scored += [(_score(one), Row(known[one["annotation_id"]], None)) for one in sample["labels"].detections]
            missing = (one for one in sample["claims"].detections if _value(one, _MISSING))
            scored += [(1.0, Row(None, known[one["annotation_id"]])) for one in missing]
    finally:
        dataset.delete()
    lots = np.random.default_rng(seed).random(len(scored))
    return [scored[at][1] for at in sorted(range(len(scored)), key=lambda at: (-scored[at][0], lots[at]))]


def _detection(fo: Any, one: Annotation, size_wh: tuple[int, int]) -> Any:
    (width, height), (x0, y0, x1, y1) = size_wh, one.box_xyxy
    box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
    score = one.provenance.score
    return fo.Detection(label=one.class_name, bounding_box=box, confidence=score, annotation_id=one.id)


def _score(one: Any) -> float:
    return max(_value(one, key) for key in (_FIELD, f"{_FIELD}_loc", _SPURIOUS))


def _value(one: Any, key: str) -> float:
    return float((one[key] if one.has_field(key) else 0) or 0)

"""What a D-FINE says: boxes read from its outputs, and how right they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv
import torch
from supervision.metrics import MeanAveragePrecision

from labeling.core import geometry

from .data import Sample
from .pictures import batches

MAX_OBJECTS = 300

_SCORED_FLOOR = 0.01

Answer = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Boxes, class ids and scores of one image."""


def decoded(logits: torch.Tensor, boxes: torch.Tensor, floor: float) -> list[Answer]:
    """Return what a network says in each image, best first, at most 300 objects.

    Args:
        logits: (b, q, classes).
        boxes: (b, q, 4) cxcywh, fractions of the image.
        floor: smallest score.

    Returns:
        For each image (n, 4) float64 boxes x0, y0, x1, y1 as fractions within the image, each with an area; (n,) int64
        class ids; (n,) float64 scores.
    """
    found = []
    for said, places in zip(logits.sigmoid().double().cpu(), boxes.double().cpu().numpy(), strict=True):
        best = said.flatten().topk(min(MAX_OBJECTS, said.numel()))
        queries, classes = (best.indices // said.shape[1]).numpy(), (best.indices % said.shape[1]).numpy()
        corners = np.concatenate([places[:, :2] - places[:, 2:] / 2, places[:, :2] + places[:, 2:] / 2], axis=1)
        corners = geometry.clip_boxes(corners[queries], (1, 1))
        kept = (best.values.numpy() >= floor) & (geometry.area(corners) > 0)
        found.append((corners[kept], classes[kept], best.values.numpy()[kept]))
    return found


@torch.inference_mode()
def scores(network: Any, chosen: Sequence[Sample], imgsz: int, size: int, device: torch.device) -> tuple[float, float]:
    """Return AP50-95 and AP50 over all classes that are there; -1 each where there is no object at all."""
    metric = MeanAveragePrecision()
    network.eval()
    for batch in batches(chosen, imgsz, size):
        said = network(pixel_values=batch.pixels.to(device).float() / 255)
        for (boxes, classes, values), target in zip(
            decoded(said.logits, said.pred_boxes, _SCORED_FLOOR), batch.targets, strict=True
        ):
            wanted = target["boxes"].double().numpy() * imgsz
            corners = np.concatenate([wanted[:, :2] - wanted[:, 2:] / 2, wanted[:, :2] + wanted[:, 2:] / 2], axis=1)
            metric.update(
                sv.Detections(boxes * imgsz, class_id=classes, confidence=values),
                sv.Detections(corners, class_id=target["class_labels"].numpy()),
            )
    result = metric.compute()
    return float(result.map50_95), float(result.map50)

"""Ask a YOLO student what it sees in photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from labeling.core import masks
from labeling.teachers.detectors.ultralytics import import_ultralytics
from labeling.teachers.detectors.yolo_canvas import Canvas, on_canvas
from labeling.teachers.interfaces import RgbImage

from ..objects import Objects
from .photo_masks import photo_masks
from .weights import StudentFile

import_ultralytics()

from ultralytics.utils.nms import non_max_suppression  # noqa: E402 (the library must not be imported unprepared)
from ultralytics.utils.ops import scale_boxes  # noqa: E402

_NMS_IOU = 0.7
_MAX_OBJECTS = 300
_STRIDE = 32
_AT_ONCE = 16


class UltralyticsPredictor:
    """A trained student in evaluation mode; NMS per class at IoU 0.7."""

    def __init__(self, model: Any, file: StudentFile, device: torch.device) -> None:
        self.names = file.names
        self.imgsz = file.imgsz
        self._margin = file.margin
        self._masks = file.task == "segment"
        self._device = device
        self._model = model.float().eval().to(device)

    def predict(self, images: Sequence[RgbImage], floor: float = 0.001) -> list[Objects]:
        """See the Predictor protocol."""
        seen: list[Objects] = []
        for start in range(0, len(images), _AT_ONCE):
            block = images[start : start + _AT_ONCE]
            rows_of: dict[tuple[int, ...], list[int]] = defaultdict(list)
            canvases = [on_canvas(image, self.imgsz, _STRIDE, self._margin) for image in block]
            for row, canvas in enumerate(canvases):
                rows_of[canvas.pixels.shape].append(row)
            found: dict[int, Objects] = {}
            for rows in rows_of.values():
                answers = self._look([canvases[row] for row in rows], [block[row].shape[:2] for row in rows], floor)
                found.update(zip(rows, answers, strict=True))
            seen += [found[row] for row in range(len(block))]
        return seen

    @torch.inference_mode()
    def _look(self, canvases: Sequence[Canvas], sizes_hw: Sequence[tuple[int, ...]], floor: float) -> list[Objects]:
        seen = torch.from_numpy(np.stack([canvas.pixels for canvas in canvases]))
        pixels = seen.to(self._device).permute(0, 3, 1, 2).float() / 255
        raw = self._model(pixels)
        protos = (raw[0][1] if isinstance(raw[0], tuple) else raw[1]) if self._masks else [None] * len(canvases)
        kept = non_max_suppression(
            raw[0] if self._masks else raw,
            conf_thres=floor,
            iou_thres=_NMS_IOU,
            max_det=_MAX_OBJECTS,
            nc=len(self.names),
            end2end=bool(getattr(self._model, "end2end", False)),
            max_time_img=1e6,  # on a busy machine the library would give up and drop the rest without a word
        )
        rows = zip(kept, canvases, sizes_hw, protos, strict=True)
        return [_objects(found, canvas, size_hw, proto) for found, canvas, size_hw, proto in rows]


def _objects(rows: torch.Tensor, canvas: Canvas, size_hw: tuple[int, ...], proto: Any) -> Objects:
    rows = rows[rows.isfinite().all(dim=1)]
    rows = rows[torch.argsort(-rows[:, 4], stable=True)]
    boxes = scale_boxes(canvas.pixels.shape[:2], rows[:, :4].clone(), size_hw, canvas.ratio_pad)
    rles = None
    if proto is not None:
        rles = tuple(
            masks.encode(one.cpu().numpy().astype(bool))
            for start in range(0, len(rows), _AT_ONCE)
            for one in photo_masks(
                proto, rows[start : start + _AT_ONCE, 6:], boxes[start : start + _AT_ONCE], canvas, size_hw
            )
        )
    numbers = rows[:, :6].cpu().numpy().astype(np.float64)
    places = boxes.cpu().numpy().astype(np.float64).reshape(-1, 4)
    return Objects("", (size_hw[1], size_hw[0]), places, numbers[:, 5].astype(np.int64), numbers[:, 4], rles)

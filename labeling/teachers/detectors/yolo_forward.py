"""How a model of ultralytics is asked: canvas, forward pass, the library's NMS, boxes back in pixels, features."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import supervision as sv
import torch

from ...core.errors import BackendError
from ..features import pool_boxes, pool_image
from ..interfaces import Detected, RgbImage
from .yolo_canvas import Canvas, on_canvas

_NMS_IOU = 0.7
_MAX_BOXES = 300


class YoloForward:
    """A loaded model of ultralytics, whose library has been imported by ``import_ultralytics``.

    Boxes have been through the library's own per-class NMS at IoU 0.7, at most 300 an image. Masks that the model
    draws are left out.
    """

    def __init__(self, model: Any, input_size: int, device: torch.device, margin: int = 0) -> None:
        """Take a detection model.

        Args:
            model: of the library.
            input_size: longer side of its input in pixels.
            device: where it runs.
            margin: see ``on_canvas``.
        """
        self.model = model.float().eval().to(device)
        self.device = device
        self.side, self.stride, self._margin = input_size, max(int(self.model.stride.max()), 32), margin
        self._feature_map: torch.Tensor | None = None
        self.model.model[-1].register_forward_pre_hook(self._keep_features)

    def pixels(self, canvases: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
        """Return (n, height, width, 3) uint8 RGB canvases as the (n, 3, height, width) float32 that the model reads."""
        return torch.from_numpy(canvases).to(self.device).permute(0, 3, 1, 2).float() / 255

    def detect(self, images: Sequence[RgbImage], wanted: Mapping[int, tuple[str, int]], floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol.

        Args:
            images: any sizes; those of one size share a forward pass.
            wanted: by class index of the model, the prompt and the class id that it stands for.
            floor: smallest score.
        """
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        canvases = [on_canvas(image, self.side, self.stride, self._margin) for image in images]
        for row, canvas in enumerate(canvases):
            groups[canvas.pixels.shape].append(row)
        results: dict[int, Detected] = {}
        try:
            with torch.inference_mode():
                for rows in groups.values():
                    sizes = [images[row].shape[:2] for row in rows]
                    found = self._forward([canvases[row] for row in rows], sizes, wanted, floor)
                    results.update(zip(rows, found, strict=True))
        finally:
            self._feature_map = None
        return [results[row] for row in range(len(images))]

    def _forward(
        self,
        canvases: Sequence[Canvas],
        sizes_hw: Sequence[tuple[int, ...]],
        wanted: Mapping[int, tuple[str, int]],
        floor: float,
    ) -> list[Detected]:
        from ultralytics.utils.nms import non_max_suppression

        try:
            raw = self.model(self.pixels(np.stack([canvas.pixels for canvas in canvases])))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BackendError(f"the detector failed on {len(canvases)} image(s): {error}") from error
        while not isinstance(raw, torch.Tensor):  # the boxes come first, before masks and what only training needs
            raw = raw[0]
        found = non_max_suppression(
            raw,
            conf_thres=min(floor, 1.0),  # more is no threshold to the library; nothing scores above 1
            iou_thres=_NMS_IOU,
            classes=list(wanted),
            max_det=_MAX_BOXES,
            nc=int(self.model.model[-1].nc),
            end2end=bool(getattr(self.model, "end2end", False)),
            # On a busy machine the library would give up in the middle of a batch and drop the rest without a word.
            max_time_img=1e6,
        )
        maps = [None] * len(found) if self._feature_map is None else list(self._feature_map)
        return [
            _detected(rows, canvas=canvas, size_hw=size_hw, wanted=wanted, feature_map=feature_map)
            for rows, canvas, size_hw, feature_map in zip(found, canvases, sizes_hw, maps, strict=True)
        ]

    def _keep_features(self, _head: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        # YOLOE hands the embeddings of its prompts over in the same list.
        levels = [level for level in inputs[0] if level.ndim == 4] if isinstance(inputs[0], list) else []
        self._feature_map = levels[-1] if levels else None


def _detected(
    rows: torch.Tensor,
    *,
    canvas: Canvas,
    size_hw: tuple[int, ...],
    wanted: Mapping[int, tuple[str, int]],
    feature_map: torch.Tensor | None,
) -> Detected:
    """Return the boxes of one image; ``rows`` are x0, y0, x1, y1 on the canvas, score, class index."""
    from ultralytics.utils.ops import scale_boxes

    # supervision refuses numbers that are not finite, so they are counted here and not by the filters.
    finite = rows[:, :4].isfinite().all(dim=1)
    boxes, scores, indices = rows[finite, :4], rows[finite, 4], rows[finite, 5]
    hits = [wanted[int(index)] for index in indices.tolist()]
    prompts = np.empty(len(hits), dtype=object)
    prompts[:] = [prompt for prompt, _ in hits]
    data: dict[str, Any] = {"prompt": prompts}
    image_feature = None
    canvas_hw = canvas.pixels.shape[:2]
    if feature_map is not None:
        height, width = canvas_hw
        data["feature"] = pool_boxes(feature_map, boxes / boxes.new_tensor([width, height, width, height]))
        image_feature = pool_image(feature_map)
    detections = sv.Detections(
        xyxy=scale_boxes(canvas_hw, boxes, size_hw, canvas.ratio_pad).cpu().numpy().astype(np.float32),
        confidence=scores.cpu().numpy().astype(np.float32),
        class_id=np.array([class_id for _, class_id in hits], dtype=int),
        data=data,
    )
    return Detected(detections, image_feature, +Counter({"not_finite": int((~finite).sum())}))

"""B7: an exported student on this machine's processor: what it costs around the network, and beside `yolo predict`.

Usage: python scripts/bench/edge.py [--photos N] [--rounds N] [--json]

YOLOv8n as ``export.to_onnx`` writes it, static, at 640 and 320 pixels, through ONNX Runtime with its own choice of
threads. Weights are the warm start of ../shared/weights, photos those of ../shared/data/coco-photos; where these are
absent, random weights and drawn scenes, with which a network costs the same and finds other things.

- Frames -> boxes: decoded frames in memory through ``Model``, against the bare ``session.run`` on the same tensors.
- JPEG -> boxes: ``runtime.run`` on a folder, files decoded ahead in a thread, against ``yolo predict`` of ultralytics
  on the same ONNX file, the same photos, the same least score and NMS. Both have to find the same boxes.
- Video: a file of 640 x 480, MPEG-4, written from the photos; captured, looked at, drawn upon, overlapped and one
  after the other. Goals in frames per second are for two cores that nothing else uses.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import photos as drawn
from rounds import Row, arguments, interleave, measured, publish, ratio, spread

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared"
SIZES = (640, 320)
SCORE, IOU = 0.25, 0.7
VIDEO_WH = (640, 480)
FRAMES_PER_PHOTO = 4

_WHY_OVERHEAD = "letterbox, colours to numbers and NMS run on one core; the network keeps all of them busy meanwhile"
_WHY_PREDICT = (
    "both run the same network in ONNX Runtime, which is most of the time: what is left to gain is decoding, letterbox, "
    "NMS and the library's own bookkeeping"
)
_WHY_FPS = "the network alone needs the time of a frame, or the cores are busy with something else"


class Bench:
    """One input size."""

    def __init__(self, root: Path, weights: Path, photos: Sequence[Path], size: int) -> None:
        from export.runtime import Model, OnnxSession
        from export.to_onnx import ExportSettings, to_onnx

        self.path = root / f"yolov8n-{size}.onnx"
        settings = ExportSettings(imgsz=(size, size))
        card = to_onnx(weights, self.path, settings, nms_iou=IOU)
        assert set(card.thresholds.values()) == {SCORE}
        self.model = Model(OnnxSession(self.path))
        self._folder = photos[0].parent
        self._frames = [cv2.imread(str(path)) for path in photos]
        self._tensors = [self.model.prepare(frame).tensor for frame in self._frames]
        self._peer = _yolo(self.path, size)

    def network(self) -> None:
        """Run the network alone."""
        for tensor in self._tensors:
            self.model.session.run(tensor)

    def frames(self) -> None:
        """Decoded frames to boxes."""
        for frame in self._frames:
            self.model(frame)

    def predict(self) -> list[Any]:
        """JPEG files to boxes, as the library does it."""
        return list(self._peer(self._folder))


def _yolo(path: Path, size: int) -> Callable[[Path], Any]:
    from ultralytics import YOLO

    yolo = YOLO(str(path), task="detect")
    return lambda folder: yolo.predict(
        str(folder), imgsz=size, conf=SCORE, iou=IOU, device="cpu", stream=True, verbose=False, save=False
    )


def student(folder: Path) -> tuple[Path, str]:
    """Write a student.safetensors of YOLOv8n for 80 classes, and say what its weights are."""
    import torch

    from distill.yolo.weights import write_student
    from labeling.teachers.detectors.ultralytics import as_yolo, import_ultralytics

    published = SHARED / "weights" / "yolov8n-coco-fp16.safetensors"
    import_ultralytics()
    if published.exists():
        yolo = as_yolo(published)
        tensors, names, kind = yolo.model.state_dict(), list(yolo.names.values()), "of COCO, published"
    else:
        from ultralytics.nn.tasks import DetectionModel

        torch.manual_seed(0)
        tensors = DetectionModel("yolov8n.yaml", verbose=False).state_dict()
        names, kind = [f"class {number}" for number in range(80)], "random: no box is found"
    about = {"kind": "ultralytics", "yaml": "yolov8n", "task": "detect", "imgsz": "640", "licence": "AGPL-3.0"}
    path = folder / "student.safetensors"
    write_student(path, tensors, about | {"names": json.dumps(names)})
    return path, kind

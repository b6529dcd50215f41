"""A student on the device: frame in, objects out, with numpy, OpenCV and ONNX Runtime or TensorRT alone.

This file is copied into a bundle as it stands and needs nothing else of labelstill there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

CARD_KEY = "labelstill"
"""Key of the card among the metadata of an ONNX file."""

_GREY = 114


class RuntimeFault(Exception):
    """What is wrong with a bundle, an engine or a source, in one sentence for people."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a model file says of itself; JSON under CARD_KEY of the ONNX metadata.

    Attributes:
        kind: ultralytics or dfine.
        model: name of the architecture.
        task: detect or segment.
        names: classes in the order of the head.
        imgsz: (height, width) of the input in pixels; of a dynamic model the size it was trained at.
        dynamic: whether height and width of the input may be others, multiples of the stride.
        letterbox: square (grey bars fill the input), rect (bars only up to the next multiple of the stride) or stretch
            (the frame fills the input whatever its shape).
        stride: of the model in pixels.
        layout: of the output: yolo (1, 4 + classes [+ 32], anchors), nms (1, n, 6 [+ 32]) or queries (scores, boxes).
        precision: fp32, fp16 or int8.
        thresholds: smallest score that counts, by class.
        nms_iou: IoU above which the less sure box of the same class is dropped.
        max_objects: at most so many per frame.
        second_look: when a frame is too doubtful to be decided here; None where that was not calibrated.
        licence: of the weights.
        weights: sha256 of student.safetensors.
        dataset: hash of what was taught.
        ontology: hash of the classes and prompts.
    """

    kind: str
    model: str
    task: str
    names: tuple[str, ...]
    imgsz: tuple[int, int]
    dynamic: bool
    letterbox: str
    stride: int
    layout: str
    precision: str
    thresholds: Mapping[str, float]
    nms_iou: float
    max_objects: int
    second_look: Mapping[str, float] | None
    licence: str
    weights: str
    dataset: str
    ontology: str

    @classmethod
    def read(cls, text: str, where: str) -> Card:
        """Return the card that JSON holds. Raises RuntimeFault: a key is missing, unknown or makes no sense."""
        try:
            stored = json.loads(text)
            card = cls(**{**stored, "names": tuple(stored["names"]), "imgsz": tuple(stored["imgsz"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RuntimeFault(f"{where}: its card cannot be read ({error}): export the model anew") from None
        if not card.names or set(card.thresholds) != set(card.names):
            raise RuntimeFault(f"{where}: expected a list of classes with one threshold each: export the model anew")
        return card


class Objects(NamedTuple):
    """The objects of one frame, best first.

    Attributes:
        boxes_xyxy: (n, 4) float32, pixels of the frame, half-open.
        scores: (n,) float32 in [0, 1].
        class_ids: (n,) int64, positions in ``Card.names``.
        masks: n bool (h, w) of the whole frame, or None where the model draws none.
    """

    boxes_xyxy: Floats
    scores: Floats
    class_ids: npt.NDArray[np.int64]
    masks: Sequence[npt.NDArray[np.bool_]] | None = None


class Canvas(NamedTuple):
    """A frame as the model takes it.

    Attributes:
        tensor: (1, 3, h, w) float32, RGB in [0, 1].
        size_hw: of the frame.
        gain_xy: canvas pixels per frame pixel.
        pad_xy: grey pixels left of and above the frame.
    """

    tensor: Floats
    size_hw: tuple[int, int]
    gain_xy: tuple[float, float]
    pad_xy: tuple[int, int]


class Session(Protocol):
    """Something that runs the network: ONNX Runtime, TensorRT, torch."""

    card: Card

    def run(self, tensor: Floats) -> list[Floats]:
        """Return the outputs for (1, 3, h, w) float32, in the order of the graph."""


class OnnxSession:
    """ONNX Runtime."""

    def __init__(self, path: Path, *, threads: int = 0, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        """Open a model.

        Args:
            path: of the .onnx file.
            threads: 0 leaves the choice to ONNX Runtime.
            providers: that have to run it; no other takes their place.

        Raises:
            RuntimeFault: it is no model of labelstill, or a provider is not there.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        metadata = self._session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise RuntimeFault(f"{path}: has no card of labelstill: expected a model of labelstill export")
        self.card = Card.read(metadata[CARD_KEY], str(path))
        self._input = self._session.get_inputs()[0].name

    def run(self, tensor: Floats) -> list[Floats]:
        """See Session."""
        outputs: list[Floats] = self._session.run(None, {self._input: tensor})
        return outputs


class Model:
    """A network with what comes before and after it."""

    def __init__(self, session: Session) -> None:
        """Take any session."""
        self.session = session
        self.card = session.card
        self._thresholds = np.array([self.card.thresholds[name] for name in self.card.names], dtype=np.float32)

    def __call__(self, frame: Frame, floor: float | None = None) -> Objects:
        """Return what is in a frame, BGR uint8 (h, w, 3). See ``decode`` for the floor."""
        canvas = self.prepare(frame)
        return self.decode(self.session.run(canvas.tensor), canvas, floor)

    def prepare(self, frame: Frame) -> Canvas:
        """Return a frame, BGR uint8 (h, w, 3), as the network takes it."""
        return _prepared(frame, self.card)

    def decode(self, outputs: Sequence[Floats], canvas: Canvas, floor: float | None = None) -> Objects:
        """Return the objects in the outputs of the network.

        Args:
            outputs: in the order of the graph.
            canvas: the frame that went in.
            floor: smallest score; None takes the threshold of each class.
        """
        limits = self._thresholds if floor is None else np.full_like(self._thresholds, floor)
        return _DECODERS[self.card.layout](outputs, canvas, self.card, limits)


def _prepared(frame: Frame, card: Card) -> Canvas:
    high, wide = frame.shape[:2]
    to_high, to_wide = card.imgsz
    if card.letterbox == "stretch":
        tensor = cv2.dnn.blobFromImage(frame, 1 / 255, (to_wide, to_high), swapRB=True)
        return Canvas(tensor, (high, wide), (to_wide / wide, to_high / high), (0, 0))
    gain = min(to_high / high, to_wide / wide)
    new_wide, new_high = round(wide * gain), round(high * gain)
    if card.letterbox == "rect":
        to_wide = new_wide + (to_wide - new_wide) % card.stride
        to_high = new_high + (to_high - new_high) % card.stride
    # The tenth decides where half a pixel goes, as in training.
    left, top = round((to_wide - new_wide) / 2 - 0.1), round((to_high - new_high) / 2 - 0.1)
    canvas = np.full((to_high, to_wide, 3), _GREY, dtype=np.uint8)
    inside = canvas[top : top + new_high, left : left + new_wide]
    if (new_high, new_wide) == (high, wide):
        inside[:] = frame
    else:
        cv2.resize(frame, (new_wide, new_high), dst=inside, interpolation=cv2.INTER_LINEAR)
    tensor = cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)
    return Canvas(tensor, (high, wide), (gain, gain), (left, top))


def _from_yolo(outputs: Sequence[Floats], canvas: Canvas, card: Card, limits: Floats) -> Objects:
    raw, count = outputs[0][0], len(card.names)
    best = raw[4 : 4 + count].max(axis=0)
    rows = raw[:, best > limits.min()]
    class_ids = rows[4 : 4 + count].argmax(axis=0)
    scores = rows[4 : 4 + count][class_ids, np.arange(rows.shape[1])]
    centres, halves = rows[:2].T, rows[2:4].T / 2
    boxes = np.concatenate((centres - halves, centres + halves), axis=1)
    kept = _not_suppressed(boxes, scores, class_ids, card)
    kept = kept[scores[kept] > limits[class_ids[kept]]]
    return Objects(_on_frame(boxes[kept], canvas), scores[kept], class_ids[kept])


def _from_nms(outputs: Sequence[Floats], canvas: Canvas, card: Card, limits: Floats) -> Objects:
    rows = outputs[0][0]
    class_ids = rows[:, 5].astype(np.int64)
    kept = rows[:, 4] > limits[class_ids]
    return Objects(_on_frame(rows[kept, :4], canvas), rows[kept, 4], class_ids[kept])


def _from_queries(outputs: Sequence[Floats], canvas: Canvas, card: Card, limits: Floats) -> Objects:
    scores, centred = outputs[0][0], outputs[1][0]
    class_ids = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), class_ids]
    kept = np.flatnonzero(best > limits[class_ids])
    kept = kept[np.argsort(-best[kept], kind="stable")][: card.max_objects]
    high, wide = canvas.size_hw
    centres, halves = centred[kept, :2], centred[kept, 2:] / 2
    boxes = np.concatenate((centres - halves, centres + halves), axis=1) * np.array([wide, high] * 2, dtype=np.float32)
    boxes = boxes.clip(0, np.array([wide, high] * 2, dtype=np.float32))
    return Objects(boxes, best[kept], class_ids[kept])


_DECODERS: Mapping[str, Callable[[Sequence[Floats], Canvas, Card, Floats], Objects]] = {
    "yolo": _from_yolo,
    "nms": _from_nms,
    "queries": _from_queries,
}


def _not_suppressed(
    boxes: Floats, scores: Floats, class_ids: npt.NDArray[np.int64], card: Card
) -> npt.NDArray[np.int64]:
    """Return the rows that are left after NMS within each class, best first."""
    if not len(boxes):
        return np.zeros(0, dtype=np.int64)
    # Boxes of different classes are moved apart, so that one call sees them all.
    corners = boxes[:, :2] + (class_ids * (boxes.max() + 1))[:, None]
    sized = np.concatenate((corners, boxes[:, 2:] - boxes[:, :2]), axis=1)
    kept = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, card.nms_iou)
    return np.asarray(kept, dtype=np.int64).reshape(-1)[: card.max_objects]


def _on_frame(boxes: Floats, canvas: Canvas) -> Floats:
    """Return boxes of the canvas in pixels of the frame, cut at its border."""
    high, wide = canvas.size_hw
    moved = (boxes - np.array(canvas.pad_xy * 2, dtype=np.float32)) / np.array(canvas.gain_xy * 2, dtype=np.float32)
    cut: Floats = moved.clip(0, np.array([wide, high] * 2, dtype=np.float32)).astype(np.float32)
    return cut

"""A student on the device: frame in, objects out, with numpy, OpenCV and ONNX Runtime or TensorRT alone.

This file is copied into a bundle as it stands and needs nothing else of labelstill there.
"""

# ruff: noqa: B905, UP017 (JetPack 5 has Python 3.8)
from __future__ import annotations

import argparse
import base64
import calendar
import ctypes
import errno
import hashlib
import itertools
import json
import math
import os
import platform
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Frame = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]
else:  # JetPack 5 has a numpy without these types
    Frame = Floats = Ints = Mask = np.ndarray

CARD_KEY = "labelstill"
"""Key of the card among the metadata of an ONNX file."""

MANIFEST = "manifest.json"
ENGINE = "engine/model.engine"
ENGINE_FACTS = "engine/engine.json"

_FORMAT = 1
_GREY = 114
_REBUILD = "run ./build.sh on this device"
_PATIENCE = 5.0
_LARGEST_FILE = 1 << 28
_NO_IMAGE = "cannot be read as an image"
_NO_NUMBERS = "the network returned numbers that are none"
_MODEL_FILES = (".onnx", ".data", ".bin", ".engine", ".plan", ".trt")


class RuntimeFault(Exception):
    """What is wrong with a bundle, an engine or a source, in one sentence for people."""


@dataclass(frozen=True)
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
        margin: grey pixels at least on every side of the frame in a letterbox square or rect.
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
    margin: int = 0

    @classmethod
    def read(cls, text: str, where: str) -> Card:
        """Return the card that JSON holds. Raises RuntimeFault: a key is missing, unknown or makes no sense."""
        try:
            stored = json.loads(text)
            card = cls(**{**stored, "names": tuple(stored["names"]), "imgsz": tuple(stored["imgsz"])})
            wrong = [name for name, fits in _SENSE.items() if not fits(getattr(card, name))]
            if not wrong and 2 * card.margin >= min(card.imgsz):
                wrong = ["margin"]
            if not wrong and (len(set(card.names)) != len(card.names) or set(card.thresholds) != set(card.names)):
                wrong = ["thresholds"]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RuntimeFault(f"{where}: its card cannot be read ({error!r}): export the model anew") from None
        if wrong:
            said = str(getattr(card, wrong[0]))[:60]
            raise RuntimeFault(
                f"{where}: its card says {wrong[0]} {said!r}, which makes no sense here: export the model anew and "
                "take the runtime.py of that export"
            )
        return card


def _within(value: Any, low: float, high: float, kinds: tuple[type, ...] = (int, float)) -> bool:
    return type(value) in kinds and low <= value <= high  # bool is another type, NaN is never within


def _count(value: Any) -> bool:
    return _within(value, 1, 1 << 20, (int,))


_SENSE: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("model", "licence", "weights", "dataset", "ontology"), lambda it: isinstance(it, str)),
    "kind": lambda it: it in ("ultralytics", "dfine"),
    "task": lambda it: it in ("detect", "segment"),
    "names": lambda it: bool(it) and all(isinstance(name, str) for name in it),
    "imgsz": lambda it: len(it) == 2 and all(map(_count, it)),
    "dynamic": lambda it: isinstance(it, bool),
    "letterbox": lambda it: it in ("square", "rect", "stretch"),
    "stride": _count,
    "margin": lambda it: _within(it, 0, 1 << 20, (int,)),
    "layout": lambda it: it in tuple(_DECODERS),
    "precision": lambda it: it in tuple(TOLERANCES),
    "thresholds": lambda it: all(_within(one, 0, 1) for one in it.values()),
    "nms_iou": lambda it: _within(it, 0, 1),
    "max_objects": _count,
    "second_look": lambda it: (
        it is None
        or (_within(it["below"], 0, 1) and all(_within(one, 0, 1 << 20) for one in (it["per_minute"], *it.values())))
    ),
}
"""What each field of a card may be."""


class Masks:
    """The masks of a frame, kept inside their boxes; each becomes bool (h, w) of the whole frame when it is taken."""

    def __init__(self, size_hw: tuple[int, int], windows: Sequence[tuple[int, int, Mask]]) -> None:
        """Take the frame, and of each object left and top of its window and the mask in it."""
        self.size_hw = size_hw
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> Mask:
        left, top, inside = self.windows[row]
        whole = np.zeros(self.size_hw, dtype=bool)
        whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return whole

    def __iter__(self) -> Iterator[Mask]:
        return (self[row] for row in range(len(self)))


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
    class_ids: Ints
    masks: Masks | None = None


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
            threads: 0 leaves the choice to ONNX Runtime; at most four per core.
            providers: that have to run it; no other takes their place.

        Raises:
            RuntimeFault: it is no model of labelstill, ONNX Runtime does not take it, or a provider is not there.
        """
        if not 0 <= threads <= 4 * _cores():
            raise RuntimeFault(f"{threads} threads: expected 0 to {4 * _cores()} on this device")
        self.card = card_of(path)
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeFault("ONNX Runtime is missing: pip install onnxruntime") from None
        missing = set(providers) - set(onnxruntime.get_available_providers())
        if missing:
            raise RuntimeFault(f"this ONNX Runtime has no {', '.join(sorted(missing))}: install one that has")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # its own exceptions have no common base
            said = str(error).splitlines()[0]
            raise RuntimeFault(f"{path}: ONNX Runtime {onnxruntime.__version__} does not take it ({said})") from None
        given = self._session.get_inputs()[0]
        self._input, size = given.name, tuple(given.shape[2:])
        if all(isinstance(side, int) for side in size) and size != self.card.imgsz:
            raise RuntimeFault(f"{path}: takes {size}, its card says {self.card.imgsz}: export the model anew")

    def run(self, tensor: Floats) -> list[Floats]:
        """See Session. Raises RuntimeFault: ONNX Runtime fails."""
        try:
            outputs: list[Floats] = self._session.run(None, {self._input: tensor})
        except Exception as error:  # its own exceptions have no common base
            raise RuntimeFault(f"ONNX Runtime did not run the model ({str(error).splitlines()[0]})") from None
        return outputs


class TensorRtSession:
    """TensorRT 8.4 to 10 with memory of the CUDA runtime. Nothing here has run on a GPU yet."""

    def __init__(self, engine: Path, card: Card) -> None:
        """Open an engine that was built on this device. Raises RuntimeFault: a library or the driver refuses."""
        trt = _tensorrt()
        self.card = card
        self._cuda = _Cuda()
        self._logger = trt.Logger(trt.Logger.WARNING)
        trt.init_libnvinfer_plugins(self._logger, "")
        try:
            self._runtime = trt.Runtime(self._logger)
        except TypeError:  # what the binding makes of a constructor that gives nothing back
            self._runtime = None
        if not self._runtime:
            raise RuntimeFault(f"TensorRT {trt.__version__} does not start here; its messages stand above")
        self._engine: Any = self._runtime.deserialize_cuda_engine(engine.read_bytes())
        self._context: Any = self._engine and self._engine.create_execution_context()
        if not self._context:
            raise RuntimeFault(f"{engine}: TensorRT {trt.__version__} does not open it: {_REBUILD}")
        self._named = hasattr(self._context, "execute_async_v3")  # older ones speak of numbered bindings
        every = range(self._engine.num_io_tensors if self._named else self._engine.num_bindings)
        ask = self._engine.get_tensor_name if self._named else self._engine.get_binding_name
        self._places = {ask(place): place for place in every}
        self._outputs = [name for name in ("output0", "output1", "scores", "boxes") if name in self._places]
        if len(self._outputs) + 1 != len(self._places) or "images" not in self._places:
            raise RuntimeFault(f"{engine}: its tensors {sorted(self._places)} are not those of labelstill: {_REBUILD}")
        self._buffers: dict[str, tuple[int, int]] = {}

    def run(self, tensor: Floats) -> list[Floats]:
        """See Session. Raises RuntimeFault: a call of CUDA or TensorRT fails."""
        given = np.ascontiguousarray(tensor, dtype=self._dtype("images"))
        place = self._places["images"]
        fits = (
            self._context.set_input_shape("images", given.shape)
            if self._named
            else self._context.set_binding_shape(place, given.shape)
        )
        if not fits:
            raise RuntimeFault(f"the engine does not take an input of {given.shape}: build it for that size")
        at = self._context.get_tensor_shape if self._named else self._context.get_binding_shape
        got = [
            np.empty(tuple(at(name if self._named else self._places[name])), dtype=self._dtype(name))
            for name in self._outputs
        ]
        addresses = {
            name: self._buffer(name, array.nbytes) for name, array in zip(("images", *self._outputs), (given, *got))
        }
        self._cuda.copy(addresses["images"], given.ctypes.data, given.nbytes, to_device=True)
        if self._named:
            bound = [self._context.set_tensor_address(name, address) for name, address in addresses.items()]
            done = all(bound) and self._context.execute_async_v3(self._cuda.stream)
        else:
            ordered = [addresses[name] for name in sorted(self._places, key=self._places.__getitem__)]
            done = self._context.execute_async_v2(ordered, self._cuda.stream)
        if not done:
            raise RuntimeFault("TensorRT did not run the engine; its messages stand above")
        for name, array in zip(self._outputs, got):
            self._cuda.copy(array.ctypes.data, addresses[name], array.nbytes, to_device=False)
        self._cuda.wait()
        return [array.astype(np.float32, copy=False) for array in got]

    def _dtype(self, name: str) -> Any:
        dtype = (
            self._engine.get_tensor_dtype(name) if self._named else self._engine.get_binding_dtype(self._places[name])
        )
        return {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32}[dtype.name]

    def _buffer(self, name: str, size: int) -> int:
        if self._buffers.get(name, (0, -1))[1] < size:
            self._cuda.free(self._buffers.pop(name, (0, 0))[0])  # forgotten first: the next call may fail
            self._buffers[name] = self._cuda.allocate(size), size
        return self._buffers[name][0]


class _Cuda:
    """The few calls of the CUDA runtime that a session needs, each with its answer checked."""

    def __init__(self) -> None:
        for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"):
            try:
                self._library = ctypes.CDLL(name)
                break
            except OSError:
                continue
        else:
            raise RuntimeFault("libcudart.so is missing: it comes with JetPack (sudo apt-get install nvidia-jetpack)")
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        self.stream = int(stream.value or 0)

    def allocate(self, size: int) -> int:
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(1, size)))
        return int(address.value or 0)

    def free(self, address: int) -> None:
        self._call("cudaFree", ctypes.c_void_p(address))

    def copy(self, to: int, origin: int, size: int, *, to_device: bool) -> None:
        way = ctypes.c_int(1 if to_device else 2)
        size_, stream = ctypes.c_size_t(size), ctypes.c_void_p(self.stream)
        self._call("cudaMemcpyAsync", ctypes.c_void_p(to), ctypes.c_void_p(origin), size_, way, stream)

    def wait(self) -> None:
        self._call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))

    def capability(self) -> str:
        """Return the compute capability of the GPU, such as 8.7."""
        digits = []
        for attribute in (75, 76):  # cudaDevAttrComputeCapabilityMajor and Minor
            value = ctypes.c_int()
            self._call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), ctypes.c_int(0))
            digits.append(str(value.value))
        return ".".join(digits)

    def _call(self, name: str, *values: Any) -> None:
        status = getattr(self._library, name)(*values)
        if status:
            raise RuntimeFault(f"{name}: {self._library.cudaGetErrorString(status).decode()} ({status})")


def _tensorrt() -> Any:
    try:
        import tensorrt
    except ImportError:
        raise RuntimeFault(
            "the Python module of TensorRT is missing: sudo apt-get install python3-libnvinfer"
        ) from None
    return tensorrt


class Model:
    """A network with what comes before and after it."""

    def __init__(self, session: Session) -> None:
        """Take any session."""
        self.session = session
        self.card = session.card
        self.thresholds: Floats = np.array([self.card.thresholds[name] for name in self.card.names], dtype=np.float32)

    def __call__(self, frame: Frame, floor: float | None = None) -> Objects:
        """Return what is in a frame, BGR uint8 (h, w, 3). See ``decode`` for the floor."""
        canvas = self.prepare(frame)
        return self.decode(self.session.run(canvas.tensor), canvas, floor)

    def prepare(self, frame: Frame) -> Canvas:
        """Return a frame, BGR uint8 (h, w, 3), as the network takes it. Raises RuntimeFault: it is no such frame."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise RuntimeFault(f"expected a frame of uint8 (h, w, 3), got {frame.dtype} {frame.shape}")
        return _prepared(frame, self.card)

    def decode(self, outputs: Sequence[Floats], canvas: Canvas, floor: float | None = None) -> Objects:
        """Return the objects in the outputs of the network.

        Args:
            outputs: in the order of the graph.
            canvas: the frame that went in.
            floor: smallest score; None takes the threshold of each class.
        """
        limits = self.thresholds if floor is None else np.full_like(self.thresholds, floor)
        rows = _DECODERS[self.card.layout](outputs, canvas, self.card, limits)
        return self._objects(rows, outputs, canvas)

    def judge(self, outputs: Sequence[Floats], canvas: Canvas) -> tuple[Objects, float]:
        """Return the objects as ``decode`` without a floor does, and how sure the frame is, see ``sureness``.

        A frame for which the network returned numbers that are none is not sure at all: 0.
        """
        limits = np.full_like(self.thresholds, floor_of(self.thresholds))
        rows = _DECODERS[self.card.layout](outputs, canvas, self.card, limits)
        most = self.card.max_objects
        sure = sureness(rows.scores[:most], rows.class_ids[:most], self.thresholds) if are_numbers(outputs) else 0.0
        return self._objects(rows.at(rows.scores >= self.thresholds[rows.class_ids]), outputs, canvas), sure

    def _objects(self, rows: _Rows, outputs: Sequence[Floats], canvas: Canvas) -> Objects:
        rows = rows.at(slice(self.card.max_objects))
        masks = None
        if self.card.task == "segment" and rows.coefficients is not None:
            masks = _masks(rows.boxes, rows.coefficients, outputs[1][0], canvas)
        return Objects(rows.boxes, rows.scores, rows.class_ids, masks)


class _Rows(NamedTuple):
    """Objects before their masks are drawn: boxes of the frame, best first."""

    boxes: Floats
    scores: Floats
    class_ids: Ints
    coefficients: Floats | None

    def at(self, kept: Any) -> _Rows:
        boxes, scores, class_ids, coefficients = self
        return _Rows(boxes[kept], scores[kept], class_ids[kept], None if coefficients is None else coefficients[kept])


def are_numbers(outputs: Sequence[Floats]) -> bool:
    """Say whether there is neither NaN nor infinity in what a network returned."""
    with np.errstate(all="ignore"):  # a sum is finite where all of it is, and quicker than asking each
        return all(math.isfinite(float(output.sum())) for output in outputs)


def floor_of(thresholds: Floats) -> float:
    """Return the score down to which a frame is read to see how doubtful it is."""
    return float(thresholds.min()) / 4


def sureness(scores: Floats, class_ids: Ints, thresholds: Floats) -> float:
    """Return how far the most doubtful object is from its threshold, in [0, 1]; 1 where there is none.

    Args:
        scores: (n,) of the objects of one frame, whatever is below ``floor_of`` does not count.
        class_ids: (n,).
        thresholds: (classes,).
    """
    counted = scores >= floor_of(thresholds)
    limits = thresholds[class_ids[counted]]
    if not len(limits):
        return 1.0
    return float((np.abs(scores[counted] - limits) / np.maximum(limits, 1 - limits)).min())


def _prepared(frame: Frame, card: Card) -> Canvas:
    high, wide = frame.shape[:2]
    to_high, to_wide = card.imgsz
    new_high, new_wide, how = to_high, to_wide, cv2.INTER_LINEAR
    if card.letterbox == "stretch":
        how = cv2.INTER_AREA if high * wide > to_high * to_wide else cv2.INTER_LINEAR  # as in training
    else:
        gain = min((to_high - 2 * card.margin) / high, (to_wide - 2 * card.margin) / wide)
        new_wide, new_high = max(1, round(wide * gain)), max(1, round(high * gain))
    if card.letterbox == "rect":
        to_wide = math.ceil((new_wide + 2 * card.margin) / card.stride) * card.stride
        to_high = math.ceil((new_high + 2 * card.margin) / card.stride) * card.stride
    # The tenth decides where half a pixel goes, as in training.
    left, top = round((to_wide - new_wide) / 2 - 0.1), round((to_high - new_high) / 2 - 0.1)
    if (new_high, new_wide) != (high, wide):
        frame = cv2.resize(frame, (new_wide, new_high), interpolation=how)
    tensor: Floats = np.empty((1, 3, to_high, to_wide), dtype=np.float32)
    right, bottom = left + new_wide, top + new_high
    for plane, channel in zip(tensor[0], reversed(cv2.split(frame))):
        np.divide(channel, np.float32(255), out=plane[top:bottom, left:right])
        for bar in (plane[:top], plane[bottom:], plane[top:bottom, :left], plane[top:bottom, right:]):
            bar.fill(np.float32(_GREY) / np.float32(255))
    return Canvas(tensor, (high, wide), (new_wide / wide, new_high / high), (left, top))


def _from_yolo(outputs: Sequence[Floats], canvas: Canvas, card: Card, limits: Floats) -> _Rows:
    raw, count = outputs[0][0], len(card.names)
    likely = raw[:, raw[4 : 4 + count].max(axis=0) >= limits.min()].T
    class_ids = likely[:, 4 : 4 + count].argmax(axis=1)
    scores = likely[np.arange(len(likely)), 4 + class_ids]
    centres, halves = likely[:, :2], likely[:, 2:4] / 2
    boxes = np.concatenate((centres - halves, centres + halves), axis=1)
    rows = _Rows(boxes, scores, class_ids, likely[:, 4 + count :])
    rows = rows.at((scores >= limits[class_ids]) & np.isfinite(likely).all(axis=1))
    rows = rows.at(_not_suppressed(rows.boxes, rows.scores, rows.class_ids, card.nms_iou))
    return rows._replace(boxes=_on_frame(rows.boxes, canvas))


def _from_nms(outputs: Sequence[Floats], canvas: Canvas, card: Card, limits: Floats) -> _Rows:
    found = outputs[0][0]
    found = found[np.isfinite(found).all(axis=1)]
    found = found[(found[:, 5] >= 0) & (found[:, 5] < len(card.names))]
    found = found[found[:, 4] >= limits[found[:, 5].astype(np.int64)]]
    found = found[np.argsort(-found[:, 4], kind="stable")]
    return _Rows(_on_frame(found[:, :4], canvas), found[:, 4], found[:, 5].astype(np.int64), found[:, 6:])


def _from_queries(outputs: Sequence[Floats], canvas: Canvas, card: Card, limits: Floats) -> _Rows:
    scores, centred = outputs[0][0], outputs[1][0]
    there = (scores >= limits) & np.isfinite(scores) & np.isfinite(centred).all(axis=1)[:, None]
    queries, class_ids = np.nonzero(there)  # one query may be several classes, as at home
    best = np.argsort(-scores[queries, class_ids], kind="stable")
    queries, class_ids = queries[best], class_ids[best]
    centres, halves = centred[queries, :2], centred[queries, 2:] / 2
    sides = np.array(canvas.size_hw[::-1] * 2, dtype=np.float32)
    boxes = np.concatenate((centres - halves, centres + halves), axis=1).clip(0, 1) * sides
    sized = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return _Rows(boxes, scores[queries, class_ids], class_ids, None).at(sized)


_DECODERS: Mapping[str, Callable[[Sequence[Floats], Canvas, Card, Floats], _Rows]] = {
    "yolo": _from_yolo,
    "nms": _from_nms,
    "queries": _from_queries,
}


def _not_suppressed(boxes: Floats, scores: Floats, class_ids: Ints, iou: float) -> Ints:
    """Return the rows that are left after NMS within each class, best first."""
    if not len(boxes):
        return np.zeros(0, dtype=np.int64)
    # Boxes of different classes are moved apart, so that one call sees them all.
    corners = boxes[:, :2] + (class_ids * (float(boxes.max() - boxes.min()) + 1))[:, None]
    sized = np.concatenate((corners, boxes[:, 2:] - boxes[:, :2]), axis=1)
    kept = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, iou)
    return np.asarray(kept, dtype=np.int64).reshape(-1)


def _on_frame(boxes: Floats, canvas: Canvas) -> Floats:
    """Return boxes of the canvas in pixels of the frame, cut at its border."""
    high, wide = canvas.size_hw
    moved = (boxes - np.array(canvas.pad_xy * 2, dtype=np.float32)) / np.array(canvas.gain_xy * 2, dtype=np.float32)
    cut: Floats = moved.clip(0, np.array([wide, high] * 2, dtype=np.float32)).astype(np.float32)
    return cut


def _masks(boxes: Floats, coefficients: Floats, protos: Floats, canvas: Canvas) -> Masks:
    """Draw the mask of each object inside its box only.

    Args:
        boxes: (n, 4) of the frame.
        coefficients: (n, k).
        protos: (k, mh, mw), a fraction of the canvas.
        canvas: the frame that went in.
    """
    sizes, sides = canvas.size_hw, canvas.tensor.shape[2:]
    new = [round(size * gain) for size, gain in zip(sizes, canvas.gain_xy[::-1])]
    before = canvas.pad_xy[::-1]
    stride = sides[0] // protos.shape[1]
    bars = [*before, *(side - start - length for side, start, length in zip(sides, before, new))]
    # Bars are cut off where they are whole pixels, so prototypes grow first where needed, as in evaluation.
    grown = next((factor for factor in (1, 2) if not any(bar * factor % stride for bar in bars)), stride)
    down, across = (
        _resampling(
            sizes[axis], new[axis] * grown // stride, before[axis] * grown // stride, grown, protos.shape[1 + axis]
        )
        for axis in (0, 1)
    )
    windows = []
    for (left, top, right, bottom), own in zip(np.ceil(boxes).astype(int), coefficients):
        rows, columns = down[top:bottom], across[left:right]
        y, x = (
            slice(*np.flatnonzero(some.any(axis=0))[[0, -1]] + (0, 1)) if len(some) else slice(0)
            for some in (rows, columns)
        )
        logits = np.tensordot(own, protos[:, y, x], axes=1)
        windows.append((int(left), int(top), rows[:, y] @ logits @ columns[:, x].T > 0))
    return Masks(sizes, windows)


@lru_cache(maxsize=8)
def _resampling(size: int, inside: int, before: int, grown: int, protos: int) -> Floats:
    """Return (size, protos) weights: prototypes grown, cut to the frame, and stretched to its pixels along one axis."""
    cut = _bilinear(grown * protos, protos)[before : before + inside]
    weights: Floats = _bilinear(size, inside) @ cut
    return weights


def _bilinear(to: int, origin: int) -> Floats:
    """Return (to, origin) weights of bilinear interpolation between the middles of pixels, the edge repeated."""
    places = ((np.arange(to) + 0.5) * origin / to - 0.5).clip(0, origin - 1)
    lower = np.floor(places).astype(int)
    upper, rows = np.minimum(lower + 1, origin - 1), np.arange(to)
    weights: Floats = np.zeros((to, origin), dtype=np.float32)
    np.add.at(weights, (rows, lower), 1 - (places - lower))
    np.add.at(weights, (rows, upper), places - lower)
    return weights


_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
"""The messages of ONNX in which a tensor can lie, by number of their field (onnx.proto)."""


def card_of(path: Path) -> Card:
    """Return the card of an ONNX file without a library.

    Raises:
        RuntimeFault: it is no ONNX file or no model of labelstill, or a tensor of it lies in another file: that could
            be any file of this device, so nothing that reads one is called.
    """
    cards = []
    try:
        for kind, message in _messages("model", memoryview(path.read_bytes())):
            if kind == "tensor" and any(number == 13 or (number == 14 and value) for number, value in _wire(message)):
                raise RuntimeFault(
                    f"{path}: keeps tensors in another file: expected a model in one file: export it anew"
                )
            if kind == "entry":
                entry = {number: bytes(value) for number, value in _wire(message) if isinstance(value, memoryview)}
                cards += [entry[2].decode()] if entry.get(1) == CARD_KEY.encode() else []
    except OSError as error:
        raise RuntimeFault(f"{path}: cannot be read ({error.strerror}): copy the bundle anew") from None
    except (ValueError, IndexError, KeyError, RecursionError):
        raise RuntimeFault(f"{path}: is no ONNX model: copy the bundle anew") from None
    if len(cards) != 1:
        raise RuntimeFault(f"{path}: has no card of labelstill: expected a model of labelstill export")
    return Card.read(cards[0], str(path))


def _messages(kind: str, data: memoryview) -> Iterator[tuple[str, memoryview]]:
    inside = _FIELDS.get(kind, {})
    for number, value in _wire(data) if inside else ():
        if number in inside and isinstance(value, memoryview):
            yield inside[number], value
            yield from _messages(inside[number], value)


def _wire(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of every field of a message of Protocol Buffers. Raises ValueError, IndexError."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError(shift)

    while place < len(data):
        tag = varint()
        if tag >> 32:  # other readers drop what is above, and see another field
            raise ValueError(tag)
        number, form = divmod(tag, 8)
        if form == 0:
            yield number, varint()
            continue
        if form not in (1, 2, 5):
            raise ValueError(form)
        size = varint() if form == 2 else {1: 8, 5: 4}[form]
        if place + size > len(data):
            raise ValueError(size)
        yield number, data[place : place + size]
        place += size


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are all as they left home.

    Attributes:
        folder: of the bundle.
        manifest: what manifest.json says.
        cards: of the ONNX models, by precision.
    """

    folder: Path
    manifest: Mapping[str, Any]
    cards: Mapping[str, Card]


def verify(folder: Path) -> Bundle:
    """Compare a bundle with its manifest.

    Raises:
        RuntimeFault: a file is changed or missing, or there is one too many that could take the place of another: a
            model, or a module that Python would import from here.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files, models, classes = dict(manifest["files"]), dict(manifest["models"]), list(manifest["classes"])
        weights = manifest["weights"]
        if not models or any("\0" in one for one in (*files, *models.values(), *classes)):
            raise ValueError("no model, or a name that is none")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RuntimeFault(f"{folder / MANIFEST}: cannot be read ({error!r}): copy the bundle anew") from None
    if manifest.get("format") != _FORMAT:
        raise RuntimeFault(f"{folder / MANIFEST}: has format {manifest.get('format')}, this runtime.py reads {_FORMAT}")
    for name, expected in files.items():
        path = folder / name
        if os.path.isabs(name) or path.resolve() != folder.resolve() / name:
            raise RuntimeFault(f"{path}: is a link or lies outside the bundle: copy the bundle anew")
        if not path.is_file():
            raise RuntimeFault(f"{path}: is missing: copy the bundle anew")
        if _sha256(path) != expected:
            raise RuntimeFault(f"{path}: is not as it left home (its sha256 differs): copy the bundle anew")
    for name in ("classes.txt", *models.values()):
        if name not in files:
            raise RuntimeFault(f"{folder / MANIFEST}: does not list {name}: export the bundle anew")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in files and name != ENGINE and (path.suffix.lower() in _MODEL_FILES or _imported(name)):
            raise RuntimeFault(f"{path}: does not belong to the bundle: remove it")
    if (folder / "classes.txt").read_text(encoding="utf-8", errors="replace").splitlines() != classes:
        raise RuntimeFault(f"{folder / 'classes.txt'}: names other classes than {MANIFEST}: export the bundle anew")
    cards = {precision: card_of(folder / name) for precision, name in models.items()}
    for precision, card in cards.items():
        for what, ours, theirs in (("weights", weights, card.weights), ("classes", classes, list(card.names))):
            if ours != theirs:
                where = folder / models[precision]
                raise RuntimeFault(f"{where}: was made of other {what} than {MANIFEST} says: export the bundle anew")
    return Bundle(folder, manifest, cards)


def _imported(name: str) -> bool:
    """Say whether Python would take a file of this folder for a module or the beginning of a package."""
    parts = Path(name).parts
    beside = len(parts) == 1 or (len(parts) == 2 and parts[1].startswith("__init__."))
    return beside and parts[0] != "__pycache__" and parts[-1].endswith((".py", ".pyc", ".so"))


def open_model(folder: Path, backend: str = "auto", precision: str | None = None, threads: int = 0) -> Model:
    """Verify a bundle and open its model.

    Args:
        folder: of the bundle.
        backend: onnx, tensorrt, or auto: the engine where one was built and TensorRT is here.
        precision: of the ONNX model, fp32 if None; the engine has the one that it was built in.
        threads: of ONNX Runtime, 0 leaves the choice to it.

    Raises:
        RuntimeFault: the bundle is not whole, or the engine is not of this device or this model.
    """
    bundle = verify(folder)
    if backend == "auto":
        backend = "tensorrt" if (folder / ENGINE_FACTS).is_file() and find_spec("tensorrt") else "onnx"
    if backend == "tensorrt":
        return Model(_engine_session(bundle, precision))
    precision = precision or "fp32"
    if precision not in bundle.cards:
        raise RuntimeFault(f"{folder}: has no model in {precision}: expected one of {', '.join(sorted(bundle.cards))}")
    return Model(OnnxSession(folder / bundle.manifest["models"][precision], threads=threads))


def _engine_session(bundle: Bundle, precision: str | None) -> TensorRtSession:
    where, engine = bundle.folder / ENGINE_FACTS, bundle.folder / ENGINE
    try:
        facts = json.loads(where.read_text(encoding="utf-8"))
        known = facts.get("engine_sha256")
        swapped = known != _sha256(engine)
    except (OSError, ValueError, AttributeError, RecursionError):
        raise RuntimeFault(f"{where}: there is no engine yet, or its facts cannot be read: {_REBUILD}") from None
    if swapped:
        raise RuntimeFault(f"{engine}: is not the TensorRT engine that engine.json speaks of: {_REBUILD}")
    trt = _tensorrt()
    card = engine_card(bundle, facts, trt.__version__, _Cuda().capability())
    if precision not in (None, card.precision):
        raise RuntimeFault(f"{where}: the engine is {card.precision}: run ./build.sh --precision {precision}")
    return TensorRtSession(engine, card)


def engine_card(bundle: Bundle, facts: Mapping[str, Any], tensorrt: str, sm: str) -> Card:
    """Return the card of the model that an engine was built from.

    Args:
        bundle: it lies in.
        facts: engine.json.
        tensorrt: version here.
        sm: compute capability here, such as 8.7.

    Raises:
        RuntimeFault: the engine was built from another model, by another TensorRT, or for another GPU.
    """
    where, found = bundle.folder / ENGINE_FACTS, (facts.get("tensorrt"), facts.get("sm"))
    files, models = bundle.manifest["files"], bundle.manifest["models"]
    origin = [name for name, file in models.items() if files[file] == facts.get("onnx_sha256")]
    if not origin:
        raise RuntimeFault(f"{where}: the engine was built from another model: {_REBUILD}")
    if found[0] != tensorrt:
        raise RuntimeFault(f"{where}: the engine is of TensorRT {found[0]}, here is {tensorrt}: {_REBUILD}")
    if _capability(found[1]) != _capability(sm):
        raise RuntimeFault(f"{where}: the engine is for a GPU of SM {found[1]}, this one has {sm}: {_REBUILD}")
    if facts.get("precision") not in tuple(TOLERANCES):
        raise RuntimeFault(f"{where}: the engine is of an unknown precision, {facts.get('precision')}: {_REBUILD}")
    return replace(bundle.cards[origin[0]], precision=facts["precision"])


def _capability(said: Any) -> tuple[str, str]:
    """Return major and minor of a compute capability, which people write as 8.7, 87 or SM87."""
    digits = "".join(one for one in str(said) if one.isdigit() or one == ".")
    major, dot, minor = digits.partition(".")
    return (major, minor) if dot else (digits[:-1], digits[-1:])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Tolerance(NamedTuple):
    """How far a model may be from the golden outputs: score, IoU, share of objects without a partner."""

    score: float
    iou: float
    unmatched: float


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(0.001, 0.99, 0.0),
    "fp16": Tolerance(0.02, 0.95, 0.02),
    "int8": Tolerance(0.2, 0.7, 0.1),
}


class Check(NamedTuple):
    """A model beside the golden outputs.

    Attributes:
        images, objects: that were compared; objects are those found at home.
        worst_score: largest difference of scores between partners; 0 without any.
        worst_iou: smallest IoU between partners; 1 without any.
        unmatched: objects clearly above their threshold that have no partner of their class.
        passed: within the tolerance of the precision.
    """

    images: int
    objects: int
    worst_score: float
    worst_iou: float
    unmatched: int
    passed: bool


def self_check(folder: Path, model: Model) -> Check:
    """Compare what a model finds with what the FP32 model found at home. Raises RuntimeFault: golden.npz is damaged."""
    try:
        with np.load(folder / "golden.npz", allow_pickle=False) as stored:
            golden = {name: stored[name] for name in stored.files}
        images = sorted({int(name.split(".")[0]) for name in golden})
        said = [[golden[f"{image}.{part}"] for part in ("boxes", "scores", "class_ids")] for image in images]
        fits = bool(images) and all(
            len(a) == len(b) == len(c)
            and (a.shape[1:], b.ndim, c.ndim) == ((4,), 1, 1)
            and all(one.dtype.kind in "fiu" and np.isfinite(one).all() for one in (a, b, c))
            for a, b, c in said
        )
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise RuntimeFault(f"{folder / 'golden.npz'}: cannot be read ({error!r}): copy the bundle anew") from None
    if not fits:
        raise RuntimeFault(
            f"{folder / 'golden.npz'}: is not made of numbers for boxes, scores and classes: copy the bundle anew"
        )
    tolerance = TOLERANCES[model.card.precision]
    objects, unmatched, scores, ious = 0, 0, [0.0], [1.0]
    for image, (boxes, golden_scores, class_ids) in zip(images, said):
        path = folder / "golden" / f"{image}.png"
        frame = read_picture(path)
        if isinstance(frame, str):
            raise RuntimeFault(f"{path}: {frame}: copy the bundle anew")
        canvas = model.prepare(frame)
        outputs = model.session.run(canvas.tensor)
        if not are_numbers(outputs):
            raise RuntimeFault(f"{path}: {_NO_NUMBERS}: take another precision")
        seen = model.decode(outputs, canvas, floor_of(model.thresholds))
        clear = seen.scores > model.thresholds[seen.class_ids] + tolerance.score
        free = np.ones(len(seen.scores), dtype=bool)
        for box, score, class_id in zip(boxes, golden_scores, class_ids):
            overlap = _ious(box, seen.boxes_xyxy) * (free & (seen.class_ids == class_id))
            partner = int(overlap.argmax()) if len(overlap) else 0
            if not len(overlap) or overlap[partner] < 0.5:
                unmatched += 1
                continue
            free[partner] = False
            ious.append(float(overlap[partner]))
            scores.append(abs(float(seen.scores[partner]) - float(score)))
        unmatched += int((clear & free).sum())
        objects += len(boxes)
    worst_score, worst_iou = max(scores), min(ious)
    near = worst_score <= tolerance.score and worst_iou >= tolerance.iou
    return Check(
        len(images), objects, worst_score, worst_iou, unmatched, near and unmatched <= tolerance.unmatched * objects
    )


def _ious(box: Floats, boxes: Floats) -> Floats:
    sides = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0)
    shared = sides.prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    union: Floats = np.maximum(areas - shared, np.finfo(np.float32).tiny)
    return shared / union  # type: ignore[no-any-return]


class Source(NamedTuple):
    """Where frames come from.

    Attributes:
        frames: name and frame of each, BGR uint8 (h, w, 3); in place of one that cannot be read the reason, or None.
        live: frames do not wait: the newest one counts.
    """

    frames: Iterator[tuple[str, Frame | str | None]]
    live: bool


def folder_source(folder: Path) -> Source:
    """Return every file of a folder and of those in it, sorted by path. Raises RuntimeFault: there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise RuntimeFault(f"{folder}: expected a folder with images, there is no file in it")
    return Source(((_readable(path.relative_to(folder)), read_picture(path)) for path in paths), live=False)


def video_source(path: Path) -> Source:
    """Return every frame of a video file, named by its number. Raises RuntimeFault: it cannot be opened."""
    if not path.is_file():
        raise RuntimeFault(f"{path}: cannot be opened as a video: there is no such file")
    return Source(_captured(_opened(str(path.resolve()), cv2.CAP_ANY), _readable(path), ends=True), live=False)


def camera_source(which: str) -> Source:
    """Return the frames of a camera: its number, its device, an address, or a GStreamer pipeline that ends in appsink.

    Raises RuntimeFault: it cannot be opened, or, in the midst of frames, it gives no more of them.
    """
    pipeline = "!" in which
    number = which.isdecimal() and len(which) < 5
    capture = _opened(int(which) if number else which, cv2.CAP_GSTREAMER if pipeline else cv2.CAP_ANY)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return Source(_captured(capture, which, ends=False), live=True)


def _readable(path: Path) -> str:
    """Return a name as text whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_picture(path: Path) -> Frame | str:
    """Return a picture, or why there is none. OpenCV gets its bytes: a name that is no UTF-8 ends the process there."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return f"larger than {_LARGEST_FILE >> 20} MiB"
        data = path.read_bytes()
        if _is_truncated(data):
            return "truncated"
        frame: Frame | None = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except cv2.error:  # no bytes, or more pixels than it is willing to read
        frame = None
    return _NO_IMAGE if frame is None else frame


def _is_truncated(data: bytes) -> bool:
    """Say whether this is a JPEG without its end, which OpenCV may fill with grey; cameras write more behind it."""
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")  # a thumbnail before the scan has its own end
    return data[:2] == b"\xff\xd8" and data.find(b"\xff\xd9", place) < 0


def _opened(which: int | str, api: int) -> cv2.VideoCapture:
    try:
        str(which).encode()
    except UnicodeEncodeError:
        raise RuntimeFault(f"{_readable(Path(str(which)))}: its name is no UTF-8: rename it") from None
    capture = cv2.VideoCapture(which, api)
    if not capture.isOpened():
        hint = "; OpenCV was built without GStreamer?" if api == cv2.CAP_GSTREAMER else ""
        raise RuntimeFault(f"{which}: cannot be opened as a video{hint}: check the name and who may read it")
    return capture


def _captured(capture: cv2.VideoCapture, name: str, *, ends: bool) -> Iterator[tuple[str, Frame | str | None]]:
    read, announced = 0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    try:
        while True:
            there, frame = capture.read()
            if not there:
                break
            read += 1
            yield name, frame
        if ends and 0 < read < 0.98 * announced:  # what containers announce is now and then an estimate
            yield f"{name} after frame {read} of {announced}", None
    finally:
        capture.release()
    if not ends or not read:
        raise RuntimeFault(f"{name}: gave no more frames after {read}: check it, then start again")


class Allowance:
    """At most so many in any 60 seconds; those above are counted."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the bound and a clock in seconds."""
        self._most = int(per_minute)
        self._clock = clock
        self._granted: deque[float] = deque()
        self.refused = 0

    def take(self) -> bool:
        """Return whether one more is granted."""
        now = self._clock()
        while self._granted and now - self._granted[0] >= 60:
            self._granted.popleft()
        if len(self._granted) >= self._most:
            self.refused += 1
            return False
        self._granted.append(now)
        return True


class Lane:
    """A queue of few places between two threads; closing it wakes both of them."""

    def __init__(self, places: int, *, newest_wins: bool = False) -> None:
        """Take how many wait at most, and whether the oldest gives way to a new one or the new one waits."""
        self._places = places
        self._newest_wins = newest_wins
        self._waiting: deque[Any] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item: Any) -> bool:
        """Add one; False where the lane is closed."""
        with self._changed:
            if self._newest_wins and len(self._waiting) >= self._places:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._places)
            if not self._closed:
                self._waiting.append(item)
            self._changed.notify_all()
            return not self._closed

    def close(self) -> None:
        """Take no more; what waits can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._waiting))
                if not self._waiting:
                    return
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item


class Result(NamedTuple):
    """What was seen in one frame.

    Attributes:
        number: of the frame in its source, from 0.
        source: file, video or camera.
        time: when it was read, unix seconds.
        frame: BGR uint8 (h, w, 3).
        objects: at their thresholds.
        sure: see ``sureness``.
        doubtful: less sure than the card's limit for a second look.
        second: it was handed on for one; not where the bound per minute is reached or that failed.
        ms: before the network, in it, and after it.
        shadow: what another student says of the same frame.
        broken: the network returned numbers that are none.
    """

    number: int
    source: str
    time: float
    frame: Frame
    objects: Objects
    sure: float
    doubtful: bool
    second: bool
    ms: tuple[float, float, float]
    shadow: Objects | None
    broken: bool = False


@dataclass
class Tally:
    """What became of the frames of a run.

    Attributes:
        seen: frames that were looked at.
        objects: that were found in them.
        unreadable: frames and files that could not be read.
        reasons: of these, how many by reason.
        broken: frames for which the network returned numbers that are none.
        dropped: frames of a camera for which there was no time.
        doubtful: frames below the limit for a second look.
        second: of these, handed on.
        over_bound: of these, not handed on because of the bound per minute.
        not_handed: of these, not handed on because that failed.
        kept: pictures of doubtful frames that were written.
        unsaved: pictures that could not be written.
        interrupted: by Ctrl-C or SIGTERM.
    """

    seen: int = 0
    objects: int = 0
    unreadable: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    dropped: int = 0
    doubtful: int = 0
    second: int = 0
    over_bound: int = 0
    not_handed: int = 0
    kept: int = 0
    unsaved: int = 0
    interrupted: bool = False


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(
    model: Model,
    source: Source,
    on_result: Callable[[Result], None] | None = None,
    on_unsure: Callable[[Frame, Objects], object] | None = None,
    draw: Callable[[Result, Frame], None] | None = None,
    shadow: Model | None = None,
    *,
    per_minute: float | None = None,
    workers: int = 1,
    tell: Callable[[str], None] = _say,
) -> Tally:
    """Look at every frame of a source: one thread reads, some ask the network, the caller's gets the results in order.

    Of a live source the newest frame counts and others are dropped; of another one no frame is lost.

    Args:
        model: that looks.
        source: its frames.
        on_result: called for every frame, in order.
        on_unsure: called with frames that are doubtful by the card's second look, such as to ask a bigger model; where
            it returns False or raises, the frame was not handed on.
        draw: called with a copy of the frame on which the objects are drawn.
        shadow: another student of the same classes that sees the same frames.
        per_minute: how many frames are handed on at most; None takes what the card says.
        workers: frames that are looked at side by side; more than one for sessions that several threads may ask.
        tell: called with lines for people.

    Raises:
        RuntimeFault: the source breaks off, or the shadow has other classes. What another callback or a session raises
            ends the run, too, and is raised here. Ctrl-C ends the run and raises nothing.
    """
    _agree(model, shadow)
    limit = model.card.second_look
    tally = Tally()
    faults: list[Exception] = []
    allowance = Allowance(limit["per_minute"] if limit and per_minute is None else per_minute or 0)
    read, done = Lane(1 if source.live else 2, newest_wins=source.live), Lane(1 + workers)
    pool, free = ThreadPoolExecutor(workers, thread_name_prefix="look"), threading.Semaphore(workers)

    def capture() -> None:
        for number, (name, frame) in enumerate(source.frames):
            if frame is None or isinstance(frame, str):
                reason = frame or _NO_IMAGE
                tally.unreadable += 1
                tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
                tell(f"{name}: {reason}, left out")
            elif not read.put((number, name, time.time(), frame)):
                return

    def look(number: int, name: str, at: float, frame: Frame) -> Result:
        begun = time.perf_counter()
        canvas = model.prepare(frame)
        prepared = time.perf_counter()
        outputs = model.session.run(canvas.tensor)
        answered = time.perf_counter()
        objects, sure = model.judge(outputs, canvas)
        ms = 1000 * (prepared - begun), 1000 * (answered - prepared), 1000 * (time.perf_counter() - answered)
        doubtful = limit is not None and sure < limit["below"]
        other = None if shadow is None else shadow(frame)
        broken = sure == 0 and not are_numbers(outputs)
        return Result(number, name, at, frame, objects, sure, doubtful, False, ms, other, broken)

    def handed(result: Result) -> bool:
        if not result.doubtful or on_unsure is None or not allowance.take():
            return False
        try:
            done = on_unsure(result.frame, result.objects) is not False
        except Exception as error:
            tell(f"{result.source}: was not handed on ({error!r}), the run goes on")
            done = False
        tally.not_handed += not done
        return done

    def infer() -> None:
        waiting = iter(read)
        while True:
            free.acquire()  # before a frame is taken: of a live source it would grow old while it waits for a worker
            item = next(waiting, None)
            if item is None:
                return
            looking = pool.submit(look, *item)
            looking.add_done_callback(lambda _: free.release())
            if not done.put(looking):
                return

    def guarded(work: Callable[[], None], *lanes: Lane) -> None:
        try:
            work()
        except Exception as error:
            faults.append(error)
        finally:
            for lane in lanes:
                lane.close()

    threads = [
        threading.Thread(target=guarded, args=(capture, read), name="capture", daemon=True),
        threading.Thread(target=guarded, args=(infer, read, done), name="infer", daemon=True),
    ]
    try:
        for thread in threads:
            thread.start()
        for looking in done:
            result: Result = looking.result()
            result = result._replace(second=handed(result))
            if result.broken and not tally.broken:
                tell(f"{result.source}: {_NO_NUMBERS}; said once, such frames are counted")
            tally.broken += result.broken
            tally.seen += 1
            tally.objects += len(result.objects.scores)
            tally.doubtful += result.doubtful
            tally.second += result.second
            if on_result is not None:
                on_result(result)
            if draw is not None:
                draw(result, drawn(result.frame, result.objects, model.card.names))
    except KeyboardInterrupt:
        tally.interrupted = True
    finally:
        for lane in (read, done):
            lane.close()
        for thread in threads:
            thread.join(_PATIENCE)
        pool.shutdown()
        tally.dropped, tally.over_bound = read.dropped, allowance.refused
    if faults:
        raise faults[0]
    return tally


def _agree(model: Model, shadow: Model | None) -> None:
    if shadow is not None and shadow.card.names != model.card.names:
        raise RuntimeFault(
            f"the shadow knows {', '.join(shadow.card.names)}: expected the same classes in the same order"
        )


def workers_for(session: Session, threads: int, shadow: Session | None = None) -> int:
    """Return how many frames at a time fill the cores: one on a GPU, else one per so many threads of ONNX Runtime.

    A network on one thread and a second frame beside it gives more frames per second than one frame on two threads.
    The same workers ask the shadow, which may lie on the GPU, too.
    """
    shared = all(isinstance(one, OnnxSession) for one in (session, shadow or session))
    return max(1, _cores() // threads) if shared else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def drawn(frame: Frame, objects: Objects, names: Sequence[str]) -> Frame:
    """Return a copy of a frame with boxes, masks, classes and scores on it."""
    picture = frame.copy()
    thick = max(1, round(max(frame.shape[:2]) / 400))
    for row, (box, score, class_id) in enumerate(zip(objects.boxes_xyxy, objects.scores, objects.class_ids)):
        hue = np.array([[[int(class_id) * 67 % 180, 200, 230]]], dtype=np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        left, top, right, bottom = (round(float(edge)) for edge in box)
        if objects.masks is not None:
            x, y, inside = objects.masks.windows[row]
            part = picture[y : y + inside.shape[0], x : x + inside.shape[1]]
            part[inside] = part[inside] // 2 + np.array(colour, dtype=np.uint8) // 2
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thick)
        words, at = f"{names[class_id]} {score:.2f}", (left, max(top - 2 * thick, 8 * thick))
        cv2.putText(picture, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, colour, thick)
    return picture


def frame_facts(frame: Frame) -> tuple[float, float, bytes]:
    """Return light, blur and sketch of a frame, BGR uint8 (h, w, 3), all at 256 pixels width and 4096 height at most.

    Returns:
        Mean grey in [0, 1]; log1p of the variance of the Laplacian of the grey frame; 56 bytes: mean BGR in 4 x 4
        fields, then a histogram of the directions of the gradient in 8 parts from 0 to 360 degrees, weighted by its
        length, its sum 255.
    """
    high, wide = frame.shape[:2]
    part = max(1, min(wide // 256, high))
    # Whole pixels are averaged first: OpenCV does that ten times as fast as any other area.
    whole = frame[: high // part * part, : wide // part * part]
    small = cv2.resize(whole, (wide // part, high // part), interpolation=cv2.INTER_AREA)
    small = cv2.resize(small, (256, min(4096, max(1, round(high * 256 / wide)))), interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    length, angle = cv2.cartToPolar(x, y, angleInDegrees=True)
    parts = np.bincount((angle.ravel() / 45).astype(np.uint8) % 8, weights=length.ravel(), minlength=8)
    parts = np.rint(255 * parts / max(parts.sum(), 1e-9))
    fields = cv2.resize(small, (4, 4), interpolation=cv2.INTER_AREA)
    blur = math.log1p(float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1][0, 0]) ** 2)
    return float(grey.mean()) / 255, blur, fields.tobytes() + parts.astype(np.uint8).tobytes()


def rows_of(objects: Objects) -> list[list[float]]:
    """Return objects as a log has them: class id, score to 3 decimals, edges in whole pixels."""
    return [
        [int(class_id), round(float(score), 3), *(round(float(edge)) for edge in box)]
        for box, score, class_id in zip(objects.boxes_xyxy, objects.scores, objects.class_ids)
    ]


def log_head(card: Card) -> dict[str, Any]:
    """Return the first line of a log."""
    return {
        "labelstill": "edge-log",
        "format": _FORMAT,
        "model": card.weights,
        "precision": card.precision,
        "names": list(card.names),
        "thresholds": dict(card.thresholds),
        "device": _device(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def log_line(result: Result, kept: str | None = None) -> dict[str, Any]:
    """Return the line of a frame; ``kept`` is the picture that was kept of it, relative to the log."""
    light, blur, sketch = frame_facts(result.frame)
    line = {
        "t": round(result.time, 3),
        "n": result.number,
        "source": result.source,
        "wh": [result.frame.shape[1], result.frame.shape[0]],
        "light": round(light, 4),
        "blur": round(blur, 4),
        "sketch": base64.b64encode(sketch).decode(),
        "objects": rows_of(result.objects),
        "sure": round(result.sure, 4),
        "second": result.second,
        "ms": [round(one, 3) for one in result.ms],
    }
    if kept is not None:
        line["kept"] = kept
    if result.shadow is not None:
        line["shadow"] = rows_of(result.shadow)
    return line


_STAMP = "%Y%m%d-%H%M%S"


class Log:
    """JSON lines in files of bounded size, YYYYmmdd-HHMMSS.jsonl in UTC; the oldest go when there are too many.

    A name is later than all others that are there, even where the clock is behind: their order is that of writing.
    """

    def __init__(
        self,
        folder: Path,
        card: Card,
        tell: Callable[[str], None] = _say,
        *,
        file_bytes: int = 1 << 24,
        files: int = 32,
    ) -> None:
        """Take a folder that is made where it is not there; no file is written before the first line."""
        self.folder = folder
        self._card, self._tell = card, tell
        self._file_bytes, self._files = file_bytes, files
        self._file: Any = None

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line, on the disk at once. A disk that takes no more ends the log and nothing else."""
        if self._files == 0:
            return
        try:
            if self._file is None or self._file.tell() >= self._file_bytes:
                self._begin()
            self._add(line)
        except OSError as error:
            self._tell(f"{self.folder}: {error.strerror}: nothing more is logged, the run goes on")
            self._files = 0

    def _begin(self) -> None:
        if self._file is not None:
            self._file.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path for path in self.folder.glob("*.jsonl") if _moment(path) is not None)
        moment = max(int(time.time()), 1 + (_moment(others[-1]) or 0 if others else 0))
        while True:
            path = self.folder / time.strftime(f"{_STAMP}.jsonl", time.gmtime(moment))
            try:
                self._file = path.open("xb", buffering=0)  # a line is on its way at once, or known to be cut
                break
            except FileExistsError:
                moment += 1
        self._add(log_head(self._card))
        for old in others[: max(0, len(others) + 1 - self._files)]:
            self._tell(f"{old}: removed, {self._files} logs are kept")
            old.unlink()

    def _add(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if self._file.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _moment(path: Path) -> int | None:
    """Return the unix seconds in the name of a log; None where it is none."""
    try:
        return calendar.timegm(time.strptime(path.stem, _STAMP))
    except ValueError:
        return None


def _device() -> str:
    for path, begin in (("/proc/device-tree/model", ""), ("/proc/cpuinfo", "model name")):
        try:
            lines = Path(path).read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(begin):
                return line.rpartition(": ")[2].strip("\0 ")
    return platform.machine()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 1 could not finish, 2 a folder is finished and files of it were left out, 3 the check failed, 130
        interrupted.
    """
    asked = _parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service is stopped as Ctrl-C stops a run
    try:
        return _COMMANDS.get(asked.verb, _follow)(asked)
    except (RuntimeFault, OSError, cv2.error) as error:
        _say("error: " + " ".join(str(error).split()))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _verify(asked: argparse.Namespace) -> int:
    bundle = verify(asked.bundle)
    facts = {"files": len(bundle.manifest["files"]), "models": sorted(bundle.cards)}
    print(json.dumps(facts) if asked.json else f"{facts['files']} files are as they left home")
    return 0


def _check(asked: argparse.Namespace) -> int:
    model = open_model(asked.bundle, asked.backend, asked.precision, asked.threads)
    check = self_check(asked.bundle, model)
    facts = {"backend": type(model.session).__name__, "precision": model.card.precision, **check._asdict()}
    words = (
        "{backend} {precision}: {verdict}. {objects} golden objects on {images} images; worst score difference "
        "{worst_score:.4f}, worst IoU {worst_iou:.3f}, {unmatched} without a partner"
    )
    verdict = "as at home" if check.passed else "NOT as at home"
    words += "" if check.objects else "; nothing was found in them at home: this proves little"
    print(json.dumps(facts) if asked.json else words.format(verdict=verdict, **facts))
    return 0 if check.passed else 3


def _follow(asked: argparse.Namespace) -> int:
    threads = asked.threads or 1
    model = open_model(asked.bundle, asked.backend, asked.precision, threads)
    shadow = open_model(asked.shadow, asked.backend, None, threads) if asked.shadow else None
    _agree(model, shadow)
    for option in ("second_look_dir", "keep_frames"):
        if getattr(asked, option) and model.card.second_look is None:
            raise RuntimeFault(f"--{option.replace('_', '-')}: nothing says which frames of this model are doubtful")
    sources: dict[str, Callable[[str], Source]] = {
        "folder": lambda where: folder_source(Path(where)),
        "video": lambda where: video_source(Path(where)),
        "camera": camera_source,
    }
    if (
        asked.verb == "folder"
        and asked.out
        and Path(asked.what).resolve() in (asked.out.resolve(), *asked.out.resolve().parents)
    ):
        raise RuntimeFault(f"--out {asked.out}: lies in the folder that is read: choose another one")
    keep = None
    if asked.keep_frames:
        keep = asked.log and (asked.log / asked.keep_frames).resolve()
        if not keep or asked.log.resolve() not in keep.parents:
            raise RuntimeFault("--keep-frames: expected the name of a folder in that of --log, where monitor looks")
    source = sources[asked.verb](asked.what)
    log = Log(asked.log, model.card, files=asked.log_files) if asked.log else None
    keeping, kept, unsaved = Allowance(asked.keep_per_minute), 0, 0
    begun = time.perf_counter()
    out, lines = _new_lines(asked.out) if asked.out else (None, None)
    taken: set[str] = set()

    def saved(path: Path, picture: Frame) -> bool:
        nonlocal unsaved
        done = _saved(path, picture)
        unsaved += not done
        return done

    def on_result(result: Result) -> None:
        nonlocal kept
        picture = None
        if keep and result.doubtful and keeping.take():
            path = keep / f"{time.time_ns()}.jpg"
            if saved(path, result.frame):
                picture = path.relative_to(asked.log.resolve()).as_posix()
                kept += 1
        if log is not None:
            log.write(log_line(result, picture))
        line = json.dumps({"file": result.source, "n": result.number, "objects": rows_of(result.objects)})
        if lines is not None:
            lines.write(line + "\n")
        elif not asked.json:
            print(line, flush=True)

    def on_unsure(frame: Frame, objects: Objects) -> bool:
        return saved(asked.second_look_dir / f"{time.time_ns()}.png", frame)

    def draw(result: Result, picture: Frame) -> None:
        if out is not None:
            name = "camera" if source.live else result.source
            if asked.verb != "folder":
                name = f"{Path(name).name}-{result.number:08d}"
            if not name.lower().endswith((".jpg", ".jpeg")):
                name += ".jpg"
            while name in taken:  # a.png and a.png.jpg lie in one folder
                name += ".jpg"
            taken.add(name)
            saved(out / name, picture)
        if asked.show == "yes":
            cv2.imshow("labelstill", picture)
            cv2.waitKey(1)

    tally = run(
        model,
        source,
        on_result,
        on_unsure if asked.second_look_dir else None,
        draw if asked.out or asked.show == "yes" else None,
        shadow,
        workers=workers_for(model.session, threads, None if shadow is None else shadow.session),
    )
    if lines is not None:
        lines.close()
    tally.kept, tally.unsaved = kept, unsaved
    seconds = time.perf_counter() - begun
    facts = {**asdict(tally), "seconds": round(seconds, 3), "frames_per_second": round(tally.seen / seconds, 2)}
    facts["precision"] = model.card.precision
    if out is not None:
        facts["out"] = str(out)
    if asked.json:
        print(json.dumps(facts))
    else:
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.reasons.items())
        facts["reasons"] = f"({reasons})"
        _say(", ".join(f"{what.replace('_', ' ')} {value}" for what, value in facts.items() if value != "()"))
    if tally.interrupted:
        return 130
    return 2 if asked.verb == "folder" and (tally.unreadable or unsaved) else 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {"verify": _verify, "check": _check}


def _new_lines(out: Path) -> tuple[Path, Any]:
    """Open objects.jsonl, in which a line is on the disk at once, in a folder that no earlier run wrote into."""
    for number in itertools.count(1):
        folder = out if number == 1 else Path(f"{out.resolve()}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lines = (folder / "objects.jsonl").open("x", buffering=1, encoding="utf-8")
        except FileExistsError:
            continue
        if folder != out:
            _say(f"{out}: holds what an earlier run wrote, so this one writes into {folder}")
        return folder, lines
    raise AssertionError


def _saved(path: Path, picture: Frame) -> bool:
    """Save a picture; where it cannot be, that is said and the run goes on. OpenCV sees no name of a file."""
    try:
        encoded = cv2.imencode(path.suffix.lower(), picture)[1].tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    except (OSError, cv2.error) as error:
        cause = error.strerror if isinstance(error, OSError) else "OpenCV cannot encode it"
        _say(f"{path}: not written ({cause}), the run goes on")
        return False
    return True


class Arguments(argparse.ArgumentParser):
    """A parser that ends with 1 where it does not understand: 2 says that files were left out."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.exit(1, f"{self.format_usage()}error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="runtime.py", description="Finds objects with the model of this bundle.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verify|check|folder|video|camera")
    common = Arguments(add_help=False)
    common.add_argument(
        "--bundle", type=Path, default=Path(__file__).parent, metavar="DIR", help="the folder of this file"
    )
    common.add_argument("--json", action="store_true", help="print one JSON object")
    running = Arguments(add_help=False, parents=[common])
    running.add_argument("--backend", choices=("auto", "onnx", "tensorrt"), default="auto")
    running.add_argument("--precision", choices=sorted(TOLERANCES), help="of the model; fp32 with ONNX Runtime")
    running.add_argument(
        "--threads", type=int, default=0, metavar="N", help="of ONNX Runtime per frame; frames fill the other cores"
    )
    following = Arguments(add_help=False, parents=[running])
    following.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write objects.jsonl and drawn pictures there; DIR-2 after an earlier run",
    )
    following.add_argument("--log", type=Path, metavar="DIR", help="write logs for labelstill monitor, no pictures")
    following.add_argument(
        "--log-files",
        type=_number_up_to(1_000_000, 1, int),
        default=32,
        metavar="N",
        help="of 16 MiB, the oldest go; 32 if left out, about half a day at 30 frames per second with five objects",
    )
    following.add_argument("--show", choices=("yes", "no"), default="no", help="in a window")
    following.add_argument(
        "--second-look-dir", type=Path, metavar="DIR", help="save doubtful frames for a bigger model"
    )
    following.add_argument("--shadow", type=Path, metavar="BUNDLE", help="log what another student says, too")
    following.add_argument("--keep-frames", metavar="NAME", help="keep doubtful frames as JPEG in LOG/NAME")
    following.add_argument(
        "--keep-per-minute",
        type=_number_up_to(1_000_000, 0, float),
        default=6,
        metavar="N",
        help="at most; 6 if left out",
    )
    verbs.add_parser("verify", parents=[common], help="compare every file with the manifest")
    verbs.add_parser("check", parents=[running], help="compare the model with the golden outputs, too")
    for verb, what in (("folder", "DIR"), ("video", "FILE"), ("camera", "N")):
        verbs.add_parser(verb, parents=[following], help=f"find objects in a {verb}").add_argument("what", metavar=what)
    return parser


def _number_up_to(high: float, low: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text}: expected a number from {low} to {high}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())

"""From a student's weights to an ONNX file that says what it is."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

from distill.students import KINDS
from distill.yolo.weights import read_student
from labeling.core.errors import BackendError, InputError, LabelstillError, MissingExtraError, StateError
from labeling.image_files import display
from labeling.teachers.detectors.ultralytics import as_yolo
from labeling.teachers.student_weights import margin
from labeling.teachers.weights import read_checkpoint

from .bundle import is_full
from .exporting import STRIDE
from .half import to_half
from .onnx_files import check_onnx, read_onnx, save_onnx
from .raw_outputs import GRAPH_FLOOR
from .runtime import Card

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["ExportSettings", "to_half", "to_onnx"]

OPSET = 17
DEFAULT_THRESHOLD = 0.25
MAX_OBJECTS = 300


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What kind of graph is written.

    Attributes:
        dynamic: height and width of the input may be any multiples of 32; the batch is always one image.
        nms: NMS is part of the graph; D-FINE needs none.
        imgsz: (height, width) of the input in pixels, multiples of 32; None takes the size of the training.
        opset: of ONNX.
    """

    dynamic: bool = False
    nms: bool = False
    imgsz: tuple[int, int] | None = None
    opset: int = OPSET


def to_onnx(
    weights: Path,
    path: Path,
    settings: ExportSettings,
    *,
    thresholds: Mapping[str, float] | None = None,
    nms_iou: float = 0.7,
    second_look: Mapping[str, float] | None = None,
) -> Card:
    """Write a student as one ONNX file, simplified, with its card; the same weights give the same bytes.

    A dynamic model takes frames as evaluation gave them (letterbox rect), a static one fills its input with grey bars
    (square), and D-FINE stretches. NMS in the graph lets every score from GRAPH_FLOOR on through.

    Args:
        weights: a student.safetensors.
        path: of the ONNX file.
        settings: see ExportSettings.
        thresholds: smallest score that counts, by class; None takes DEFAULT_THRESHOLD for each.
        nms_iou: IoU above which the less sure box of the same class is dropped; written into a graph with NMS.
        second_look: see Card.

    Raises:
        InputError: settings or thresholds that do not fit the student.
        BackendError: the weights cannot be read, or the graph cannot be made.
        StateError: the disk is full.
        MissingExtraError: onnx or onnxslim is not installed.
    """
    metadata = read_checkpoint(weights).metadata
    kind = metadata.get("kind", "")
    if kind not in KINDS:
        raise BackendError(
            f"weights {display(weights)}: expected a student of kind {' or '.join(KINDS)}, got {kind!r}: give a "
            "student.safetensors that labelstill train wrote"
        )
    if not 0 < nms_iou <= 1:
        raise InputError(f"the IoU of NMS is {nms_iou}: expected a number above 0 and up to 1, such as 0.7")
    about = read_student(weights) if kind == "ultralytics" else _dfine(weights)
    card = Card(
        kind=kind,
        model=about.model,
        task=metadata.get("task", "detect"),
        names=about.names,
        imgsz=_size(settings, about.imgsz),
        dynamic=settings.dynamic,
        letterbox="stretch" if kind == "dfine" else "rect" if settings.dynamic else "square",
        stride=STRIDE,
        layout="queries" if kind == "dfine" else "nms" if settings.nms else "yolo",
        precision="fp32",
        thresholds=_thresholds(thresholds, about.names),
        nms_iou=nms_iou,
        max_objects=MAX_OBJECTS,
        second_look=None if second_look is None else dict(second_look),
        licence=metadata.get("licence", "not stated"),
        weights=hashlib.sha256(weights.read_bytes()).hexdigest(),
        dataset=metadata.get("dataset", ""),
        ontology=metadata.get("ontology", ""),
        margin=margin(metadata, weights),
    )
    model = (_from_dfine if kind == "dfine" else _from_yolo)(weights, settings, card)
    save_onnx(model, path, card)
    check_onnx(path)
    return card


def _from_yolo(weights: Path, settings: ExportSettings, card: Card) -> ModelProto:
    yolo = as_yolo(weights)
    if len(yolo.names) != len(card.names):
        raise BackendError(f"weights {display(weights)} carry {len(card.names)} names for {len(yolo.names)} classes")
    with TemporaryDirectory(prefix="labelstill-onnx-") as folder:
        yolo.model.pt_path = str(Path(folder) / "model.pt")  # beside it the library writes
        with _quiet(), _explained(weights):
            written = yolo.export(
                format="onnx",
                imgsz=list(card.imgsz),
                dynamic=settings.dynamic,
                nms=settings.nms or None,  # with False, models that have two heads would take the other one
                conf=GRAPH_FLOOR,
                iou=card.nms_iou,
                max_det=card.max_objects,
                opset=settings.opset,
                simplify=False,
                device="cpu",
            )
        return _simple(Path(written))


def _from_dfine(weights: Path, settings: ExportSettings, card: Card) -> ModelProto:
    from distill.student_dfine import to_onnx as dfine_to_onnx

    if settings.dynamic or settings.nms:
        raise InputError(f"{card.model}: has one input size and needs no NMS: leave out --dynamic and --nms")
    if settings.opset != OPSET:
        raise InputError(f"{card.model}: is written with opset {OPSET}, not {settings.opset}: leave it out")
    side = _dfine(weights).imgsz
    if card.imgsz != (side, side):
        raise InputError(f"{card.model}: was trained at {side} x {side} pixels and takes no other: leave out the size")
    with TemporaryDirectory(prefix="labelstill-onnx-") as folder:
        with _quiet(), _explained(weights):
            dfine_to_onnx(weights, Path(folder) / "model.onnx")
        return _simple(Path(folder) / "model.onnx")


def _dfine(weights: Path) -> Any:
    from distill.dfine.model import read

    return read(weights)


def _simple(path: Path) -> ModelProto:
    """Return a graph for one image, simplified, without what names this machine or this hour."""
    model = read_onnx(path)
    try:
        import onnxslim
    except ImportError as error:
        raise MissingExtraError("onnxslim", "edge") from error
    from onnx import helper

    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    metadata = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != "date"]
    slim: ModelProto = onnxslim.slim(model)
    helper.set_model_props(slim, dict(metadata))
    return slim


def _size(settings: ExportSettings, trained: int) -> tuple[int, int]:
    height, width = settings.imgsz or (trained, trained)
    if min(height, width) < STRIDE or height % STRIDE or width % STRIDE:
        raise InputError(f"the input is {height} x {width} pixels: expected multiples of {STRIDE}, such as 384 x 640")
    return height, width


def _thresholds(given: Mapping[str, float] | None, names: tuple[str, ...]) -> dict[str, float]:
    if given is None:
        return dict.fromkeys(names, DEFAULT_THRESHOLD)
    if other := [name for name in (*names, *given) if (name in names) != (name in given)]:
        raise InputError(f"thresholds: {other[0]!r} is only on one side: expected one for each of {', '.join(names)}")
    if bad := [name for name in names if not 0 < given[name] < 1]:
        raise InputError(f"thresholds: that of {bad[0]!r} is {given[bad[0]]}: expected a number between 0 and 1")
    return {name: float(given[name]) for name in names}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints and logs, its coloured errors included, from people: they get one sentence."""
    logger = logging.getLogger("ultralytics")
    drop: Callable[[logging.LogRecord], bool] = lambda record: False  # noqa: E731
    logger.addFilter(drop)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.removeFilter(drop)


@contextlib.contextmanager
def _explained(weights: Path) -> Iterator[None]:
    """Turn whatever the exporter raises into one sentence."""
    try:
        yield
    except Exception as error:  # the exporters of ultralytics and torch raise whatever their parts raise
        if is_full(error):
            raise StateError(f"{display(Path(gettempdir()))}: the disk is full: free space and export again") from error
        if isinstance(error, LabelstillError):
            raise
        raise BackendError(f"weights {display(weights)}: no ONNX could be made of them ({error!s:.300})") from error

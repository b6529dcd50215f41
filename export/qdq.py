"""The graph of an ONNX model with QDQ nodes, as TensorRT takes it: ranges measured, convolutions in INT8."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from labeling.core.errors import InputError, MissingExtraError
from labeling.image_files import display

from .onnx_files import read_card, read_onnx, save_onnx
from .runtime import Card, Floats

if TYPE_CHECKING:
    from onnx import ModelProto

Method = Literal["percentile", "entropy", "minmax"]
METHOD: Method = "percentile"
"""Ranges that 99.999 % of all values lie in: a few extreme values cost precision for all others."""

_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    # TensorRT takes biases in float only, and fuses an activation into the convolution only where no QDQ parts them.
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
}


def layers(onnx: Path) -> list[str]:
    """Return the names of the convolutions that can be INT8, in the order of the graph.

    All but the one that averages the softmax of distances: what a box is made of stays in float.

    Raises:
        InputError: the model is not in fp32, or there is none.
    """
    card, graph = read_card(onnx), read_onnx(onnx).graph
    if card.precision != "fp32":
        raise InputError(f"{display(onnx)}: is {card.precision}: expected a model in fp32, export it anew")
    makers = {name: node.op_type for node in graph.node for name in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    names = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and node.input[1] in stored and makers.get(node.input[0]) != "Softmax"
    ]
    if not names or not all(names) or len(set(names)) < len(names):
        raise InputError(f"{display(onnx)}: expected convolutions that each have a name of their own: export it anew")
    return names


def calibrate(onnx: Path, inputs: Iterable[Floats], ranges: Path, *, method: Method = METHOD) -> int:
    """Measure the range of every tensor that goes into a convolution, write them as JSON; return how many inputs.

    One input is in memory at a time. Histograms get as many more bins as later inputs are wider than the first: an
    ordinary photo comes first.

    Raises:
        InputError: there is no input.
    """
    quantization = _library()
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

    methods = {"percentile": "Percentile", "entropy": "Entropy", "minmax": "MinMax"}
    name, seen = read_onnx(onnx).graph.input[0].name, 0
    with TemporaryDirectory(prefix="labelstill-int8-") as folder, _quiet():
        calibrator = create_calibrator(
            onnx,
            ["Conv"],
            str(Path(folder) / "augmented.onnx"),
            calibrate_method=quantization.CalibrationMethod[methods[method]],
            extra_options={"symmetric": True},
        )
        for tensor in inputs:
            # The collector holds all that one reader gives at once, so each input has a reader of its own.
            calibrator.collect_data(SimpleNamespace(get_next=iter([{name: tensor}, None]).__next__))
            seen += 1
        if not seen:
            raise InputError(f"{display(onnx)}: there is no photo to calibrate on: give some of the train part")
        save_tensors_data(calibrator.compute_data(), ranges)
    return seen


def write_int8(onnx: Path, int8: Path, ranges: Path, *, keep: Collection[str] = ()) -> Card:
    """Write the INT8 model of ranges, see ``calibrate``, and return its card, which says int8.

    Inputs and weights of convolutions are symmetric int8, weights per channel; biases and all else stay in float. That
    is where NVIDIA advises to put QDQ: on the inputs of weighted layers, not on their outputs ("Q/DQ Layer-Placement
    Recommendations", TensorRT developer guide). A layer that is kept sees its input unrounded, too.

    Args:
        onnx: the model in fp32 that the ranges are of.
        int8: of the file that is written, whole or not at all.
        ranges: file of ``calibrate``.
        keep: names of layers that stay in float.

    Raises:
        InputError: a layer to keep is none.
    """
    names = layers(onnx)
    if unknown := sorted(set(keep) - set(names)):
        raise InputError(f"{display(onnx)}: {unknown[0]!r} is no layer that could be INT8: expected names of its own")
    card = replace(read_card(onnx), precision="int8")
    save_onnx(with_int8(onnx, ranges, [name for name in names if name not in keep]), int8, card)
    return card


def with_int8(onnx: Path, ranges: Path, names: Sequence[str]) -> ModelProto:
    """Return the model with these layers in INT8 and all others in float; see ``write_int8``."""
    quantization = _library()
    from onnxruntime.quantization.calibrate import load_tensors_data

    if not names:
        return read_onnx(onnx)
    with TemporaryDirectory(prefix="labelstill-int8-") as folder, _quiet():
        written = Path(folder) / "model.onnx"
        quantization.quantize_static(
            onnx,
            written,
            None,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=list(names),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=load_tensors_data(ranges).calibration_method,
            extra_options=_OPTIONS,
            calibration_cache_path=ranges,
        )
        model = read_onnx(written)
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "Conv" and node.name not in names else None
        if maker is not None and maker.op_type == "DequantizeLinear":
            # Another layer reads the same tensor in INT8; this one takes it from before it was rounded.
            node.input[0] = makers[maker.input[0]].input[0]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints, and its advice to prepare a graph that is prepared, from people."""
    root = logging.getLogger()
    drop: Callable[[logging.LogRecord], bool] = lambda record: record.levelno > logging.WARNING  # noqa: E731
    root.addFilter(drop)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(drop)


def _library() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingExtraError(error.name or "onnxruntime", "edge") from error
    return quantization

"""An ONNX model in half precision, but for what follows its last convolutions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.core.errors import InputError, MissingExtraError
from labeling.image_files import display

from .onnx_files import check_onnx, read_card, read_onnx, save_onnx
from .runtime import Card

if TYPE_CHECKING:
    from onnx import ModelProto

_HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_DISTANCES = "/dfl/"
"""In the name of a convolution that has no learned weights: it is the mean of a distribution of distances."""

_NO_HALF = ("GridSample",)
"""Operators without a float16 kernel in ONNX Runtime, beside those that its own list names."""


def to_half(path: Path, half: Path) -> Card:
    """Write a model with float16 weights; inputs and outputs stay float32.

    What follows the last convolutions of the heads, boxes and NMS, is still computed in float32: above 512 pixels
    float16 knows only every half pixel.

    Args:
        path: of an ONNX file with a card, float32.
        half: of the file that is written.

    Raises:
        InputError: the model cannot be read, or is no float32 one.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    card = read_card(path)
    if card.precision != "fp32":
        raise InputError(f"{display(path)}: is {card.precision}: expected a model in fp32, export it anew")
    card = replace(card, precision="fp16")
    save_onnx(_halved(read_onnx(path)), half, card)
    check_onnx(half)
    return card


def _halved(model: ModelProto) -> ModelProto:
    try:
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.transformers import float16
    except ImportError as error:
        raise MissingExtraError(error.name or "onnxruntime", "edge") from error
    from onnx import compose, shape_inference
    from onnx.utils import Extractor

    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    border = _border(model)
    # Two graphs: the converter alone would put every tensor between two kept operators through float16.
    parts = Extractor(shape_inference.infer_shapes(model))
    body = float16.convert_float_to_float16(
        parts.extract_model(inputs, border),
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *_NO_HALF],
    )
    # The converter appends its casts, one of the same name for every reader.
    nodes = {node.output[0]: node for node in body.graph.node}
    body.graph.ClearField("node")
    body.graph.node.extend(nodes.values())
    ONNXModel(body).topological_sort()
    rest = [name for name in outputs if name not in border]
    kept = [name for name in border if name not in outputs]
    tail = compose.add_prefix(
        parts.extract_model(kept, rest),
        "float32/",
        rename_nodes=False,
        rename_edges=False,
        rename_inputs=False,
        rename_outputs=False,
        rename_value_infos=False,
    )
    whole: ModelProto = type(model)()
    whole.CopyFrom(model)
    for field in ("node", "initializer", "value_info"):
        whole.graph.ClearField(field)
    whole.graph.node.extend([*body.graph.node, *tail.graph.node])
    whole.graph.initializer.extend([*body.graph.initializer, *tail.graph.initializer])
    return whole


def _border(model: ModelProto) -> list[str]:
    """Return the tensors at which float32 begins, in the order of the graph; some may be outputs of the model."""
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before: dict[str, bool] = {}
    for node in reversed(model.graph.node):
        following = [reader for output in node.output for reader in readers.get(output, [])]
        before[node.name] = _is_heavy(node) or any(before[reader.name] for reader in following)
    outputs = {value.name for value in model.graph.output}
    return [
        output
        for node in model.graph.node
        if before[node.name]
        for output in node.output
        if output in outputs or any(not before[reader.name] for reader in readers.get(output, []))
    ]


def _is_heavy(node: Any) -> bool:
    return node.op_type in _HEAVY and _DISTANCES not in node.name

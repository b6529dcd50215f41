"""An ONNX file on the disk: read with suspicion, checked, and labelled with its card."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.yolo.weights import write_whole
from labeling.core.errors import InputError, MissingExtraError
from labeling.image_files import display

from .runtime import CARD_KEY, Card, RuntimeFault

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MAX_BYTES = 2**31 - 1
"""What one file of the format can hold; a larger model needs external data, which is refused."""


def read_onnx(path: Path) -> ModelProto:
    """Return the model of a file that holds all of it.

    Raises:
        InputError: there is no such file, it is a link to another folder, no ONNX, too large, or keeps tensors in other
            files. Whatever a location says, nothing there is opened.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("onnx", "edge") from error
    if not path.is_file():
        raise InputError(f"{display(path)}: expected an ONNX file, there is none: export the model")
    if path.resolve().parent != path.parent.resolve():
        raise InputError(f"{display(path)}: is a link to a file of another folder: copy the model itself here")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{display(path)}: expected at most 2 GiB, the file is larger: export a smaller model")
    try:
        model: ModelProto = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise InputError(f"{display(path)}: cannot be read as ONNX ({_line(error)}): export it anew") from None
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            places = [entry.value for entry in tensor.external_data if entry.key == "location"] or ["nowhere"]
            raise InputError(
                f"{display(path)}: the tensor {tensor.name!r} lies in another file, {places[0]!r}: expected a model in "
                "one file: save it without external data"
            )
    return model


def check_onnx(path: Path) -> None:
    """Check that a file holds a whole model that obeys the format.

    Raises:
        InputError: it cannot be read, see ``read_onnx``, or the checker of onnx refuses it.
        MissingExtraError: onnx is not installed.
    """
    model = read_onnx(path)
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError(f"{display(path)}: is no valid ONNX model ({_line(error)}): export it anew") from None


def read_card(path: Path) -> Card:
    """Return the card of a model file.

    Raises:
        InputError: the file cannot be read, see ``read_onnx``, or its card is missing or makes no sense.
        MissingExtraError: onnx is not installed.
    """
    texts = {entry.key: entry.value for entry in read_onnx(path).metadata_props}
    if CARD_KEY not in texts:
        raise InputError(f"{display(path)}: has no card of labelstill: expected a model of labelstill export")
    return _checked(texts[CARD_KEY], path)


def write_card(path: Path, card: Card) -> None:
    """Put a card on a model file in place of the one that it had; the file is whole at any time.

    Raises:
        InputError: the file cannot be read, see ``read_onnx``, or the card makes no sense.
        MissingExtraError: onnx is not installed.
    """
    save_onnx(read_onnx(path), path, card)


def save_onnx(model: ModelProto, path: Path, card: Card) -> None:
    """Write a model with its card, whole or not at all; the same model gives the same bytes.

    Raises:
        InputError: the card makes no sense, or the file would be larger than 2 GiB.
        OSError: it cannot be written.
    """
    text = json.dumps(dataclasses.asdict(card), sort_keys=True)
    _checked(text, path)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != CARD_KEY}
    del model.metadata_props[:]
    for key, value in [*sorted(kept.items()), (CARD_KEY, text)]:
        model.metadata_props.add(key=key, value=value)
    if model.ByteSize() > MAX_BYTES:
        raise InputError(f"{display(path)}: the model needs more than 2 GiB: export a smaller one")
    write_whole(path, model.SerializeToString(deterministic=True))


def _checked(text: str, path: Path) -> Card:
    try:
        return Card.read(text, display(path))
    except RuntimeFault as error:
        raise InputError(str(error)) from None


def _tensors(message: Any) -> Iterator[TensorProto]:
    """Yield every tensor of a message of onnx, also those in subgraphs, functions and sparse tensors."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        # A repeated field is a list of messages, another one is a message.
        for one in [value] if hasattr(value, "DESCRIPTOR") else value:
            yield from _tensors(one)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__

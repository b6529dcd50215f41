"""What the weights of a trained student say about themselves. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import BackendError

_INPUT_SIZE = 640


def read_student(path: Path) -> dict[str, str]:
    """Return what a student's weights say about themselves, without reading the weights.

    Raises:
        BackendError: not readable, no student of ``labelstill train``, or of a kind that cannot label.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BackendError(f"weights {path} are no readable safetensors file ({error}): train again") from error
    if metadata.get("kind") == "dfine":
        raise BackendError(
            f"weights {path} are a D-FINE student, which cannot label yet: name a YOLO student with --weights, "
            "or train one with labelstill train --model yolov8n"
        )
    if "kind" not in metadata or "names" not in metadata:
        raise BackendError(f"weights {path} are no student of labelstill train: use --detector ultralytics for others")
    return metadata


def taught(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """Return the classes that a student was taught, in its order.

    Args:
        metadata: from ``read_student``.
        path: of the weights, for messages.

    Raises:
        BackendError: its names are damaged.
    """
    try:
        return tuple(str(name) for name in json.loads(metadata["names"]))
    except (ValueError, TypeError) as error:
        raise BackendError(f"weights {path}: 'names' in the metadata is no JSON list ({error}): train again") from error


def margin(metadata: Mapping[str, str], path: Path) -> int:
    """Return how many grey pixels a student wants on every side of a photo, 0 where its weights say nothing.

    Raises:
        BackendError: no number, or so many that nothing of the photo is left.
    """
    text = metadata.get("margin", "0")
    if not text.isascii() or not text.isdigit() or 2 * int(text) >= input_size(metadata, path):
        raise BackendError(f"weights {path}: 'margin' in the metadata is {text!r}: expected pixels, such as 8")
    return int(text)


def input_size(metadata: Mapping[str, str], path: Path) -> int:
    """Return the longer side of a model's input in pixels: what its weights say, 640 where they say nothing.

    Raises:
        BackendError: something else than a positive number.
    """
    text = metadata.get("imgsz", str(_INPUT_SIZE))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BackendError(f"weights {path}: 'imgsz' in the metadata is {text!r}: expected pixels, such as 640")
    return int(text)

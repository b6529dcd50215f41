"""A trained student as it lies on disk: which one is meant, what its weights say about themselves. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import BackendError, StateError

STUDENT_FILE = "student.safetensors"
"""What a training leaves in its run folder."""

_INPUT_SIZE = 640


def find_student(root: Path, named: str | None) -> Path:
    """Return the weight file of a student.

    Args:
        root: project folder, whose trainings are ``runs/train/NAME``.
        named: weight file or run folder, from here or from the project; None for the newest training that has ended.

    Raises:
        StateError: none was named and no training has ended. BackendError: what was named is not there.
    """
    if named is None:
        return _newest(root)
    for path in (Path(named).expanduser(), root / named):
        if path.is_file():
            return path
        if (path / STUDENT_FILE).is_file():
            return path / STUDENT_FILE
    raise BackendError(
        f"weights {named} are no student: expected a run folder with {STUDENT_FILE} in it, such as runs/train/1, or "
        "that file"
    )


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


def untaught(metadata: Mapping[str, str], names: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the classes that a student was not taught, in their order.

    Args:
        metadata: from ``read_student``.
        names: classes of the project.
        path: of the weights, for messages.

    Raises:
        BackendError: its names are damaged.
    """
    try:
        taught = {str(name) for name in json.loads(metadata["names"])}
    except (ValueError, TypeError) as error:
        raise BackendError(f"weights {path}: 'names' in the metadata is no JSON list ({error}): train again") from error
    return tuple(name for name in names if name not in taught)


def input_size(metadata: Mapping[str, str], path: Path) -> int:
    """Return the longer side of a model's input in pixels: what its weights say, 640 where they say nothing.

    Raises:
        BackendError: something else than a positive number.
    """
    text = metadata.get("imgsz", str(_INPUT_SIZE))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BackendError(f"weights {path}: 'imgsz' in the metadata is {text!r}: expected pixels, such as 640")
    return int(text)


def _newest(root: Path) -> Path:
    ended: list[tuple[str, str, Path]] = []
    for path in root.glob("runs/train/*/run.json"):
        weights = path.with_name(STUDENT_FILE)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a training whose notes are damaged is none that has ended
        if isinstance(facts, dict) and facts.get("finished_at") and weights.is_file():
            ended.append((str(facts["finished_at"]), path.parent.name, weights))
    if not ended:
        raise StateError(
            f"{root}: no training has ended here: labelstill train makes a student, or name one with --weights"
        )
    return max(ended)[-1]

"""The logs of a device, read line by line: what is damaged is counted, and what is no such log is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labeling.core.errors import InputError
from labeling.image_files import display

FORMAT = 1
SKETCH = 56
"""Numbers in the sketch of a frame, each 0 to 255."""

_KIND = "edge-log"
_LONGEST_LINE = 2**20
_MOST_OBJECTS = 10_000
_SHA256 = re.compile("[0-9a-f]{64}")

_LATEST = 253_402_300_800.0
"""Unix seconds at which the year 10000 begins."""

_SHARPEST = 20.0
"""No frame is sharper: the variance of a Laplacian of bytes stays below its exponential."""

_FARTHEST = 1e6
"""Pixels; no edge of a box lies further out."""

Row = tuple[int, float, float, float, float, float]
"""One object: class id, score, x0, y0, x1, y1 in pixels of the frame."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a log.

    Attributes:
        path: of the log.
        key: sha256 of the line and the one below it; tells one log from another.
        model: sha256 of the weights; empty where the log does not say.
        precision: fp32, fp16 or int8.
        names: classes in the order of the model.
        device: in words.
        started: ISO 8601.
        shadow_names: classes of the other student that looked on; those of the model where the log does not say.
    """

    path: Path
    key: str
    model: str
    precision: str
    names: tuple[str, ...]
    device: str
    started: str
    shadow_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoggedFrame:
    """One line of a log.

    Attributes:
        time: unix seconds.
        number: of the frame in its source.
        source: camera, video or folder.
        light: mean grey in [0, 1].
        blur: log1p of the variance of the Laplacian; sharp frames have more.
        sketch: SKETCH bytes.
        objects: at the thresholds.
        sure: in [0, 1].
        kept: file of the frame, relative to the log; None where it was not kept.
        shadow: what the other student saw; None where there was none.
    """

    time: float
    number: int
    source: str
    light: float
    blur: float
    sketch: bytes
    objects: tuple[Row, ...]
    sure: float
    kept: str | None
    shadow: tuple[Row, ...] | None


@dataclass(slots=True)
class Damage:
    """Lines that could not be used: how many by reason, and where the first one is."""

    reasons: Counter[str] = field(default_factory=Counter)
    first: str | None = None

    def add(self, header: Header, line: int, reason: str) -> None:
        """Count one line."""
        self.reasons[reason] += 1
        self.first = self.first or f"{display(header.path)}, line {line:,}"


def read_header(path: Path) -> Header:
    """Read the first line of a log.

    Raises:
        InputError: no such file, no log of the runtime, or one of another format.
    """
    shown = display(path)
    try:
        with path.open("rb") as file:
            line, below = file.readline(_LONGEST_LINE), file.readline(_LONGEST_LINE)
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror}: expected a log of the runtime") from error
    stored = _parsed(line)
    if stored is None or stored.get("labelstill") != _KIND:
        raise InputError(
            f"{shown}: its first line is no header of a log: expected a file that runtime.py wrote with --log; "
            "where its beginning was cut off, copy it again from the device"
        )
    if stored.get("format") != FORMAT:
        raise InputError(
            f"{shown}: is a log of format {stored.get('format')!r}, this version reads {FORMAT}: update "
            "labelstill here, or export the bundle anew"
        )
    names, shadow = stored.get("names"), stored.get("shadow_names")
    if not _texts(names) or not names:
        raise InputError(f"{shown}: its header has no list of classes (names): copy the log again from the device")
    texts = {key: stored.get(key) or "" for key in ("model", "precision", "device", "started")}
    for key, value in texts.items():
        if not _is_text(value):
            raise InputError(f"{shown}: {key} in its header is no text: copy the log again from the device")
    if texts["model"] and not _SHA256.fullmatch(texts["model"]):
        raise InputError(
            f"{shown}: model in its header is {texts['model'][:80]!a}: expected the sha256 of the weights, 64 "
            "digits from 0 to f: copy the log again from the device"
        )
    return Header(
        path=path,
        key=hashlib.sha256(line.strip() + below.strip()).hexdigest(),
        names=tuple(names),
        **texts,
        shadow_names=tuple(shadow if _texts(shadow) and shadow else names),
    )


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Return the headers of logs in the order in which the runtime began them; one log named twice counts once.

    Args:
        paths: logs, and folders of them, whose files end in .jsonl.

    Raises:
        InputError: as ``read_header``; a folder without a log.
    """
    found: dict[Path, Header] = {}
    for path in paths:
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{display(path)}: expected logs of the runtime, there is no .jsonl file in the folder")
        found |= {file.resolve(): read_header(file) for file in files}
    return sorted(found.values(), key=lambda one: (one.started, one.path))


def frames(header: Header, damage: Damage) -> Iterator[LoggedFrame]:
    """Yield the frames of one log; lines that cannot be used are counted and passed over.

    Raises:
        InputError: the file cannot be read, or goes on with another model.
    """
    try:
        with header.path.open("rb") as file:
            file.readline(_LONGEST_LINE)
            number, line = 2, file.readline(_LONGEST_LINE)
            while line:
                whole = line.endswith(b"\n")
                if not whole and len(line) == _LONGEST_LINE:
                    damage.add(header, number, "too long")
                    while line and not line.endswith(b"\n"):
                        line = file.readline(_LONGEST_LINE)
                elif line.strip():
                    found = _frame(line, header)
                    if found is not None:
                        yield found
                    elif not _is_header(line, header, number):
                        damage.add(header, number, "damaged" if whole else "cut off at the end")
                number, line = number + 1, file.readline(_LONGEST_LINE)
    except OSError as error:
        raise InputError(f"{display(header.path)}: cannot be read to its end: {error.strerror}") from error


def _is_header(line: bytes, header: Header, number: int) -> bool:
    """Say whether the runtime was started again with the same model. Raises InputError for another one."""
    stored = _parsed(line)
    if stored is None or stored.get("labelstill") != _KIND:
        return False
    if (stored.get("model"), stored.get("names")) != (header.model, list(header.names)):
        raise InputError(
            f"{display(header.path)}, line {number:,}: goes on with another model: cut the log there into two files"
        )
    return True


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        stored = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return stored if isinstance(stored, dict) else None


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text(value: object) -> bool:
    """Say whether a value is text that a file name, a page and a terminal can hold: no NUL, no half of a pair."""
    return isinstance(value, str) and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


def _frame(line: bytes, header: Header) -> LoggedFrame | None:
    """Return the frame of a line, or None where the line is damaged."""
    stored = _parsed(line)
    if stored is None:
        return None
    try:
        sketch = base64.b64decode(stored["sketch"], validate=True)
        time, light, blur, sure = (
            _within(stored[key], most) for key, most in (("t", _LATEST), ("light", 1), ("blur", _SHARPEST), ("sure", 1))
        )
        objects = _rows(stored["objects"], len(header.names))
        shadow = _rows(stored["shadow"], len(header.shadow_names)) if stored.get("shadow") is not None else None
        frame, source = int(stored["n"]), str(stored["source"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    kept = stored.get("kept")
    if len(sketch) != SKETCH or not isinstance(kept, str | None):
        return None
    return LoggedFrame(time, frame, source, light, blur, sketch, objects, sure, kept, shadow)


def _within(value: float, most: float) -> float:
    """Return a number from 0 to ``most``. Raises ValueError, TypeError or OverflowError: it is none."""
    if not 0 <= float(value) <= most:
        raise ValueError("out of range")
    return float(value)


def _rows(stored: list[list[float]], classes: int) -> tuple[Row, ...]:
    """Return objects. Raises ValueError, TypeError or OverflowError: damaged."""
    if not isinstance(stored, list) or len(stored) > _MOST_OBJECTS:
        raise ValueError("no list of objects")
    rows = []
    for class_id, *rest in stored:
        score, x0, y0, x1, y1 = (float(value) for value in rest)
        if type(class_id) is not int or not 0 <= class_id < classes or not 0 <= score <= 1:
            raise ValueError("no object")
        if not all(abs(edge) <= _FARTHEST for edge in (x0, y0, x1, y1)):
            raise ValueError("no box")
        rows.append((class_id, score, x0, y0, x1, y1))
    return tuple(rows)

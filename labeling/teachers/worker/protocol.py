"""Frames on a pipe between this environment and another one: a JSON header, then arrays as raw bytes.

A frame is 4 bytes length of the header, 8 bytes length of the body (both big-endian), the header in UTF-8, the body.
The header is an object; its key "arrays" lists [dtype, shape] of the arrays whose bytes, in order and little-endian,
are the body. Lengths beyond the limits below, other types and a body that does not fit its header are refused before
anything is allocated for them.

The worker speaks first: {"protocol", "python", "versions"}. Then it answers requests in order:

    {"op": "load", "weights": path, "sizes": {...}, "device": name} -> {"ok": true}
    {"op": "detect", "captions": [[token id, ...], ...], "mean": [...], "std": [...]}, array pixels (n, h, w, 3) uint8
        -> per caption {"caption": number}, arrays logits (n, queries, tokens), boxes (n, queries, 4), both float32,
           and with the first caption feature maps (n, channels, h, w) float32

An answer {"error": text, "kind": "memory" | "weights" | "failed"} ends the request. End of input ends the worker.

Standard library and numpy alone: both environments run this file.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PROTOCOL = 1
MAX_HEADER = 1 << 20
MAX_BODY = 1 << 30
_PREFIX = struct.Struct(">IQ")
_TYPES = ("uint8", "float32")
_MAX_ARRAYS = 8
_MAX_DIMENSIONS = 4

Read = Callable[[int], bytes]
"""Count in, exactly so many bytes out; fewer only at the end of the stream."""


class ProtocolError(Exception):
    """What came is no frame of this protocol."""


def encode(header: dict[str, Any], arrays: Sequence[npt.NDArray[Any]] = ()) -> list[bytes | memoryview]:
    """Return the pieces of one frame, to be written in order.

    Raises:
        ProtocolError: the frame is beyond the limits.
    """
    plain = [np.ascontiguousarray(array) for array in arrays]
    listed = [[str(array.dtype), list(array.shape)] for array in plain]
    text = json.dumps({**header, "arrays": listed}).encode()
    length = _body_length(listed)
    if len(text) > MAX_HEADER:
        raise ProtocolError(f"a header of {len(text)} bytes, the limit is {MAX_HEADER}")
    return [_PREFIX.pack(len(text), length), text, *(array.reshape(-1).view(np.uint8).data for array in plain)]


def receive(read: Read) -> tuple[dict[str, Any], list[npt.NDArray[Any]]] | None:
    """Return header and arrays of the next frame; None where the stream ended between two frames.

    Raises:
        ProtocolError: no frame, beyond the limits, or cut off.
    """
    prefix = read(_PREFIX.size)
    if not prefix:
        return None
    if len(prefix) < _PREFIX.size:
        raise ProtocolError("the stream ended inside a frame")
    header_length, body_length = _PREFIX.unpack(prefix)
    if header_length > MAX_HEADER or body_length > MAX_BODY:
        raise ProtocolError(f"a frame of {header_length} + {body_length} bytes is beyond the limits")
    header = _header(_exactly(read, header_length))
    listed = header.pop("arrays", [])
    if body_length != _body_length(listed):
        raise ProtocolError("the body does not have the length of its arrays")
    body = _exactly(read, body_length)
    arrays: list[npt.NDArray[Any]] = []
    start = 0
    for dtype, shape in listed:
        count = math.prod(shape)
        arrays.append(np.frombuffer(body, dtype=dtype, count=count, offset=start).reshape(shape))
        start += arrays[-1].nbytes
    return header, arrays


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the header is no JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("the header is no object")
    return header


def _body_length(listed: Any) -> int:
    if not isinstance(listed, list) or len(listed) > _MAX_ARRAYS:
        raise ProtocolError(f"expected a list of at most {_MAX_ARRAYS} arrays")
    length = 0
    for entry in listed:
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in _TYPES or not _is_shape(entry[1]):
            raise ProtocolError(f"expected [dtype, shape] with one of {', '.join(_TYPES)}, got {str(entry)[:80]}")
        length += math.prod(entry[1]) * np.dtype(entry[0]).itemsize
    if length > MAX_BODY:
        raise ProtocolError(f"arrays of {length} bytes, the limit is {MAX_BODY}")
    return length


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_DIMENSIONS
        and all(type(side) is int and 0 <= side <= MAX_BODY for side in value)
    )


def _exactly(read: Read, count: int) -> bytes:
    data = read(count) if count else b""
    if len(data) < count:
        raise ProtocolError("the stream ended inside a frame")
    return data

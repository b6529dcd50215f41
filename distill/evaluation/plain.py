"""What was measured as plain values that JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

import numpy as np


def to_json(measured: Any) -> Any:
    """Return dataclasses as dicts, arrays and tuples as lists; a number that is not finite was not measured: None.

    Args:
        measured: an Evaluation, AtThreshold, OperatingPoint, Latency, Difference, or a part of one.
    """
    if hasattr(measured, "__dataclass_fields__"):
        return {field.name: to_json(getattr(measured, field.name)) for field in fields(measured)}
    if isinstance(measured, np.ndarray | np.generic):
        return to_json(measured.tolist())
    if isinstance(measured, Mapping):
        return {str(key): to_json(value) for key, value in measured.items()}
    if isinstance(measured, list | tuple):
        return [to_json(value) for value in measured]
    if isinstance(measured, float) and not isfinite(measured):
        return None
    return measured

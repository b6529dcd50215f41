"""What the monitor found, as JSON holds it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .bins import NUMERIC
from .words import headline

if TYPE_CHECKING:
    from ..monitor import Monitored


def as_dict(found: Monitored) -> dict[str, Any]:
    """Return everything; None where nothing is known, never NaN."""
    reference, verdict = found.reference, found.verdict
    windows = [
        {
            "since": window.since,
            "until": window.until,
            "frames": window.frames * reference.stride,
            "means": _means(window.means),
            "classes": dict(zip(reference.names, map(int, window.classes), strict=True)),
            "index": dict(verdict.rows[place]) if verdict else None,
            "drifted": verdict.drifted[place] if verdict else None,
        }
        for place, window in enumerate(found.windows)
    ]
    return {
        "state": found.state,
        "headline": headline(found),
        "false_alarms": found.false_alarms,
        "drifts": [asdict(one) for one in verdict.drifts] if verdict else [],
        "limits": dict(verdict.limits) if verdict else None,
        "windows": windows,
        "window": found.window,
        "logs": [str(header.path) for header in found.headers],
        "model": reference.model,
        "reference": {
            "file": str(found.kept_at) if found.kept_at else None,
            "fresh": found.fresh,
            "frames": reference.frames * reference.stride,
            "needed": found.needed,
            "stride": reference.stride,
            "memory": reference.memory * reference.stride,
            "slow": reference.slow,
            "precisions": list(reference.precisions),
            "devices": list(reference.devices),
            "since": reference.since,
            "until": reference.until,
            "means": _means(reference.means),
            "classes": dict(zip(reference.names, map(int, reference.classes), strict=True)),
        },
        "frames": found.frames,
        "frames_of_reference": found.skipped,
        "left_over": found.left_over,
        "damaged_lines": dict(found.damage.reasons),
        "first_damage": found.damage.first,
        "remarks": list(found.remarks),
    }


def _means(values: Any) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else float(value)
        for name, value in zip(NUMERIC, map(float, values), strict=True)
    }

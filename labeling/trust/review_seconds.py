"""How long people take to add, delete, move or relabel a region: measured here where enough answers say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from ..core.errors import MissingExtraError
from ..studio.audit import Case
from .verdicts import Seconds

ENOUGH = 30
"""Fewer timed answers say nothing about single actions."""

_KINDS = {"added": "add", "deleted": "delete", "moved": "move", "relabelled": "relabel"}
_LONGEST = 600.0
"""Whoever leaves an image open longer is not at work on it."""


def measured(cases: Iterable[Case], assumed: Seconds) -> Seconds:
    """Return what each action takes, by least squares without negative times (Lawson and Hanson, 1974).

    The seconds of each answer are explained by its actions and the look at the image. An action that is rarer than
    one in three answers keeps its assumed time.

    Args:
        cases: what was handed over and came back.
        assumed: times to keep where nothing was measured.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    looks = [look for case in cases if not case.blind for look in case.looks if not look.skipped]
    timed = [look for look in looks if look.seconds is not None and look.seconds <= _LONGEST]
    if len(timed) < ENOUGH:
        return assumed
    done = [Counter(_KINDS[change.kind] for change in look.changes if change.kind in _KINDS) for look in timed]
    often = [name for name in _KINDS.values() if sum(one[name] for one in done) * 3 >= len(timed)]
    rest = [name for name in _KINDS.values() if name not in often]
    known = np.array([sum(one[name] * getattr(assumed, name) for name in rest) for one in done])
    total = np.array([look.seconds for look in timed], dtype=np.float64)
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise MissingExtraError("scipy", "studio") from error
    columns = np.array([[1.0, *(one[name] for name in often)] for one in done])
    found = nnls(columns, np.maximum(total - known, 0.0))[0]
    times = {name: getattr(assumed, name) for name in rest} | dict(zip(often, map(float, found[1:]), strict=True))
    left = f"; {', '.join(rest)} {assumed.source}" if rest else ""
    return Seconds(**times, look=float(found[0]), source=f"measured on {len(timed)} answers{left}")

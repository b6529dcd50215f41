"""Every teacher of the zoos as pytest parameters: name -> (name, maker), marked where it is slow or not here."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from labeling.teachers import backends, worker_environment

_ZOOS = ("zoo_grounding_dino", "zoo_segmenters", "zoo_yolo", "zoo_zero_shot")


def _gathered(table: str) -> dict[str, Any]:
    """Return name -> maker of all zoos; what its maker calls slow is marked."""
    found: dict[str, Any] = {}
    for zoo in _ZOOS:
        module = importlib.import_module(f"tests.{zoo}")
        for name, maker in getattr(module, table, {}).items():
            assert name not in found, f"two makers of {name}"
            slow = name in getattr(module, "SLOW", ())
            found[name] = pytest.param((name, maker), id=name, marks=[pytest.mark.slow] if slow else [])
    return found


def _without_environment(name: str) -> Any:
    """Return what stands in the table for a teacher whose environment is not on this machine."""
    absent = f"no environment for {name}: labelstill teachers install {name}"
    return pytest.param(None, id=name, marks=pytest.mark.skip(reason=absent))


DETECTORS = _gathered("DETECTORS")
SEGMENTERS = _gathered("SEGMENTERS")
for _name, _row in backends.DETECTORS.items():
    if _row.environment is not None and worker_environment.find(_row.environment) is None:
        DETECTORS.setdefault(_name, _without_environment(_name))

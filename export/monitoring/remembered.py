"""The reference of a model as it rests in a file between calls."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from labeling.core.errors import StateError
from labeling.image_files import display

from .bins import NUMERIC, STATISTICS, Bins
from .log import SKETCH
from .reference import STEPS, Reference

_FORMAT = 2
_FACTS: dict[str, Any] = {
    "model": str,
    "names": list,
    "stride": int,
    "memory": float,
    "block": int,
    "frames": int,
    "since": float,
    "until": float,
    "taken": dict,
    "slow": bool,
    "precisions": list,
    "devices": list,
}
_ARRAYS = ("blocks", "total", "means", "classes")


def save(reference: Reference, path: Path) -> None:
    """Write a reference so that a reader finds all of it or none. Raises OSError."""
    facts = {"format": _FORMAT, **{name: getattr(reference, name) for name in _FACTS}}
    arrays: dict[str, Any] = {f"edges.{name}": edges for name, edges in reference.bins.edges.items()}
    for name in ("mean", "spread", "cell_of_class"):
        arrays[name] = getattr(reference.bins, name)
    for name in _ARRAYS:
        arrays[name] = getattr(reference, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def load(path: Path) -> Reference | None:
    """Return the reference in a file, or None where there is no file.

    Raises:
        StateError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = _facts(json.loads(str(stored["facts"])))
            edges = {name: stored[f"edges.{name}"] for name in NUMERIC}
            bins = Bins(edges, stored["mean"], stored["spread"], stored["cell_of_class"])
            arrays = {name: stored[name] for name in _ARRAYS}
        found = Reference(**facts, **arrays, bins=bins)
        _check(found)
        return found
    except Exception as error:  # a damaged archive raises whatever its reader happens to trip over
        raise StateError(
            f"{display(path)}: the reference cannot be read ({error}): remove the file, and the next logs "
            "become the reference"
        ) from error


def _facts(stored: dict[str, Any]) -> dict[str, Any]:
    """Return what is no array. Raises ValueError, or KeyError: a fact is missing or of another kind."""
    if stored["format"] != _FORMAT:
        raise ValueError("written by another version")
    found: dict[str, Any] = {}
    for name, kind in _FACTS.items():
        value: Any = stored[name]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(f"{name} is no {kind.__name__}")
        found[name] = tuple(map(str, value)) if kind is list else value
    return found


def _check(found: Reference) -> None:
    """Raises ValueError: what the reference holds does not go together."""
    bins = found.bins
    cells = bins.cell_of_class
    wanted: dict[str, tuple[Any, tuple[int, ...], str]] = {
        "mean": (bins.mean, (SKETCH,), "f"),
        "spread": (bins.spread, (SKETCH,), "f"),
        "cell_of_class": (cells, (len(found.names),), "i"),
        "means": (found.means, (len(NUMERIC),), "f"),
        "classes": (found.classes, (len(found.names),), "i"),
        **{name: (edges, (edges.size,), "f") for name, edges in bins.edges.items()},
    }
    for name, (array, shape, kind) in wanted.items():
        _is(array.shape == shape and array.dtype.kind == kind, name)
    _is(len(found.names) > 0 and bool((cells >= 0).all() and (cells <= len(cells)).all()), "cell_of_class")
    width = bins.places[STATISTICS[-1]].stop
    for name, counts, shape in (
        ("total", found.total, (width,)),
        ("blocks", found.blocks, (len(found.blocks), width)),
    ):
        _is(counts.shape == shape and counts.size > 0 and counts.dtype.kind == "i" and bool((counts >= 0).all()), name)
    _is(bool((found.classes >= 0).all()), "classes")
    _is(all(bool((np.diff(edges) > 0).all()) and np.isfinite(edges).all() for edges in bins.edges.values()), "edges")
    _is(bool(np.isfinite(bins.mean).all() and np.isfinite(bins.spread).all() and (bins.spread > 0).all()), "spread")
    _is(min(found.stride, found.frames) >= 1 and found.block >= STEPS and found.block % STEPS == 0, "stride or block")
    # Blocks begin at every step: more of them than the frames fill were not counted from these frames.
    _is(len(found.blocks) == found.frames // (found.block // STEPS) - STEPS + 1, "blocks")
    _is(np.isfinite([found.since, found.until]).all() and 1 <= found.memory <= found.frames, "memory")
    _is(not found.model or re.fullmatch("[0-9a-f]{64}", found.model) is not None, "model")
    _is(all(type(count) is int and count >= 0 for count in found.taken.values()), "taken")


def _is(right: bool | np.bool_, name: str) -> None:
    if not right:
        raise ValueError(f"its {name} cannot be so")

"""Figures of trainings that take minutes each: one JSON file per training, so that a stopped measurement goes on."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Cell = dict[str, Any]


def cell(folder: Path, name: str, measure: Callable[[], Cell]) -> Cell:
    """Return what was measured under a name; measured now unless it was before."""
    file = folder / f"{name}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = measure()
        part = file.with_suffix(".part")
        part.write_text(json.dumps(done))
        part.rename(file)
        print(f"{name}: {json.dumps(done)}", file=sys.stderr, flush=True)
    found: Cell = json.loads(file.read_text())
    return found


def mean_and_spread(values: Sequence[float], form: str = ".3f") -> str:
    """Return the mean and the standard deviation of a sample as text."""
    if len(values) < 2:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):.3f}"


def labelstill(*arguments: str) -> None:
    """Run one verb of the command that is installed beside this Python."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("labelstill")), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"labelstill {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")

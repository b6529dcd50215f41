"""The trainings of a project as they lie on disk: which one is meant, how far it came, what measuring it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..core.errors import BackendError, StateError

STUDENT_FILE = "student.safetensors"
"""What a training leaves in its run folder."""

NOTHING_WORTH_SHOWING = 0.99
"""Threshold of a student for which none was found that pays."""

_RUN_FILE = "run.json"
_RUNS = Path("runs", "train")
_MEASURED = ("evaluation", "evaluation_val")


@dataclass(frozen=True, slots=True)
class StudentRun:
    """One training.

    Attributes:
        path: its folder, ``runs/train/NAME`` of a project.
        facts: content of its run.json; empty where there is none that can be read.
    """

    path: Path
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run folder, whatever is in it."""
        try:
            facts = json.loads((path / _RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
        return cls(path, facts if isinstance(facts, dict) else {})

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.name

    @property
    def weights(self) -> Path:
        """Where its student lies once the training has ended."""
        return self.path / STUDENT_FILE

    @property
    def finished(self) -> bool:
        """Say whether the training has ended and left its student."""
        return bool(self.facts.get("finished_at")) and self.weights.is_file()

    @property
    def measured(self) -> Mapping[str, Any] | None:
        """What ``labelstill evaluate`` noted, of the test part before val; None where it has not measured this one."""
        return next((found for key in _MEASURED if isinstance(found := self.facts.get(key), dict)), None)

    @property
    def threshold(self) -> float | None:
        """The threshold that ``labelstill evaluate`` chose, as it noted it: above 1 where none pays; None without."""
        found = (self.measured or {}).get("threshold")
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        return float(found) if is_number and found >= 0 else None  # type: ignore[arg-type, operator]


def finished_runs(root: Path) -> list[StudentRun]:
    """Return the trainings of a project that have ended, the newest last; those for a learning curve are left out."""
    found = [StudentRun.read(path.parent) for path in (root / _RUNS).glob(f"*/{_RUN_FILE}")]
    ended = [run for run in found if run.finished and not run.facts.get("curve_of")]
    return sorted(ended, key=lambda run: (str(run.facts["finished_at"]), run.name))


def find_student(root: Path, named: str | None) -> Path:
    """Return the weight file of a student.

    Args:
        root: project folder.
        named: name of a training of the project; or weight file or run folder, from here or from the project; None for
            the newest training that has ended.

    Raises:
        StateError: none was named and no training has ended. BackendError: what was named is no finished student.
    """
    if named is None:
        ended = finished_runs(root)
        if not ended:
            raise StateError(
                f"{root}: no training has ended here: labelstill train makes a student, or name one with --weights"
            )
        return ended[-1].weights
    inside = [root / _RUNS / named] if Path(named).name == named else []
    for path in (*inside, Path(named).expanduser(), root / named):
        if path.is_file():
            return path
        if (path / _RUN_FILE).is_file() and not (run := StudentRun.read(path)).finished:
            raise BackendError(
                f"weights {named} are of a training that has not ended: go on with labelstill train --resume {run.name}"
            )
        if (path / STUDENT_FILE).is_file():
            return path / STUDENT_FILE
    ended_here = ", ".join(run.name for run in finished_runs(root)) or "none"
    raise BackendError(
        f"weights {named} are no student: expected a run folder with {STUDENT_FILE} in it, such as runs/train/1, or "
        f"that file, or the name of a training that has ended here ({ended_here})"
    )

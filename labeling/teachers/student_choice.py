"""The student that labels: which one it is, what it was taught, from which score on its boxes count, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .student_runs import NOTHING_WORTH_SHOWING, STUDENT_FILE, StudentRun, find_student
from .student_weights import read_student, taught

_NOT_MEASURED = 0.25

Origin = Literal["--score", "project.yaml", "evaluate", "nothing pays", "not evaluated"]

_IN_WORDS: dict[Origin, str] = {
    "--score": "threshold {:.2f} from --score",
    "project.yaml": "threshold {:.2f} from teacher.score in project.yaml",
    "evaluate": "threshold {:.2f} chosen by labelstill evaluate",
    "nothing pays": "threshold {:.2f}, since labelstill evaluate found none at which its boxes pay",
    "not evaluated": "not evaluated yet: threshold {:.2f}",
}


@dataclass(frozen=True, slots=True)
class StudentChoice:
    """A student and its threshold.

    Attributes:
        name: its run, or its file where that was renamed.
        weights: its file.
        classes: that it was taught.
        threshold: smallest score kept, in [0, 1]; with an origin other than --score, of classes without one of their
            own.
        origin: where the threshold comes from.
    """

    name: str
    weights: Path
    classes: tuple[str, ...]
    threshold: float
    origin: Origin

    def in_words(self) -> str:
        """Return name, threshold and origin, such as "e15, threshold 0.94 chosen by labelstill evaluate"."""
        return f"{self.name}, {_IN_WORDS[self.origin].format(self.threshold)}"


def choose_student(root: Path, named: str | None, score: float | None, project_score: float | None) -> StudentChoice:
    """Find a student and its threshold: that of --score, else of project.yaml, else the one chosen on val, else 0.25.

    Args:
        root: project folder.
        named: see ``find_student``.
        score: of --score.
        project_score: that project.yaml has for students.

    Raises:
        StateError, BackendError: see ``find_student``, ``read_student`` and ``taught``.
    """
    weights = find_student(root, named)
    classes = taught(read_student(weights), weights)
    is_run = weights.name == STUDENT_FILE
    name = weights.resolve().parent.name if is_run else weights.name
    chosen = StudentRun.read(weights.resolve().parent).threshold if is_run else None
    if score is not None:
        return StudentChoice(name, weights, classes, score, "--score")
    if project_score is not None:
        return StudentChoice(name, weights, classes, project_score, "project.yaml")
    if chosen is None:
        return StudentChoice(name, weights, classes, _NOT_MEASURED, "not evaluated")
    if chosen > 1:
        return StudentChoice(name, weights, classes, NOTHING_WORTH_SHOWING, "nothing pays")
    return StudentChoice(name, weights, classes, chosen, "evaluate")

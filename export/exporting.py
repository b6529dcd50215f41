"""From a finished run to a bundle: exported, compared with the student, measured on val, and only then given a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from distill.run_folder import RUN_FILE, RunFolder, now, plain_name
from labeling.core.errors import InputError, StateError
from labeling.image_files import display
from labeling.project import Project
from labeling.teachers.student_runs import NOTHING_WORTH_SHOWING, StudentRun

from . import bundle

Tell = Callable[[str], None]

STRIDE = 32
"""Sides of the input are multiples of this, in pixels."""

_NOT_MEASURED = 0.25
_LEAST, _MOST = 0.01, NOTHING_WORTH_SHOWING
"""Thresholds below or above let everything or nothing through."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to export.

    Attributes:
        imgsz: side of the square input in pixels; None takes that of the training.
        dynamic: any height and width, with the letterbox of evaluation.
        nms: NMS in the graph.
        int8: an INT8 model, too.
        images: of val on which the student and its exports are compared.
    """

    imgsz: int | None = None
    dynamic: bool = False
    nms: bool = False
    int8: bool = False
    images: int = 64


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of it.

    Attributes:
        path: the bundle; None where ONNX and student disagree, which leaves none.
        about: its manifest; what is known so far where there is no bundle.
        made: it was made now; otherwise it was there already.
        picture: the image on which the two differ most, where they disagree.
        taken: the name that it would have had, where something else has it.
    """

    path: Path | None
    about: Mapping[str, Any]
    made: bool
    picture: Path | None = None
    taken: str | None = None

    @property
    def faults(self) -> list[str]:
        """What a gate said, one sentence each; empty where all passed."""
        return list(self.about["faults"])


def export(
    project: Project,
    run: RunFolder,
    asked: Asked,
    *,
    name: str | None = None,
    fresh: bool = False,
    tell: Tell = lambda line: None,
) -> Exported:
    """Make the bundle of a student, or return the one that is there already.

    Whoever calls holds the lock of the project. The test part is not looked at.

    Args:
        project: of the run.
        run: has finished.
        asked: see ``Asked``.
        name: of the bundle; None takes that of the run, with a number where something else has it.
        fresh: make it anew although it is there.
        tell: called with lines for people.

    Raises:
        StateError: the run has not finished, its weights were changed, no image of val can be shown, or something else
            has the name.
        InputError: what was asked cannot be exported.
        BackendError: no graph can be made of the weights.
        MissingExtraError: a library of the extra edge is not installed.
    """
    if asked.imgsz is not None and asked.imgsz % STRIDE:
        near = max(1, round(asked.imgsz / STRIDE)) * STRIDE
        raise InputError(f"--imgsz {asked.imgsz}: expected a multiple of {STRIDE}, such as {near}")
    if not run.finished:
        raise StateError(f"{display(run.path)}: has not finished: labelstill train --resume {run.name}")
    weights = run.weights_hash()
    if run.facts.get("weights") not in (None, weights):
        raise StateError(
            f"{display(run.weights)}: are not the weights that the training left (their sha256 differs from the one in "
            f"{RUN_FILE}): train anew"
        )
    threshold, remarks = _threshold(run)
    remarks = [*_fitness(run), *remarks, *_unknown(project, run)]
    settings = {"run": run.name, "threshold": threshold, **asdict(asked)}
    target, there = _place(project.exports_path, run.name, name, {"weights": weights, "settings": settings}, fresh)
    taken = run.name if name is None and target.name != run.name else None
    if there is not None and not fresh:
        return Exported(target, there, made=False, taken=taken)
    about = {"name": target.name, "made_at": now(), "weights": weights, "settings": settings, "bench": None}
    with project.open_store() as store, bundle.new_bundle(target, replace=target.exists()) as folder:
        from distill.asking import Asking, Question

        from .making import Making

        asking = Asking(project, store, run, Question(test=False), tell)
        making = Making(asking, folder, asked, threshold, remarks)
        if not making.proven():
            picture = making.show_worst(project.reports_path / f"export-{target.name}-worst.png")
            return Exported(None, about | making.found(), made=False, picture=picture, taken=taken)
        making.measure()
        if asked.int8:
            making.quantise()
        return Exported(target, making.finish(about), made=True, taken=taken)


def _fitness(run: RunFolder) -> list[str]:
    """Return what the evaluation said of the student."""
    headline = (StudentRun.read(run.path).measured or {}).get("headline")
    return [f"What labelstill evaluate says of this student: {headline}"] if isinstance(headline, str) else []


def _unknown(project: Project, run: RunFolder) -> list[str]:
    """Return what to say about classes that the project has and the student was not taught."""
    new = [name for name in project.ontology.names if name not in run.facts["names"]]
    return [f"The project has classes that this student does not know: {', '.join(new)}. Train anew."] if new else []


def _threshold(run: RunFolder) -> tuple[float, list[str]]:
    """Return from which score on objects count, and what to say about it."""
    chosen = StudentRun.read(run.path).threshold
    if chosen is None:
        return _NOT_MEASURED, [
            f"No threshold was chosen for this student: {_NOT_MEASURED} is used. labelstill evaluate --val chooses one."
        ]
    if chosen > 1:
        return NOTHING_WORTH_SHOWING, [
            f"No threshold was found at which the boxes of this student pay: {NOTHING_WORTH_SHOWING} is used."
        ]
    return min(max(chosen, _LEAST), _MOST), []


def _place(
    exports: Path, run: str, name: str | None, wanted: Mapping[str, Any], fresh: bool
) -> tuple[Path, dict[str, Any] | None]:
    """Return where the bundle belongs, and the manifest of the one that is there with all that is wanted."""
    if name is not None and not plain_name(name):
        raise InputError(f"--name {name!r}: expected letters, digits, dots, dashes, such as first-try")
    names = [name] if name is not None else chain([run], (f"{run}-{number}" for number in count(2)))
    for path in (exports / one for one in names):
        if not path.exists():
            return path, None
        there = bundle.read_manifest(path)
        if there is not None and all(there.get(key) == value for key, value in wanted.items()):
            return path, there
        if name is not None and fresh and (path / bundle.MANIFEST).exists():
            return path, None
    raise StateError(
        f"{display(exports / str(name))}: exists and is not this bundle (another student, other settings, or a changed "
        "file): give another --name, or --fresh to replace it"
    )

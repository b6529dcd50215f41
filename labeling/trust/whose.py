"""Which teacher is judged: the one that the flags name, else the one that labelled last, else that of project.yaml."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from ..core.errors import StateError
from ..core.store import Store
from ..label_request import LabelRequest
from ..project import Project
from ..studio.last_teacher import teacher_spec
from ..teacher_choice import chosen_student, chosen_teacher
from ..teachers import backends
from ..teachers.members import with_members

_NAMING = ("detector", "weights", "class_names", "embeddings", "exemplars", "tile")


def judged_teacher(project: Project, store: Store, request: LabelRequest) -> tuple[backends.TeacherSpec, str]:
    """Return the detector to judge, and what to know about it.

    Only the models are those of the last run. Their settings are what `labelstill label` would use now; where a
    --score of that run is left out, the second value says so.

    Args:
        project: whose project.yaml counts.
        store: labels.db, which remembers who labelled.
        request: flags as of `labelstill label`; those that name no teacher play no part.

    Raises:
        InputError: an unknown detector. BackendError: its weights are not on this machine.
    """
    config = project.config.teacher
    last = None
    with contextlib.suppress(StateError):
        last = teacher_spec(store, trust_weights=request.trust_weights)
    if last is not None and all(getattr(request, name) is None for name in _NAMING):
        return _as_of_now(last, project, request), _left_out(last)
    spec = chosen_teacher(request, config)
    if spec.detector == backends.STUDENT:
        student = chosen_student(request, config, project.root)
        spec = replace(spec, weights=str(student.weights), default_score=student.threshold)
    backends.check_weights(spec)
    return spec, ""


def _as_of_now(last: backends.TeacherSpec, project: Project, request: LabelRequest) -> backends.TeacherSpec:
    config = project.config.teacher
    score, per_pass = config.score, last.prompts_per_pass
    if last.detector == backends.STUDENT:
        score = chosen_student(replace(request, weights=last.weights), config, project.root).threshold
    if last.detector == config.detector:
        per_pass = config.prompts_per_pass
    now = replace(
        last, segmenter="none", segmenter_weights=None, device=request.device or "auto", score=None,
        default_score=score, prompts_per_pass=per_pass, tile=config.tile if last.tile is None else last.tile,
    )  # fmt: skip
    return with_members(now)


def _left_out(last: backends.TeacherSpec) -> str:
    if last.score is None:
        return ""
    return f"the last labelling run had --score {last.score:g}; that was for that run alone and plays no part here"

"""Which teacher is judged: the one that is named, else the one that labelled last, else that of project.yaml."""

from __future__ import annotations

from dataclasses import replace

from ..core.errors import StateError
from ..core.store import Store
from ..project import Project
from ..studio.last_teacher import teacher_spec
from ..teachers.backends import STUDENT, TeacherSpec, check_weights
from ..teachers.members import with_members


def judged_teacher(
    project: Project, store: Store, detector: str | None, weights: str | None, device: str
) -> TeacherSpec:
    """Return the detector to judge, without a segmenter.

    Args:
        project: whose project.yaml is asked last.
        store: labels.db, which remembers who labelled.
        detector: name, or several with commas; None for the one in force.
        weights: of a detector that is named, or of the one in force.
        device: to run on.

    Raises:
        InputError: an unknown detector. BackendError: its weights are not on this machine.
    """
    own = project.config.teacher
    if detector is not None:
        spec = TeacherSpec(detector=detector, weights=weights)
    else:
        try:
            spec = teacher_spec(store, trust_weights=False)
        except StateError:
            spec = TeacherSpec(detector=own.detector, weights=own.weights)
        spec = replace(spec, weights=weights or spec.weights, members=())
    # Scores are judged as the next run of `label` would have them, not as a flag of the last one had them.
    score = spec.default_score if spec.detector == STUDENT else own.score
    spec = replace(spec, score=None, default_score=score, prompts_per_pass=own.prompts_per_pass)
    spec = with_members(replace(spec, segmenter="none", segmenter_weights=None, device=device))
    check_weights(spec)
    return spec

"""What to run after a calibration: label again as the last run did, or make the gold set surer."""

from __future__ import annotations

import shlex

from ..core.config import TeacherConfig
from ..core.errors import StateError
from ..core.records import REVIEWED_STATES
from ..core.store import Store
from ..image_files import display
from ..project import Project
from ..studio.last_teacher import teacher_spec
from ..teachers.backends import TeacherSpec
from .gold import Gold
from .gold_draw import MOST, drawable


def waits(store: Store) -> bool:
    """Say whether there are photos that labelling again would change: people's labels always stay."""
    return any(state not in REVIEWED_STATES for state in store.states().values())


def label_command(project: Project, store: Store, spec: TeacherSpec, per_pass: int | None) -> str:
    """Return the command that labels with the settings of project.yaml, and else as the last run did.

    Args:
        project: after ``apply``, or before.
        store: its labels.db.
        spec: the teacher that was calibrated.
        per_pass: chosen prompts per pass.
    """
    config = project.config.teacher
    own = config if spec.detector == config.detector else TeacherConfig()
    last = _last(store)
    photos = next((run.settings.get("photos") for run in reversed(store.runs()) if run.verb == "label"), None)
    words = ["labelstill", "label"]
    words += (photos if isinstance(photos, list) and photos else ["PHOTOS"]) if waits(store) else ["NEW_PHOTOS"]
    words += ["--project", display(project.root)]
    if spec.detector != config.detector:
        words += ["--detector", spec.detector]
        words += ["--prompts-per-pass", str(per_pass)] if per_pass is not None else []
    same = last.segmenter == config.segmenter
    for flag, value, known in (
        ("--weights", spec.weights, own.weights),
        ("--class-names", spec.class_names, own.class_names),
        ("--embeddings", spec.embeddings, own.embeddings),
        ("--exemplar", spec.exemplars, own.exemplars),
        ("--tile", spec.tile, config.tile),
        ("--segmenter", last.segmenter, config.segmenter),
        ("--segmenter-weights", last.segmenter_weights, config.segmenter_weights if same else None),
    ):
        if value is not None and str(value) != str(known):
            words += [flag, str(value)]
    words += ["--trust-weights"] if spec.trust_weights else []
    return shlex.join(str(word) for word in words)


def surer(project: Project, store: Store, gold: Gold) -> str:
    """Return what makes the figures surer, as far as there are photos for it."""
    where = shlex.quote(display(project.root))
    keep = "or keep the settings in force"
    if gold.waiting:
        return f"next: labelstill push --only gold --project {where} for surer figures, {keep}"
    possible = min(len(drawable(store)), MOST)
    if possible > len(gold.images):
        return f"next: labelstill next --gold {possible} --project {where} for surer figures, {keep}"
    all_in = f"all {len(gold.images)} photos took part already" if possible < MOST else "the gold set is large enough"
    return f"next: nothing; keep the settings in force ({all_in})"


def _last(store: Store) -> TeacherSpec:
    try:
        return teacher_spec(store, trust_weights=False)
    except StateError:
        return TeacherSpec()

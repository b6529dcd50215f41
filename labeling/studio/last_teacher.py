"""The teacher of the last labelling run of a project, from what labels.db remembers of the run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.config import FiltersConfig
from ..core.errors import StateError
from ..core.store import Store
from ..project import Project
from ..teachers.backends import TeacherSpec
from ..teachers.filter_settings import FilterSettings

if TYPE_CHECKING:
    from ..teachers.teacher import Teacher


def teacher_spec(store: Store, *, trust_weights: bool) -> TeacherSpec:
    """Return the models that labelled last; consent to run pickled code is not inherited.

    Raises:
        StateError: nothing was ever labelled here.
    """
    runs = [run for run in store.runs() if run.verb == "label"]
    if not runs:
        raise StateError(f"{store.path}: no teacher has labelled here yet: labelstill label PHOTOS --project DIR")
    known = {field.name for field in fields(TeacherSpec)}
    chosen = {name: value for name, value in runs[-1].settings["teacher"].items() if name in known}
    if chosen.get("class_names") is not None:
        chosen["class_names"] = Path(chosen["class_names"])
    return TeacherSpec(**{**chosen, "trust_weights": trust_weights})


def last_teacher(project: Project, store: Store, *, trust_weights: bool = False) -> Teacher:
    """Load the models that labelled last. Raises like ``teacher_spec`` and ``build_teacher``."""
    spec = teacher_spec(store, trust_weights=trust_weights)
    from ..teachers.teacher import build_teacher

    filters = FilterSettings(**project.config.filters.model_dump(include=set(FiltersConfig.model_fields)))
    return build_teacher(spec, project.ontology, filters)

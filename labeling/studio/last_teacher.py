"""The teacher of the last labelling run of a project, from what labels.db remembers of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BackendError, StateError
from ..core.store import Store
from ..project import Project
from ..teachers.backends import TeacherSpec
from ..teachers.filter_settings import FilterSettings
from ..teachers.members import with_members

if TYPE_CHECKING:
    from ..teachers.teacher import Teacher

_OF_THIS_CALL = ("device", "trust_weights")


def teacher_spec(store: Store, *, trust_weights: bool) -> TeacherSpec:
    """Return the models that labelled last; neither the device nor consent to run pickled code is inherited.

    Raises:
        StateError: nothing was ever labelled here.
    """
    kept = _settings(store)["teacher"]
    known = {field.name for field in fields(TeacherSpec)}.difference(_OF_THIS_CALL)
    chosen = {name: value for name, value in kept.items() if name in known}
    for name in ("class_names", "embeddings", "exemplars"):
        if chosen.get(name) is not None:
            chosen[name] = Path(chosen[name])
    return with_members(TeacherSpec(**chosen, trust_weights=trust_weights))


def last_teacher(project: Project, store: Store, *, trust_weights: bool = False) -> Teacher:
    """Load the models that labelled last, with the filters of that run and the classes of today.

    Raises:
        StateError: nothing was ever labelled here.
        BackendError: its weights are gone. Others as ``build_teacher``.
    """
    spec = teacher_spec(store, trust_weights=trust_weights)
    from ..teachers.teacher import build_teacher

    kept = _settings(store).get("filters", {})
    filters = FilterSettings(**{one.name: kept[one.name] for one in fields(FilterSettings) if one.name in kept})
    try:
        return build_teacher(spec, project.ontology, filters)
    except BackendError as error:
        raise BackendError(
            f"the teacher that labelled last cannot be loaded ({error}): put it back, or label with another one"
        ) from error


def _settings(store: Store) -> Mapping[str, Any]:
    """Return what the last labelling run was given, with its teacher."""
    for run in reversed(store.runs()):
        if run.verb == "label" and isinstance(run.settings.get("teacher"), dict):
            return run.settings
    raise StateError(f"{store.path}: no teacher has labelled here yet: labelstill label PHOTOS --project DIR")

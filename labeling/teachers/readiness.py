"""Which detectors and segmenters can label here, and what to type where one cannot. Imports no heavy library."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import BackendError, InputError, StateError
from ..health import install
from .backends import resolve_weights
from .catalogue import DETECTORS, SEGMENTERS, STUDENT, Backend
from .licences import needs_acceptance, where_to_read
from .student_runs import find_student
from .worker_environment import find

#: Extra -> modules that it brings and that the adapters import.
_MODULES = {
    "teacher": ("torch", "torchvision", "transformers", "supervision", "safetensors", "scipy"),
    "sam2": ("torch", "transformers", "supervision", "sam2"),
    "timm": ("torch", "transformers", "supervision", "timm"),
    "student": ("torch", "transformers", "supervision", "ultralytics"),
}

#: Detectors whose published weights need the library timm, which another extra brings.
_WITH_TIMM = ("omdet-turbo",)

Role = Literal["detector", "segmenter"]


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that keeps a teacher from labelling here.

    Attributes:
        what: in words.
        command: what to type.
    """

    what: str
    command: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """One row of the table of teachers and what it lacks here.

    Attributes:
        name: as --detector or --segmenter takes it.
        role: what it does.
        backend: its row.
        missing: what it lacks, in the order in which it is to be mended; empty where it can label.
    """

    name: str
    role: Role
    backend: Backend
    missing: tuple[Missing, ...]

    @property
    def ready(self) -> bool:
        """Say whether it labels as soon as it is named."""
        return not self.missing


def teachers(project: Path) -> list[Readiness]:
    """Return all detectors, then all segmenters, in the order of their tables.

    Args:
        project: project folder, where students are looked for; need not exist.
    """
    tables: tuple[tuple[Role, dict[str, Backend]], ...] = (
        ("detector", dict(DETECTORS)),
        ("segmenter", dict(SEGMENTERS)),
    )
    return [
        Readiness(name, role, backend, tuple(_missing(name, role, backend, project)))
        for role, table in tables
        for name, backend in table.items()
    ]


def _missing(name: str, role: Role, backend: Backend, project: Path) -> Iterator[Missing]:
    absent = [module for module in _MODULES[backend.extra] if importlib.util.find_spec(module) is None]
    if absent:
        yield Missing(f"{', '.join(absent)} not installed (extra {backend.extra})", install(backend.extra))
    if name in _WITH_TIMM and importlib.util.find_spec("timm") is None:
        yield Missing("timm not installed (extra timm)", install("timm"))
    if backend.environment is not None and find(backend.environment) is None:
        yield Missing("its own environment is not installed", f"labelstill teachers install {backend.environment}")
    if needs_acceptance(name, backend):
        yield Missing(f"licence not accepted: {where_to_read(backend)}", f"labelstill teachers accept {name}")
    if name == STUDENT:
        yield from _missing_student(project)
    else:
        yield from _missing_weights(name, role, backend)


def _missing_student(project: Path) -> Iterator[Missing]:
    try:
        find_student(project, None)
    except StateError:
        yield Missing("no training has ended in this project", "labelstill train")


def _missing_weights(name: str, role: Role, backend: Backend) -> Iterator[Missing]:
    if backend.default_weights is None:
        flag = "--weights" if role == "detector" else "--segmenter-weights"
        label = f'labelstill label PHOTOS --classes "WORDS" --{role} {name} {flag} FILE'
        yield Missing(f"you name its weights: {backend.needs}", label)
        return
    try:
        resolve_weights(name, backend, None, download=False)
    except (BackendError, InputError) as error:
        if Path(backend.default_weights).is_absolute():
            yield Missing(str(error), "git checkout -- labeling/demo/teacher")
        else:
            detail = f"weights {backend.default_weights} are not on this machine; the first run fetches them"
            yield Missing(detail, f"hf download {backend.default_weights}")

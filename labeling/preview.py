"""What a preview runs on: a job whose photos are a varied few, and a project that is thrown away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from .core.errors import InputError
from .core.ontology import Ontology
from .core.store import Store
from .job import LabelJob, LabelRequest
from .project import Project
from .report import SHEET_SIZE
from .sampling import varied_sample


def preview_job(request: LabelRequest, count: int) -> tuple[LabelJob, int]:
    """Return a job for a varied sample of the photos, and how many photos there are in all.

    Files that turn out to be no usable image while the sample is chosen stay in the job, so that its run names them.

    Raises:
        InputError: a count that no report can show, a limit beside it, or what ``LabelJob`` refuses.
    """
    if not 1 <= count <= SHEET_SIZE:
        raise InputError(f"--preview is {count}: expected a number of photos from 1 to {SHEET_SIZE}")
    if request.limit is not None:
        raise InputError("expected --preview or --limit, got both: a preview chooses among all photos, leave one out")
    job = LabelJob(request)
    photos = job.photos.files
    if not photos:
        raise InputError("--preview chooses among photos, here are videos alone: label them without it")
    sample = varied_sample(photos, count, job.load, max_pixels=job.max_pixels)
    wanted = {*sample.chosen, *sample.unusable}
    job.photos = replace(job.photos, files=tuple(file for file in photos if file in wanted))
    return job, len(photos)


@contextlib.contextmanager
def throw_away_project(ontology: Ontology) -> Iterator[tuple[Project, Store]]:
    """Yield an empty project with these classes that is gone after the block."""
    with TemporaryDirectory(prefix="labelstill-preview-") as folder:
        project = Project.create(Path(folder), ontology)
        with project.open_store(create=True) as store:
            yield project, store

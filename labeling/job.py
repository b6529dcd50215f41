"""One labelling job, from what the user asked for to labels.db: the steps behind `labelstill label`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from .core.config import FiltersConfig, ImagesConfig, ProjectConfig
from .core.errors import InputError
from .core.file_hashes import cached_hash
from .core.ontology import Ontology, OntologyClass, load_ontology, parse_classes
from .core.store import Store
from .core.store_rows import shown_path
from .image_files import no_images_error, scan
from .label_request import LabelRequest
from .label_run import Summary, batch_size, label_files, record_rejected
from .planning import Plan, done_key, make_plan, searched_folders
from .project import OWN_FILES, OWN_FOLDERS, Project, project_name
from .teacher_choice import chosen_student, chosen_teacher
from .teachers import backends
from .teachers.filter_settings import FilterSettings
from .teachers.student_choice import StudentChoice
from .video.files import shown_address, videos_among
from .video.footage import Footage, Wanted, record
from .video.propagating import Propagated, Propagation, check_video_weights
from .video.taking import Pace

if TYPE_CHECKING:
    from .pipeline import Load
    from .teachers.teacher import Teacher

__all__ = ["LabelJob", "LabelRequest"]

_AUTO = "auto"


class LabelJob:
    """A request whose every part was checked as far as possible without loading a model; nothing is written yet.

    Raises (when made):
        InputError: no image, no class, an unknown backend, a value out of range, a broken project.yaml.
        BackendError: weights that are not on this machine.
        StateError: the folder holds something else than a project.
    """

    def __init__(self, request: LabelRequest) -> None:
        self.request = request
        self.root = request.project.expanduser().resolve()
        known = Project.exists(self.root)
        config = Project.open(self.root).config if known else ProjectConfig(name=project_name(self.root))
        self.student: StudentChoice | None = None
        """The student who labels; None where another detector does."""
        self.spec = chosen_teacher(request, config.teacher)
        if self.spec.detector == backends.STUDENT:
            self.student = chosen_student(request, config.teacher, self.root)
            self.spec = replace(self.spec, weights=str(self.student.weights), default_score=self.student.threshold)
        self.ontology = _ontology(request, config.ontology, self.student)
        self.scores = backends.effective_scores(self.spec, self.ontology)
        self.filters = FilterSettings(**config.filters.model_dump(include=set(FiltersConfig.model_fields)))
        self.batch = _batch(request.batch or str(config.teacher.batch))
        self._images = config.images
        self.max_pixels = config.images.max_pixels
        if request.limit is not None and request.limit < 1:
            raise InputError(f"--limit is {request.limit}: expected a number of files, 1 or more")
        made_here = [self.root / name for name in (*OWN_FILES, *OWN_FOLDERS)]
        found = scan(request.photos, follow_links=config.images.follow_links, exclude=made_here)
        sources = videos_among(found)
        self.photos = sources.scan
        self.footage = Footage()
        """What was taken from videos and streams; empty before ``take_frames``."""
        self.tracks = 0
        """How many objects were followed through frames of these videos; known after ``run``."""
        self.propagated = Propagated()
        self._wanted = Wanted(
            sources.videos, request.streams, Pace(request.every, request.fps), request.seconds, request.limit
        )
        if not (self.photos.files or sources.videos or request.streams):
            raise no_images_error(request.photos, found)
        self._wanted.check(request.photos)
        backends.check_weights(self.spec)
        if request.propagate:
            check_video_weights(self.spec)
        if not known:
            _check_writable(self.root)

    @property
    def untaught(self) -> tuple[str, ...]:
        """Classes that the student who labels does not know."""
        return tuple(name for name in self.ontology.names if self.student and name not in self.student.classes)

    @property
    def moving(self) -> int:
        """How many videos and streams the job was asked to read."""
        return len(self._wanted.videos) + len(self._wanted.streams)

    @cached_property
    def load(self) -> Load:
        """Decodes one file as project.yaml says."""
        from .images import load

        return partial(load, **self._images.model_dump(include={"max_pixels", "background", "accept_truncated"}))

    @cached_property
    def teacher(self) -> Teacher:
        """The models, loaded when first asked for; an ontology that they cannot take is refused here."""
        from .teachers.teacher import build_teacher

        teacher = build_teacher(self.spec, self.ontology, self.filters)
        teacher.detect([])
        return teacher

    @contextlib.contextmanager
    def open_project(self) -> Iterator[tuple[Project, Store]]:
        """Hold the project for writing; a new one is made only after the teacher was loaded and took the classes."""
        if not Project.exists(self.root):
            _ = self.teacher
            Project.create(self.root, self.ontology)
        project = Project.open(self.root)
        with project.lock(), project.open_store(create=True) as store:
            store.check_classes(self.ontology)
            yield project, store

    def key(self, store: Store) -> str:
        """Return what images are done for; weights that did not change are not hashed again."""
        fingerprint = backends.teacher_fingerprint(self.spec, partial(cached_hash, store))
        return done_key(self.ontology, fingerprint, self.scores, self.filters)

    def take_frames(self, project: Project, store: Store, stop: Event, say: Callable[[str], None]) -> None:
        """Take the frames of the videos and streams; they are photos of this job from then on.

        Args:
            project: from ``open_project``.
            store: from ``open_project``.
            stop: when set, nothing more is read.
            say: told the name of what is read now.
        """
        self.footage = self._wanted.gather(store, project.frames_path, max_pixels=self.max_pixels, stop=stop, say=say)
        self.photos = self.footage.added_to(self.photos)

    def plan(self, store: Store) -> Plan:
        """Compare the photos with labels.db."""
        return make_plan(
            self.photos,
            store.known_files(),
            store.done_keys(backends.machine(self.spec)),
            store.states(),
            self.key(store),
            inputs=self.request.photos,
            limit=self.request.limit,
            retry=store.recall(_GATE_KEY) not in (None, _gate(self._images)),
        )

    def run(
        self, plan: Plan, project: Project, store: Store, stop: Event, on_batch: Callable[[Summary], None]
    ) -> Summary:
        """Label what the plan says, and write classes, labels and the run itself into the project.

        Args:
            plan: of this job.
            project: from ``open_project``.
            store: from ``open_project``.
            stop: when set, the run ends after the batch at hand.
            on_batch: called after each commit with the counts so far.
        """
        if plan.files:
            _ = self.teacher  # before the classes are written, which could not be taken back
        if plan.files or project.config.ontology != self.ontology:
            project.with_ontology(self.ontology, store)
        skipped = [(os.fsencode(file.path), file.reason) for file in self.photos.skipped]
        store.record_skipped(skipped, below=searched_folders(self.request.photos))
        gate, gate_before = _gate(self._images), store.recall(_GATE_KEY)
        if gate_before is None:
            store.remember(_GATE_KEY, gate)
        summary = Summary()
        if plan.files or plan.rejected:
            run_id = store.start_run("label", self._settings())
            record_rejected(store, plan, run_id)
            if plan.files:
                summary = self._label(plan, store, run_id, stop, on_batch)
            store.finish_run(run_id, summary.as_dict())
        # Last: a renamed photo is known by its new name now.
        # A video that can be read now is in no list of files; it was in that of the refused ones.
        read = {os.fsencode(path) for path in self._wanted.videos} - {
            os.fsencode(one.path) for one in self.photos.rejected
        }
        store.forget_files([*plan.gone, *sorted(read)])
        self.tracks = record(store, self.footage)
        if self.request.propagate and not summary.stopped:
            self._propagate(store, stop)
        if gate_before not in (None, gate) and not summary.stopped and self.request.limit is None:
            store.remember(_GATE_KEY, gate)
        return summary

    def _label(
        self, plan: Plan, store: Store, run_id: int, stop: Event, on_batch: Callable[[Summary], None]
    ) -> Summary:
        device = _device(self.spec.device)
        memory = f"batch of {self.teacher.model} on {device}"
        return label_files(
            store,
            plan,
            self.teacher,
            self.load,
            key=self.key(store),
            run_id=run_id,
            batch=self.batch or batch_size(store, memory, device),
            batch_memory=memory,
            stop=stop,
            on_batch=on_batch,
        )

    def _propagate(self, store: Store, stop: Event) -> None:
        films = [film for film in self.footage.films if film.source is not None]
        run_id = store.start_run("label", self._settings() | {"propagate": self.request.propagate_every})
        propagation = Propagation(self.spec, self.key(store), self.request.propagate_every, self.load)
        for film in films:
            self.propagated = self.propagated.plus(propagation.fill(store, film, run_id, stop))
        store.finish_run(run_id, asdict(self.propagated))
        self.tracks = record(store, self.footage)

    def _settings(self) -> dict[str, object]:
        spec = {
            name: shown_path(os.fsencode(value)) if isinstance(value, str | Path) else value
            for name, value in asdict(self.spec).items()
            if value is not None and name != "members"  # they follow from the names
        }
        return {
            "photos": [os.fsencode(path).decode("utf-8", "backslashreplace") for path in self.request.photos],
            "streams": [shown_address(address) for address in self.request.streams],
            "classes": list(self.ontology.names),
            "teacher": spec,
            "scores": list(self.scores),
            "filters": asdict(self.filters),
        }


_GATE_KEY = "image gate"


def _gate(images: ImagesConfig) -> str:
    """Return what decides whether a file is a usable image; when it changes, quarantined files get another chance."""
    return json.dumps([images.model_dump(), importlib.util.find_spec("pillow_heif") is not None])


def _ontology(request: LabelRequest, known: Ontology | None, student: StudentChoice | None) -> Ontology:
    if request.classes is not None and request.ontology is not None:
        raise InputError("expected --classes or --ontology, got both: leave one out")
    given = parse_classes(request.classes) if request.classes is not None else None
    given = load_ontology(request.ontology) if request.ontology is not None else given
    if known is not None and given is not None:
        return known.extended_with(given)
    ontology = given or known
    if ontology is None and student is not None:
        return Ontology(tuple(OntologyClass(name, (name,)) for name in student.classes))
    if ontology is None:
        raise InputError("nothing to look for: add --classes 'forklift, pallet: wooden pallet | plastic pallet'")
    return ontology


def _batch(text: str) -> int | None:
    if text == _AUTO:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(f"--batch is {text!r}: expected auto or a number of images, 1 or more")
    return int(text)


def _device(requested: str) -> str:
    """Return "cpu" or "cuda" for a teacher that is loaded; one that did not load torch is on the CPU."""
    if "torch" not in sys.modules:
        return "cpu"
    from .teachers.device import pick_device

    return pick_device(requested).type


def _check_writable(root: Path) -> None:
    folder = next(parent for parent in (root, *root.parents) if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{root}: the project folder cannot be made, {folder} cannot be written to: name another one")

"""From label files of other programs to reviewed labels in a project, in batches that a kill cannot tear."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core import masks
from ..core.errors import InputError
from ..core.ontology import Ontology, OntologyClass
from ..core.records import REVIEWED_STATES, Annotation, Provenance
from ..core.store import FileStamp, ImageOutcome, Review, Store
from ..project import Project
from .datasets import Dataset, Entry, Refused, Unlabelled
from .export import COCO_GROUPS, COCO_IDS, CROWD, remembered_groups, remembered_ids
from .items import Item, LabelledImage
from .passing import nothing_usable
from .reading import LoadImage, Picture, SizeWh, check_bytes, labelled_image, open_picture, without_empty_masks

BATCH = 64
"""Images per transaction."""


@dataclass(slots=True)
class Imported:
    """What an import did.

    Attributes:
        objects: class name to number of objects taken over.
        images: images that became reviewed.
        empty: images among them without objects.
        kept: images that people have reviewed before, whose labels stay.
        doubled: (name, number of objects not taken) of images that came a second time in the same import.
        unlabelled: images that nobody has labelled.
        machine: images with labels that are marked as a machine's, so that nobody has reviewed them.
        turned: rotated rectangles, kept as masks.
        empty_masks: masks without a pixel, whose boxes are kept.
        new_classes: classes that the project did not have, in order.
        refused: (name, reason) of what could not be used.
    """

    objects: Counter[str] = field(default_factory=Counter)
    images: int = 0
    empty: int = 0
    kept: int = 0
    doubled: list[tuple[str, int]] = field(default_factory=list)
    unlabelled: int = 0
    machine: int = 0
    turned: int = 0
    empty_masks: int = 0
    new_classes: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def import_labels(
    dataset: Dataset, root: Path, load: LoadImage, on_batch: Callable[[Imported], None] | None = None
) -> Imported:
    """Take over the labels of a dataset as reviewed labels of a project.

    An image that people have reviewed keeps its labels, so the same import again changes nothing, and one that was
    killed goes on where it ended. Classes are appended to project.yaml as they come.

    Args:
        dataset: to read.
        root: project folder; made at the first usable image where there is none.
        load: the gate.
        on_batch: called after each commit with the counts so far.

    Raises:
        InputError: not one image can be used, or a class of the dataset is none for a project.
        StateError: another process holds the project.
    """
    with _Import(dataset, root, load) as run:
        for batch in _batches(run.reviews()):
            run.commit(batch)
            if on_batch is not None:
                on_batch(run.done)
        run.finish()
    if not run.done.images + run.done.kept:
        raise nothing_usable(dataset, run.done.refused, run.done.unlabelled, run.done.machine)
    return run.done


class _Import:
    """One import at work: what is known of the project, and the open project once there is one."""

    def __init__(self, dataset: Dataset, root: Path, load: LoadImage) -> None:
        self.done = Imported()
        self._dataset = dataset
        self._root = root
        self._load = load
        self._stack = contextlib.ExitStack()
        self._project: Project | None = None
        self._store: Store | None = None
        self._run_id: int | None = None
        self._files: dict[bytes, tuple[int, int, str | None]] = {}
        self._sizes: dict[str, SizeWh] = {}
        self._reviewed: set[str] = set()
        self._met: set[str] = set()
        self._ontology: Ontology | None = None
        self._classes_before = 0

    def __enter__(self) -> _Import:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            if Project.exists(self._root):
                self._open(Project.open(self._root))
                self._classes_before = len(self._ontology.names) if self._ontology is not None else 0
            declared = [_class(name, self._dataset.prompts.get(name)) for name in self._dataset.class_names]
            self._ontology = _with(self._ontology, declared)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def reviews(self) -> Iterator[Review]:
        """Yield what there is to write, image by image; everything else is counted."""
        for found in self._dataset.entries():
            if isinstance(found, Unlabelled):
                self.done.unlabelled += 1
            elif isinstance(found, Refused):
                self.done.refused.append((found.name, found.reason))
            else:
                try:
                    review = self._review(found)
                except InputError as error:
                    self.done.refused.append((found.name, str(error)))
                    continue
                if review is not None:
                    yield review

    def commit(self, batch: list[Review]) -> None:
        """Write one batch, the classes first: a class without objects does no harm, the reverse would."""
        if self._project is None:
            self._open(Project.create(self._root, self._ontology))
        assert self._project is not None
        assert self._store is not None
        if self._ontology is not None and self._ontology.names != self._store.class_names():
            self._project = self._project.with_ontology(self._ontology, self._store)
            self.done.new_classes = list(self._ontology.names[self._classes_before :])
        self._remember_ids(self._store)
        if self._run_id is None:
            self._run_id = self._store.start_run("convert", {"from": self._dataset.title})
        self._store.commit_reviews(batch, self._run_id)
        for review in batch:
            if review.state is not None:
                self.done.images += 1
                self.done.empty += not review.annotations
                self.done.objects.update(annotation.class_name for annotation in review.annotations)

    def finish(self) -> None:
        """Note in the project that the import ended, where it wrote anything."""
        if self._store is not None and self._run_id is not None:
            done = self.done
            summary = {"images": done.images, "objects": done.objects.total(), "refused": len(done.refused)}
            self._store.finish_run(self._run_id, {**summary, "kept": done.kept})

    def _open(self, project: Project) -> None:
        self._stack.enter_context(project.lock())
        self._project = project
        self._store = self._stack.enter_context(project.open_store(create=True))
        known = self._store.known_files()
        self._files = {path: (row.size, row.mtime_ns, row.sha256) for path, row in known.items() if row.status == "ok"}
        self._sizes = self._store.sizes()
        self._reviewed = {sha for sha, state in self._store.states().items() if state in REVIEWED_STATES}
        self._ontology = self._ontology or project.config.ontology

    def _review(self, entry: Entry) -> Review | None:
        """Return what to write about one image, None where nothing is new. Raises InputError."""
        outcome = self._outcome(entry)
        sha256, size = outcome.sha256 or "", (outcome.width or 0, outcome.height or 0)
        check_bytes(entry, sha256)
        if sha256 in self._met:
            self.done.doubled.append((entry.name, len(entry.objects(size))))
        elif sha256 in self._reviewed:
            self.done.kept += 1
            self._met.add(sha256)
        else:
            image = labelled_image(entry, size, sha256)
            if not image.reviewed or any(item.source == "machine" for item in image.objects):
                self.done.machine += 1
                return None
            image, empty = without_empty_masks(image)
            names = self._take_classes(image)
            annotations = tuple(
                self._annotation(item, names[item.class_name], sha256, size, index)
                for index, item in enumerate(image.objects)
            )
            self.done.empty_masks += empty
            self._met.add(sha256)
            return Review(outcome, annotations, "reviewed" if annotations else "reviewed-empty")
        return Review(outcome) if outcome.files else None

    def _outcome(self, entry: Entry) -> ImageOutcome:
        """Return the image, which is decoded only where labels.db does not know it. Raises InputError."""
        if entry.sha256 in self._sizes:
            return ImageOutcome((), entry.sha256, *self._sizes[entry.sha256])
        path = entry.picture()
        stamp = _stamp(path)
        size, changed, sha256 = self._files.get(stamp.path, (None, None, None))
        if (size, changed) == (stamp.size, stamp.mtime_ns) and sha256 in self._sizes:
            return ImageOutcome((), sha256, *self._sizes[sha256])
        picture: Picture = open_picture(path, self._load)
        return ImageOutcome((stamp,), picture.sha256, *picture.size_wh, picture.notes)

    def _take_classes(self, image: LabelledImage) -> dict[str, str]:
        """Return the name in the project of each class name of an image; new ones are appended. Raises InputError."""
        classes = [_class(name, None) for name in dict.fromkeys(item.class_name for item in image.objects)]
        self._ontology = _with(self._ontology, classes)
        return {item.class_name: _class(item.class_name, None).name for item in image.objects}

    def _annotation(self, item: Item, name: str, sha256: str, size_wh: SizeWh, index: int) -> Annotation:
        rle = item.rle
        if rle is None and item.corners is not None:
            drawn = masks.polygons_to_rle([np.array(item.corners)], (size_wh[1], size_wh[0]))
            rle = drawn if masks.area(drawn) else None
            self.done.turned += rle is not None
            self.done.empty_masks += rle is None
        source = self._dataset.title
        # No time and no run in the id: the same content always gets the same one.
        content = [sha256, "imported", source, name, [round(edge, 2) for edge in item.box_xyxy], index]
        return Annotation(
            id=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32],
            sha256=sha256,
            class_name=name,
            box_xyxy=item.box_xyxy,
            provenance=Provenance("imported", annotator=source),
            rle=rle,
            flags=(CROWD,) if item.crowd else (),
        )

    def _remember_ids(self, store: Store) -> None:
        known = remembered_ids(store)
        ids = dict(known)
        for name, number in self._dataset.category_ids.items():
            if number not in ids.values():
                ids.setdefault(_class(name, None).name, number)
        if ids != known:
            store.remember(COCO_IDS, json.dumps(ids, ensure_ascii=False))
        groups = {_class(name, None).name: group for name, group in self._dataset.supercategories.items()}
        if groups.items() - remembered_groups(store).items():
            store.remember(COCO_GROUPS, json.dumps(groups | remembered_groups(store), ensure_ascii=False))


def _class(name: str, prompts: tuple[str, ...] | None) -> OntologyClass:
    return OntologyClass(name, prompts or (name,))


def _with(ontology: Ontology | None, classes: list[OntologyClass]) -> Ontology | None:
    """Return the ontology with the classes that it does not have appended. Raises InputError."""
    known = ontology.classes if ontology is not None else ()
    names = {entry.name for entry in known}
    new = list({entry.name: entry for entry in classes if entry.name not in names}.values())
    if not new:
        return ontology
    try:
        return Ontology((*known, *new))
    except InputError as error:
        raise InputError(f"classes: {error}; rename it in the label file or in project.yaml") from error


def _stamp(path: Path) -> FileStamp:
    try:
        info = path.stat()
    except OSError as error:
        raise InputError(f"missing: {error.strerror}") from error
    return FileStamp(os.fsencode(path), info.st_size, info.st_mtime_ns)


def _batches(reviews: Iterator[Review]) -> Iterator[list[Review]]:
    batch: list[Review] = []
    for review in reviews:
        batch.append(review)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

"""The report of a project: one HTML file that needs no network, with pictures, counts and doubts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from . import report_words as words
from .core.errors import MissingExtraError
from .core.file_hashes import cached_hash
from .core.ontology import Ontology
from .core.records import Annotation, ImageRecord
from .core.store import Store
from .core.store_studio import StudioLedger
from .findings import Findings, collect
from .html import page
from .pictures import FRAME_WH, Shown, picture, window_around
from .stored_photos import Load, StoredPhotos
from .video.ledger import FrameLedger

SHEET_SIZE = 60
UNSURE_SIZE = 24

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_MOST_ROWS = 200
_MOST_RUNS = 20


@dataclass(frozen=True, slots=True)
class Preview:
    """What makes a report one of a preview.

    Attributes:
        photos: how many there are in all.
        label: command that labels them all.
        again: command that makes another preview.
    """

    photos: int
    label: str
    again: str


def render(
    store: Store, ontology: Ontology, project: Path, load: Load, preview: Preview | None = None
) -> tuple[str, Findings]:
    """Return the HTML and what it says. Photos are decoded one at a time; the sources are only read.

    Args:
        store: of the project.
        ontology: of the project.
        project: its folder, for its name and for the commands that are suggested.
        load: decodes a photo.
        preview: says that these are a few photos of many, and what to type then; None for the report of a project.
    """
    labelled = (
        (image, store.annotations_of(image.sha256, "best"))
        for image in store.iter_images("best")
        if image.sha256 is not None
    )
    found = collect(labelled, ontology.names, SHEET_SIZE, UNSURE_SIZE)
    counts = store.counts()
    ids = {name: i for i, name in enumerate(ontology.names)}
    photos = StoredPhotos(store, load)
    sheet, unsure = list(_sheet(store, found, ids, photos)), list(_unsure(found, ids, photos))
    drops, runs = store.drop_counts(), store.runs()
    notes = [*words.notes(found, counts), *words.how_looked(found, FrameLedger(store).counts())]
    next_steps = words.next_steps(project, found, runs)
    audited = None
    if StudioLedger(store).targets():
        from .audit_report import audit_section

        try:
            audited = audit_section(store, ontology, photos.photo)
        except MissingExtraError as error:
            notes.append({"text": f"What people changed is not measured: {error}", "look": True})
    if preview is not None:
        notes.insert(0, words.preview_note(found, preview.photos))
        next_steps = words.steps_after_preview(preview.label, preview.again)
    text = page(
        _TEMPLATE,
        project=project.resolve().name,
        made_at=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        version=metadata.version("labelstill"),
        headline=words.headline(found),
        tiles=words.tiles(found, counts),
        notes=notes,
        classes=words.class_rows(found, ontology),
        frame=FRAME_WH,
        sheet=sheet,
        sheet_hint=words.sheet_hint(len(sheet), found.images),
        unsure=unsure,
        audit=audited,
        quarantined=counts["quarantined"][:_MOST_ROWS],
        quarantined_count=len(counts["quarantined"]),
        vanished=[{"path": path, "reason": reason} for path, reason in sorted(photos.vanished.items())],
        dropped=words.drop_rows(drops),
        dropped_count=drops.total(),
        copies=found.copies,
        skipped=counts["skipped_files"],
        teacher=words.teacher_rows(runs, partial(cached_hash, store)),
        runs=[words.run_row(run) for run in reversed(runs[-_MOST_RUNS:])],
        next_steps=next_steps,
    )  # fmt: skip
    return text, found


def _sheet(store: Store, found: Findings, ids: Mapping[str, int], photos: StoredPhotos) -> Iterator[Shown]:
    for image in found.sample:
        loaded = photos.photo(image.sha256 or "", image.paths[0])
        if loaded is not None:
            objects = store.annotations_of(loaded.sha256, "best")
            said = words.counted(len(objects), "object")
            if image.state in ("reviewed", "reviewed-empty"):
                said += ", reviewed"
            name = _base_name(image)
            yield Shown(picture(loaded.pixels, objects, ids), name, said, f"{name}: {said}")


def _unsure(found: Findings, ids: Mapping[str, int], photos: StoredPhotos) -> Iterator[Shown]:
    for image, annotation in found.unsure:
        loaded = photos.photo(image.sha256 or "", image.paths[0])
        if loaded is not None:
            height, width = loaded.pixels.shape[:2]
            window = window_around(annotation.box_xyxy, (width, height))
            said = f"{annotation.class_name}, score {annotation.provenance.score:.2f}"
            name = _base_name(image)
            yield Shown(picture(loaded.pixels, [annotation], ids, window), name, _prompt(annotation), f"{name}: {said}")


def _prompt(annotation: Annotation) -> str:
    return f"prompt: {annotation.provenance.prompt}" if annotation.provenance.prompt else annotation.class_name


def _base_name(image: ImageRecord) -> str:
    return image.paths[0].rsplit("/", 1)[-1]

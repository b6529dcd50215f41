"""From labels.db to a folder of any format: one pass over the store, one image in memory at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..core.errors import InputError
from ..core.ontology import Ontology
from ..core.records import REVIEWED_STATES, Annotation
from ..core.store import Labels, Store
from ..core.store_decisions import DecisionLedger
from ..core.store_rows import shown_path
from ..image_copies import ImageCopy
from .items import Item, LabelledImage
from .targets import TARGETS
from .writing import Outgoing, write_images
from .written import Written

CROWD = "crowd"
"""Flag in labels.db of a label for a group that nobody counted."""

COCO_IDS = "coco category ids"
"""What labels.db remembers the category ids of an imported COCO file under, as JSON ``{name: id}``."""

COCO_GROUPS = "coco supercategories"
"""Likewise their supercategories, as JSON ``{name: supercategory}``."""

CopyImage = Callable[[Path], ImageCopy]
"""Gives what trainers shall read instead of a file; raises InputError where that is no usable image."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One image to export."""

    sha256: str
    size_wh: tuple[int, int]
    name: str
    reviewed: bool


def export_labels(
    store: Store, ontology: Ontology, to: str, out: Path, labels: Labels, copy_image: CopyImage, *, force: bool
) -> Written:
    """Write the labels of a project, but for images and labels that people decided to drop.

    Args:
        store: of the project.
        ontology: of the project; its order gives the class numbers, but for ids that came from a COCO file.
        to: name of the format, see TARGETS.
        out: folder for the export.
        labels: whose labels.
        copy_image: gives the picture that trainers shall read; must answer for the bytes that were labelled.
        force: allow a folder with an earlier export.

    Raises:
        InputError: no image has such labels, no picture is left, or ``out`` cannot be used.
    """
    sources = _sources(store, labels)
    return write_images(
        _outgoing(store, sources, labels, copy_image),
        TARGETS[to],
        out,
        class_names=ontology.names,
        kept_ids=remembered_ids(store),
        title=f"labelstill, labels: {labels}",
        prompts={prompt: ontology.names[class_id] for prompt, class_id in ontology.prompts},
        supercategories=remembered_groups(store),
        force=force,
    )


def remembered_ids(store: Store) -> dict[str, int]:
    """Return the category ids that came with an imported COCO file, by class name."""
    ids: dict[str, int] = json.loads(store.recall(COCO_IDS) or "{}")
    return ids


def remembered_groups(store: Store) -> dict[str, str]:
    """Return the supercategories that came with an imported COCO file, by class name."""
    groups: dict[str, str] = json.loads(store.recall(COCO_GROUPS) or "{}")
    return groups


def to_item(annotation: Annotation) -> Item:
    """Return a label as label formats know it."""
    made = annotation.provenance
    return Item(
        annotation.class_name,
        annotation.box_xyxy,
        annotation.rle,
        crowd=CROWD in annotation.flags,
        score=made.score,
        source="human" if made.source in ("human", "imported") else "machine",
        made=made,
    )


def _sources(store: Store, labels: Labels) -> list[_Source]:
    """Return what to export in the order of paths; a list, so that a run that goes on meanwhile changes nothing."""
    sources = []
    dropped = DecisionLedger(store).images("drop", whole=True)
    for image in store.iter_images(labels):
        if image.sha256 in dropped:
            continue
        assert image.sha256 is not None, "labels lie on decoded images only"
        assert image.width is not None
        assert image.height is not None
        name = _base_name(store.files_of(image.sha256)[0])
        reviewed = labels != "machine" and image.state in REVIEWED_STATES
        sources.append(_Source(image.sha256, (image.width, image.height), name, reviewed))
    if not sources:
        if dropped:
            raise InputError(f"nothing to write: every photo with labels of the kind '{labels}' was decided to drop")
        wanted = "label some with 'labelstill label PHOTOS'"
        if labels == "human":
            wanted = "nobody has reviewed any yet, --labels best takes the teacher's labels"
        raise InputError(f"nothing to write: no photo of this project has labels of the kind '{labels}': {wanted}")
    return sources


def _outgoing(store: Store, sources: Sequence[_Source], labels: Labels, copy_image: CopyImage) -> Iterator[Outgoing]:
    dropped = DecisionLedger(store).dropped_labels()
    for source in sources:
        found = store.annotations_of(source.sha256, labels)
        objects = tuple(to_item(annotation) for annotation in found if annotation.id not in dropped)
        image = LabelledImage(source.name, source.size_wh, objects, source.sha256, source.reviewed)
        paths = store.files_of(source.sha256)
        yield Outgoing(image, shown_path(os.fsencode(paths[0])), partial(_picture, paths, source.sha256, copy_image))


def _picture(paths: Sequence[Path], sha256: str, copy_image: CopyImage) -> ImageCopy:
    """Return the picture from the first of its files that still holds it; raises InputError where none does."""
    said = ""
    for path in paths:
        try:
            copy = copy_image(path)
        except InputError as error:
            said = said or str(error)
            continue
        if copy.sha256 == sha256:
            return copy
        said = said or "changed: the file holds another image now; label it again"
    raise InputError(said)


def _base_name(path: Path) -> str:
    """Return the last part as the file system has it where that is valid text, else as shown to people."""
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        return shown_path(os.fsencode(path.name))
    return path.name

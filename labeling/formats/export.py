"""From labels.db to a folder of COCO or YOLO files: one pass over the store, one image in memory at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.records import Annotation
from ..core.store import Labels, Store
from ..core.store_rows import shown_path
from ..image_copies import ImageCopy
from . import coco, yolo
from .folder import export_folder
from .names import safe_stem, split_name, unique_names

COCO_FILE = "annotations.json"
YOLO_FILE = "data.yaml"

COARSE_IOU = 0.95
"""A polygon that stands for its mask less well than this is counted."""

CopyImage = Callable[[Path], ImageCopy]
"""Gives what trainers shall read instead of a file; raises InputError where that is no usable image."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One image to export: identity, size in pixels, and the name of its first file."""

    sha256: str
    size_wh: tuple[int, int]
    stem: str
    suffix: str


@dataclass(slots=True)
class Exported:
    """What an export holds, and what it could not hold.

    Attributes:
        index: the file that readers open.
        objects: class name to number of objects written, every class named.
        images: number of images written.
        empty: images among them without objects.
        missing: (path, reason) of labelled images that are not where they were.
        bridged: masks in several parts that became one polygon each.
        coarse: masks that their polygon stands for with an IoU below COARSE_IOU.
        rectangles: objects without a mask, or with one too small to outline, that a segment file has as rectangles.
        outside: objects of which nothing lies inside the image; they have no line.
    """

    index: Path
    objects: Counter[str]
    images: int = 0
    empty: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)
    bridged: int = 0
    coarse: int = 0
    rectangles: int = 0
    outside: int = 0


def export_coco(store: Store, class_names: Sequence[str], out: Path, labels: Labels, *, force: bool) -> Exported:
    """Write one COCO file; pictures stay where they are.

    Args:
        store: of the project.
        class_names: in the order of the ontology.
        out: folder for ``annotations.json``.
        labels: whose labels.
        force: allow a folder with something in it.

    Raises:
        InputError: no image has such labels, or ``out`` cannot be used.
    """
    sources = _sources(store, labels)
    done = Exported(out / COCO_FILE, Counter(dict.fromkeys(class_names, 0)))
    head = {
        "info": {"description": f"labelstill, labels: {labels}", "version": "1.0"},
        "licenses": [],
        "categories": coco.categories(class_names),
    }
    with export_folder(out, COCO_FILE, force=force) as folder, (folder / COCO_FILE).open("w", encoding="utf-8") as file:
        annotations = _coco_annotations(store, sources, class_names, labels, done)
        file.writelines(coco.document(head, _coco_images(sources), annotations))
        file.flush()
        os.fsync(file.fileno())
    return done


def export_yolo(
    store: Store,
    class_names: Sequence[str],
    out: Path,
    labels: Labels,
    copy_image: CopyImage,
    *,
    segments: bool,
    force: bool,
) -> Exported:
    """Write ``images/``, ``labels/`` and ``data.yaml``; an image without objects gets an empty label file.

    Args:
        store: of the project.
        class_names: in the order of the ontology.
        out: folder for the dataset.
        labels: whose labels.
        copy_image: gives the picture that trainers shall read; must answer for the bytes that were labelled.
        segments: polygons instead of boxes.
        force: allow a folder with something in it.

    Raises:
        InputError: no image has such labels, no picture is left, or ``out`` cannot be used.
    """
    sources = _sources(store, labels)
    done = Exported(out / YOLO_FILE, Counter(dict.fromkeys(class_names, 0)))
    ids = {name: i for i, name in enumerate(class_names)}
    stems = unique_names((safe_stem(source.stem), "", source.sha256) for source in sources)
    with export_folder(out, YOLO_FILE, force=force) as folder:
        (folder / "images").mkdir()
        (folder / "labels").mkdir()
        for source, stem in zip(sources, stems, strict=True):
            copy = _picture(store, source.sha256, copy_image, done)
            if copy is None:
                continue
            lines: list[str] = []
            for annotation in store.annotations_of(source.sha256, labels):
                line = _line(annotation, ids[annotation.class_name], source.size_wh, segments, done)
                if line is None:
                    done.outside += 1
                else:
                    lines.append(line + "\n")
                    done.objects[annotation.class_name] += 1
            (folder / "images" / (stem + copy.suffix)).write_bytes(copy.data)
            (folder / "labels" / (stem + ".txt")).write_text("".join(lines), encoding="utf-8")
            done.images += 1
            done.empty += not lines
        if not done.images:
            path, reason = done.missing[0]
            raise InputError(f"none of the {len(done.missing)} labelled photos can be read: {path}: {reason}")
        (folder / YOLO_FILE).write_text(yolo.data_yaml(os.path.abspath(out), class_names), encoding="utf-8")
    return done


def _sources(store: Store, labels: Labels) -> list[_Source]:
    """Return what to export in the order of paths; a list, so that a run that goes on meanwhile changes nothing."""
    sources = []
    for image in store.iter_images(labels):
        assert image.sha256 is not None, "labels lie on decoded images only"
        assert image.width is not None
        assert image.height is not None
        name = split_name(_base_name(store.files_of(image.sha256)[0]))
        sources.append(_Source(image.sha256, (image.width, image.height), *name))
    if not sources:
        wanted = "label some with 'labelstill label PHOTOS'"
        if labels == "human":
            wanted = "nobody has reviewed any yet, --labels best takes the teacher's labels"
        raise InputError(f"nothing to write: no photo of this project has labels of the kind '{labels}': {wanted}")
    return sources


def _coco_images(sources: Sequence[_Source]) -> Iterator[dict[str, Any]]:
    names = unique_names((source.stem, source.suffix, source.sha256) for source in sources)
    for number, (source, name) in enumerate(zip(sources, names, strict=True), start=1):
        yield coco.image_entry(number, name, source.size_wh, source.sha256)


def _coco_annotations(
    store: Store, sources: Sequence[_Source], class_names: Sequence[str], labels: Labels, done: Exported
) -> Iterator[dict[str, Any]]:
    ids = {name: i for i, name in enumerate(class_names, start=1)}
    for image_id, source in enumerate(sources, start=1):
        found = store.annotations_of(source.sha256, labels)
        for annotation in found:
            done.objects[annotation.class_name] += 1
            yield coco.annotation_entry(annotation, done.objects.total(), image_id, ids[annotation.class_name])
        done.images += 1
        done.empty += not found


def _line(
    annotation: Annotation, class_id: int, size_wh: tuple[int, int], segments: bool, done: Exported
) -> str | None:
    line = yolo.box_line(class_id, annotation.box_xyxy, size_wh)
    if not segments or line is None:
        return line
    shape = annotation.rle and yolo.segment(annotation.rle)
    if not shape:
        done.rectangles += 1
        return yolo.segment_line(class_id, yolo.box_polygon(annotation.box_xyxy), size_wh)
    done.bridged += shape.parts > 1
    done.coarse += shape.iou < COARSE_IOU
    return yolo.segment_line(class_id, shape.polygon, size_wh)


def _picture(store: Store, sha256: str, copy_image: CopyImage, done: Exported) -> ImageCopy | None:
    """Return the picture from the first of its files that still holds it; where none does, that is noted."""
    paths = store.files_of(sha256)
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
    done.missing.append((shown_path(os.fsencode(paths[0])), said))
    return None


def _base_name(path: Path) -> str:
    """Return the last part as the file system has it where that is valid text, else as shown to people."""
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        return shown_path(os.fsencode(path.name))
    return path.name

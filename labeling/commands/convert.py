"""`labelstill convert`: the labels of a project as COCO or YOLO files."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..formats.export import COARSE_IOU, Exported, export_coco, export_yolo
from ..image_copies import normalised_copy
from ..image_files import display
from ..project import Project

_SHOWN_FILES = 10


class Format(StrEnum):
    """What other programs read."""

    COCO = "coco"
    YOLO = "yolo"
    YOLO_SEG = "yolo-seg"


class Which(StrEnum):
    """Whose labels: people's where they reviewed and the machine's elsewhere, or one of the two alone."""

    BEST = "best"
    MACHINE = "machine"
    HUMAN = "human"


def run(
    to: Annotated[Format, typer.Option("--to", help="coco: one JSON file; yolo, yolo-seg: images, labels, data.yaml.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new or empty folder, anywhere.")],
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    labels: Annotated[
        Which, typer.Option("--labels", help="best: human where reviewed, machine elsewhere.")
    ] = Which.BEST,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an earlier export in DIR; files of others there are never replaced."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Write the labels as COCO or YOLO. Photos are only read; exit code 2 where some were gone."""
    answer = convert(Project.open(project), to, out.expanduser().absolute(), labels, force=force)
    print(json.dumps(answer) if as_json else _as_text(answer))
    return 2 if answer["left_out"]["missing"] else 0


def convert(opened: Project, to: Format, out: Path, labels: Which, *, force: bool) -> dict[str, Any]:
    """Write one export and return what ``--json`` prints."""
    with opened.open_store() as store:
        store.check_classes(opened.ontology)
        names = opened.ontology.names
        if to is Format.COCO:
            done = export_coco(store, names, out, labels.value, force=force)
        else:
            gate = opened.config.images
            copy_image = partial(
                normalised_copy,
                max_pixels=gate.max_pixels,
                background=gate.background,
                accept_truncated=gate.accept_truncated,
            )
            segments = to is Format.YOLO_SEG
            done = export_yolo(store, names, out, labels.value, copy_image, segments=segments, force=force)
        return _answer(done, to, labels, store.counts())


def _answer(done: Exported, to: Format, labels: Which, counts: dict[str, Any]) -> dict[str, Any]:
    waiting = counts["images"].get("new", 0)
    return {
        "out": str(done.index.parent),
        "file": str(done.index),
        "format": to.value,
        "labels": labels.value,
        "images": done.images,
        "images_without_objects": done.empty,
        "annotations": dict(done.objects),
        "left_out": {
            "quarantined_files": len(counts["quarantined"]),
            "not_labelled": waiting,
            "skipped_by_people": counts["images"].get("skipped", 0) if labels is not Which.MACHINE else 0,
            "missing": [{"path": path, "reason": reason} for path, reason in done.missing],
            "objects_outside_their_image": done.outside,
        },
        "polygons": {
            "joined_from_parts": done.bridged,
            "iou_below_0.95": done.coarse,
            "rectangles_for_lack_of_a_mask": done.rectangles,
        },
    }


def _as_text(answer: dict[str, Any]) -> str:
    objects = answer["annotations"]
    lines = [
        f"wrote {answer['format']}, labels {answer['labels']}: {sum(objects.values())} objects of "
        f"{sum(number > 0 for number in objects.values())} classes on {answer['images']} photos, "
        f"{answer['images_without_objects']} of them without objects"
    ]
    left, polygons = answer["left_out"], answer["polygons"]
    said = {
        "quarantined files": left["quarantined_files"],
        "photos not labelled yet": left["not_labelled"],
        "photos that people skipped": left["skipped_by_people"],
        "objects outside their photo": left["objects_outside_their_image"],
        "photos that were gone or changed": len(left["missing"]),
    }
    lines += [f"  left out: {number} {what}" for what, number in said.items() if number]
    lines += [f"    {display(Path(row['path']))}: {row['reason']}" for row in left["missing"][:_SHOWN_FILES]]
    losses = {
        "masks in several parts, each joined into one polygon": polygons["joined_from_parts"],
        f"masks that a polygon stands for with an IoU below {COARSE_IOU}": polygons["iou_below_0.95"],
        "objects without a mask, written as rectangles": polygons["rectangles_for_lack_of_a_mask"],
    }
    lines += [f"  {number} {what}" for what, number in losses.items() if number]
    lines.append(f"  {display(Path(answer['file']))}")
    if answer["format"] != "coco":
        lines.append("next: split the photos into training and validation before you compare figures")
    return "\n".join(lines)

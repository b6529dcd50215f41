"""What `labelstill convert` answers: one mapping for programs, and the same as text for people."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.store_decisions import DecisionLedger
from ..formats.written import COARSE_IOU, EMPTY_MASKS, LOSSES, Loss, Written
from ..image_files import display

if TYPE_CHECKING:
    from ..formats.datasets import Dataset
    from ..formats.importing import Imported
    from ..formats.passing import Passed

_SHOWN = 10

_POLYGONS: dict[str, Loss] = {
    "joined_from_parts": "bridged",
    f"iou_below_{COARSE_IOU}": "coarse",
    "rectangles_for_lack_of_a_mask": "rectangles",
}


def export_answer(
    done: Written, to: str, labels: str, counts: dict[str, Any], decided: DecisionLedger
) -> dict[str, Any]:
    """Return what ``--json`` prints for an export of a project."""
    skipped = counts["images"].get("skipped", 0) if labels != "machine" else 0
    left_out = {
        "quarantined_files": len(counts["quarantined"]),
        "not_labelled": counts["images"].get("new", 0),
        "skipped_by_people": skipped,
        "dropped_photos": len(decided.images("drop", whole=True)),
        "dropped_objects": len(decided.dropped_labels()),
    }
    return _written(done, to, left_out) | {"labels": labels}


def passing_answer(done: Written, passed: Passed, form: str, to: str) -> dict[str, Any]:
    """Return what ``--json`` prints for labels that went from one format to another."""
    return _written(done, to, {"not_labelled": passed.unlabelled}) | {
        "from": form,
        "refused": _named(passed.refused),
        "masks_without_a_pixel": passed.empty_masks,
        "notes": list(passed.notes),
    }


def import_answer(done: Imported, form: str, dataset: Dataset, root: Path) -> dict[str, Any]:
    """Return what ``--json`` prints for an import."""
    return {
        "project": str(root),
        "labels": str(root / "labels.db"),
        "from": form,
        "annotator": dataset.title,
        "images": done.images,
        "images_without_objects": done.empty,
        "annotations": dict(done.objects),
        "new_classes": done.new_classes,
        "kept": done.kept,
        "doubled": len(done.doubled),
        "doubled_photos": [{"name": name, "objects_not_taken": number} for name, number in done.doubled],
        "not_labelled": done.unlabelled,
        "machine_labels": done.machine,
        "rotated_rectangles_kept_as_masks": done.turned,
        "masks_without_a_pixel": done.empty_masks,
        "refused": _named(done.refused),
        "notes": list(dataset.said()),
    }


def of_export(answer: dict[str, Any]) -> str:
    """Return what people read after an export of a project."""
    return "\n".join([f"wrote {answer['format']}, labels {answer['labels']}: {_counted(answer)}", *_after(answer)])


def of_passing(answer: dict[str, Any]) -> str:
    """Return what people read after labels went from one format to another."""
    return "\n".join([f"wrote {answer['format']} from {answer['from']}: {_counted(answer)}", *_after(answer)])


def of_import(answer: dict[str, Any]) -> str:
    """Return what people read after an import."""
    read = f"{answer['from']} from {display(Path(answer['annotator']))}"
    lines = [f"imported {read}, as reviewed: {_counted(answer)}" if answer["images"] else f"nothing new in {read}"]
    said = {
        "photos were reviewed before and keep their labels": answer["kept"],
        "photos not labelled yet": answer["not_labelled"],
        "photos whose labels a machine made and nobody reviewed, left out": answer["machine_labels"],
        "rotated rectangles, kept as masks": answer["rotated_rectangles_kept_as_masks"],
        EMPTY_MASKS: answer["masks_without_a_pixel"],
    }
    lines += [f"  {number} {what}" for what, number in said.items() if number]
    if doubled := answer["doubled_photos"]:
        lines.append(f"  {len(doubled)} photos came twice, the first labels were taken")
        rows = [{"name": row["name"], "reason": f"{row['objects_not_taken']} objects not taken"} for row in doubled]
        lines += _listed(rows, "name")
    if answer["new_classes"]:
        lines.append(f"  new in project.yaml: {', '.join(answer['new_classes'])}")
    lines += _refused(answer)
    lines.append(f"  {display(Path(answer['labels']))}")
    lines.append(f"next: labelstill report --project {shlex.quote(display(Path(answer['project'])))}")
    return "\n".join(lines)


def _written(done: Written, to: str, left_out: dict[str, Any]) -> dict[str, Any]:
    lost = {kind: number for kind, number in done.losses.items() if number}
    return {
        "out": str(done.out),
        "file": str(done.index),
        "format": to,
        "images": done.images,
        "images_without_objects": done.empty,
        "annotations": dict(done.objects),
        "left_out": {
            **left_out,
            "missing": _named(done.missing, "path"),
            "objects_outside_their_image": done.losses["outside"],
            "crowd_objects": done.losses["crowd"],
        },
        "polygons": {name: done.losses[kind] for name, kind in _POLYGONS.items()},
        "losses": lost,
        "splits": dict(done.splits),
    }


def _counted(answer: dict[str, Any]) -> str:
    objects = answer["annotations"]
    return (
        f"{sum(objects.values())} objects of {sum(number > 0 for number in objects.values())} classes on "
        f"{answer['images']} photos, {answer['images_without_objects']} of them without objects"
    )


def _after(answer: dict[str, Any]) -> list[str]:
    left = answer["left_out"]
    said = {
        "quarantined files": left.get("quarantined_files", 0),
        "photos not labelled yet": left["not_labelled"],
        "photos that people skipped": left.get("skipped_by_people", 0),
        "photos that people decided to drop": left.get("dropped_photos", 0),
        "objects that people decided to drop": left.get("dropped_objects", 0),
        "photos that were gone, changed or unfit": len(left["missing"]),
    }
    lines = [f"  left out: {number} {what}" for what, number in said.items() if number]
    lines += _listed(left["missing"], "path")
    lines += _refused(answer)
    if empty := answer.get("masks_without_a_pixel"):
        lines.append(f"  {empty} {EMPTY_MASKS}")
    lines += [f"  {answer['losses'][kind]} {what}" for kind, what in LOSSES.items() if answer["losses"].get(kind)]
    if answer["splits"]:
        lines.append("  split by hash: " + ", ".join(f"{part} {n}" for part, n in sorted(answer["splits"].items())))
    lines.append(f"  {display(Path(answer['file']))}")
    if answer["format"] in ("yolo", "yolo-seg", "yolo-obb", "voc"):
        lines.append("next: split the photos into training and validation before you compare figures")
    return lines


def _refused(answer: dict[str, Any]) -> list[str]:
    refused = answer.get("refused", [])
    lines = [f"  refused: {len(refused)} items"] if refused else []
    return [*lines, *_listed(refused, "name"), *(f"  note: {note}" for note in answer.get("notes", []))]


def _listed(rows: Sequence[dict[str, str]], key: str) -> list[str]:
    lines = [f"    {_reason(row[key], row['reason'])}" for row in rows[:_SHOWN]]
    return lines + ([f"    and {len(rows) - _SHOWN} more; --json lists all"] if len(rows) > _SHOWN else [])


def _reason(name: str, reason: str) -> str:
    """Return both as one text; some reasons name the place already."""
    return reason if reason.startswith(name) else f"{display(Path(name))}: {reason}"


def _named(rows: Sequence[tuple[str, str]], key: str = "name") -> list[dict[str, str]]:
    return [{key: name, "reason": reason} for name, reason in rows]

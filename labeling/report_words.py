"""The words and rows of a report: findings and counts in, plain values for the template out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .core.errors import LabelstillError
from .core.ontology import Ontology
from .core.store import Run
from .findings import Findings
from .pictures import class_colour
from .teachers.backends import DETECTORS, OPTIONS, SEGMENTERS, Backend, TeacherSpec, resolve_weights
from .teachers.filter_settings import drop_words
from .teachers.members import with_members
from .video.ledger import FootageCounts

_TELLING = 5
"""So many boxes of a class make its median worth a sentence."""

_BINS = 20
_HIST_WH = (220.0, 38.0)
"""Width of a histogram and height of its highest bar, in units of the template's drawing."""


def drop_rows(drops: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Return why boxes were dropped, the most frequent first."""
    ordered = sorted(drops.items(), key=lambda row: (-row[1], row[0]))
    return [{"reason": drop_words(reason), "class_name": name, "count": number} for (reason, name), number in ordered]


def headline(found: Findings) -> str:
    """Return the one sentence that sums the project up."""
    if not found.images:
        return "Nothing is labelled yet."
    seen = sum(row.objects > 0 for row in found.classes.values())
    classes = f"{seen} class" if seen == 1 else f"{seen:,} classes"
    return f"{counted(found.objects, 'object')} of {classes} on {counted(found.images, 'photo')}."


def tiles(found: Findings, counts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the figures at the top, each with what it counts."""
    seen = sum(row.objects > 0 for row in found.classes.values())
    rows = [
        (f"{found.images:,}", "photos labelled"),
        (f"{found.objects:,}", "objects found"),
        (f"{seen} of {len(found.classes)}", "classes found"),
        (f"{found.empty:,}", "photos without objects"),
        (f"{len(counts['quarantined']):,}", "files that could not be used"),
        (f"{found.reviewed:,}", "photos reviewed by people"),
    ]
    return [{"value": value, "label": label} for value, label in rows]


def notes(found: Findings, counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say in plain words what deserves a look, the most telling first."""
    look = []
    nothing = [name for name, row in found.classes.items() if not row.objects]
    if found.images and nothing:
        names = ", ".join(nothing[:8]) + (f" and {len(nothing) - 8} more" if len(nothing) > 8 else "")
        look.append(f"Nothing was found of: {names}. Other prompts may help; a class can have several.")
    scored = [(row.median, name, row.scores.total()) for name, row in found.classes.items() if row.median is not None]
    telling = [one for one in scored if one[2] >= _TELLING]
    if len(telling) > 1:
        median, name, number = min(telling)
        look.append(f"The detector is least sure of {name}: half of its {number:,} boxes score {median:.2f} or less.")
    if found.empty:
        be = "is" if found.empty == 1 else "are"
        share = f"{counted(found.empty, 'photo')} of {found.images:,} {be}"
        look.append(f"{share} without any object. That is right where they show none; otherwise a prompt is missing.")
    if found.flags["full_image"]:
        be = "is" if found.flags["full_image"] == 1 else "are"
        boxes = counted(found.flags["full_image"], "box")
        look.append(f"{boxes} {be} nearly as large as the whole photo: often an answer to the scene, not to an object.")
    if counts["quarantined"]:
        look.append(f"{counted(len(counts['quarantined']), 'file')} could not be used; the reasons are under Left out.")
    waiting = counts["images"].get("new", 0)
    if waiting:
        be = "is" if waiting == 1 else "are"
        look.append(f"{counted(waiting, 'photo')} {be} not labelled yet: the same label command continues.")
    if look or not found.images:
        return [{"text": text, "look": True} for text in look]
    return [{"text": "Every class was found and every photo could be read.", "look": False}]


def how_looked(found: Findings, footage: FootageCounts) -> list[dict[str, Any]]:
    """Say what was looked at in another way than photos are."""
    said = []
    if found.tiled:
        be = "was" if found.tiled == 1 else "were"
        said.append(f"{counted(found.tiled, 'photo')} {be} looked at in overlapping tiles.")
    if footage.videos:
        frames = f"{counted(footage.picked, 'frame')} of {counted(footage.videos, 'video')}"
        between = f", {footage.between:,} more between them got labels that were propagated" if footage.between else ""
        followed = f"; {counted(footage.tracks, 'object')} followed through several" if footage.tracks else ""
        said.append(f"{frames} labelled, picked where the picture changes{between}{followed}.")
    return [{"text": text, "look": False} for text in said]


def preview_note(found: Findings, photos: int) -> dict[str, Any]:
    """Say that this is a preview, and of how much."""
    some = f"{found.images:,} of {counted(photos, 'photo')}, chosen to differ from each other"
    return {"text": f"A preview: {some}. No label was kept, and labels.db was not touched.", "look": False}


def class_rows(found: Findings, ontology: Ontology) -> list[dict[str, Any]]:
    """Return one row per class: counts, share of the most frequent class in percent, and its histogram."""
    most = max((row.objects for row in found.classes.values()), default=0)
    rows = []
    for class_id, entry in enumerate(ontology.classes):
        row = found.classes[entry.name]
        prompts = [prompt for prompt in entry.prompts if prompt != entry.name]
        rows.append(
            {
                "name": entry.name,
                "prompts": " · ".join(prompts),
                "colour": class_colour(class_id),
                "objects": row.objects,
                "images": row.images,
                "share": 100 * row.objects / most if most else 0.0,
                "median": "" if row.median is None else f"{row.median:.2f}",
                "floor": None if row.lowest is None else round(row.lowest * _HIST_WH[0], 1),
                "bars": _bars(row.histogram(_BINS)),
            }
        )
    return rows


def _bars(histogram: Sequence[int]) -> list[dict[str, Any]]:
    """Return one rectangle per bin that is not empty, the tallest as high as the drawing."""
    step, most = _HIST_WH[0] / len(histogram), max(histogram)
    bars = []
    for i, number in enumerate(histogram):
        if number:
            height = max(1.5, _HIST_WH[1] * number / most)
            title = f"{i / len(histogram):.2f} to {(i + 1) / len(histogram):.2f}: {number:,}"
            y = round(_HIST_WH[1] - height, 1)
            bars.append({"x": i * step + 0.5, "y": y, "width": step - 1, "height": round(height, 1), "title": title})
    return bars


_FLAGS = {
    **{key: f"--{key.replace('_', '-')}" for key in ("detector", "weights", "segmenter", "segmenter_weights", "score")},
    **{option: flag for option, (flag, _) in OPTIONS.items()},
    "tile": "--tile",
}
"""Flags of `labelstill label` by the setting of a run that they set."""


def teacher_rows(runs: Sequence[Run], hash_file: Callable[[Path], str]) -> list[tuple[str, str]]:
    """Return what the last labelling run was given: models, licences, weights as they lie on this machine now, scores.

    Args:
        runs: the oldest first.
        hash_file: path -> sha256 hex.
    """
    settings = _last_settings(runs)
    teacher = settings.get("teacher", {})
    if not teacher:
        return []
    rows, follows = [], "none"
    for one in _members(teacher):
        detector = DETECTORS.get(one.detector)
        rows += _model_rows("detector", one.detector, detector, one.weights, hash_file)
        if detector is not None and follows == "none":
            follows = detector.segmenter
    segmenter = teacher.get("segmenter") or follows
    rows += _model_rows("segmenter", segmenter, SEGMENTERS.get(segmenter), teacher.get("segmenter_weights"), hash_file)
    scores = sorted(set(settings.get("scores", ())))
    if scores:
        span = f"{scores[0]:g}" if len(scores) == 1 else f"{scores[0]:g} to {scores[-1]:g}, by class"
        rows.append(("Smallest score kept", span))
    if settings.get("filters"):
        rows.append(("Filters", _plain(settings["filters"])))
    return rows


def _members(teacher: Mapping[str, Any]) -> tuple[TeacherSpec, ...]:
    spec = TeacherSpec(detector=teacher["detector"], weights=teacher.get("weights"))
    try:
        return with_members(spec).members or (spec,)
    except LabelstillError:  # a name of another version of this package
        return (spec,)


def _model_rows(
    kind: str, name: str, backend: Backend | None, weights: str | None, hash_file: Callable[[Path], str]
) -> list[tuple[str, str]]:
    rows = [(kind.capitalize(), name)]
    if backend is None:
        return rows
    rows.append(("Licence", f"{backend.licence}, for the library and its default weights"))
    try:
        ref = resolve_weights(name, backend, weights, download=False)
        largest = max(ref.files, key=lambda file: file.stat().st_size)
        name = ref.name if ref.path.is_file() else f"{ref.name}, {largest.name}"
        rows.append(("Weights", f"{name}, sha256 {hash_file(largest)}"))
    except (LabelstillError, OSError):
        rows.append(("Weights", f"{weights or backend.default_weights}, not on this machine any more"))
    return rows


def _last_settings(runs: Sequence[Run]) -> Mapping[str, Any]:
    return next((run.settings for run in reversed(runs) if run.verb == "label"), {})


def run_row(run: Run) -> dict[str, str]:
    """Return one row of the table of runs."""
    took = "stopped early"
    if run.finished_at is not None:
        seconds = (datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)).total_seconds()
        took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    did = _plain({key: value for key, value in (run.summary or {}).items() if value})
    return {"started": run.started_at[:16].replace("T", " "), "verb": run.verb, "took": took, "did": did}


def next_steps(project: Path, found: Findings, runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return what to do next, each with a command to type."""
    folder = str(project)
    settings = _last_settings(runs)
    flags = [
        part
        for key, flag in _FLAGS.items()
        if (value := settings.get("teacher", {}).get(key)) is not None
        for part in (flag, str(value))
    ]
    label = shlex.join(["labelstill", "label", *settings.get("photos", ["PHOTOS"]), "--project", folder, *flags])
    if not found.images:
        return [{"text": "Label some photos:", "command": label}]
    out = str(project / "exports" / "yolo")
    return [
        {
            "text": "If a class is missed or mixed up, give it more prompts in project.yaml and label again. "
            "What people have reviewed stays as it is.",
            "command": label,
        },
        {
            "text": "If the labels are good enough to train on, write them in the form that your trainer reads: yolo, "
            "yolo-seg or coco.",
            "command": shlex.join(["labelstill", "convert", "--project", folder, "--to", "yolo", "--out", out]),
        },
    ]


def steps_after_preview(label: str, again: str) -> list[dict[str, str]]:
    """Return what to do after a preview, each with a command to type."""
    return [
        {"text": "If it looks right, label all photos:", "command": label},
        {
            "text": "If a class is missed or mixed up, give it other prompts and look again:",
            "command": again,
        },
    ]


def sheet_hint(shown: int, images: int) -> str:
    """Say which photos the contact sheet shows."""
    if not images:
        return "No photo is labelled yet."
    if shown == images:
        return "Every photo."
    return f"{shown} of {images:,} photos, taken in turn from every class and from the photos without objects."


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural."""
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_plain(one)}" for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)

"""`labelstill status`: what the project holds, from labels.db and the notes of its trainings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.store import Store
from ..core.store_splits import PARTS
from ..image_files import display
from ..project import Project
from ..tables import printable
from ..teachers.student_runs import finished_runs

_SHOWN_FILES = 20
_READY = "ready"


def run(
    project: Annotated[Path, typer.Option("--project", help="Folder of the project.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Show images per state, objects per class, the parts of the split, the students, and files that are of no use."""
    opened = Project.open(project)
    counts, set_aside = _counts(opened)
    print(json.dumps(counts) if as_json else _as_text(opened, counts, set_aside))


def _counts(project: Project) -> tuple[dict[str, Any], int]:
    """Return what ``--json`` prints, and the number of reviewed images whose files hold other pictures now."""
    students = _students(project)
    if not project.database_path.exists():
        names = project.config.ontology.names if project.config.ontology else ()
        empty = {"images": {}, "annotations": dict.fromkeys(names, 0), "quarantined": [], "skipped_files": 0}
        return {**empty, "split": {}, "students": students}, 0
    with project.open_store() as store:
        return {**store.counts(), "split": _split(store), "students": students}, store.reviews_without_photo()


def _split(store: Store) -> dict[str, dict[str, Any]]:
    """Return, by name of the split, the images per part and the number of folds, 0 without folds."""
    sql = "SELECT split, part, count(*), count(DISTINCT fold) FROM split_images GROUP BY split, part"
    found: dict[str, dict[str, Any]] = {}
    for name, part, images, folds in store.rows(sql):
        one = found.setdefault(name, {"images": dict.fromkeys(PARTS, 0), "folds": 0})
        one["images"][part] = images
        one["folds"] = max(one["folds"], folds)
    return found


def _students(project: Project) -> dict[str, Any]:
    """Return how many trainings have ended, and what is known of the newest; None where there is none."""
    ended = finished_runs(project.root)
    if not ended:
        return {"finished": 0, "newest": None}
    newest = ended[-1]
    found = newest.measured or {}
    report = project.reports_path / f"student-{newest.name}.html"
    return {
        "finished": len(ended),
        "newest": {
            "run": newest.name,
            "finished_at": newest.facts["finished_at"],
            "evaluated": newest.measured is not None,
            "threshold": newest.threshold,
            "verdict": found.get("verdict"),
            "headline": found.get("headline"),
            "report": str(report) if report.is_file() else None,
        },
    }


def _as_text(project: Project, counts: Mapping[str, Any], set_aside: int) -> str:
    images, annotations, refused = counts["images"], counts["annotations"], counts["quarantined"]
    lines = [f"project {printable(project.config.name)} in {display(project.root)}"]
    lines += [f"{sum(images.values())} images", *_table(images)]
    lines += [f"{sum(annotations.values())} objects", *_table(annotations)]
    if set_aside:
        lines.append(f"{set_aside} reviewed images set aside, their files hold other pictures now")
    lines += [_split_line(name, split) for name, split in counts["split"].items()]
    lines += _student_lines(counts["students"])
    lines.append(f"{len(refused)} files quarantined, {counts['skipped_files']} files that are no images")
    lines += [f"  {printable(file['path'])}: {printable(file['reason'] or '')}" for file in refused[:_SHOWN_FILES]]
    if len(refused) > _SHOWN_FILES:
        lines.append(f"  and {len(refused) - _SHOWN_FILES} more: see --json")
    lines.append(f"next: labelstill {_next(counts)} --project {shlex.quote(display(project.root))}")
    return "\n".join(lines)


def _split_line(name: str, split: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{part} {images}" for part, images in split["images"].items() if images)
    folds = f", {split['folds']} folds" if split["folds"] else ""
    return f"split {printable(name)}: {parts}{folds}"


def _student_lines(students: Mapping[str, Any]) -> list[str]:
    newest = students["newest"]
    if newest is None:
        return []
    said = newest["headline"] or newest["verdict"] or "evaluated" if newest["evaluated"] else "not evaluated yet"
    count = "1 student" if students["finished"] == 1 else f"{students['finished']} students"
    lines = [f"{count}, the newest: {printable(newest['run'])}", f"  {printable(str(said))}"]
    if newest["report"]:
        lines.append(f"  report {display(Path(newest['report']))}")
    return lines


def _next(counts: Mapping[str, Any]) -> str:
    """Return the verb that most people need at this point."""
    images, newest = counts["images"], counts["students"]["newest"]
    if not images:
        return "label PHOTOS"
    if images.get("pushed"):
        return "pull"
    if newest is None or not counts["split"]:
        return "distill" if images.get("reviewed") else "report"
    if not newest["evaluated"]:
        return f"evaluate {shlex.quote(newest['run'])}"
    return "label PHOTOS --detector student" if newest["verdict"] == _READY else "next"


def _table(numbers: Mapping[str, int]) -> list[str]:
    return [f"  {number:>8}  {printable(name)}" for name, number in numbers.items()]

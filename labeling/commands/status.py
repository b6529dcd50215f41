"""`labelstill status`: what the project holds, from labels.db alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..image_files import display
from ..project import Project
from ..tables import printable

_SHOWN_FILES = 20


def run(
    project: Annotated[Path, typer.Option("--project", help="Folder of the project.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Show images per state, objects per class, and the files that could not be used."""
    opened = Project.open(project)
    counts, set_aside = _counts(opened)
    print(json.dumps(counts) if as_json else _as_text(opened, counts, set_aside))


def _counts(project: Project) -> tuple[dict[str, Any], int]:
    """Return what ``--json`` prints, and the number of reviewed images whose files hold other pictures now."""
    if not project.database_path.exists():
        names = project.config.ontology.names if project.config.ontology else ()
        return {"images": {}, "annotations": dict.fromkeys(names, 0), "quarantined": [], "skipped_files": 0}, 0
    with project.open_store() as store:
        return store.counts(), store.reviews_without_photo()


def _as_text(project: Project, counts: Mapping[str, Any], set_aside: int) -> str:
    images, annotations, refused = counts["images"], counts["annotations"], counts["quarantined"]
    lines = [f"project {printable(project.config.name)} in {display(project.root)}"]
    lines += [f"{sum(images.values())} images", *_table(images)]
    lines += [f"{sum(annotations.values())} objects", *_table(annotations)]
    if set_aside:
        lines.append(f"{set_aside} reviewed images set aside, their files hold other pictures now")
    lines.append(f"{len(refused)} files quarantined, {counts['skipped_files']} files that are no images")
    lines += [f"  {printable(file['path'])}: {printable(file['reason'] or '')}" for file in refused[:_SHOWN_FILES]]
    if len(refused) > _SHOWN_FILES:
        lines.append(f"  and {len(refused) - _SHOWN_FILES} more: see --json")
    lines.append(f"next: labelstill {_next(images)} --project {shlex.quote(display(project.root))}")
    return "\n".join(lines)


def _next(images: Mapping[str, int]) -> str:
    """Return the verb that most people need at this point."""
    if not images:
        return "label PHOTOS"
    if images.get("pushed"):
        return "pull"
    return "distill" if images.get("reviewed") else "report"


def _table(numbers: Mapping[str, int]) -> list[str]:
    return [f"  {number:>8}  {printable(name)}" for name, number in numbers.items()]

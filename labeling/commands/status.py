"""`labelstill status`: what the project holds, from labels.db alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..project import Project

_SHOWN_FILES = 20


def run(
    project: Annotated[Path, typer.Option("--project", help="Folder of the project.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Show images per state, objects per class, and the files that could not be used."""
    opened = Project.open(project)
    counts = _counts(opened)
    print(json.dumps(counts, ensure_ascii=False) if as_json else _as_text(opened, counts))


def _counts(project: Project) -> dict[str, Any]:
    if not project.database_path.exists():
        names = project.config.ontology.names if project.config.ontology else ()
        return {"images": {}, "annotations": dict.fromkeys(names, 0), "quarantined": [], "skipped_files": 0}
    with project.open_store() as store:
        return store.counts()


def _as_text(project: Project, counts: Mapping[str, Any]) -> str:
    images, annotations, refused = counts["images"], counts["annotations"], counts["quarantined"]
    lines = [f"project {_printable(project.config.name)} in {_printable(str(project.root))}"]
    lines += [f"{sum(images.values())} images", *_table(images)]
    lines += [f"{sum(annotations.values())} objects", *_table(annotations)]
    lines.append(f"{len(refused)} files quarantined, {counts['skipped_files']} files that are no images")
    lines += [f"  {_printable(file['path'])}: {_printable(file['reason'] or '')}" for file in refused[:_SHOWN_FILES]]
    if len(refused) > _SHOWN_FILES:
        lines.append(f"  and {len(refused) - _SHOWN_FILES} more: see --json")
    verb = "report" if images else "label PHOTOS"
    lines.append(f"next: labelstill {verb} --project {_printable(str(project.root))}")
    return "\n".join(lines)


def _table(numbers: Mapping[str, int]) -> list[str]:
    return [f"  {number:>8}  {_printable(name)}" for name, number in numbers.items()]


def _printable(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

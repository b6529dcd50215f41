"""`labelstill report`: one HTML file that shows what a project holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..core.config import write_atomically
from ..core.errors import InputError
from ..findings import Findings
from ..image_files import display
from ..project import Project
from ..report import render
from ..stored_photos import loader


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="An .html file.  [default: reports/report.html in the project]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write one HTML file with pictures, counts, doubts and what was left out. It needs no network."""
    opened = Project.open(project)
    target = (out or opened.reports_path / "report.html").expanduser().absolute()
    text, found = write_report(opened, target)
    objects = {name: row.objects for name, row in found.classes.items()}
    if as_json:
        answer = {"file": str(target), "bytes": len(text.encode()), "images": found.images, "annotations": objects}
        print(json.dumps(answer))
        return
    print(f"wrote a report on {found.images} photos and {found.objects} objects, {len(text.encode()) / 1e6:.1f} MB")
    print(f"  {display(target)}")
    print("next: open it in a browser, the least sure boxes first")


def write_report(opened: Project, target: Path) -> tuple[str, Findings]:
    """Write the report of a project to a file; return its text and what it says."""
    _check_target(target)
    with opened.open_store() as store:
        store.check_classes(opened.ontology)
        text, found = render(store, opened.ontology, opened.root, loader(opened.config.images))
    save_report(text, target)
    return text, found


def save_report(text: str, target: Path) -> None:
    """Write a report to a file, whose folder is made if need be. Raises InputError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target}: its folder cannot be made: {error.strerror}; name another file") from error
    write_atomically(target, text)


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file in it, such as {target / 'report.html'}")
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{target}: the name of a report ends in .html; nothing was written")

"""`labelstill audit`: how right the teacher was, and how people worked, from labels.db alone."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..core.config import write_atomically
from ..core.errors import InputError
from ..image_files import display
from ..project import Project
from ..studio import audit_words as words
from ..studio.audit import Audit, audit
from ..studio.audit_read import audit_of
from ..studio.pulled import shown_name
from ..tables import printable, table

_SHOWN_WORST = 10


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    sheet: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the rows of all classes there, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the teacher by what people made of its labels, and how they worked. It reads labels.db alone."""
    opened = Project.open(project)
    found, names = _measured(opened)
    if sheet is not None:
        _write_csv(found, sheet.expanduser().absolute())
    if as_json:
        print(json.dumps(words.as_json(found, lambda sha256: names[sha256])))
        return
    print("\n".join(_lines(found, names)))
    if sheet is not None:
        print(f"wrote {display(sheet.expanduser().absolute())}")
    print(_next(found, shlex.quote(display(opened.root))))


def _measured(project: Project) -> tuple[Audit, dict[str, str]]:
    """Return the audit, and the names of the images among the worst."""
    if not project.database_path.exists():
        return audit((), ()), {}
    with project.open_store() as store:
        found = audit_of(store, project.ontology)
        return found, {one.sha256: shown_name(store, one.sha256) for one in found.worst}


def _lines(found: Audit, names: dict[str, str]) -> list[str]:
    lines = [words.standing(found)]
    if not found.people:
        return lines
    for title, group, seen in words.groups(found):
        columns = words.TEACHER_COLUMNS if seen else words.BLIND_COLUMNS
        lines += [title, *table(columns, words.class_rows(group, seen))]
        if seen and group.confusion:
            changed = [f"{printable(old)} to {printable(new)} {n:,}" for old, new, n in group.confusion]
            lines.append(f"  relabelled: {', '.join(changed)}")
    lines += [f"  {rule}" for rule in words.RULES] if words.groups(found) else []
    if found.prelabelled.images and found.by_lot.images < words.ENOUGH_BY_LOT:
        lines.append(f"  {words.MOSTLY_DOUBTFUL}")
    lines.append("work, pre-labelled against blind")
    for title, seen_cell, blind_cell, difference in words.work_rows(found):
        lines.append(f"  {title}: {seen_cell}; blind {blind_cell}; difference {difference}")
    lines += [f"  {words.MEDIANS}"] if found.work.image_seconds.n or found.work_blind.image_seconds.n else []
    rows = [(person.annotator, words.person_cells(person)) for person in found.people]
    lines += ["people, with the median of seconds", *table(words.PEOPLE_COLUMNS, rows)]
    lines += [f"look: {printable(remark)}" for remark in words.remarks(found)]
    if found.worst:
        lines.append("worst disagreements")
        lines += [
            f"  {printable(words.worst_line(one))}: {printable(names[one.sha256])}"
            for one in found.worst[:_SHOWN_WORST]
        ]
    return lines


def _next(found: Audit, folder: str) -> str:
    if not any(found.images.values()):
        return f"nothing was handed over yet: labelstill push --project {folder}"
    if not found.people:
        return f"nothing reviewed yet: labelstill pull --project {folder}"
    return f"next: labelstill report --project {folder}, which shows the worst disagreements as pictures"


def _write_csv(found: Audit, target: Path) -> None:
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file in it, such as {target / 'audit.csv'}")
    if target.suffix.lower() != ".csv":
        raise InputError(f"{target}: the name of a table ends in .csv; nothing was written")
    text = io.StringIO()
    csv.writer(text).writerows(words.csv_rows(found))
    write_atomically(target, text.getvalue())

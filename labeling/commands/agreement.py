"""`labelstill agreement`: how far people agree who drew on the same photos, from labels.db alone."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError, StateError
from ..core.store import Store
from ..image_files import display
from ..project import Project
from ..studio import agreement_words as words
from ..studio.agreement import Agreement, Gate, agreement, gate
from ..studio.agreement_read import people_saw
from ..tables import printable, table

GATE_FAILED = 3
_SHOWN = 10


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    threshold: Annotated[
        float, typer.Option("--gate", min=0, max=1, help="End with code 3 when people agree less than this.")
    ] = 0.7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Compare what people drew on the same photos, per class and per pair of people. It reads labels.db alone."""
    if math.isnan(threshold):
        raise InputError("--gate: expected a number between 0 and 1, got nan")
    opened = Project.open(project)
    with opened.open_store() as store:
        found, left_out = _compared(opened, store)
        judged = gate(found, threshold)
        shown = found.disagreements if as_json else found.disagreements[:_SHOWN]
        names = {one.image: _name(store, one.image) for one in shown}
    folder = shlex.quote(display(opened.root))
    _refuse_nothing(found, judged, folder)
    if as_json:
        print(json.dumps(words.as_json(found, judged, left_out, lambda sha256: names[sha256])))
    else:
        print("\n".join(_lines(found, judged, left_out, names)))
        print(_next(found, judged, folder))
    return 0 if judged.passed else GATE_FAILED


def _compared(project: Project, store: Store) -> tuple[Agreement, Counter[str]]:
    ontology = project.config.ontology
    seen, left_out = people_saw(store, ontology.class_of if ontology else lambda label: label)
    return agreement(seen), left_out


def _refuse_nothing(found: Agreement, judged: Gate, folder: str) -> None:
    """Raise StateError where there is nothing to compare."""
    if not found.everyone.images:
        answered = f"{found.images:,} images have an answer, none has two people's"
        if not found.images:
            answered = "no image has an answer yet"
        raise StateError(
            f"{answered}: let people label some photos twice (labelstill push --overlap 10% --project {folder}), "
            f"and fetch what they said (labelstill pull --project {folder})"
        )
    if judged.passed is None:
        raise StateError(
            f"nobody drew anything on the {found.everyone.images:,} images that two people or more have seen: "
            "there is nothing to compare; have photos labelled twice that show something"
        )


def _name(store: Store, sha256: str) -> str:
    files = store.files_of(sha256)
    return display(files[0]) if files else sha256


def _lines(found: Agreement, judged: Gate, left_out: Mapping[str, int], names: Mapping[str, str]) -> list[str]:
    lines = [words.standing(found)]
    lines += ["per class", *table(words.CLASS_COLUMNS, words.class_rows(found))]
    lines += ["per pair of people", *table(words.PAIR_COLUMNS, words.pair_rows(found))]
    lines += [f"  {printable(line)}" for line in (*words.undefined(found), *words.rules(found))]
    lines += [f"left out: {printable(reason)} ({n:,}×)" for reason, n in left_out.items()]
    lines += [f"unclear: {printable(line)}" for line in words.unclear(found, judged.threshold)]
    if found.disagreements:
        lines.append(f"worst of {len(found.disagreements):,} disagreements")
        lines += [
            f"  {printable(words.disagreement_line(one))}: {printable(names[one.image])}"
            for one in found.disagreements[:_SHOWN]
        ]
    return [*lines, words.gate_line(judged)]


def _next(found: Agreement, judged: Gate, folder: str) -> str:
    if judged.passed:
        return f"next: labelstill audit --project {folder}, how right the teacher was"
    shown = "--json lists all disagreements" if len(found.disagreements) > _SHOWN else "settle the disagreements above"
    return f"next: make the guides of unclear classes clearer in project.yaml ({shown}), then labelstill push"

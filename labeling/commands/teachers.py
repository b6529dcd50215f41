"""`labelstill teachers [accept|install NAME]`: every model that can label, and what each still lacks here."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError
from ..core.strict import did_you_mean
from ..image_files import display
from ..teachers.catalogue import DETECTORS, SEGMENTERS

if TYPE_CHECKING:
    from ..teachers.readiness import Readiness


class Action(StrEnum):
    """What to do besides listing."""

    ACCEPT = "accept"
    INSTALL = "install"


def run(
    action: Annotated[
        Action | None, typer.Argument(help="Accept a licence, or install an environment of its own; else list.")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which teacher.")] = None,
    into: Annotated[Path | None, typer.Option("--into", metavar="DIR", help="Where install puts it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="The licence was read and is accepted: do not ask.")] = False,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Where students are looked for.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List detectors and segmenters: licence, what each needs, and whether it can label here. Loads no model."""
    if into is not None and action is not Action.INSTALL:
        raise InputError("--into says where labelstill teachers install puts an environment: leave it out here")
    if action is None:
        from ..teachers.readiness import teachers

        found = teachers(project)
        facts, lines = _as_dict(found), _lines(found)
    elif name is None:
        raise InputError(f"labelstill teachers {action} needs a NAME; labelstill teachers lists them")
    elif action is Action.ACCEPT:
        facts, lines = _accept(name, ask=not (yes or as_json), yes=yes)
    else:
        facts, lines = _install(name, into)
    print(json.dumps(facts) if as_json else "\n".join(lines))


def _as_dict(found: list[Readiness]) -> dict[str, Any]:
    return {
        "teachers": [
            {
                "role": one.role,
                "name": one.name,
                "ready": one.ready,
                "licence": one.backend.licence,
                "extra": one.backend.extra,
                "weights": one.backend.default_weights,
                "needs": one.backend.needs,
                "missing": [{"what": missing.what, "command": missing.command} for missing in one.missing],
            }
            for one in found
        ],
        "ready": sum(one.ready for one in found),
    }


def _lines(found: list[Readiness]) -> list[str]:
    wide = max(len(one.name) for one in found)
    lines = []
    for role in ("detector", "segmenter"):
        lines.append(f"{role}s:")
        for one in found:
            if one.role != role:
                continue
            lines.append(f"  {'ready' if one.ready else '-':<5}  {one.name:<{wide}}  {one.backend.licence}")
            if one.backend.needs and one.backend.default_weights is not None:
                lines.append(f"{'':<{wide + 11}}needs {one.backend.needs}")
            for missing in one.missing:
                lines += [f"{'':<{wide + 11}}{missing.what}", f"{'':<{wide + 11}}-> {missing.command}"]
    ready = [one.name for one in found if one.ready and one.role == "detector"]
    lines.append(f"{sum(one.ready for one in found)} of {len(found)} can label here at once")
    if ready:
        lines.append(f'next: labelstill label PHOTOS --classes "WORDS" --detector {ready[0]}')
    return lines


def _accept(name: str, *, ask: bool, yes: bool) -> tuple[dict[str, Any], list[str]]:
    from ..teachers import licences

    licence = licences.licence_to_accept(name)
    row = DETECTORS.get(name) or SEGMENTERS[name]
    said = f"{name} is under the {licence}; {licences.where_to_read(row)}"
    if not licences.needs_acceptance(name, row):
        made = licences.accepted()[name]
        return {"accepted": name, **made.model_dump()}, [f"{licence} of {name} was accepted by {made.by}, {made.when}"]
    if not yes:
        if not ask or not sys.stdin.isatty():
            raise InputError(f"{said}: read it, then labelstill teachers accept {name} --yes")
        print(said)
        if not typer.confirm("Have you read it, and do you accept it?"):
            raise InputError(f"the {licence} was not accepted, so {name} is not used; nothing was changed")
    made = licences.accept(name)
    lines = [
        said,
        f"accepted by {made.by}, noted in {display(licences.licences_path())}",
        f'next: labelstill label PHOTOS --classes "WORDS" --detector {name}',
    ]
    return {"accepted": name, **made.model_dump()}, lines


def _install(name: str, into: Path | None) -> tuple[dict[str, Any], list[str]]:
    names = [row.environment for table in (DETECTORS, SEGMENTERS) for row in table.values() if row.environment]
    if name not in names:
        raise InputError(
            f"{name!r} has no environment of its own{did_you_mean(name, names)}; others come with an extra, which "
            "labelstill teachers names"
        )
    from ..teachers.worker_environment import install, place, variable

    folder = install(name, into).parent.parent
    lines = [f"{name} is installed in {display(folder)}"]
    setting = None
    if place(name).resolve() != folder.resolve():
        setting = f"{variable(name)}={shlex.quote(str(folder))}"
        lines.append(f"it is looked for in another place: export {setting}")
    lines.append(f'next: labelstill label PHOTOS --classes "WORDS" --detector {shlex.quote(name)} --weights FOLDER')
    return {"installed": name, "folder": display(folder), "export": setting}, lines

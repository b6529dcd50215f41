"""`labelstill doctor`: what this machine offers, and what to type where something is missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..health import Check, machine_checks
from ..health_servers import server_checks


def run(
    project: Annotated[Path, typer.Option(metavar="DIR", help="Project folder: is there room for it?")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check this machine: versions, licences, device, disk, weights, servers. Loads no model.

    OK works, WARN works with a limit or is not needed to label, FIX has to be mended first: exit code 1.
    """
    checks = machine_checks(project) + server_checks(project)
    print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=2) if as_json else as_text(checks))
    return 1 if any(check.state == "FIX" for check in checks) else 0


def as_text(checks: list[Check]) -> str:
    """Return a line for each check, with the command to type below it, and how many need one."""
    wide = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<4}  {check.name:<{wide}}  {check.detail}")
        if check.fix:
            lines.append(f"{'':<{wide + 8}}-> {check.fix}")
    broken, limited = (sum(check.state == state for check in checks) for state in ("FIX", "WARN"))
    waits = f"; {limited} can wait" if limited else ""
    lines.append(f"{broken} to fix first{waits}" if broken else f"nothing to fix{waits}")
    return "\n".join(lines)

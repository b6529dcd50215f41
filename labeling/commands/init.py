"""`labelstill init`: a project folder with a commented project.yaml."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError
from ..core.ontology import load_ontology, parse_classes
from ..image_files import display
from ..project import Project


def run(
    project: Annotated[Path, typer.Option("--project", help="Folder of the project; made if need be.")] = Path(),
    classes: Annotated[
        str | None, typer.Option("--classes", help="What to look for: 'forklift, pallet: wooden pallet | plastic one'.")
    ] = None,
    ontology: Annotated[
        Path | None, typer.Option("--ontology", help="YAML or JSON with classes, or autodistill's {prompt: class}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Start a project folder with a commented project.yaml; an existing one is never overwritten."""
    if classes is not None and ontology is not None:
        raise InputError("expected --classes or --ontology, got both: leave one out")
    chosen = parse_classes(classes) if classes is not None else None
    if ontology is not None:
        chosen = load_ontology(ontology)
    made = Project.create(project, chosen)
    names = list(chosen.names) if chosen else []
    if as_json:
        print(json.dumps({"project": str(made.root), "config": str(made.config_path), "classes": names}))
        return
    print(f"wrote {display(made.config_path)}" + (f" with {len(names)} classes" if names else ""))
    label = f"labelstill label PHOTOS --project {shlex.quote(display(made.root))}"
    print(f"next: {'' if names else 'add classes to it, then '}{label}")

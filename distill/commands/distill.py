"""`labelstill distill`: split, train and evaluate in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labeling.core.errors import StateError
from labeling.project import Project

from .telling import teller


def run(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the library, by its names.")
    ] = None,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    model: Annotated[str, typer.Option("--model", help="See labelstill train.")] = "yolov8n",
    start: Annotated[
        Path | None, typer.Option("--start", metavar="FILE", help="Weights to start from; random ones if left out.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How often every image is seen.")] = 100,
    imgsz: Annotated[int, typer.Option("--imgsz", min=32, help="Longer side of the input in pixels.")] = 640,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per step.")] = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of split, weights, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, or several as in 0,1.")] = "auto",
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help="Measure on labels that nobody has reviewed; the report says so.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="RUN", help="Of the run; counts up if left out.")
    ] = None,
    curve: Annotated[
        bool, typer.Option("--learning-curve", help="Train on a quarter and a half, too: does more data help?")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """From labels to a measured student: split, train, evaluate, each as the verb of that name does it.

    A split that is there is kept; new images are added to it. A training that was cut off goes on with
    `labelstill train --resume RUN`.
    """
    from ..asking import Question
    from ..split import SplitSettings
    from ..training import Teaching
    from .evaluate import measured, say
    from .split import PARTS, split_project
    from .train import settings_of, stoppable, train_project

    opened = Project.open(project)
    tell = teller(as_json)
    settings = settings_of(model, start, epochs, imgsz, batch, seed, device, more=more or ())
    with stoppable(), opened.lock():
        with opened.open_store() as store:
            found, audited = split_project(opened, store, SplitSettings(seed=seed, unreviewed=unreviewed), tell=tell)
        if audited.leaks:
            raise StateError(
                f"the split leaks in {audited.leaks} places: labelstill split shows where; --fresh cuts anew"
            )
        tell(", ".join(f"{part} {len(found.images(part)):,}" for part in PARTS) + " images")
        done = train_project(opened, found.name, settings, Teaching(), name, curve=curve, tell=tell)
        report, target = measured(opened, done, Question(device=device), tell)
    say(report, target, as_json=as_json)

"""`labelstill distill`: split, train and evaluate in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labeling.core.errors import StateError
from labeling.project import Project

from .options import (
    AsJson,
    Batch,
    Device,
    Epochs,
    InputSize,
    LearningCurve,
    Model,
    More,
    ProjectFolder,
    RunName,
    Seed,
    Start,
)
from .telling import teller


def run(
    more: More = None,
    project: ProjectFolder = Path(),
    model: Model = "yolov8n",
    start: Start = None,
    epochs: Epochs = 100,
    imgsz: InputSize = 640,
    batch: Batch = 16,
    seed: Seed = 0,
    device: Device = "auto",
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help="Measure on labels that nobody has reviewed; the report says so.")
    ] = False,
    name: RunName = None,
    curve: LearningCurve = False,
    as_json: AsJson = False,
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

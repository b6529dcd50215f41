"""`labelstill train`: a small student from the labels of a project."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from labeling.core.errors import InputError
from labeling.image_files import display
from labeling.project import Project
from labeling.tables import printable

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

if TYPE_CHECKING:
    from ..run_folder import RunFolder
    from ..students import Logger, TrainSettings
    from ..training import Teaching


class Watcher(StrEnum):
    """What can watch a training."""

    mlflow = "mlflow"
    tensorboard = "tensorboard"
    wandb = "wandb"


CURVE_SHARES = (0.25, 0.5)
"""Shares of the train part on which students are trained for the learning curve, besides the whole."""


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
    only_reviewed: Annotated[
        bool, typer.Option("--only-reviewed", help="Teach no label that nobody has reviewed.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--hard", help="Teach the teacher's labels as if people had made them: no weights, no ring.")
    ] = False,
    weighted: Annotated[
        bool, typer.Option("--score-weights/--no-score-weights", help="Let labels of the teacher count by score.")
    ] = True,
    ring: Annotated[
        bool, typer.Option("--ring/--no-ring", help="Ignore what the teacher half saw, in place of background.")
    ] = True,
    oversample: Annotated[
        bool, typer.Option("--oversample/--no-oversample", help="Show images of thin classes more often.")
    ] = True,
    distill_model: Annotated[
        Path | None,
        typer.Option("--distill-model", metavar="FILE", help="Teach features of this larger model of the same family."),
    ] = None,
    log: Annotated[
        list[Watcher] | None,
        typer.Option("--log", help="Watch the training there; several times."),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="The split to train on.")] = "default",
    fold: Annotated[
        int | None, typer.Option("--fold", min=0, help="The fold that is val, where there are folds.")
    ] = None,
    name: RunName = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a training that was cut off.")
    ] = None,
    curve: LearningCurve = False,
    as_json: AsJson = False,
) -> None:
    """Train a student on the train part of a split. The test part is not touched.

    What is reviewed is taught as it is; labels of the teacher fill in, each as far as its score carries.
    """
    from ..training import Teaching

    opened = Project.open(project)
    tell = teller(as_json)
    if resume is not None:
        from ..training import resume as go_on

        with stoppable(), opened.lock():
            _say(go_on(opened, resume, tell), opened, as_json=as_json)
        return
    watchers = cast("tuple[Logger, ...]", tuple(watcher.value for watcher in log or ()))
    settings = settings_of(
        model, start, epochs, imgsz, batch, seed, device, watchers, distill_model, more=more or ()
    )  # fmt: skip
    teaching = Teaching(not only_reviewed, weighted and not plain, ring and not plain, oversample, fold)
    with stoppable(), opened.lock():
        _say(train_project(opened, split, settings, teaching, name, curve=curve, tell=tell), opened, as_json=as_json)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C end the process with what a training says of how to go on; Typer would lose it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        leaving = SystemExit(128 + signal.SIGINT)
        for note in getattr(stop, "__notes__", ()):
            leaving.add_note(note)
        raise leaving from stop


def settings_of(
    model: str,
    start: Path | None,
    epochs: int,
    imgsz: int,
    batch: int,
    seed: int,
    device: str,
    loggers: tuple[Logger, ...] = (),
    distill_model: Path | None = None,
    *,
    more: Sequence[str] = (),
) -> TrainSettings:
    """Return what was typed as settings. Raises InputError where they cannot fit."""
    from ..students import TrainSettings, kind_of

    kind_of(model)
    if imgsz % 32:
        raise InputError(f"--imgsz is {imgsz}: expected a multiple of 32, such as {max(32, round(imgsz / 32) * 32)}")
    return TrainSettings(
        model, start, epochs, imgsz, batch, seed, device, loggers, distill_model, passed_on(more)
    )  # fmt: skip


def train_project(
    project: Project,
    split: str,
    settings: TrainSettings,
    teaching: Teaching,
    name: str | None,
    *,
    curve: bool,
    tell: Callable[[str], None],
) -> RunFolder:
    """Train on a split that is in labels.db; with ``curve`` on shares of it, too. Returns the run on the whole."""
    from ..split import read_split
    from ..training import train

    with project.open_store() as store:
        cut = read_split(store, split)
        done = train(project, store, cut, settings, teaching, name=name, tell=tell)
        for share in CURVE_SHARES if curve else ():
            tell(f"learning curve: {share:.0%} of the train part")
            less = replace(teaching, share=share)
            name = f"{done.name}-{share * 100:.0f}"
            train(project, store, cut, settings, less, name=name, curve_of=done.name, tell=tell)
    return done


def passed_on(pairs: Sequence[str]) -> dict[str, Any]:
    """Return settings typed as ``key=value``, each value read as YAML. Raises InputError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{pair!r}: expected KEY=VALUE, a setting of the library such as mosaic=0.5")
        try:
            found[key] = YAML(typ="safe").load(value)
        except YAMLError:
            raise InputError(f"{pair!r}: the value cannot be read: quote it") from None
    return found


def _say(run: RunFolder, project: Project, *, as_json: bool) -> None:
    folder = shlex.quote(display(project.root))
    if as_json:
        where = {"folder": str(run.path), "weights": str(run.weights), "sha256": run.facts.get("weights")}
        print(json.dumps({**run.facts, "run": run.name, **where}))
        return
    print(printable(f"trained {run.facts['model']}, {run.facts['licence']}: {display(run.weights)}"))
    print(f"next: labelstill evaluate {run.name} --project {folder}")

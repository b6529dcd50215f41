"""One training from labels.db to weights: the dataset of a split, a run folder, the student."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.image_files import display
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader

from .dataset import Dataset, materialise, verify
from .run_folder import RunFolder, runs
from .split import Split
from .students import Task, TrainSettings, kind_of, student

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Teaching:
    """What a student is taught.

    Attributes:
        pseudo: labels of the teacher in images that nobody has reviewed.
        weights: that a label of the teacher counts as much as its score says.
        ring: that boxes which the teacher was not sure enough of are ignored, not taught as background.
        oversample: that images of thin classes are shown more often.
        fold: which fold is val, where the split has folds.
        share: of the train part, in (0, 1]; whole groups, the same ones of a smaller share are in a larger one.
    """

    pseudo: bool = True
    weights: bool = True
    ring: bool = True
    oversample: bool = True
    fold: int | None = None
    share: float = 1.0


def train(
    project: Project,
    store: Store,
    split: Split,
    settings: TrainSettings,
    teaching: Teaching,
    *,
    name: str | None = None,
    curve_of: str | None = None,
    tell: Tell = lambda line: None,
) -> RunFolder:
    """Make the dataset of a split and train a student on it.

    Args:
        project: gets the dataset and the run folder.
        store: labels.db; only read.
        split: see ``make_split``.
        settings: see ``TrainSettings``.
        teaching: see ``Teaching``.
        name: of the run; None counts up.
        curve_of: the run for whose learning curve this one is trained.
        tell: called with lines for people.

    Raises:
        InputError: settings that do not fit, or a name that cannot be one.
        StateError: nothing to teach, a run of that name, or what ``Student.train`` raises.
    """
    kind = kind_of(settings.model)
    pupil = student(kind)
    tell("writing the dataset")
    dataset = _dataset(project, store, split, settings, teaching)
    facts = {
        "kind": kind,
        "model": settings.model,
        "licence": pupil.licence,
        "dataset": dataset.hash,
        "ontology": project.ontology.hash,
        "names": list(dataset.names),
        "split": split.name,
        "seed": settings.seed,
        "teaching": asdict(teaching),
        "settings": _plain(settings),
        "curve_of": curve_of,
    }
    run = RunFolder.create(project, name, facts)
    return _taught(run, dataset, settings, tell)


def resume(project: Project, name: str, tell: Tell = lambda line: None) -> RunFolder:
    """Go on with a training that was cut off, on the very data that it began with.

    Raises:
        StateError: no such run, its data is gone or changed, or its checkpoint is damaged.
    """
    run = named_run(project, name)
    if run.finished:
        raise StateError(f"{display(run.path)}: has finished: labelstill evaluate {name}, or train with another --name")
    dataset = verify(project.datasets_path / str(run.facts["dataset"]))
    return _taught(run, dataset, _settings(run), tell)


def named_run(project: Project, name: str | None) -> RunFolder:
    """Return a training by its name; None is the newest that has finished. Raises StateError."""
    known = runs(project)
    if name is None:
        finished = [run for run in known if run.finished]
        if not finished:
            raise StateError(f"{display(project.root)}: no student is trained yet: labelstill train")
        return finished[-1]
    for run in known:
        if run.name == name:
            return run
    names = ", ".join(run.name for run in known) or "none"
    raise StateError(f"{display(project.root)}: no training is called {name!r}; there are: {names}")


def _taught(run: RunFolder, dataset: Dataset, settings: TrainSettings, tell: Tell) -> RunFolder:
    from .run_folder import now

    student(str(run.facts["kind"])).train(dataset, run.path, settings, tell)
    return run.write(finished_at=now())


def _dataset(project: Project, store: Store, split: Split, settings: TrainSettings, teaching: Teaching) -> Dataset:
    task: Task = "segment" if settings.model.endswith("-seg") else "detect"
    return materialise(
        project,
        store,
        thinned(split, teaching.share, teaching.fold),
        StoredPhotos(store, loader(project.config.images)).photo,
        task=task,
        fold=teaching.fold,
        pseudo=teaching.pseudo,
        weights=teaching.weights,
        ring=teaching.ring,
        oversample=teaching.oversample,
        seed=settings.seed,
    )


def thinned(split: Split, share: float, fold: int | None = None) -> Split:
    """Return the split with a share of its train part, whole groups by lot; smaller shares lie in larger ones.

    Args:
        split: stays as it is.
        share: in (0, 1].
        fold: that is val, where the split has folds.

    Raises:
        InputError: another share.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of the train part is {share}: expected a number above 0 and up to 1")
    if share == 1:
        return split
    teaching = split.images("train", fold)
    kin = sorted({split.kin.get(sha256, sha256) for sha256 in teaching})
    random.Random(0).shuffle(kin)
    kept = set(kin[: max(1, round(share * len(kin)))])
    gone = {sha256 for sha256 in teaching if split.kin.get(sha256, sha256) not in kept}
    return replace(split, parts={sha256: part for sha256, part in split.parts.items() if sha256 not in gone})


def _plain(settings: TrainSettings) -> dict[str, object]:
    """Return settings as run.json holds them."""
    found = asdict(settings)
    return found | {key: str(found[key]) for key in ("start", "distill_model") if found[key] is not None}


def _settings(run: RunFolder) -> TrainSettings:
    """Return the settings that a run began with."""
    found = dict(run.facts["settings"])
    paths = {key: Path(found[key]) for key in ("start", "distill_model") if found.get(key) is not None}
    return TrainSettings(**(found | paths | {"loggers": tuple(found["loggers"])}))

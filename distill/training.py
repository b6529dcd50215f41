"""One training from labels.db to weights: the dataset of a split, a run folder, the student."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.image_files import display
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader

from .dataset import Dataset, materialise, verify
from .run_folder import RUN_FILE, RunFolder, now, plain_name, runs, runs_path
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

    A run of that name that was cut off goes on if it was begun with the same. A training that fails before its first
    epoch has ended leaves no run.

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
    if settings.start is not None and not settings.start.exists():
        raise InputError(f"--start {display(settings.start)}: is not there: expected weights to start from")
    tell("writing the dataset")
    dataset = _dataset(project, store, split, settings, teaching)
    for line in _about(dataset):
        tell(line)
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
        "remarks": list(dataset.remarks),
        "left_out": dict(dataset.left_out),
        "left_out_objects": dict(dataset.left_out_objects),
        "altered": dict(dataset.altered),
    }
    run = _begun(project, name, facts) or RunFolder.create(project, name, facts)
    return _taught(run, project, dataset, settings, tell)


def resume(project: Project, name: str, tell: Tell = lambda line: None) -> RunFolder:
    """Go on with a training that was cut off, on the very data that it began with.

    Raises:
        StateError: no such run, its data is gone or changed, or its checkpoint is damaged.
    """
    run = named_run(project, name)
    if run.finished:
        raise StateError(f"{display(run.path)}: has finished: labelstill evaluate {name}, or train with another --name")
    dataset = verify(project.datasets_path / str(run.facts["dataset"]))
    return _taught(run, project, dataset, _settings(run), tell)


def named_run(project: Project, name: str | None) -> RunFolder:
    """Return a training by its name; None is the newest that has finished, learning curves apart. Raises StateError."""
    known = runs(project)
    if name is None:
        finished = [run for run in known if run.finished and run.facts.get("curve_of") is None]
        if not finished:
            raise StateError(f"{display(project.root)}: no student is trained yet: labelstill train")
        return finished[-1]
    if plain_name(name) and (runs_path(project) / name / RUN_FILE).exists():
        return RunFolder.open(runs_path(project) / name)
    names = ", ".join(run.name for run in known) or "none"
    raise StateError(f"{display(project.root)}: no training is called {name!r}; there are: {names}")


def _begun(project: Project, name: str | None, facts: Mapping[str, Any]) -> RunFolder | None:
    """Return the run of that name if it was cut off and began with the same."""
    if name is None or not plain_name(name) or not (runs_path(project) / name / RUN_FILE).exists():
        return None
    run = RunFolder.open(runs_path(project) / name)
    plain = json.loads(json.dumps(facts))
    same = all(run.facts.get(key) == plain[key] for key in ("dataset", "model", "names", "settings", "teaching"))
    return run if same and not run.finished else None


def _taught(run: RunFolder, project: Project, dataset: Dataset, settings: TrainSettings, tell: Tell) -> RunFolder:
    try:
        student(kind_of(settings.model)).train(dataset, run.path, settings, tell)
    except Exception:
        if not _has_checkpoint(run):
            run.remove()
        raise
    except BaseException as stop:
        # Whoever ends the process says this in place of what holds for other verbs.
        stop.add_note(
            f"stopped: labelstill train --resume {run.name} --project {shlex.quote(display(project.root))} continues "
            "from the last epoch that ended"
        )
        raise
    kept = _kept(run)
    done = run.write(finished_at=now(), weights=run.weights_hash(), **kept)
    if "kept_epoch" in kept:
        score = f" (AP50-95 on val {kept['kept_ap']:.3f})" if "kept_ap" in kept else ""
        tell(f"kept epoch {kept['kept_epoch']} of {settings.epochs}{score}, the best on val")
    return done


def _has_checkpoint(run: RunFolder) -> bool:
    return run.weights.exists() or any((run.path / "training" / "weights").glob("*.pt")) or any(run.path.glob("*.pt"))


def _kept(run: RunFolder) -> dict[str, int | float]:
    """Return which epoch the weights are of, and AP50-95 on val there, as far as their file says so."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run.weights, framework="numpy") as file:
            said = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise StateError(f"{display(run.weights)}: cannot be read ({error}): remove it and resume the run") from error
    found: dict[str, int | float] = {"kept_epoch": int(said["kept_epoch"])} if "kept_epoch" in said else {}
    return found | ({"kept_ap": float(said["kept_ap"])} if "kept_ap" in said else {})


def _about(dataset: Dataset) -> list[str]:
    """Return what is odd about a dataset, one line each."""
    told = [f"dataset {dataset.hash}: {remark}" for remark in dataset.remarks]
    told += [f"{count:,} images left out: {why}" for why, count in sorted(dataset.left_out.items())]
    told += [f"{count:,} labels left out: {why}" for why, count in sorted(dataset.left_out_objects.items())]
    return told + [f"{count:,} labels altered: {what}" for what, count in sorted(dataset.altered.items())]


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
    """Return the settings that a run began with. Raises StateError where run.json holds none."""
    try:
        found = TypeAdapter(TrainSettings).validate_python(run.facts.get("settings"))
        kind_of(found.model)
    except (ValidationError, InputError):
        raise StateError(
            f"{display(run.path / RUN_FILE)}: is damaged (no settings to go on with): train anew"
        ) from None
    return found

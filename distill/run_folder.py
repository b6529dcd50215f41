"""One folder per training: what went in, which versions, how far it came, and the weights that came out."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType
from typing import Any, Self

from labeling.core.config import write_atomically
from labeling.core.errors import InputError, StateError
from labeling.image_files import display
from labeling.project import Project

from .students import WEIGHTS_FILE

RUN_FILE = "run.json"

_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("kind", "model", "licence", "ontology", "split", "started_at"), str),
    **dict.fromkeys(("settings", "teaching"), dict),
    **dict.fromkeys(("finished_at", "weights"), (str, NoneType)),
    "names": list,
}
_HEX = re.compile(r"[0-9a-f]{1,16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PACKAGES = ("torch", "torchvision", "ultralytics", "transformers", "numpy", "faster-coco-eval")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A training on disk.

    Attributes:
        path: the folder, ``runs/train/NAME`` of a project.
        facts: the content of run.json: kind, model, licence, settings, dataset (its hash), ontology (its hash), names,
            seed, versions, started_at, finished_at (None until then), what is odd about the dataset (remarks, left_out,
            left_out_objects, altered), and in the end kept_epoch, kept_ap and weights (the sha256 of the file).
    """

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, project: Project, name: str | None, facts: dict[str, Any]) -> Self:
        """Make the folder of a new training and note what goes in.

        Args:
            project: gets the folder.
            name: of the run; None counts up: 1, 2, 3 and so on.
            facts: see ``RunFolder``; versions and the time are added.

        Raises:
            InputError: a name that is no plain file name, or a folder that cannot be made.
            StateError: there is a run of that name.
        """
        root = runs_path(project)
        if name is not None and not plain_name(name):
            raise InputError(f"--name {name!r}: expected letters, digits, dots, dashes, such as first-try")
        try:
            root.mkdir(parents=True, exist_ok=True)
            path = root / (name or _next_number(root))
            path.mkdir()
        except FileExistsError:
            raise StateError(
                f"{display(root / str(name))}: exists: continue it with --resume, or give another --name"
            ) from None
        except OSError as error:
            raise InputError(
                f"{display(root)}: cannot be written: {error.strerror}: check whose folder it is"
            ) from error
        run = cls(path, {**facts, "versions": versions(), "started_at": now(), "finished_at": None})
        run.write()
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a training that was begun. Raises StateError where there is none or run.json is damaged."""
        try:
            facts = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StateError(f"{display(path)}: is no training (no {RUN_FILE}): labelstill train makes one") from None
        except (OSError, ValueError) as error:
            raise StateError(f"{display(path / RUN_FILE)}: cannot be read ({error}): train anew") from error
        if wrong := _damage(facts):
            raise StateError(f"{display(path / RUN_FILE)}: is damaged ({wrong}): train anew")
        return cls(path, facts)

    def write(self, **changes: Any) -> RunFolder:
        """Note changes in run.json, whole or not at all, and return the run that has them. Raises InputError."""
        run = replace(self, facts={**self.facts, **changes})
        write_atomically(self.path / RUN_FILE, json.dumps(run.facts, indent=2) + "\n")
        return run

    def remove(self) -> None:
        """Remove the folder, so that its name can be given again. Raises InputError."""
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise InputError(f"{display(self.path)}: cannot be removed: {error.strerror}: remove it by hand") from error

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.name

    @property
    def weights(self) -> Path:
        """Where the trained student lies once the training has ended."""
        return self.path / WEIGHTS_FILE

    def weights_hash(self) -> str:
        """Return the sha256 of the weights: the identity of the student."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def finished(self) -> bool:
        """Say whether the training has ended and left its weights."""
        return self.facts.get("finished_at") is not None and self.weights.exists()


def plain_name(name: str) -> bool:
    """Say whether a run can be called so: a name that is no path."""
    return _NAME.fullmatch(name) is not None


def _damage(facts: object) -> str:
    """Say what is wrong with the content of a run.json; nothing where it can be gone on with."""
    if not isinstance(facts, dict):
        return "no JSON object"
    if "dataset" not in facts:
        return "no dataset in it"
    # It becomes part of a path.
    if not isinstance(facts["dataset"], str) or not _HEX.fullmatch(facts["dataset"]):
        return "dataset is no hash of 16 hex digits"
    wrong = [key for key, kinds in _TYPES.items() if key in facts and not isinstance(facts[key], kinds)]
    return f"{wrong[0]} is of a wrong type" if wrong else ""


def runs_path(project: Project) -> Path:
    """Return the folder of all trainings of a project."""
    return project.runs_path / "train"


def runs(project: Project) -> list[RunFolder]:
    """Return every training that can be read, the oldest first."""
    found = []
    for path in runs_path(project).glob(f"*/{RUN_FILE}"):
        try:
            found.append(RunFolder.open(path.parent))
        except StateError:
            continue
    return sorted(found, key=lambda run: str(run.facts.get("started_at")))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that shape a training; those that are not installed are left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _next_number(root: Path) -> str:
    taken = [int(path.name) for path in root.iterdir() if path.name.isdecimal()]
    return str(max(taken, default=0) + 1)

"""A project folder: where its parts lie, its settings, its labels.db, and one writer at a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .core.config import SCHEMA_FILE, ProjectConfig, json_schema, load_config, save_classes, template, write_atomically
from .core.errors import InputError, StateError
from .core.ontology import Ontology
from .core.store import Store
from .core.store_rows import shown_path

CONFIG_FILE = "project.yaml"
DATABASE_FILE = "labels.db"
LOCK_FILE = ".labelstill.lock"

FRAMES_FOLDER = "frames"

OWN_FILES = (
    CONFIG_FILE,
    SCHEMA_FILE,
    DATABASE_FILE,
    f"{DATABASE_FILE}-wal",
    f"{DATABASE_FILE}-shm",
    LOCK_FILE,
    ".labelstill.pid",
)
OWN_FOLDERS = ("runs", "datasets", "exports", "reports", "studio", "curation", FRAMES_FOLDER)


@dataclass(frozen=True, slots=True)
class Project:
    """An existing project folder.

    Attributes:
        root: absolute path of the folder.
        config: what its project.yaml says.
    """

    root: Path
    config: ProjectConfig

    @classmethod
    def exists(cls, root: Path) -> bool:
        """Say whether there is a project.yaml in the folder."""
        return (root / CONFIG_FILE).exists()

    @classmethod
    def open(cls, root: Path) -> Project:
        """Read the settings of a project.

        Raises:
            StateError: the folder is no project, or holds a labels.db whose project.yaml is gone.
            InputError: project.yaml cannot be read or has errors.
        """
        root = root.expanduser().resolve()
        if not cls.exists(root):
            _refuse_lone_database(root)
            raise StateError(f"{root}: is no project (no {CONFIG_FILE}): start one with labelstill init --project DIR")
        return cls(root, load_config(root / CONFIG_FILE))

    @classmethod
    def create(cls, root: Path, ontology: Ontology | None = None) -> Project:
        """Write a commented project.yaml and the JSON schema that editors check it with; make the folder if need be.

        Raises:
            StateError: there is a project already, or a labels.db whose project.yaml is gone.
            InputError: the folder cannot be made or written.
        """
        root = root.expanduser().resolve()
        if cls.exists(root):
            raise StateError(f"{root / CONFIG_FILE}: exists and is not overwritten: edit it, or name another folder")
        _refuse_lone_database(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{root}: the project folder cannot be made: {error.strerror}: name another") from error
        write_atomically(root / SCHEMA_FILE, json.dumps(json_schema(), indent=2) + "\n")
        write_atomically(root / CONFIG_FILE, template(project_name(root), ontology))
        return cls.open(root)

    @property
    def ontology(self) -> Ontology:
        """The classes. Raises InputError while project.yaml has none."""
        ontology = self.config.ontology
        if ontology is None:
            raise InputError(
                f"{self.config_path}: has no classes yet: add some there, or label with --classes 'box, pallet'"
            )
        return ontology

    def with_ontology(self, ontology: Ontology, store: Store) -> Project:
        """Write the classes into project.yaml and labels.db, and return the project that has them.

        Raises:
            StateError: a class that labels.db knows is missing, renamed or moved; nothing is written then.
        """
        store.check_classes(ontology)
        # In this order a run that is cut off in between leaves new classes to be appended by the next one.
        save_classes(self.config_path, ontology)
        store.write_classes(ontology)
        return replace(self, config=load_config(self.config_path))

    def open_store(self, *, create: bool = False) -> Store:
        """Open labels.db, see ``Store.open``."""
        return Store.open(self.database_path, create=create)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the project for writing; whoever dies lets go of it.

        Raises:
            StateError: another process holds it; the message names the process.
            InputError: the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        path = self.root / LOCK_FILE
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            holder = _read_holder(path)
            raise StateError(f"{self.root}: {holder} is writing here: wait until it has finished") from None
        except OSError as error:
            raise InputError(f"{self.root}: the project folder cannot be written: {error.strerror}") from error
        try:
            # Beside the lock, since opening a lock file may empty it.
            with contextlib.suppress(OSError):
                _holder_path(path).write_text(f"{os.getpid()}\n", encoding="utf-8")
            yield
        finally:
            _holder_path(path).unlink(missing_ok=True)
            lock.release()

    @property
    def config_path(self) -> Path:
        """Settings for people to edit."""
        return self.root / CONFIG_FILE

    @property
    def database_path(self) -> Path:
        """Every image, label and run."""
        return self.root / DATABASE_FILE

    @property
    def runs_path(self) -> Path:
        """One folder per run of a stage."""
        return self.root / "runs"

    @property
    def datasets_path(self) -> Path:
        """Datasets for training."""
        return self.root / "datasets"

    @property
    def exports_path(self) -> Path:
        """Labels in other formats."""
        return self.root / "exports"

    @property
    def reports_path(self) -> Path:
        """HTML reports."""
        return self.root / "reports"

    @property
    def curation_path(self) -> Path:
        """FiftyOne: its database, and the pictures that only it needs; all of it can be made anew."""
        return self.root / "curation"

    @property
    def frames_path(self) -> Path:
        """Frames taken from videos and streams: photos like any other, but that we wrote them."""
        return self.root / FRAMES_FOLDER

    @property
    def studio_path(self) -> Path:
        """Label Studio: the files that it shows, and the server of our own."""
        return self.root / "studio"


def project_name(root: Path) -> str:
    """Return the name of a folder as valid text, for a new project.yaml."""
    return shown_path(os.fsencode(root.name)) or "project"


def _refuse_lone_database(root: Path) -> None:
    if (root / DATABASE_FILE).exists():
        raise StateError(
            f"{root}: has a {DATABASE_FILE} but no {CONFIG_FILE}: put the {CONFIG_FILE} back, or name another folder"
        )


def _holder_path(lock_path: Path) -> Path:
    return lock_path.with_suffix(".pid")


def _read_holder(lock_path: Path) -> str:
    try:
        return f"process {int(_holder_path(lock_path).read_text(encoding='utf-8'))}"
    except (OSError, ValueError):
        return "another process"

"""FiftyOne on a database of the project's own: environment, one start at a time, and errors in one line."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from labeling.core.errors import InputError, MissingExtraError, ServerError, StateError
from labeling.health_servers import INSTALL_MONGOD, mongod_program
from labeling.image_files import display
from labeling.project import Project

from . import mongod

URI_VARIABLE = "FIFTYONE_DATABASE_URI"

_WAIT_FOR_ANOTHER_S = 180.0
_ANSWERS_WITHIN_MS = 5000


@contextlib.contextmanager
def database(project: Project) -> Iterator[Any]:
    """Yield the module ``fiftyone``, connected to a database.

    That is the server of FIFTYONE_DATABASE_URI, or else a mongod of the project's own, which every process that uses
    the project at the same time shares and the last one ends. Everything that FiftyOne writes lies in the folder
    ``curation`` of the project; it asks nothing of the network.

    Args:
        project: gets the folder, which git ignores.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        StateError: there is no mongod, or the database cannot be opened.
        ServerError: nothing answers at the address, or the database ended while it was used.
        InputError: the folder cannot be written, or the address is none.
    """
    if importlib.util.find_spec("fiftyone") is None:
        raise MissingExtraError("fiftyone", "curate")
    uri = os.environ.get(URI_VARIABLE)
    program = _program() if uri is None else None
    folder = make_folder(project)
    with contextlib.ExitStack() as open_here:
        settings = _settings(folder)
        open_here.enter_context(_environment(settings))
        fiftyone = _imported()
        if uri is None:
            open_here.enter_context(mongod.used(folder))
        with _alone(folder):
            if program is not None:
                uri = mongod.ensure(folder, program).uri
            assert uri is not None
            _check(uri, own=program is not None)
            open_here.enter_context(_environment({"database_uri": uri}))
            open_here.enter_context(_settings_of(fiftyone, {**settings, "database_uri": uri}))
            with _failures_in_one_line(uri, own=program is not None):
                fiftyone.list_datasets()
        with _failures_in_one_line(uri, own=program is not None):
            yield fiftyone


def make_folder(project: Project) -> Path:
    """Return the folder of everything that can be made anew from labels.db; git ignores it. Raises InputError."""
    folder = project.curation_path
    try:
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{display(folder)}: cannot be written: {error.strerror}: check whose folder it is") from error
    return folder


def answers(fiftyone: Any) -> None:
    """Ask the database whether it is still there. Raises what ``database`` turns into a ServerError."""
    fiftyone.core.odm.get_db_client().admin.command("ping")


def _program() -> Path:
    program = mongod_program()
    if program is None:
        raise StateError(
            f"FiftyOne came without mongod, its database: {INSTALL_MONGOD}, or set {URI_VARIABLE} to one that runs"
        )
    return program


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings of FiftyOne; in upper case, behind FIFTYONE_, they are names in the environment."""
    return {
        "database_dir": str(folder / "db"),
        "database_validation": False,
        "do_not_track": True,
        "default_dataset_dir": str(folder / "datasets"),
        "dataset_zoo_dir": str(folder / "zoo"),
        "model_zoo_dir": str(folder / "models"),
        "plugins_dir": str(folder / "plugins"),
        "default_app_address": "127.0.0.1",
        "logging_level": "WARNING",
        "show_progress_bars": False,
    }


@contextlib.contextmanager
def _environment(settings: dict[str, Any]) -> Iterator[None]:
    """Hold settings in the environment, where the processes that FiftyOne starts find them."""
    wanted = {f"FIFTYONE_{name.upper()}": str(value) for name, value in settings.items()}
    # A database that another FiftyOne of this shell has started would be used instead.
    before = {name: os.environ.get(name) for name in (*wanted, "FIFTYONE_PRIVATE_DATABASE_PORT")}
    os.environ.pop("FIFTYONE_PRIVATE_DATABASE_PORT", None)
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _imported() -> ModuleType:
    try:
        return importlib.import_module("fiftyone")
    except ImportError as error:
        raise MissingExtraError(error.name or "fiftyone", "curate") from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time start mongod and make the first connection; two would get in each other's way."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=_WAIT_FOR_ANOTHER_S)
    try:
        lock.acquire()
    except Timeout:
        raise StateError(
            f"{display(folder)}: another process has been starting its database for {_WAIT_FOR_ANOTHER_S:.0f} s: "
            "end that process, and try again"
        ) from None
    except OSError as error:
        raise InputError(f"{display(folder)}: cannot be written: {error.strerror}: check whose folder it is") from error
    try:
        yield
    finally:
        lock.release()


def _check(uri: str, *, own: bool) -> None:
    """Ask the server for a sign of life, within 5 s; FiftyOne itself would wait for half a minute."""
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, InvalidURI

    try:
        if not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise InvalidURI
        client: MongoClient[Any] = MongoClient(
            uri, serverSelectionTimeoutMS=_ANSWERS_WITHIN_MS, connectTimeoutMS=_ANSWERS_WITHIN_MS
        )
        with _failures_in_one_line(uri, own=own, first=True), client:
            client.admin.command("ping")
    except (InvalidURI, ConfigurationError, ValueError):
        # Its text may hold the password, so neither it nor the cause is shown.
        raise InputError(f"{URI_VARIABLE} is no address: expected mongodb://HOST:PORT") from None


@contextlib.contextmanager
def _settings_of(fiftyone: Any, settings: dict[str, Any]) -> Iterator[None]:
    """Hold FiftyOne to these settings; a database that this process had open before is its own again afterwards."""
    before = {name: getattr(fiftyone.config, name) for name in settings}
    _disconnect()
    try:
        for name, value in settings.items():
            setattr(fiftyone.config, name, value)
        yield
    finally:
        _disconnect()
        for name, value in before.items():
            setattr(fiftyone.config, name, value)


def _disconnect() -> None:
    """Let go of the connection, so that nothing is asked of a database that may have ended, at exit or later."""
    module = sys.modules["fiftyone.core.odm.database"]
    module._disconnect()
    # What FiftyOne keeps of a connection would be used for the next one, whatever the settings say.
    module._connection_kwargs.pop("host", None)
    repositories: Any = sys.modules.get("fiftyone.factory.repo_factory")
    if repositories is not None:
        repositories.RepositoryFactory.repos.clear()
        repositories._db = None


@contextlib.contextmanager
def _failures_in_one_line(uri: str, *, own: bool, first: bool = False) -> Iterator[None]:
    """Turn failures of the connection into one sentence without the password that the address may hold."""
    from pymongo.errors import ConnectionFailure, OperationFailure

    try:
        yield
    except Exception as error:
        causes = list(_causes(error))
        where = "FiftyOne's database, mongod," if own else f"the database of {URI_VARIABLE}, {_shown(uri)},"
        if any(isinstance(cause, ConnectionFailure) for cause in causes):
            if first and not own:
                raise ServerError(
                    f"nothing answers at {_shown(uri)} ({URI_VARIABLE}) within {_ANSWERS_WITHIN_MS // 1000} s: start "
                    "that mongod, correct the address, or unset it to use one of the project's own"
                ) from None
            raise ServerError(
                f"{where} has ended while it was used: run the same command again; labels.db has lost nothing"
            ) from error
        if any(isinstance(cause, OperationFailure) and cause.code in (13, 18) for cause in causes):
            raise ServerError(
                f"{where} refuses the login: correct the name, password or rights in {URI_VARIABLE}"
            ) from None
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _shown(uri: str) -> str:
    """Return the hosts of an address, without what stands before them."""
    return urlsplit(uri).netloc.rpartition("@")[2] or "an address without a host"

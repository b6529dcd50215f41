"""A mongod of the project's own: found running or started, on this machine only, ended with its last user.

FiftyOne would start one by itself, but shares whichever it finds running, of another project too, and tells nothing
about a database that cannot be opened until a minute has passed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from labeling.core.errors import InputError, ServerError, StateError
from labeling.image_files import display

_KEEPER = Path(__file__).with_name("mongod_keeper.py")
_ANSWERS_WITHIN_S = 5.0
_STARTS_WITHIN_S = 120.0  # after a crash it first reads its journal
_ENDS_WITHIN_S = 40.0
_POLL_S = 0.1

_OTHER_VERSION = 62
"""Exit code of mongod where its files were written by a version that it cannot read."""


@dataclass(frozen=True, slots=True)
class Mongod:
    """A mongod that answers at a port of 127.0.0.1; ``pid`` is its process."""

    port: int
    pid: int

    @property
    def uri(self) -> str:
        """Where clients connect; one that gets no answer says so after 5 s."""
        return f"mongodb://127.0.0.1:{self.port}/?serverSelectionTimeoutMS={_ANSWERS_WITHIN_S * 1000:.0f}"


@contextlib.contextmanager
def used(folder: Path) -> Iterator[None]:
    """Count as a user of a folder's mongod; it is not ended meanwhile.

    Args:
        folder: where its database and its files lie; exists.

    Raises:
        ServerError: the one before does not end.
    """
    users = folder / "mongod.users"
    with users.open("ab") as held:
        _wait_for_its_end(held, folder)
        yield


def ensure(folder: Path, program: Path) -> Mongod:
    """Return the mongod of a folder, started if it does not run. To be called by a user, one process at a time.

    Args:
        folder: holds ``db``, the database, and ``mongod.log``, what the last one said.
        program: mongod itself.

    Raises:
        ServerError: it does not start, or does not answer in time.
        StateError: its files are damaged, locked, or of another version.
        InputError: its folder cannot be written.
    """
    database, log = folder / "db", folder / "mongod.log"
    running = _running(database, log)
    if running is not None:
        return running
    try:
        database.mkdir(exist_ok=True)
        log.write_bytes(b"")
    except OSError as error:
        raise InputError(
            f"{display(database)}: cannot be written: {error.strerror}: check whose folder it is"
        ) from error
    keeper = _start(folder, database, log, program)
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until:
        running = _running(database, log)
        if running is not None:
            return running
        code = keeper.poll()
        if code is not None:
            raise _refusal(code, database, log)
        time.sleep(_POLL_S)
    raise ServerError(f"mongod gave no answer within {_STARTS_WITHIN_S:.0f} s: see {display(log)}")


def _wait_for_its_end(held: IO[bytes], folder: Path) -> None:
    """Take the shared lock; while its keeper ends mongod, nobody gets it."""
    until = time.monotonic() + _ENDS_WITHIN_S
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise ServerError(
                    f"{display(folder)}: the mongod of before has not ended within {_ENDS_WITHIN_S:.0f} s: "
                    "end that process, and try again"
                ) from None
            time.sleep(_POLL_S)


def _start(folder: Path, database: Path, log: Path, program: Path) -> subprocess.Popen[bytes]:
    # Port 0: the system picks one that is free, and the log says which.
    mongod = [str(program), "--dbpath", str(database), "--port", "0", "--bind_ip", "127.0.0.1", "--nounixsocket"]
    keeper = [sys.executable, "-S", str(_KEEPER), str(folder / "mongod.users"), str(log), *mongod, "--quiet"]
    quiet = subprocess.DEVNULL
    # A session of its own: Ctrl-C in the terminal of one user must not end the database of another.
    return subprocess.Popen(keeper, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def _running(database: Path, log: Path) -> Mongod | None:
    """Return the mongod that wrote the log, if it still answers and is the one of this database."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    port = _port(log)
    if port is None:
        return None
    try:
        client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=1000)
        with client:
            options = client.admin.command("getCmdLineOpts")["parsed"]
            pid = client.admin.command("serverStatus")["pid"]
    except PyMongoError:
        return None
    there = options.get("storage", {}).get("dbPath")
    return Mongod(port, int(pid)) if there == str(database) else None


def _refusal(code: int, database: Path, log: Path) -> StateError | ServerError | InputError:
    """Return why mongod ended before it answered."""
    errors = [entry for entry in _lines(log) if entry.get("s") in ("E", "F")]
    said, where = json.dumps(errors), display(database)
    if "DBPathInUse" in said:
        return StateError(f"{where}: another mongod has this folder open: end that process, and try again")
    if "No space left" in said:
        return StateError(f"{where}: no space is left on its disk: free some, and try again")
    if re.search("Read-only file system|Permission denied|not permitted", said, re.IGNORECASE):
        return InputError(f"{where}: cannot be written: check whose folder it is")
    anew = "delete the folder; it is made anew from labels.db, and only tags that were not applied are lost"
    if code == _OTHER_VERSION:
        return StateError(f"{where}: was written by another version of mongod: use that one, or {anew}")
    if any(entry.get("c") in ("WT", "STORAGE") for entry in errors):
        return StateError(f"{where}: the database of FiftyOne is damaged: {anew} ({display(log)})")
    last = " ".join(str(errors[-1].get("msg")).split()) if errors else "it said nothing"
    return ServerError(f"mongod ended at once with exit code {code}: {last} ({display(log)})")


def _port(log: Path) -> int | None:
    for entry in _lines(log):
        attributes = entry.get("attr")
        if entry.get("msg") == "Waiting for connections" and isinstance(attributes, dict):
            return int(attributes["port"])
    return None


def _lines(log: Path) -> Iterator[dict[str, object]]:
    """Yield what mongod said, one object per line; what is no object, or half written, is passed over."""
    with contextlib.suppress(FileNotFoundError), log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry

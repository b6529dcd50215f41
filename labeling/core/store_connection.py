"""Opening labels.db, its transactions, and SQLite's failures in words that say what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError, LabelstillError, StateError
from .store_schema import migrate


def connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Open or create the file, in autocommit mode, and bring it to the newest format.

    Raises:
        InputError: the file cannot be opened or written.
        StateError: it is damaged, locked, full, newer than this program, or another program's.
    """
    with translated(path):
        # Threads may hand the connection on (planner to writer); they do not use it at the same time.
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        with translated(path):
            # Another program's file is refused before a pragma could change it.
            migrate(connection, str(path))
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Commit everything in the block, or nothing of it. Raises like ``translated``."""
    with translated(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has already rolled back after some failures, such as a full disk.
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        InputError: no permission, or no such folder.
        StateError: everything else.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _in_words(error, path) from error


def _in_words(error: sqlite3.Error, path: Path) -> LabelstillError:
    # The low byte is the kind, the rest says more about it.
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StateError(f"{path}: the disk is full; what was done is safe: free space and run the same command again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StateError(f"{path}: another process is writing to it: wait until that has finished and run again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return InputError(f"{path}: cannot be opened for writing ({error}): check the folder and its permissions")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StateError(f"{path}: is damaged ({error}): restore a copy, or move the file away and label again")
    if code == sqlite3.SQLITE_IOERR:
        return StateError(
            f"{path}: the disk is full or failed ({error}); what was done is safe: make room and run it again"
        )
    return StateError(f"{path}: refused the data: {error}")

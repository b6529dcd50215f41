"""Hashes of large files, such as weights, remembered in labels.db while the file is the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .errors import InputError
from .store import Store


def cached_hash(store: Store, path: Path) -> str:
    """Return the sha256 hex of a file, read only when its size or time of change is new. Raises InputError."""
    key = os.fsencode(path.absolute())
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            stamp = (stat.st_size, stat.st_mtime_ns)
            known = store.rows("SELECT size, mtime_ns, sha256 FROM hashes WHERE path_bytes = ?", key)
            if known and known[0][:2] == stamp:
                return str(known[0][2])
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    with store.transaction() as db:
        db.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", (key, *stamp, digest))
    return digest

"""Photos of labels.db by their identity: the first file that still holds the bytes is decoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock

from .core.config import ImagesConfig
from .core.errors import InputError
from .core.store import Store
from .images import LoadedImage, load

Load = Callable[[Path], LoadedImage]
"""Decodes one file; raises InputError where it is no usable image."""


class StoredPhotos:
    """Decodes photos; the sources are only read. Threads may share it.

    Args:
        store: labels.db.
        load: decodes a file.

    Attributes:
        vanished: reason by name, for every photo that could not be shown.
    """

    def __init__(self, store: Store, load: Load) -> None:
        self.vanished: dict[str, str] = {}
        self._store = store
        self._load = load
        self._asking = Lock()  # a store is not asked by two threads at once

    def photo(self, sha256: str, name: str | None = None) -> LoadedImage | None:
        """Return the photo; where no file holds it any more, None, and why is noted under its name."""
        said = ""
        with self._asking:
            paths = self._store.files_of(sha256)
        for path in paths:
            try:
                loaded = self._load(path)
            except InputError as error:
                said = said or str(error)
                continue
            if loaded.sha256 == sha256:
                return loaded
            said = said or "changed: the file holds another image now"
        if name is None:
            with self._asking:
                name = self._store.names_of([sha256])[sha256]
        self.vanished[name] = said
        return None


def loader(gate: ImagesConfig) -> Load:
    """Return what decodes a file under the limits of a project."""
    return partial(load, max_pixels=gate.max_pixels, background=gate.background, accept_truncated=gate.accept_truncated)

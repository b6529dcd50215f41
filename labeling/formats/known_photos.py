"""Photos found again by their sha256, for label files whose export gave them other names."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path

from .names import split_name


class KnownPhotos:
    """The files below a folder, by name; a file is hashed only where its name does not decide."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._hashes: dict[Path, str | None] = {}

    def find(self, name: str, sha256: str) -> Path | None:
        """Return the file with these bytes among those that an export may have called so, or None.

        The export calls the second ``1.jpg`` of a project ``1-<8 digits of its hash>.jpg``, and knows no folders.
        """
        stem, suffix = split_name(name)
        own = stem.rpartition("-")[0] if sha256.startswith(stem.rpartition("-")[2] or "-") else stem
        named = [*self._by_name.get(stem + suffix, ()), *(self._by_name.get(own + suffix, ()) if own != stem else ())]
        if named == [self._folder / name]:
            return None
        return next((path for path in named if self._hash(path) == sha256), None)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for folder, folders, names in os.walk(self._folder):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if not path.is_symlink():
                    found[name].append(path)
        return found

    def _hash(self, path: Path) -> str | None:
        if path not in self._hashes:
            try:
                with path.open("rb") as file:
                    self._hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                self._hashes[path] = None
        return self._hashes[path]

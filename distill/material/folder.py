"""The folder of a dataset: written beside its place, read-only, and there as a whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from labeling.core.errors import InputError, StateError
from labeling.image_files import display

MANIFEST = "manifest.json"

Facts = tuple[int, str]
"""Bytes and sha256 of a file."""

_UNFINISHED = ".unfinished"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_THREADS = 4


class NewFolder:
    """A folder that is being written; several threads may write into it.

    Attributes:
        root: where it lies meanwhile.
        files: what was written, by path below the root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, Facts] = {}

    def make(self, name: str) -> None:
        """Make a folder below it, with those above."""
        (self.root / name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that nobody can change."""
        path = self.root / name
        path.write_bytes(data)
        path.chmod(0o444)
        self.files[name] = (len(data), hashlib.sha256(data).hexdigest())

    def publish(self, path: Path) -> None:
        """Give the folder its name; what has that name is replaced."""
        for folder, _, _ in os.walk(self.root, topdown=False):
            Path(folder).chmod(0o555)
        remove(path)
        self.root.rename(path)


@contextmanager
def new_folder(parent: Path) -> Iterator[NewFolder]:
    """Give a folder to write into; what is left of it when the block ends, and of earlier ones that died, is removed.

    Args:
        parent: made if need be; whoever calls holds the project, so that nobody else writes here.

    Raises:
        StateError: the disk is full.
        InputError: the folder cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for stale in parent.glob(f".*{_UNFINISHED}"):
            remove(stale)
        root = parent / f".{os.getpid()}{_UNFINISHED}"
        root.mkdir()
        try:
            yield NewFolder(root)
        finally:
            remove(root)
    except OSError as error:
        if error.errno in _FULL:
            raise StateError(
                f"{display(parent)}: the disk is full; nothing of the dataset is left there: free space and run again"
            ) from error
        raise InputError(
            f"{display(parent)}: cannot be written: {error.strerror or error}: check whose folder it is"
        ) from error


def remove(path: Path) -> None:
    """Remove a folder although it is read-only; nothing where there is none."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o755)
        shutil.rmtree(path)


def check(path: Path, files: Mapping[str, Facts]) -> None:
    """Read every file of a folder.

    Label caches of trainers (``labels/*.cache``) may be there besides.

    Raises:
        StateError: names the first file, by path, that is missing, differs, or was added.
    """
    there = {
        entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_symlink() or not entry.is_dir()
    }
    added = {name for name in there - files.keys() - {MANIFEST} if not _is_cache(name)}
    names = sorted(files.keys() | added)
    with ThreadPoolExecutor(_THREADS) as pool:
        for name, found in zip(names, pool.map(lambda name: _facts(path / name), names), strict=True):
            if name in added or found != files[name]:
                what = "was added" if name in added else "is gone" if found is None else "is not what was written"
                raise StateError(
                    f"{display(path / name)}: {what}: remove the folder {display(path)}, and the next "
                    "labelstill train makes it anew"
                )


def _is_cache(name: str) -> bool:
    return name.endswith(".cache") and name.startswith("labels/") and name.count("/") == 1


def _facts(path: Path) -> Facts | None:
    try:
        if path.is_symlink():
            return None
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None

"""Normalised copies of the photos in the folder that Label Studio serves: made once, by a few threads, never a link."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG

from ..core.errors import InputError, StateError
from ..core.store import Store
from ..core.store_rows import shown_path
from ..image_copies import normalised_copy
from ..images import ImageRejected
from ..project import Project
from .folder import files_path, make_folders

_SUFFIXES = (".jpg", ".png")
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy: sha256 of its source, suffix of its file, and its bytes unless they lie in the folder."""

    sha256: str
    suffix: str
    data: bytes = b""

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.sha256}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Refused:
    """An image of which no copy can be made, and why."""

    sha256: str
    reason: str


def images_path(project: Project) -> Path:
    """Return the folder of the copies, which is the path of the local-files storage."""
    return files_path(project) / "images"


def make_images_folder(project: Project) -> Path:
    """Return the folder of the copies, made if need be.

    Raises:
        StateError: a link stands in its place, by which the server could be made to hand out other files.
        InputError: it cannot be made.
    """
    make_folders(project)
    _make_folder(files_path(project))
    return _make_folder(images_path(project))


class Copies:
    """The copies of one project. Methods belong to the thread of the store."""

    def __init__(self, project: Project, store: Store) -> None:
        images = project.config.images
        self._normalised = partial(
            normalised_copy,
            max_pixels=images.max_pixels,
            background=images.background,
            accept_truncated=images.accept_truncated,
        )
        self._store = store
        self.folder = make_images_folder(project)
        self._shards: set[str] = set()

    def in_folder(self, sha256s: Sequence[str]) -> Iterator[Copy | Refused]:
        """Yield the copies, written to the folder where they are not there yet; those that are come first.

        Raises:
            StateError: a link stands in place of a folder.
            InputError: a copy cannot be written.
        """
        missing = []
        for sha256 in sha256s:
            if (copy := self._existing(sha256)) is not None:
                yield copy
            else:
                missing.append(sha256)
        yield from self._made(missing, self._written)

    def in_memory(self, sha256s: Sequence[str]) -> Iterator[Copy | Refused]:
        """Yield the copies with their bytes, in order; two per thread are in memory at most."""
        yield from self._made(sha256s, lambda copy: copy)

    def path(self, copy: Copy) -> Path:
        """Return where a copy lies, or will lie, in the folder."""
        return self.folder / copy.sha256[:2] / copy.name

    def _existing(self, sha256: str) -> Copy | None:
        if sha256[:2] not in self._shards:
            _make_folder(self.folder / sha256[:2])
            self._shards.add(sha256[:2])
        for suffix in _SUFFIXES:
            copy = Copy(sha256, suffix)
            try:
                info = self.path(copy).lstat()
            except FileNotFoundError:
                continue
            # Never a link, and nothing that a crash of the machine has left empty.
            if S_ISREG(info.st_mode) and info.st_size:
                return copy
        return None

    def _written(self, copy: Copy) -> Copy:
        path = self.path(copy)
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(copy.data)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)  # a server in a container is another user
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}: check the folder and its space") from error
        return Copy(copy.sha256, copy.suffix)

    def _made(self, sha256s: Sequence[str], use: Callable[[Copy], Copy]) -> Iterator[Copy | Refused]:
        def work(sha256: str, paths: Sequence[Path]) -> Copy | Refused:
            made = self._copy(sha256, paths)
            return made if isinstance(made, Refused) else use(made)

        waiting: deque[Future[Copy | Refused]] = deque()
        with ThreadPoolExecutor(_THREADS, "copies") as pool:
            try:
                for sha256 in sha256s:
                    if len(waiting) == 2 * _THREADS:
                        yield waiting.popleft().result()
                    waiting.append(pool.submit(work, sha256, self._store.files_of(sha256)))
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _copy(self, sha256: str, paths: Sequence[Path]) -> Copy | Refused:
        reasons = []
        for path in paths:
            shown = shown_path(os.fsencode(path))
            try:
                copy = self._normalised(path)
            except ImageRejected as rejected:
                if rejected.sha256 in (None, sha256):
                    gone = "the photo is gone: put it back"
                    reasons.append(f"{shown}: {gone if rejected.reason == 'missing' else rejected}")
                    continue
            else:
                if copy.sha256 == sha256:
                    return Copy(sha256, copy.suffix, copy.data)
            reasons.insert(
                0, f"{shown}: holds another picture than the one that was labelled: run labelstill label again"
            )
        return Refused(
            sha256, reasons[0] if reasons else f"image {sha256}: no file holds it: run labelstill label again"
        )


def _make_folder(path: Path) -> Path:
    if path.is_symlink():
        raise StateError(f"{path}: expected a folder of our own, got a link: remove it, and the copies are made anew")
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {error.strerror}: check the project folder") from error
    return path

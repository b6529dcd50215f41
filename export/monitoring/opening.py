"""Frames that a device kept become new images of a project: copied, looked at, written down once."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from labeling.core.errors import InputError
from labeling.core.store import FileStamp
from labeling.images import ImageRejected, LoadedImage, decode, read
from labeling.outcomes import known_outcome
from labeling.project import Project

from .candidates import Candidate

FOLDER = "edge-frames"
"""Folder of the project that holds the pictures, named by their bytes."""

_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(slots=True)
class Opened:
    """What became of the frames.

    Attributes:
        folder: of the pictures in the project.
        new: pictures that are new images of the project now.
        known: of those looked at, how many are images of the project already.
        refused: how many could not be used, by reason.
        first_refused: the first of them.
    """

    folder: Path
    new: list[Path] = field(default_factory=list)
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first_refused: str | None = None


def open_frames(project: Project, ranked: Iterable[Candidate], wanted: int) -> Opened:
    """Copy pictures into the project and write them into labels.db as images in the state new, until so many are.

    A picture with the bytes of a known image is left out, so the same frames are opened once. The logs are never
    changed.

    Raises:
        InputError: the folder cannot be written.
        StateError: as of ``Store``, or somebody else writes into the project.
    """
    opened = Opened(project.root / FOLDER)
    with project.lock(), project.open_store(create=True) as store:
        known = set(store.states())
        run = store.start_run("monitor", {"wanted": wanted})
        for one in ranked:
            if len(opened.new) == wanted:
                break
            try:
                data, image = _looked_at(one, project)
            except ImageRejected as error:
                opened.refused[error.reason] += 1
                opened.first_refused = opened.first_refused or f"{one.kept}: {error.detail}"
                continue
            if image.sha256 in known:
                opened.known += 1
                continue
            known.add(image.sha256)
            target = _copied(data, opened.folder / f"{image.sha256[:16]}{PurePosixPath(one.kept).suffix.lower()}")
            info = target.stat()
            stamp = FileStamp(os.fsencode(target), info.st_size, info.st_mtime_ns)
            store.commit_batch([known_outcome(stamp, image)], run)
            opened.new.append(target)
        store.finish_run(run, {"opened": len(opened.new), "known": opened.known, "refused": opened.refused.total()})
    return opened


def inside(log: Path, kept: str) -> Path:
    """Return the file that a log names.

    Raises:
        ImageRejected: it lies outside the folder of the log, is reached through a link, or is named like no picture.
    """
    name = PurePosixPath(kept)
    if name.is_absolute() or ".." in name.parts or "\0" in kept or not name.parts:
        raise ImageRejected("outside", "the log names a file outside its folder: copy pictures beside the logs")
    if any("\ud800" <= c <= "\udfff" for c in kept):
        raise ImageRejected("not_a_picture", "the log names a file by no valid text")
    if name.suffix.lower() not in _SUFFIXES:
        raise ImageRejected("not_a_picture", "expected a .jpg or .png that the runtime kept")
    folder = log.parent.resolve()
    path = folder / name
    if path.resolve() != path:
        raise ImageRejected("link", "the file is reached through a symbolic link: copy the picture itself")
    return path


def _looked_at(one: Candidate, project: Project) -> tuple[bytes, LoadedImage]:
    limits = project.config.images
    path = inside(one.log, one.kept)
    data = read(path, limits.max_pixels)
    image = decode(data, max_pixels=limits.max_pixels, background=limits.background)
    return data, image


def _copied(data: bytes, target: Path) -> Path:
    """Write a picture so that nobody finds half of it. Raises InputError."""
    try:
        target.parent.mkdir(exist_ok=True)
        if target.parent.resolve() != target.parent:
            raise InputError(f"{target.parent}: is a link that leads elsewhere: make it a folder of the project")
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise InputError(f"{target}: the picture cannot be written: {error.strerror}") from error
    return target

"""What `labeling.label` takes for images, as one stream of files for the pipeline: folders, files, arrays."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .core.errors import InputError
from .image_files import FoundFile, no_images_error, scan
from .images import MIN_SIDE_PX, ImageRejected, LoadedImage, Pixels
from .planning import rejection

Source: TypeAlias = str | os.PathLike[str] | Pixels
"""A folder, an image file, or (height, width, 3) uint8 RGB."""

_BATCH_DIMENSIONS = 4
"""An array (n, height, width, 3) is n images; any other is one, for better or worse."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that was given and is no image, and why."""

    path: Path
    reason: str


class Sources:
    """Images as they were given, in that order, read one by one while the pipeline runs.

    Attributes:
        taken: what was handed to the pipeline or refused, in order; the consumer takes it from the left.
        error: what the iterable of the caller raised, to be raised once everything before it was answered.
    """

    def __init__(self, images: Source | Iterable[Source], load: Callable[[Path], LoadedImage]) -> None:
        """Take images; ``load`` decodes a file.

        Raises:
            InputError: one folder or file was given, and it does not exist or holds no image.
        """
        self.taken: deque[FoundFile | Refused] = deque()
        self.error: Exception | None = None
        self._load_file = load
        self._arrays: dict[Path, object] = {}
        self._found: Iterator[FoundFile | Refused]
        if isinstance(images, str | os.PathLike):
            self._found = iter(_search(images))
        elif isinstance(images, np.ndarray) and images.ndim != _BATCH_DIMENSIONS:
            self._found = self._each([images])
        elif isinstance(images, Iterable) and not isinstance(images, bytes | bytearray):
            self._found = self._each(images)
        else:
            raise InputError(f"images: expected a folder, files or arrays, got {type(images).__name__}")

    def files(self) -> Generator[FoundFile, None, None]:
        """Yield what the pipeline can try to decode; an array is a file whose relative path is its number."""
        try:
            for entry in self._found:
                self.taken.append(entry)
                if isinstance(entry, FoundFile):
                    yield entry
        except Exception as error:
            self.error = error

    def load(self, path: Path) -> LoadedImage:
        """Return the pixels of what ``files`` yielded; safe in several threads. Raises ImageRejected."""
        if path.is_absolute():
            return self._load_file(path)
        pixels = self._arrays.pop(path)
        if not isinstance(pixels, np.ndarray):
            advice = "expected a path, or a (height, width, 3) uint8 RGB array such as np.asarray(image.convert('RGB'))"
            raise ImageRejected("not_an_image", f"{advice}; got {type(pixels).__name__}")
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            shape = "x".join(map(str, pixels.shape))
            raise ImageRejected(
                "unsupported_dtype", f"expected (height, width, 3) uint8 RGB, got {shape} {pixels.dtype}"
            )
        if min(pixels.shape[:2]) < MIN_SIDE_PX:
            height, width = pixels.shape[:2]
            raise ImageRejected("too_small", f"{width}x{height} pixels; at least {MIN_SIDE_PX} on each side")
        return LoadedImage("", pixels, "array")

    def _each(self, images: Iterable[object]) -> Iterator[FoundFile | Refused]:
        for number, image in enumerate(images):
            if not isinstance(image, str | os.PathLike):
                path = Path(str(number))
                # A copy: the pipeline looks ahead, and whoever makes frames may use one buffer for all of them.
                self._arrays[path] = np.array(image, order="C") if isinstance(image, np.ndarray) else image
                yield FoundFile(path.name, Path(), 0, 0)
                continue
            try:
                yield from _search(image)
            except InputError as error:
                yield Refused(Path(image), str(error))


def _search(given: str | os.PathLike[str]) -> list[FoundFile | Refused]:
    """Return what lies below a folder, sorted by the bytes of the path; files that are no images are passed over."""
    if not os.fspath(given):
        raise InputError("an empty path: expected a folder or an image file; '.' is the working folder")
    try:
        path = Path(given).expanduser()
    except RuntimeError as error:  # '~somebody' whom this machine does not know
        raise InputError(f"{given}: no such file or folder: {error}") from error
    found = scan([path])
    if not found.files:
        raise no_images_error([Path(given)], found)
    refused = [Refused(entry.path, rejection(entry)) for entry in found.rejected]
    return sorted([*found.files, *refused], key=lambda entry: os.fsencode(entry.path))

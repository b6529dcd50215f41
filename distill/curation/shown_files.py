"""Which file the app shows of each image: the photo itself, or an upright copy that every browser can show."""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG

from PIL import ExifTags

from labeling.core.errors import InputError, MissingExtraError
from labeling.core.store import Store
from labeling.core.store_rows import shown_path
from labeling.image_copies import normalised_copy
from labeling.image_formats import HEAD_BYTES, reader, sniff
from labeling.images import ImageRejected
from labeling.project import Project

from ..fiftyone_server import make_folder

_SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_SUFFIXES = (".jpg", ".png")
_THREADS = min(4, os.cpu_count() or 1)

Found = tuple[Path, int, int]
"""Path, size and time of change in nanoseconds as labels.db knows them."""


class Gone(InputError):
    """No file of an image can be shown."""


def shown_files(project: Project, store: Store, images: Sequence[str]) -> Iterator[tuple[str, Path | Gone]]:
    """Yield the file to show of each image, or why there is none, in order.

    A copy is a function of the bytes of its photo, and is made once.

    Args:
        project: its folder holds the copies.
        store: labels.db.
        images: sha256 each; a few hundred at a time.

    Raises:
        InputError: a copy cannot be written.
    """
    media = make_folder(project) / "media"
    known: dict[str, list[Found]] = {sha256: [] for sha256 in images}
    sql = "SELECT sha256, path_bytes, size, mtime_ns FROM files WHERE sha256 IN ({}) ORDER BY path, path_bytes"
    for sha256, path, size, changed in store.rows_of(sql, images):
        known[sha256].append((Path(os.fsdecode(path)), size, changed))

    def shown(item: tuple[str, list[Found]]) -> tuple[str, Path | Gone]:
        try:
            return item[0], _shown(project, media, *item)
        except Gone as gone:
            return item[0], gone

    with ThreadPoolExecutor(_THREADS, "shown files") as pool:
        yield from pool.map(shown, known.items())


def _shown(project: Project, media: Path, sha256: str, files: Sequence[Found]) -> Path:
    reason = "no file holds it any more"
    for path, size, changed in files:
        try:
            _check(path, size, changed, sha256)
            return path if _is_shown_alike(path) else _copy(project, media, path, sha256)
        except (Gone, ImageRejected, MissingExtraError) as error:
            reason = str(error)
        except OSError as error:
            reason = f"{shown_path(os.fsencode(path))}: {error.strerror}"
    raise Gone(reason)


def _check(path: Path, size: int, changed: int, sha256: str) -> None:
    try:
        info = path.stat()
    except FileNotFoundError:
        raise Gone("the photo is gone: put it back") from None
    if not S_ISREG(info.st_mode):
        raise Gone("expected a file, found something else in its place")
    if (info.st_size, info.st_mtime_ns) != (size, changed):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise Gone("the file holds another picture than the one that was labelled: run labelstill label again")


def _is_shown_alike(path: Path) -> bool:
    """Say whether a browser shows the file as the gate decodes it, and FiftyOne takes it for a picture."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    if not (mimetypes.guess_type(path)[0] or "").startswith("image/"):
        return False
    with path.open("rb") as file:
        image_format = sniff(file.read(HEAD_BYTES))
    if image_format not in _SHOWN_BY_BROWSERS:
        return False
    if image_format not in ("GIF", "BMP") and _may_be_turned(path, image_format):
        with contextlib.suppress(Exception):  # what is odd in the header is for the gate to judge
            return bool(reader(image_format)(path).getexif().get(ExifTags.Base.Orientation, 1) == 1)
        return False
    return True


def _may_be_turned(path: Path, image_format: str) -> bool:
    """Say whether the file has metadata that can hold an orientation, without decoding a pixel."""
    with path.open("rb") as file:
        if image_format == "WEBP":
            head = file.read(21)
            return head[12:16] == b"VP8X" and bool(head[20] & 0x0C)  # EXIF or XMP
        if image_format == "JPEG":
            return True  # Pillow stops at the pixels
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def _copy(project: Project, media: Path, path: Path, sha256: str) -> Path:
    folder = media / sha256[:2]
    for suffix in _SUFFIXES:
        there = folder / f"{sha256}{suffix}"
        if there.is_file() and not there.is_symlink() and there.stat().st_size:
            return there
    images = project.config.images
    copy = normalised_copy(
        path,
        max_pixels=images.max_pixels,
        background=images.background,
        accept_truncated=images.accept_truncated,
    )
    if copy.sha256 != sha256:
        raise Gone("the file holds another picture than the one that was labelled: run labelstill label again")
    target = folder / f"{sha256}{copy.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            try:
                file.write(copy.data)
                file.flush()
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}: check the folder and its space") from error
    return target

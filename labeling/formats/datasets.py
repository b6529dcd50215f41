"""What a label file or folder of another program gives: one entry per image, and where its picture lies."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ..core.errors import InputError
from .items import Item

MAX_TEXT_BYTES = 64 * 2**20
"""Largest label file of one image, and largest list of images, that is read."""


_MAX_KINDS = 12


class PathRefused(InputError):
    """A label file names a picture outside the folder that it may speak about."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled image whose picture was not opened yet.

    Attributes:
        name: as the label file says it, or relative to the dataset.
        picture: gives where its picture lies, absolute; raises PathRefused where the name leads out of the images
            folder, and InputError where there is no such file.
        size_wh: width and height where the label file says them.
        objects: gives its objects once the size in pixels is known; raises InputError with file and line.
        sha256: of the picture, where the label file says it.
        exact: the picture must have that sha256; False where it may be a copy that an export made upright.
        reviewed: False where the label file says that a machine alone has seen the image.
        number: its id in a COCO file; None in other formats.
    """

    name: str
    picture: Callable[[], Path]
    size_wh: tuple[int, int] | None
    objects: Callable[[tuple[int, int]], Sequence[Item]]
    sha256: str | None = None
    reviewed: bool = True
    exact: bool = False
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something in a label file that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """An image that nobody has labelled, which is not the same as one without objects."""

    name: str


Found = Entry | Refused | Unlabelled


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set of labels to read.

    Attributes:
        title: name of the file or folder.
        entries: walks over all images, each time from the start, in a fixed order.
        class_names: named by the dataset itself, in order; objects may name others.
        category_ids: numbers of the classes that are to be kept.
        prompts: class name to prompts, where the dataset has some.
        supercategories: class name to the group that it belongs to, where the dataset has some.
        notes: what people should know about how it was read.
        unread: what objects say that is not read, by the name that the format has for it; complete after a walk.
    """

    title: str
    entries: Callable[[], Iterator[Found]]
    class_names: tuple[str, ...] = ()
    category_ids: Mapping[str, int] = field(default_factory=dict)
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    supercategories: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unread: Counter[str] = field(default_factory=Counter)

    def said(self) -> tuple[str, ...]:
        """Return all that people should know, once its entries were walked over."""
        return (*self.notes, *not_read("objects", self.unread))


def not_read(of: str, unread: Counter[str]) -> tuple[str, ...]:
    """Return one note with what is not read and how often it was met, or none; a file of rubbish is cut short."""
    kinds = sorted(unread.items(), key=lambda kind: (-kind[1], kind[0]))
    shown = [f"{kind!r:.40} ({number})" for kind, number in kinds[:_MAX_KINDS]]
    more = [f"and {len(kinds) - _MAX_KINDS} more"] if len(kinds) > _MAX_KINDS else []
    return (f"not read of {of}: {', '.join(shown + more)}",) if kinds else ()


def doubled_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return a note where several classes have one name."""
    doubled = len(names) - len(set(names))
    return (f"{doubled} classes have the name of another one and are taken for the same class",) if doubled else ()


def find_picture(folders: Sequence[Path], name: str, *, named: bool = False) -> Path:
    """Return the first of the folders' files of that name, not followed where it is a link.

    Where there is none, the name may be one of Windows (``a\\b.jpg``), of an address (``a%20b.jpg``), or differ in case
    from the only file that fits.

    Args:
        folders: searched in this order.
        name: as the label file says it.
        named: people named the folder with ``--images``; for the message.

    Raises:
        PathRefused: the name leads out of the folder.
        InputError: none of the folders has such a file.
    """
    spellings = dict.fromkeys((name, name.replace("\\", "/"), unquote(name)))
    for spelling in spellings:
        for folder in folders:
            path = inside(folder, spelling)
            if os.path.lexists(path):
                return path
    for spelling in spellings:
        for folder in folders:
            if (found := _in_another_case(inside(folder, spelling), folder)) is not None:
                return found
    hint = "which --images names" if named else "name the folder of the photos with --images"
    raise InputError(f"missing: not in {folders[0]}{',' if named else ';'} {hint}")


def _in_another_case(path: Path, folder: Path) -> Path | None:
    """Return the only file whose name differs from that of ``path`` in case alone."""
    try:
        found = [name for name in os.listdir(path.parent) if name.casefold() == path.name.casefold()]
    except OSError:
        return None
    return inside(folder, str(path.with_name(found[0]))) if len(found) == 1 else None


def folders_in(root: Path, *names: str) -> list[Path]:
    """Return those of the named folders that are there; one that is a link out of ``root`` is not."""
    real = os.path.realpath(root)
    paths = [root / name for name in names]
    return [path for path in paths if path.is_dir() and f"{os.path.realpath(path)}/".startswith(f"{real.rstrip('/')}/")]


def inside(folder: Path, name: str) -> Path:
    """Return the path of a name in a folder, resolved but for links below the folder.

    Raises:
        PathRefused: an empty name, or one that leads out of the folder by ``..``, as an absolute path or through a
            link.
    """
    root = os.path.realpath(folder)
    try:
        path = os.path.join(root, name)
        real = os.path.realpath(path)
        os.fsencode(path)
    except ValueError as error:
        raise PathRefused(f"refused: {name[:80]!r} is no name of a file: {error}") from error
    if not name or real == root or not _is_below(real, root):
        raise PathRefused(f"refused: {name[:200]!r} leads out of {folder}; name another folder with --images")
    plain = os.path.normpath(path)
    return Path(plain if _is_below(plain, root) and ".." not in Path(name).parts else real)


def relative_name(path: Path, folder: Path) -> str:
    """Return a path below a folder with ``/``, for people and for label files."""
    return os.path.relpath(path, folder).replace(os.sep, "/")


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")

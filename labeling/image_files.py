"""Find the image files below the given folders: every entry ends found, skipped or rejected."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .core.errors import InputError
from .image_formats import FORMAT_OF_SUFFIX, HEAD_BYTES, SUPPORTED, UNREADABLE_SUFFIXES, sniff, suffix_of

# macOS keeps the attributes of IMG.jpg in a file called ._IMG.jpg on disks that have no room for them.
_APPLE_DOUBLE = b"\x00\x05\x16\x07"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file that is an image by its name or its first bytes; whether it decodes is not known yet.

    Attributes:
        name: absolute path as text, may hold surrogate escapes where it is no valid UTF-8. Not a Path, because a run
            with nothing to do asks for the names of 100,000 files and for no more.
        root: the resolved folder that was searched, or the folder of a file that was named itself.
        size: bytes.
        mtime_ns: time of the last change.
    """

    name: str
    root: Path
    size: int
    mtime_ns: int

    @property
    def path(self) -> Path:
        """The file; below ``root``."""
        return Path(self.name)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry that is no image."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that is, or may hold, images that cannot be reached: a short reason, and what to do about it."""

    path: Path
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything that a search saw, each part sorted by the bytes of the path; ``passed_over`` are excluded folders."""

    files: tuple[FoundFile, ...]
    skipped: tuple[Skipped, ...]
    rejected: tuple[Rejected, ...]
    passed_over: tuple[Path, ...] = ()


def scan(inputs: Sequence[Path], *, follow_links: bool = False, exclude: Sequence[Path] = ()) -> Scan:
    """Search folders recursively, and take files as they are.

    An input that is a symbolic link is resolved first. Below it, a link to a file inside the inputs counts as one more
    file; a link that leads out of them is rejected unless ``follow_links``. Folders behind links are searched only
    with ``follow_links``, each once and after all others, so the result does not depend on the order on disk.

    Args:
        inputs: folders and files; one that lies in another is not searched twice.
        follow_links: also search folders behind links, and links that leave the inputs.
        exclude: files and folders that are passed over where the search meets them.

    Raises:
        InputError: an input does not exist or cannot be resolved.
    """
    roots = [_resolve(path) for path in inputs]
    search = _Search(roots, follow_links, exclude)
    for root in roots:
        search.start(root)
    search.follow()
    return search.result()


def no_images_error(inputs: Sequence[Path], found: Scan) -> InputError:
    """Return the one-line error for a search that found no image file, saying what was there instead."""
    seen = []
    if found.rejected:
        first = found.rejected[0]
        seen.append(
            f"{len(found.rejected)} could not be used (first: {display(first.path)}: {first.reason}: {first.detail})"
        )
    if found.skipped:
        seen.append(f"{len(found.skipped)} files are no images")
    if found.passed_over:
        seen.append(f"{display(found.passed_over[0])} is the project's own; name it to search it")
    where = ", ".join(display(path) for path in inputs)
    return InputError(f"no image in {where}: {'; '.join(seen) or 'it is empty'}; expected {SUPPORTED} files")


def display(path: Path) -> str:
    """Return a path as valid text on one line: NFC, with backslash escapes for what no terminal should be sent."""
    text = unicodedata.normalize("NFC", os.fsencode(path).decode("utf-8", "backslashreplace"))
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text
    )


def _resolve(path: Path) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except (OSError, ValueError) as error:
        what = "no such file or folder" if isinstance(error, FileNotFoundError) else _cause(error)
        raise InputError(f"{display(path)}: {what}; expected a folder with images, or image files") from error


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _inside(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


class _Search:
    """The state of one search; paths are plain strings until the end, which is what makes 100,000 files cheap."""

    def __init__(self, roots: Sequence[str], follow_links: bool, exclude: Sequence[Path]) -> None:
        self._roots = roots
        self._follow_links = follow_links
        self._exclude = {os.path.realpath(path) for path in exclude}
        self._searched: set[str] = set()
        self._linked: list[tuple[str, str]] = []
        self._files: dict[str, tuple[str, os.stat_result]] = {}
        self._skipped: dict[str, str] = {}
        self._rejected: dict[str, tuple[str, str]] = {}
        self._passed_over: set[str] = set()

    def start(self, root: str) -> None:
        """Take one resolved input."""
        try:
            info = os.lstat(root)
        except OSError as error:
            self._unreachable(root, error)
            return
        if stat.S_ISDIR(info.st_mode):
            self._folder(root, root)
        else:
            self._entry(root, os.path.basename(root), os.path.dirname(root), info)

    def follow(self) -> None:
        """Search the folders behind links, sorted, and those that turn up meanwhile."""
        while self._linked:
            batch, self._linked = sorted(self._linked, key=lambda link: os.fsencode(link[0])), []
            for path, root in batch:
                if os.path.realpath(path) in self._searched:
                    self._skipped[path] = "link_to_searched_folder"
                else:
                    self._folder(path, root)

    def result(self) -> Scan:
        """Return what was found."""

        def in_order(paths: Iterable[str]) -> list[str]:
            return sorted(paths, key=os.fsencode)

        roots = {root: Path(root) for root in {root for root, _ in self._files.values()}}
        return Scan(
            files=tuple(
                FoundFile(path, roots[root], info.st_size, info.st_mtime_ns)
                for path in in_order(self._files)
                for root, info in (self._files[path],)
            ),
            skipped=tuple(Skipped(Path(path), self._skipped[path]) for path in in_order(self._skipped)),
            rejected=tuple(Rejected(Path(path), *self._rejected[path]) for path in in_order(self._rejected)),
            passed_over=tuple(Path(path) for path in in_order(self._passed_over)),
        )

    def _folder(self, top: str, root: str) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            # By resolved path and not by inode: some network file systems give every folder the same one.
            real = os.path.realpath(folder)
            if real in self._searched:
                continue
            self._searched.add(real)
            try:
                with os.scandir(folder) as entries:
                    met = list(entries)
            except OSError as error:
                self._unreachable(folder, error)
                continue
            for entry in met:
                path = entry.path
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError as error:
                    self._unreachable(path, error)
                    continue
                if path in self._exclude:
                    self._passed_over.update([path] if stat.S_ISDIR(info.st_mode) else [])
                elif stat.S_ISDIR(info.st_mode):
                    waiting.append(path)
                else:
                    self._entry(path, entry.name, root, info)

    def _unreachable(self, path: str, error: OSError) -> None:
        reason = "permission" if isinstance(error, PermissionError) else "unreadable"
        self._rejected[path] = (reason, f"cannot be searched: {_cause(error)}")

    def _entry(self, path: str, name: str, root: str, info: os.stat_result) -> None:
        """Sort in anything but a folder; ``name`` is the last part of ``path``."""
        if stat.S_ISLNK(info.st_mode):
            self._link(path, name, root)
            return
        suffix = suffix_of(name)
        if not stat.S_ISREG(info.st_mode):
            if suffix in FORMAT_OF_SUFFIX:
                self._rejected[path] = ("not_a_regular_file", "a pipe, socket or device with the name of an image")
            else:
                self._skipped[path] = "not_a_regular_file"
        elif suffix in UNREADABLE_SUFFIXES:
            self._rejected[path] = ("unsupported_format", f"{suffix} is not read; export it as JPEG, PNG or TIFF")
        elif self._is_image(path, name, suffix):
            self._files.setdefault(path, (root, info))
        else:
            self._skipped[path] = "not_an_image"

    @staticmethod
    def _is_image(path: str, name: str, suffix: str) -> bool:
        if suffix in FORMAT_OF_SUFFIX and not name.startswith("._"):
            return True
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return suffix in FORMAT_OF_SUFFIX
        try:
            head = os.read(descriptor, HEAD_BYTES)
        except OSError:
            return suffix in FORMAT_OF_SUFFIX
        finally:
            os.close(descriptor)
        if suffix in FORMAT_OF_SUFFIX:
            return not head.startswith(_APPLE_DOUBLE)
        return sniff(head) is not None

    def _link(self, path: str, name: str, root: str) -> None:
        suffix = suffix_of(name)
        try:
            info = os.stat(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._rejected[path] = ("link_loop", "the link leads back to itself")
            elif suffix in FORMAT_OF_SUFFIX or not suffix:  # without a suffix it may have been a folder of images
                self._rejected[path] = ("broken_link", f"the target of the link cannot be reached: {_cause(error)}")
            else:
                self._skipped[path] = "broken_link"
            return
        target = os.path.realpath(path)
        if target in self._exclude:
            return
        is_folder = stat.S_ISDIR(info.st_mode)
        if not self._follow_links and not _inside(target, self._roots):
            if is_folder or suffix in FORMAT_OF_SUFFIX:
                hint = "set images.follow_links in project.yaml, or name the target itself"
                self._rejected[path] = ("link_outside", f"the link leaves the searched folders; {hint}")
            else:
                self._skipped[path] = "link_outside"
        elif not is_folder:
            self._entry(path, name, root, info)
        elif _inside(os.path.realpath(os.path.dirname(path)), [target]):
            self._rejected[path] = ("link_loop", "the link leads back to a folder that holds it")
        elif self._follow_links:
            self._linked.append((path, root))
        else:
            self._skipped[path] = "link_to_searched_folder"

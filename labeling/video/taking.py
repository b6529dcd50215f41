"""Frames of one video or stream as picture files in a folder of the project, taken once and remembered beside them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..core.config import write_atomically
from ..core.errors import InputError
from ..image_files import FoundFile, display
from .files import VideoRejected, folder_name, shown_address

if TYPE_CHECKING:
    from .frames import Decoder, Frame

MEMORY_FILE = "frames.json"
_VERSION = 1
_FRAME_FILE = re.compile(r"\d{6,}\.jpg")
#: The frame is decoded from a lossy video anyway; a lossless PNG takes five times the room and ten times the time.
_JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Pace:
    """How often frames are taken whatever they show.

    Attributes:
        every: seconds after which a frame is taken though nothing has changed; above 0.
        per_second: most frames per second of video; above 0.
    """

    every: float = 10.0
    per_second: float = 2.0


@dataclass(frozen=True, slots=True)
class TakenFrame:
    """One frame that lies in the folder; ``sha256`` is that of its file. See the table ``frames``."""

    number: int
    seconds: float
    scene: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Film:
    """One video or one recording of a stream, and what was taken from it.

    Attributes:
        name: path or address as shown to people.
        video: its identity in labels.db.
        folder: where its frames lie.
        frames: how many were decoded.
        alike: how many of them are nearly the same as the one taken before.
        too_soon: how many differ, but came too soon after it.
        taken: what lies in the folder, by number.
        problem: reason and detail where it could not be read to its end.
        fresh: whether it was decoded in this run.
        source: the video file; None for a stream, which is gone.
    """

    name: str
    video: str
    folder: Path
    frames: int
    alike: int
    too_soon: int
    taken: tuple[TakenFrame, ...]
    problem: tuple[str, str] | None = None
    fresh: bool = False
    source: Path | None = None

    def in_words(self) -> str:
        """Return ``300 frames: 41 taken, 259 skipped as near-identical``."""
        parts = [f"{len(self.taken)} taken", f"{self.alike} skipped as near-identical"]
        parts += [f"{self.too_soon} over the most per second"] if self.too_soon else []
        return f"{self.frames} frames: {', '.join(parts)}"


def remembered_film(path: Path, sha256: str, root: Path, pace: Pace) -> Film | None:
    """Return what was taken from a video file before; None where that is not known, or was at another pace."""
    known = remembered(root / folder_name(path.stem, sha256))
    if known is None or known[1] != asdict(pace) or known[0].video != sha256:
        return None
    return replace(known[0], name=display(path), source=path)


def take_file(path: Path, sha256: str, root: Path, pace: Pace, *, max_pixels: int, stop: Event) -> Film | None:
    """Take the frames of a video file.

    A run that was cut off leaves files and no memory: the next one decodes again and writes what is missing. Frames
    that another pace took stay.

    Args:
        path: the video; only read.
        sha256: of its bytes.
        root: folder of all frames of the project.
        pace: how often a frame is taken at least and at most.
        max_pixels: of one frame.
        stop: when set, the work ends without a memory.

    Returns:
        What was taken; None after ``stop``.

    Raises:
        VideoRejected: it has not one frame that can be decoded. MissingExtraError: PyAV is not installed.
        InputError: frames cannot be written.
    """
    from .frames import open_file

    with open_file(path, max_pixels=max_pixels) as decoder:
        taking = _Taking(root / folder_name(path.stem, sha256), pace)
        for frame in decoder.frames():
            if stop.is_set():
                return None
            taking.look(frame)
    if not taking.count:
        raise VideoRejected("no_frames", "not one frame can be decoded; copy it again from where it came")
    film = taking.film(display(path), sha256, _problem(decoder, len(taking.taken)))
    _remember(film, pace)
    return replace(film, source=path)


def take_stream(
    address: str, root: Path, pace: Pace, *, max_pixels: int, seconds: float, limit: int | None, stop: Event
) -> Film:
    """Record a stream for a while; what was taken stays, however it ends.

    Args:
        address: with its credentials; nothing but its shown form is written or said.
        root: folder of all frames of the project.
        pace: see ``take_file``.
        max_pixels: of one frame.
        seconds: so long at most, by the clock.
        limit: so many frames at most.
        stop: when set, the recording ends.

    Raises:
        VideoRejected: it gave not one frame. MissingExtraError: PyAV is not installed.
    """
    from .frames import open_stream

    shown = shown_address(address)
    folder, video = _free_recording(shown, root)
    until = monotonic() + seconds
    taking, broke_off = _Taking(folder, pace), None
    with open_stream(address, shown, max_pixels=max_pixels) as decoder:
        try:
            for frame in decoder.frames():
                taking.look(frame)
                if stop.is_set() or monotonic() > until or (limit is not None and len(taking.taken) >= limit):
                    break
        except VideoRejected as error:
            broke_off = error
    if not taking.count:
        raise broke_off or VideoRejected("no_frames", f"{shown} gave no frame that can be decoded")
    film = taking.film(shown, video, (broke_off.reason, broke_off.detail) if broke_off else None)
    _remember(film, pace)
    return film


def remembered(folder: Path) -> tuple[Film, dict[str, float]] | None:
    """Return what was taken into a folder and with which pace; None where that is not known or a frame is gone."""
    try:
        told = json.loads((folder / MEMORY_FILE).read_text(encoding="utf-8"))
        if told["version"] != _VERSION:
            return None
        taken = tuple(TakenFrame(*one) for one in told["taken"])
        problem = tuple(told["problem"]) if told["problem"] else None
        film = Film(
            told["name"], told["video"], folder, told["frames"], told["alike"], told["too_soon"], taken, problem
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = {entry.name for entry in os.scandir(folder)}
    return (film, told["pace"]) if all(frame_name(one.number) in there for one in taken) else None


def frame_files(folder: Path) -> Iterator[FoundFile]:
    """Yield the frames that lie in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _FRAME_FILE.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                info = entry.stat()
                yield FoundFile(entry.path, folder, info.st_size, info.st_mtime_ns)


def write_frame(path: Path, frame: Frame) -> str:
    """Write one frame upright and without metadata, whole or not at all; return the sha256 of the file."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(frame.rgb()).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    aside = path.with_suffix(".part")
    aside.write_bytes(buffer.getvalue())
    os.replace(aside, path)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def recordings(address: str, root: Path) -> list[Path]:
    """Return the folders of all recordings of a stream, the oldest first."""
    first = _recording(shown_address(address), root, 1)
    folders = (_recording(shown_address(address), root, number) for number in itertools.count(1))
    return list(itertools.takewhile(Path.is_dir, folders)) if first.is_dir() else []


class _Taking:
    """One pass over the frames of a video."""

    def __init__(self, folder: Path, pace: Pace) -> None:
        from .picking import Picker

        self._folder = folder
        self._picker = Picker(pace)
        self._verdicts: Counter[str] = Counter()
        self._there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        for name in self._there:
            if name.endswith(".part"):
                (folder / name).unlink()
        self.count = 0
        self.taken: list[TakenFrame] = []

    def look(self, frame: Frame) -> None:
        """Count one frame, and write it where it is taken and does not lie there yet."""
        self.count += 1
        verdict = self._picker.look(frame.grey(), frame.seconds)
        name = frame_name(frame.number)
        known = name in self._there
        self._verdicts["taken" if known else verdict] += 1
        if not known and verdict != "taken":
            return
        path = self._folder / name
        if known:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                sha256 = write_frame(path, frame)
            except OSError as error:
                raise InputError(f"{self._folder}: frames cannot be written: {error.strerror}") from error
        self.taken.append(TakenFrame(frame.number, round(frame.seconds, 6), self._picker.scene, sha256))

    def film(self, name: str, video: str, problem: tuple[str, str] | None) -> Film:
        """Return what came of it."""
        alike, too_soon = self._verdicts["alike"], self._verdicts["too_soon"]
        return Film(name, video, self._folder, self.count, alike, too_soon, tuple(self.taken), problem, fresh=True)


def _problem(decoder: Decoder, taken: int) -> tuple[str, str] | None:
    used = f"{taken} frames of the rest are used; copy it again from where it came"
    if decoder.damaged:
        return "damaged", f"{decoder.damaged} packets or frames cannot be decoded; {used}"
    return ("truncated", f"it ends early; {used}") if decoder.cut else None


def _remember(film: Film, pace: Pace) -> None:
    told: dict[str, Any] = {
        "version": _VERSION,
        "name": film.name,
        "video": film.video,
        "pace": asdict(pace),
        "frames": film.frames,
        "alike": film.alike,
        "too_soon": film.too_soon,
        "problem": film.problem,
        "taken": [[one.number, one.seconds, one.scene, one.sha256] for one in film.taken],
    }
    write_atomically(film.folder / MEMORY_FILE, json.dumps(told) + "\n")


def frame_name(number: int) -> str:
    """Return the name of the file of a frame."""
    return f"{number:06d}.jpg"


def _recording(shown: str, root: Path, number: int) -> Path:
    stem = shown.partition("://")[2].partition("/")[0] or shown.rpartition("/")[2]
    return root / f"{folder_name(stem, hashlib.sha256(shown.encode()).hexdigest())}-{number}"


def _free_recording(shown: str, root: Path) -> tuple[Path, str]:
    """Return folder and identity of the next recording: what a stream shows now is another video than before."""
    number = next(number for number in itertools.count(1) if not _recording(shown, root, number).exists())
    return _recording(shown, root, number), f"{shown}#{number}"

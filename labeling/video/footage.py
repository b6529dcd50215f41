"""All videos and streams of one run: their frames taken before the run, their tracks linked after it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..core.errors import InputError, MissingExtraError
from ..core.file_hashes import cached_hash
from ..core.store import Store
from ..image_files import FoundFile, Rejected, Scan, display
from .files import VideoRejected, shown_address
from .ledger import FrameLedger
from .taking import Film, Pace, frame_files, recordings, remembered_film, take_file, take_stream

if TYPE_CHECKING:
    from ..core.records import Annotation
    from .stitching import Look

#: Changes with the way in which labels are linked, so that tracks of an earlier way are made anew.
_LINKING = "2"


@dataclass(frozen=True, slots=True)
class Footage:
    """What became of the videos and streams of a run.

    Attributes:
        films: those with frames.
        rejected: files that cannot be used, or not to their end.
        lost: (address, reason) of streams that cannot, address without secrets.
        files: the frames, as files to be labelled.
        copies: how many further files hold a video of ``films`` byte by byte.
        stopped: whether the run was asked to stop before all were read.
    """

    films: tuple[Film, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    files: tuple[FoundFile, ...] = ()
    copies: int = 0
    stopped: bool = False

    def added_to(self, scan: Scan) -> Scan:
        """Return a search that found the frames too."""
        files = {file.name: file for file in (*self.files, *scan.files)}
        return replace(
            scan,
            files=tuple(files[name] for name in sorted(files, key=os.fsencode)),
            rejected=tuple(sorted((*scan.rejected, *self.rejected), key=lambda one: os.fsencode(one.path))),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The videos and streams that a run was asked to read.

    Attributes:
        videos: files; those that were named themselves must be readable on this machine.
        streams: addresses, with their credentials.
        pace: how often a frame is taken.
        seconds: how long a stream is recorded.
        limit: frames of one stream at most.
    """

    videos: tuple[Path, ...]
    streams: tuple[str, ...]
    pace: Pace
    seconds: float
    limit: int | None = None

    def check(self, named: Sequence[Path]) -> None:
        """Raise InputError for a number out of range, MissingExtraError where PyAV is needed and not installed."""
        for flag, value in (("--every", self.pace.every), ("--fps", self.pace.per_second), ("--seconds", self.seconds)):
            if not 0 < value < 1e9:
                raise InputError(f"{flag} is {value:g}: expected a number above 0")
        for address in self.streams:
            shown_address(address)
        asked = {os.path.realpath(path) for path in named}
        if (self.streams or any(str(path) in asked for path in self.videos)) and not _has_av():
            raise MissingExtraError("av", "video")

    def gather(self, store: Store, root: Path, *, max_pixels: int, stop: Event, say: Callable[[str], None]) -> Footage:
        """Take the frames of every video and stream; one that cannot be used does not end the others.

        Args:
            store: remembers the hashes of unchanged files.
            root: folder of all frames of the project.
            max_pixels: of one frame.
            stop: when set, nothing more is read.
            say: told what is read now.
        """
        films: dict[str, Film] = {}
        rejected: list[Rejected] = []
        lost: list[tuple[str, str]] = []
        folders: list[Path] = []
        copies = 0
        for path in self.videos:
            if stop.is_set():
                break
            try:
                sha256 = _hash(store, path)
                if sha256 in films:
                    copies += 1
                    continue
                film = remembered_film(path, sha256, root, self.pace)
                if film is None:
                    say(display(path))
                    film = take_file(path, sha256, root, self.pace, max_pixels=max_pixels, stop=stop)
            except VideoRejected as error:
                rejected.append(Rejected(path, error.reason, error.detail))
            except MissingExtraError as error:
                rejected.append(Rejected(path, "needs_av", str(error)))
            else:
                if film is not None:
                    films[film.video] = film
                    rejected += [Rejected(path, *film.problem)] if film.problem else []
        for address in self.streams:
            shown = shown_address(address)
            folders += recordings(address, root)
            if stop.is_set():
                break
            say(f"{shown}, for {self.seconds:g} s at most")
            try:
                film = take_stream(
                    address, root, self.pace, max_pixels=max_pixels, seconds=self.seconds, limit=self.limit, stop=stop
                )
            except VideoRejected as error:
                lost.append((shown, str(error)))
            else:
                films[film.video] = film
                lost += [(shown, ": ".join(film.problem))] if film.problem else []
        folders += [film.folder for film in films.values()]
        files = tuple(file for folder in dict.fromkeys(folders) for file in frame_files(folder))
        return Footage(tuple(films.values()), tuple(rejected), tuple(lost), files, copies, stop.is_set())


def record(store: Store, footage: Footage) -> int:
    """Note where the frames of a run come from, and link the labels of its videos that are the same object.

    Tracks are linked from what machines said and what people drew anew. A review therefore changes no track: its labels
    name the machine's as their parents. Labels between picked frames go with the label that they were propagated from.

    Returns:
        How many tracks the videos of the run have.
    """
    ledger = FrameLedger(store)
    for film in footage.films:
        ledger.record(film.video, film.taken)
    return sum(_link(store, ledger, video) for video in dict.fromkeys(film.video for film in footage.films))


def _link(store: Store, ledger: FrameLedger, video: str) -> int:
    frames, between = ledger.frames(video), ledger.frames(video, picked=False)
    images = list(dict.fromkeys(frame.sha256 for frame in (*frames, *between)))
    sql = "SELECT sha256, id FROM annotations WHERE sha256 IN ({}) ORDER BY sha256, id"
    facts = [_LINKING, *((one.number, one.sha256) for one in frames), *store.rows_of(sql, images)]
    state = hashlib.sha256(repr(facts).encode()).hexdigest()
    key = f"tracks of {video}"
    if store.recall(key) == state:
        return len(ledger.tracks(video))
    from .tracks import Seen, Shown, link

    labels = {sha256: _labels(store, sha256) for sha256 in images}
    looks = _looks(store, images)
    shown = [
        Shown(
            one.seconds,
            one.scene,
            tuple(
                Seen(label.id, label.class_name, label.box_xyxy, looks.get(label.id)) for label in labels[one.sha256]
            ),
        )
        for one in frames
    ]
    tracks = [[(frames[place].sha256, label) for place, label in seen] for seen in link(shown)]
    track_of = {label: number for number, seen in enumerate(tracks) for _, label in seen}
    parents = {label: parent for sha256 in images for label, parent in _parents(store, sha256)}
    image_of = {label.id: one.sha256 for one in frames for label in labels[one.sha256]}
    for one in between:
        for label in labels[one.sha256]:
            origin = label.provenance.parent_id or ""
            while origin not in image_of and parents.get(origin):
                origin = parents[origin]
            if origin not in image_of:
                continue
            if origin not in track_of:
                track_of[origin] = len(tracks)
                tracks.append([(image_of[origin], origin)])
            tracks[track_of[origin]].append((one.sha256, label.id))
    ledger.write_tracks(video, dict(enumerate(tracks)))
    store.remember(key, state)
    return len(tracks)


def _labels(store: Store, sha256: str) -> list[Annotation]:
    """Return what machines said about an image, and what people drew that no machine had said."""
    machine = store.annotations_of_images([sha256], "machine", masks=False)[sha256]
    known = {label.id for label in machine}
    human = store.annotations_of_images([sha256], "human", masks=False)[sha256]
    return machine + [one for one in human if one.provenance.parent_id not in known]


def _looks(store: Store, images: Sequence[str]) -> dict[str, Look]:
    """Return the unit feature of each label that has one, of the one model that gives the most of them."""
    import numpy as np

    sql = (
        "SELECT f.model, f.annotation_id, f.data FROM features f JOIN annotations a ON a.id = f.annotation_id "
        "WHERE f.model = a.model AND f.sha256 IN ({})"
    )
    of_model: dict[str, dict[str, Look]] = {}
    for model, label, data in store.rows_of(sql, images):
        look = np.frombuffer(data, dtype="<f2").astype(np.float32)
        length = float(np.linalg.norm(look))
        if 0 < length < np.inf:
            of_model.setdefault(model, {})[label] = look / np.float32(length)
    return max(of_model.values(), key=len, default={})


def _parents(store: Store, sha256: str) -> list[tuple[str, str]]:
    sql = "SELECT id, parent_id FROM annotations WHERE sha256 = ? AND parent_id IS NOT NULL"
    return [(label, parent) for label, parent in store.rows(sql, sha256)]


def _hash(store: Store, path: Path) -> str:
    """Return the sha256 of a video, remembered while it is the same. Raises VideoRejected."""
    if not path.exists():
        raise VideoRejected("missing", "the file is gone; run again if it was moved")
    try:
        return cached_hash(store, path)
    except InputError:
        raise VideoRejected("permission", "the file may not be read; check its permissions") from None


def _has_av() -> bool:
    return importlib.util.find_spec("av") is not None

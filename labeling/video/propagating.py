"""Labels for the frames between two labelled ones: objects are followed forwards and backwards, and both must agree."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..core.errors import BackendError, InputError
from ..core.records import Annotation, Provenance, Rle
from ..core.store import FileStamp, ImageOutcome, Store
from ..teachers import backends
from .ledger import FrameLedger
from .taking import Film, TakenFrame, frame_name, write_frame

if TYPE_CHECKING:
    from ..pipeline import Load
    from .sam2_video import Sam2VideoTracker, Sight

UNSURE = "propagation_unsure"
AGREEMENT = 0.5
"""IoU of the masks that came from both sides, at least, of a label that is not flagged."""
_FOLDER = "between"
_DONE = "propagated-"
_ANY_SIZE = 1 << 40  # it was judged when the picked frames were taken


@dataclass(frozen=True, slots=True)
class Propagated:
    """What was done: frames and labels written, those of them that are flagged, objects lost on a frame."""

    frames: int = 0
    labels: int = 0
    unsure: int = 0
    lost: int = 0

    def plus(self, other: Propagated) -> Propagated:
        """Return both together."""
        return Propagated(
            self.frames + other.frames, self.labels + other.labels, self.unsure + other.unsure, self.lost + other.lost
        )


@dataclass(frozen=True, slots=True)
class Followed:
    """One object on one frame between: its mask, its score in [0, 1], and whether the two sides do not agree."""

    rle: Rle
    score: float
    unsure: bool


def check_video_weights(spec: backends.TeacherSpec) -> Path:
    """Return the folder of the video model of a teacher's segmenter.

    Raises:
        InputError: the segmenter is no SAM 2. BackendError: its folder has no memory modules.
    """
    name, _ = backends.segmenter_backend(spec)
    if name != "sam2":
        raise InputError(
            f"--propagate follows objects with the memory of SAM 2, the segmenter here is {name}: add --segmenter sam2 "
            "--segmenter-weights FOLDER"
        )
    ref = backends.segmenter_weights(spec)
    assert ref is not None
    try:
        kind = json.loads((ref.path / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        kind = None
    if kind != "sam2_video":
        raise BackendError(
            f"segmenter weights {ref.path} are of the kind {kind!r} and have no memory modules: --propagate needs a "
            "folder of the kind 'sam2_video', as published SAM 2 checkpoints are"
        )
    return ref.path


def combine(forward: Sequence[Sight] | None, backward: Sequence[Sight] | None, score: float) -> list[Followed | None]:
    """Return one object on the frames between two labelled ones, None where both sides have lost it.

    Where both sides see it, the score is that of the labels times the IoU of the two masks; where one does, times that
    side's presence, and the label is flagged. The mask is that of the nearer side.

    Args:
        forward: from the earlier label on, one per frame; None where the object is not labelled there.
        backward: from the later label back, in the order of time.
        score: the lower one of the two labels, in [0, 1].
    """
    from ..core import masks  # here, because a run with nothing to do needs no numpy

    count = len(forward or backward or ())
    found: list[Followed | None] = []
    for place in range(count):
        one, other = (side[place] if side else None for side in (forward, backward))
        near, far = (one, other) if place < count / 2 else (other, one)
        if near and far and near.rle and far.rle:
            agreement = masks.iou(near.rle, far.rle)
            found.append(Followed(near.rle, score * agreement, agreement < AGREEMENT))
        elif side := next((side for side in (near, far) if side and side.rle), None):
            assert side.rle is not None
            found.append(Followed(side.rle, score * side.presence, True))
        else:
            found.append(None)
    return found


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of a window: its labels on the two sides, of which one may be missing."""

    first: Annotation | None
    last: Annotation | None


class Propagation:
    """Fills the windows between neighbouring picked frames of videos; what is filled already is left alone."""

    def __init__(self, spec: backends.TeacherSpec, fingerprint: str, every: int, load: Load) -> None:
        """Prepare.

        Args:
            spec: whose segmenter is the video model.
            fingerprint: of the teacher.
            every: each how many frames of the video are labelled.
            load: decodes a picture file.
        """
        self._spec, self._fingerprint, self._every, self._load = spec, fingerprint, every, load
        self._tracker: Sam2VideoTracker | None = None

    def fill(self, store: Store, film: Film, run_id: int, stop: Event) -> Propagated:
        """Label the frames between the picked ones of a video, one window per transaction.

        Objects are followed from what people said where they reviewed a frame, else from what the teacher said.
        """
        ledger = FrameLedger(store)
        track_of = _names(ledger, film.video)
        windows = []
        for first, last in pairwise(ledger.frames(film.video)):
            numbers = range(first.number + self._every, last.number, self._every)
            objects = _objects(store, first, last, track_of) if first.scene == last.scene and numbers else []
            if objects:
                windows.append((first, last, numbers, objects, self._key(first, last, objects)))
        done = store.done_keys()
        written = {one.number: one for one in ledger.frames(film.video, picked=False)}
        todo = [
            window
            for window in windows
            if not all(n in written and done.get(written[n].sha256) == window[4] for n in window[2])
        ]
        between = (
            self._write_frames(film, {n: window[0].scene for window in todo for n in window[2]}, stop) if todo else {}
        )
        total = Propagated()
        for first, last, numbers, objects, key in todo:
            if stop.is_set():
                break
            frames = [between[number] for number in numbers if number in between]
            total = total.plus(self._window(store, film, (first, last), frames, objects, key, run_id))
        return total

    def _window(
        self,
        store: Store,
        film: Film,
        ends: tuple[TakenFrame, TakenFrame],
        frames: list[TakenFrame],
        objects: list[_Object],
        key: str,
        run_id: int,
    ) -> Propagated:
        first, last = (film.folder / frame_name(one.number) for one in ends)
        paths = [film.folder / _FOLDER / frame_name(one.number) for one in frames]
        forward = self._follow([first, *paths], [one.first for one in objects])
        backward = self._follow([last, *reversed(paths)], [one.last for one in objects])
        labels: list[list[Annotation]] = [[] for _ in frames]
        lost = 0
        for place, one in enumerate(objects):
            back = [*reversed(backward[place])] if place in backward else None
            ends_of = [label for label in (one.first, one.last) if label is not None]
            score = min(1.0 if label.provenance.score is None else label.provenance.score for label in ends_of)
            for row, seen in enumerate(combine(forward.get(place), back, score)):
                near = ends_of[0] if row < len(frames) / 2 else ends_of[-1]
                label = self._label(frames[row].sha256, near, seen) if seen is not None else None
                if label is None:
                    lost += 1
                else:
                    labels[row].append(label)
        states = {sha256: known for sha256, known in store.done_keys().items() if not known.startswith(_DONE)}
        outcomes = []
        for frame, path, made in zip(frames, paths, labels, strict=True):
            if frame.sha256 in states:
                continue  # a picture that is a picked frame too, byte by byte
            info = path.stat()
            height, width = self._load(path).pixels.shape[:2]
            stamp = FileStamp(os.fsencode(path.absolute()), info.st_size, info.st_mtime_ns)
            outcomes.append(ImageOutcome((stamp,), frame.sha256, width, height, annotations=tuple(made), done_key=key))
        store.commit_batch(outcomes, run_id)
        FrameLedger(store).record(film.video, frames, picked=False)
        every = [label for made in labels for label in made]
        return Propagated(len(outcomes), len(every), sum(UNSURE in label.flags for label in every), lost)

    def _follow(self, paths: Sequence[Path], labels: Sequence[Annotation | None]) -> dict[int, list[Sight]]:
        """Return what is seen on each path but the first, by place of the object, of those with a label."""
        import numpy as np

        places = [place for place, label in enumerate(labels) if label is not None]
        if not places:
            return {}
        if self._tracker is None:
            from .sam2_video import Sam2VideoTracker

            self._tracker = Sam2VideoTracker(check_video_weights(self._spec), self._spec.device)
        boxes = np.array([label.box_xyxy for label in labels if label is not None], dtype=np.float32)
        seen = list(self._tracker.follow((self._load(path).pixels for path in paths), boxes))[1:]
        return {place: [one[row] for one in seen] for row, place in enumerate(places)}

    def _label(self, sha256: str, near: Annotation, seen: Followed) -> Annotation | None:
        """Return the label of one object on a frame between; None where its mask has no box."""
        from ..core.masks import box as box_of

        box = box_of(seen.rle)
        if box is None:
            return None
        model = f"sam2-video/{check_video_weights(self._spec).name}"
        content = [sha256, near.id, model, near.class_name, [round(edge, 2) for edge in box]]
        return Annotation(
            id=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32],
            sha256=sha256,
            class_name=near.class_name,
            box_xyxy=box,
            provenance=Provenance("teacher", model, score=seen.score, parent_id=near.id),
            rle=seen.rle,
            flags=(UNSURE,) if seen.unsure else (),
        )

    def _key(self, first: TakenFrame, last: TakenFrame, objects: Sequence[_Object]) -> str:
        labels = [[label.id if label else None for label in (one.first, one.last)] for one in objects]
        content = [self._fingerprint, self._every, first.sha256, last.sha256, labels]
        return _DONE + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    @staticmethod
    def _write_frames(film: Film, numbers: Mapping[int, int], stop: Event) -> dict[int, TakenFrame]:
        """Write frames of a video file beside the picked ones, given the shot of each, and return them by number."""
        from .frames import open_file

        assert film.source is not None
        folder = film.folder / _FOLDER
        folder.mkdir(exist_ok=True)
        found: dict[int, TakenFrame] = {}
        with open_file(film.source, max_pixels=_ANY_SIZE) as decoder:
            for frame in decoder.frames():
                if stop.is_set() or len(found) == len(numbers):
                    break
                if frame.number in numbers:
                    sha256 = write_frame(folder / frame_name(frame.number), frame)
                    found[frame.number] = TakenFrame(
                        frame.number, round(frame.seconds, 6), numbers[frame.number], sha256
                    )
        return found


def _names(ledger: FrameLedger, video: str) -> dict[str, str]:
    """Return the name of its object for each label of a video that has a track."""
    return {label: f"track {number}" for number, seen in ledger.tracks(video).items() for _, label in seen}


def _objects(store: Store, first: TakenFrame, last: TakenFrame, track_of: dict[str, str]) -> list[_Object]:
    """Return the objects of a window, those of both sides together, in the order of the labels."""
    sides: list[dict[str, Annotation]] = []
    for end in (first, last):
        labels = store.annotations_of(end.sha256)
        sides.append(
            {
                track_of.get(label.id, track_of.get(label.provenance.parent_id or "", label.id)): label
                for label in labels
            }
        )
    return [_Object(sides[0].get(name), sides[1].get(name)) for name in {**sides[0], **sides[1]}]

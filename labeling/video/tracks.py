"""Which labels of neighbouring frames are the same object.

Frames are picked by change, so the time between two of them varies, and boxes of one object may not even touch. Each
class is matched in two rounds, one to one: first where the object should be by now, then with boxes grown about their
centres. After Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by
Buffering the Matching Space" (WACV 2023). supervision has given its ByteTrack away to another package, and that one's
Kalman filter takes frames at one rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from ..core.matching import match

Box = npt.NDArray[np.float64]

MIN_IOU, MIN_GROWN_IOU = 0.2, 0.1
"""Of boxes as they are, and of grown ones."""
_GROWN = 2.0
_MOST_RATIO = 2.5
"""Of the areas of two boxes of one object."""
_PATIENCE = 2
"""Frames in which an object may be hidden."""
_MOST_STEP_S = 1.5
"""How far ahead a motion is believed, in seconds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One label of one frame.

    Attributes:
        key: of the label.
        class_name: only labels of one class are one object.
        box_xyxy: absolute pixels.
    """

    key: str
    class_name: str
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame: its time, the number of its shot, and its labels."""

    seconds: float
    scene: int
    labels: tuple[Seen, ...]


@dataclass(slots=True, eq=False)
class _Track:
    class_name: str
    boxes: list[Box]
    times: list[float]
    seen: list[tuple[int, str]] = field(default_factory=list)

    def expected(self, seconds: float) -> Box:
        """Return where the box should be by now if its centre goes on as between the last two sightings."""
        box = self.boxes[-1]
        if len(self.boxes) < 2 or self.times[-1] <= self.times[-2]:
            return box
        pace = (_centre(self.boxes[-1]) - _centre(self.boxes[-2])) / (self.times[-1] - self.times[-2])
        step = pace * min(seconds - self.times[-1], _MOST_STEP_S)
        return cast(Box, box + np.concatenate([step, step]))


def link(frames: Sequence[Shown]) -> list[list[tuple[int, str]]]:
    """Return the objects that are seen in two frames or more: (place of the frame, key of the label) of each.

    Args:
        frames: in order. No object goes on into another shot.
    """
    done: list[_Track] = []
    live: list[_Track] = []
    scene = None
    for place, frame in enumerate(frames):
        if frame.scene != scene:
            done, live, scene = done + live, [], frame.scene
        tired = [track for track in live if place - track.seen[-1][0] > _PATIENCE + 1]
        done += tired
        live = [track for track in live if track not in tired]
        live += _step(live, frame, place)
    found = [track.seen for track in done + live if len(track.seen) > 1]
    return sorted(found)


def _step(live: list[_Track], frame: Shown, place: int) -> list[_Track]:
    """Let every track that is seen go on, and return the new ones."""
    fresh: list[_Track] = []
    for class_name in sorted({one.class_name for one in frame.labels}):
        labels = [one for one in frame.labels if one.class_name == class_name]
        tracks = [track for track in live if track.class_name == class_name]
        boxes = np.array([one.box_xyxy for one in labels], dtype=np.float64)
        pairs = _pairs(tracks, boxes, frame.seconds)
        for row, column in pairs:
            _see(tracks[row], boxes[column], frame.seconds, place, labels[column].key)
        known = {column for _, column in pairs}
        fresh += [
            _Track(class_name, [boxes[column]], [frame.seconds], [(place, label.key)])
            for column, label in enumerate(labels)
            if column not in known
        ]
    return fresh


def _pairs(tracks: Sequence[_Track], boxes: Box, seconds: float) -> list[tuple[int, int]]:
    """Return rows of tracks and boxes that are one object: in the expected place, else in the widened one."""
    pairs: list[tuple[int, int]] = []
    expected = [track.expected(seconds) for track in tracks]
    last = [track.boxes[-1] for track in tracks]
    for wanted, grown in ((expected, 1.0), (last, 1.0), (expected, _GROWN), (last, _GROWN)):
        rows = [row for row in range(len(tracks)) if row not in {row for row, _ in pairs}]
        columns = [column for column in range(len(boxes)) if column not in {column for _, column in pairs}]
        if not rows or not columns:
            break
        one = _grow(np.array([wanted[row] for row in rows]), grown)
        other = _grow(boxes[columns], grown)
        for i, j, _ in match(one, other, min_iou=MIN_IOU if grown == 1.0 else MIN_GROWN_IOU):
            if _alike(last[rows[i]], boxes[columns[j]]):
                pairs.append((rows[i], columns[j]))
    return pairs


def _see(track: _Track, box: Box, seconds: float, place: int, key: str) -> None:
    track.boxes = [track.boxes[-1], box]
    track.times = [track.times[-1], seconds]
    track.seen.append((place, key))


def _alike(one: Box, other: Box) -> bool:
    areas = sorted(float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return areas[1] <= _MOST_RATIO * areas[0]


def _grow(boxes: Box, factor: float) -> Box:
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.concatenate([centre - half, centre + half], axis=1)


def _centre(box: Box) -> Box:
    return (box[:2] + box[2:]) / 2

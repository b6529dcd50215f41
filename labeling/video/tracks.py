"""Which labels of neighbouring frames are the same object.

Frames are picked by change, so the time between two of them varies, and boxes of one object may not even touch. Each
class is matched in two rounds, one to one: first where the object should be by now, then with boxes grown about their
centres. After Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by
Buffering the Matching Space" (WACV 2023). supervision has given its ByteTrack away to another package, and that one's
Kalman filter takes frames at one rate. What is lost for longer is put together by its looks: see ``stitching``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.matching import match
from .stitching import Box, Look, Track, alike_bar, similar_size, stitched

MIN_IOU, MIN_GROWN_IOU = 0.2, 0.1
"""Of boxes as they are, and of grown ones."""
_GROWN = 2.0
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
        look: (d,) unit vector, the detector's feature of the box; None where it gives none.
    """

    key: str
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame: its time, the number of its shot, and its labels."""

    seconds: float
    scene: int
    labels: tuple[Seen, ...]


def link(frames: Sequence[Shown]) -> list[list[tuple[int, str]]]:
    """Return the objects that are seen in two frames or more: (place of the frame, key of the label) of each.

    Args:
        frames: in order. No object goes on into another shot.
    """
    done: list[Track] = []
    live: list[Track] = []
    for place, frame in enumerate(frames):
        tired = [track for track in live if track.scene != frame.scene or place - track.seen[-1][0] > _PATIENCE + 1]
        done += tired
        live = [track for track in live if track not in tired]
        live += _step(live, frame, place)
    pieces = sorted(done + live, key=lambda track: track.seen)
    return sorted(seen for seen in stitched(pieces, alike_bar(_side_by_side(frames))) if len(seen) > 1)


def _side_by_side(frames: Sequence[Shown]) -> list[tuple[Box, Look]]:
    """Return boxes (n, 4) and looks (n, d) of each frame that has some."""
    known = [[(one.box_xyxy, one.look) for one in frame.labels if one.look is not None] for frame in frames]
    return [(np.array([box for box, _ in one]), np.array([look for _, look in one])) for one in known if one]


def _step(live: list[Track], frame: Shown, place: int) -> list[Track]:
    """Let every track that is seen go on, and return the new ones."""
    fresh: list[Track] = []
    for class_name in sorted({one.class_name for one in frame.labels}):
        labels = [one for one in frame.labels if one.class_name == class_name]
        tracks = [track for track in live if track.class_name == class_name]
        boxes = np.array([one.box_xyxy for one in labels], dtype=np.float64)
        known = {column: tracks[row] for row, column in _pairs(tracks, boxes, frame.seconds)}
        for column, one in enumerate(labels):
            if column not in known:
                fresh.append(Track(class_name, frame.scene))
            track = known.get(column) or fresh[-1]
            track.see(boxes[column], frame.seconds, one.look, place, one.key)
    return fresh


def _pairs(tracks: Sequence[Track], boxes: Box, seconds: float) -> list[tuple[int, int]]:
    """Return rows of tracks and boxes that are one object: in the expected place, else in the widened one."""
    pairs: list[tuple[int, int]] = []
    expected = [track.expected(min(seconds - track.times[-1], _MOST_STEP_S)) for track in tracks]
    last = [track.boxes[-1] for track in tracks]
    for wanted, grown in ((expected, 1.0), (last, 1.0), (expected, _GROWN), (last, _GROWN)):
        rows = [row for row in range(len(tracks)) if row not in {row for row, _ in pairs}]
        columns = [column for column in range(len(boxes)) if column not in {column for _, column in pairs}]
        if not rows or not columns:
            break
        one = _grow(np.array([wanted[row] for row in rows]), grown)
        other = _grow(boxes[columns], grown)
        for i, j, _ in match(one, other, min_iou=MIN_IOU if grown == 1.0 else MIN_GROWN_IOU):
            if similar_size(last[rows[i]], boxes[columns[j]]):
                pairs.append((rows[i], columns[j]))
    return pairs


def _grow(boxes: Box, factor: float) -> Box:
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.concatenate([centre - half, centre + half], axis=1)

"""Pieces of tracks that are one object which was hidden, or missed, for longer than its motion alone can bridge.

Motion says where an object may be by now, the detector's features of the boxes say whether it looks like the one that
went. How alike two looks must be is read off the video itself, as every encoder has its own scale: labels side by side
in one frame are different objects, and one object after a gap must be more alike than nearly all of those. Joining
tracklets by one assignment follows Huang et al., "Robust Object Tracking by Hierarchical Association of Detection
Responses" (ECCV 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Box = npt.NDArray[np.float64]
Look = npt.NDArray[np.float32]

MOST_RATIO = 2.5
"""Of the areas of two boxes of one object."""
_MOST_GAP_S = 10.0
_REACH = 1.0
"""How far an object gets from where it should be, in its own diagonals, at once and once more each second."""
_LOOKS = 5
"""Looks of each end of a gap that are averaged."""
_PACE_FROM = 2
"""Sightings that the pace of an object is taken from."""
_BAR_PERCENTILE, _BAR_PAIRS = 95, 20
_REFUSED = 1e3


@dataclass(slots=True, eq=False)
class Track:
    """An object as far as it is known: a box, a time and, where the detector gives one, a look of each sighting.

    Attributes:
        class_name: of all its labels.
        scene: number of its shot.
        boxes: absolute pixels.
        times: in seconds.
        looks: unit vectors.
        seen: (place of the frame, key of the label).
    """

    class_name: str
    scene: int
    boxes: list[Box] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    looks: list[Look | None] = field(default_factory=list)
    seen: list[tuple[int, str]] = field(default_factory=list)

    def see(self, box: Box, seconds: float, look: Look | None, place: int, key: str) -> None:
        """Add one sighting, later than all others."""
        self.boxes.append(box)
        self.times.append(seconds)
        self.looks.append(look)
        self.seen.append((place, key))

    def expected(self, seconds: float) -> Box:
        """Return where the box should be after so many seconds more if it goes on as in its last sightings."""
        return _moved(self.boxes, self.times, -1, seconds)

    def expected_before(self, seconds: float) -> Box:
        """Return where the box should have been so many seconds before its first sighting."""
        return _moved(self.boxes, self.times, 0, -seconds)


def alike_bar(side_by_side: Sequence[tuple[Box, npt.NDArray[np.float32]]]) -> float | None:
    """Return the cosine that nearly no two different objects of a video reach; None where too few are side by side.

    Args:
        side_by_side: boxes (n, 4) and looks (n, d) of each frame. Boxes that overlap may be two of one object.
    """
    found: list[float] = []
    for boxes, looks in side_by_side:
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        apart = np.triu((low >= high).any(-1), k=1)
        found += (looks @ looks.T)[apart].tolist()
    return float(np.percentile(found, _BAR_PERCENTILE)) if len(found) >= _BAR_PAIRS else None


def stitched(tracks: Sequence[Track], bar: float | None) -> list[list[tuple[int, str]]]:
    """Return what is seen of each object after pieces of one were put together.

    Args:
        tracks: pieces, each with one sighting or more.
        bar: from ``alike_bar``; None puts nothing together.
    """
    following: dict[int, int] = {}

    def kind(number: int) -> tuple[str, int]:
        return tracks[number].class_name, tracks[number].scene

    for _, group in groupby(sorted(range(len(tracks)), key=kind), key=kind):
        numbers = list(group)
        if bar is not None and len(numbers) > 1:
            following |= {numbers[i]: numbers[j] for i, j in _joins([tracks[number] for number in numbers], bar)}
    chains = []
    for number in sorted(set(range(len(tracks))) - set(following.values())):
        chain = list(tracks[number].seen)
        while number in following:
            number = following[number]
            chain += tracks[number].seen
        chains.append(chain)
    return chains


def similar_size(one: Box, other: Box) -> bool:
    """Say whether two boxes may be of one object."""
    areas = sorted(float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return areas[1] <= MOST_RATIO * areas[0]


def centre(box: Box) -> Box:
    """Return (x, y) of the middle."""
    return (box[:2] + box[2:]) / 2


def _joins(tracks: Sequence[Track], bar: float) -> list[tuple[int, int]]:
    """Return which piece goes on with which, of one class and shot, so that all are as alike as can be."""
    cost = np.full((len(tracks), len(tracks)), _REFUSED)
    begins = np.array([track.times[0] for track in tracks])
    for i, one in enumerate(tracks):
        gaps = begins - one.times[-1]
        for j in np.flatnonzero((gaps > 0) & (gaps <= _MOST_GAP_S)):
            likeness = _likeness(one, tracks[j])
            if likeness is not None and likeness >= bar:
                cost[i, j] = 1 - likeness
    rows, columns = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] < _REFUSED]


def _likeness(one: Track, other: Track) -> float | None:
    """Return the cosine of the looks around the gap; None where the second cannot go on with the first."""
    gap = other.times[0] - one.times[-1]
    before, after = one.boxes[-1], other.boxes[0]
    largest = [max(track.boxes, key=lambda box: float(np.prod(box[2:] - box[:2]))) for track in (one, other)]
    if not similar_size(*largest):  # what goes behind something shows less and less of itself
        return None
    reach = _REACH * (1 + gap) * max(float(np.linalg.norm(box[2:] - box[:2])) for box in largest)
    ways = ((before, after), (one.expected(gap), after), (before, other.expected_before(gap)))
    if min(float(np.linalg.norm(centre(a) - centre(b))) for a, b in ways) > reach:
        return None
    ends = (one.looks[-_LOOKS:], other.looks[:_LOOKS])
    known = [np.array([look for look in looks if look is not None]) for looks in ends]
    if not all(map(len, known)):
        return None
    means = [looks.mean(0) for looks in known]
    return float(means[0] @ means[1] / max(float(np.prod([np.linalg.norm(mean) for mean in means])), 1e-12))


def _moved(boxes: Sequence[Box], times: Sequence[float], end: int, seconds: float) -> Box:
    some = slice(-_PACE_FROM, None) if end else slice(None, _PACE_FROM)
    centres, moments = np.array([centre(box) for box in boxes[some]]), np.array(times[some])
    spread = moments - moments.mean()
    if not (weight := float(spread @ spread)):
        return boxes[end]
    step = spread @ (centres - centres.mean(0)) / weight * seconds
    return np.asarray(boxes[end] + np.concatenate([step, step]))

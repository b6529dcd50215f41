"""Pictures that belong together: those that show the same, frames of a video, shots of a burst."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)

BURST_SECONDS = 2.0
"""Pictures of one camera that follow each other so soon are of one burst."""

FRAME_LOOK = 0.8
"""Cosine of the outlines of two frames that follow each other, at least."""

BURST_LOOK = 0.6
"""The same for a burst: the time says more than a file name, but a clock that was never set says nothing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Images that belong together.

    Attributes:
        kind: ``near``: they show the same; ``sequence``: some of them only follow each other, in a video or a burst.
        members: sha256, the one to keep first.
    """

    kind: Literal["near", "sequence"]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shot:
    """What is known about one picture besides its pixels.

    Attributes:
        paths: absolute, as the file system has them.
        camera: make and model, where the file says so.
        taken_at: ISO 8601 without a zone, where the file says so.
    """

    paths: tuple[bytes, ...]
    camera: str | None = None
    taken_at: str | None = None


def following(shots: Sequence[Shot]) -> Iterator[tuple[int, int, float]]:
    """Yield rows of shots that follow each other, and how alike they have to be to count as one sequence.

    Frames: the next higher running number under the same name in the same folder. Bursts: the same camera within two
    seconds of the shot before.
    """
    runs: dict[tuple[bytes, str, str], list[tuple[int, int]]] = defaultdict(list)
    cameras: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for row, shot in enumerate(shots):
        for path in shot.paths:
            folder, name = os.path.split(path)
            stem, suffix = os.path.splitext(os.fsdecode(name))
            if numbered := _NUMBERED.fullmatch(stem):
                runs[folder, numbered[1], numbered[3] + suffix].append((int(numbered[2]), row))
        if shot.camera and (taken := _time(shot.taken_at)):
            cameras[shot.camera].append((taken, row))
    for run in runs.values():
        for (_, first), (_, second) in pairwise(sorted(run)):
            yield first, second, FRAME_LOOK
    for taken_by in cameras.values():
        for (before, first), (after, second) in pairwise(sorted(taken_by)):
            if (after - before).total_seconds() <= BURST_SECONDS:
                yield first, second, BURST_LOOK


def grouped(
    near: Iterable[tuple[int, int]],
    sequences: Iterable[tuple[int, int]],
    count: int,
    name: Callable[[int], str],
    place: Callable[[int], tuple[object, ...]],
) -> tuple[Group, ...]:
    """Return the connected components of two or more rows, the largest first, then by name.

    Args:
        near: pairs of rows that show the same.
        sequences: pairs of rows that follow each other.
        count: number of rows.
        name: what a row is called in the answer.
        place: rows of the smallest value are kept first.
    """
    alike, together = _roots(near := list(near), count), _roots([*near, *sequences], count)
    members: dict[int, list[int]] = defaultdict(list)
    for row, root in enumerate(together):
        members[root].append(row)
    found = [
        Group(
            "near" if len({alike[row] for row in rows}) == 1 else "sequence",
            tuple(name(row) for row in sorted(rows, key=place)),
        )
        for rows in members.values()
        if len(rows) > 1
    ]
    return tuple(sorted(found, key=lambda group: (-len(group.members), group.members)))


def _roots(links: Iterable[tuple[int, int]], count: int) -> list[int]:
    """Return the component of each row."""
    from scipy.cluster.hierarchy import DisjointSet

    sets = DisjointSet(range(count))
    for first, second in links:
        sets.merge(first, second)
    return [sets[row] for row in range(count)]


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
    except ValueError:
        return None

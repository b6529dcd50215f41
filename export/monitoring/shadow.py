"""Two students on the same frames: what both see, what only one sees, and how sure that is. Nobody knows the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, zip_longest

import numpy as np

from labeling.core.errors import InputError
from labeling.core.matching import match
from labeling.image_files import display

from .bins import Counts, Numbers
from .log import Damage, Header, LoggedFrame, Row, frames

MIN_IOU = 0.5
"""Boxes of a class that overlap less are two objects."""

_GROUPS = 64
_FEWEST_GROUPS = 8
_RESAMPLES = 2000
_WAITING = 100_000

Pair = tuple[Sequence[Row], Sequence[Row]]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class, or all of them.

    Attributes:
        name: of the class.
        both, only_first, only_second: objects.
        agreement: share of all objects that both see; None without an object.
        agreement_within: interval of 95 %; None where there are too few frames.
        more: how many more objects per 100 frames the second sees than the first.
        more_within: interval of 95 %; None where there are too few frames.
    """

    name: str
    both: int
    only_first: int
    only_second: int
    agreement: float | None
    agreement_within: Interval | None
    more: float
    more_within: Interval | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """Two students compared.

    Attributes:
        frames: that both looked at.
        alone: frames that only one of two logs holds.
        classes: one row each, those that either knows.
        overall: all classes together.
        damage: lines that could not be used.
    """

    frames: int
    alone: int
    classes: tuple[ClassRow, ...]
    overall: ClassRow
    damage: Damage

    @property
    def verdict(self) -> str:
        """What it comes to, in a sentence."""
        one = self.overall
        if one.agreement is None:
            return "Neither student sees an object."
        if one.agreement_within is None or one.more_within is None:
            return (
                f"They agree on {one.agreement:.0%} of the objects; there are too few frames to say how sure that is."
            )
        low, high = one.agreement_within
        text = f"They agree on {one.agreement:.0%} of the objects ({low:.0%} to {high:.0%})"
        low, high = one.more_within
        if low > 0 or high < 0:
            who = "second" if low > 0 else "first"
            less, most = sorted((abs(low), abs(high)))
            return f"{text}; the {who} sees {abs(one.more):.1f} more objects per 100 frames ({less:.1f} to {most:.1f})."
        return f"{text}; neither is shown to see more objects than the other."


def compare_shadow(headers: Sequence[Header], seed: int = 0) -> Shadow:
    """Compare the student of logs with the other one that looked on, or the students of two logs of the same frames.

    Args:
        headers: logs of one model with shadow objects; or logs of two models, whose frames are matched run by run, by
            source and number, however many others lie between them, up to 100,000.
        seed: of the intervals.

    Raises:
        InputError: no frame has two answers, or the logs do not go together.
    """
    damage = Damage()
    apart = _Apart()
    sides = _sides(headers)
    first, second = sides[0][0].names, sides[1][0].names if len(sides) == 2 else sides[0][0].shadow_names
    names = tuple(dict.fromkeys([*first, *second]))
    groups = _Groups(len(names))
    if len(sides) == 2:
        pairs: Iterable[Pair] = apart.pairs(sides[0], sides[1], damage)
    else:
        pairs = ((frame.objects, frame.shadow) for frame in _all(headers, damage) if frame.shadow is not None)
    to_first, to_second = ([names.index(name) for name in known] for known in (first, second))
    for one, other in pairs:
        groups.add(_tally(_renamed(one, to_first), _renamed(other, to_second), len(names)))
    if not groups.frames:
        raise InputError(
            "no frame has the answers of two students: log with runtime.py --shadow BUNDLE, or name two logs of the "
            "same frames by different models"
        )
    rows = tuple(groups.row(name, [place], seed) for place, name in enumerate(names))
    return Shadow(groups.frames, apart.alone, rows, groups.row("all", list(range(len(names))), seed), damage)


def _sides(headers: Sequence[Header]) -> list[list[Header]]:
    """Return the logs of each model. Raises InputError: more than two, or one model with several lists of classes."""
    found: dict[str, list[Header]] = {}
    for header in headers:
        side = found.setdefault(header.model, [])
        side.append(header)
        if (header.names, header.shadow_names) != (side[0].names, side[0].shadow_names):
            raise InputError(
                f"{display(side[0].path)} and {display(header.path)}: are of one model and name different classes: "
                "compare the logs of one pair of students at a time"
            )
    if len(found) > 2:
        raise InputError(
            f"--shadow: expected logs of one or two students, there are {len(found)}: name the logs of two"
        )
    return list(found.values())


def _all(headers: Sequence[Header], damage: Damage) -> Iterator[LoggedFrame]:
    return chain.from_iterable(frames(header, damage) for header in headers)


def _runs(headers: Sequence[Header], damage: Damage) -> Iterator[Iterator[LoggedFrame]]:
    """Yield the frames of each run of the runtime: another begins where the number of a frame does not go up."""
    run, last = 0, -1

    def of(frame: LoggedFrame) -> int:
        nonlocal run, last
        run, last = run + (frame.number <= last), frame.number
        return run

    return (one for _, one in groupby(_all(headers, damage), key=of))


class _Apart:
    """Matches the frames of two students while the logs of both are read side by side."""

    def __init__(self) -> None:
        self.alone = 0

    def pairs(self, first: Sequence[Header], second: Sequence[Header], damage: Damage) -> Iterator[Pair]:
        for one, other in zip_longest(_runs(first, damage), _runs(second, damage)):
            if one is None or other is None:
                raise InputError(
                    f"{display(first[0].path)} and {display(second[0].path)}: frame numbers begin anew more often in "
                    "one of them, so nobody can tell which runs go together: name the logs of the same runs"
                )
            yield from self._of_run(one, other)

    def _of_run(self, first: Iterator[LoggedFrame], second: Iterator[LoggedFrame]) -> Iterator[Pair]:
        waiting: tuple[dict[tuple[str, int], LoggedFrame], dict[tuple[str, int], LoggedFrame]] = ({}, {})
        for both in zip_longest(first, second):
            for side, frame in enumerate(both):
                if frame is None:
                    continue
                key = (frame.source, frame.number)
                other = waiting[1 - side].pop(key, None)
                if other is None:
                    self._wait(waiting[side], key, frame)
                else:
                    yield (frame.objects, other.objects) if side == 0 else (other.objects, frame.objects)
        self.alone += len(waiting[0]) + len(waiting[1])

    def _wait(self, waiting: dict[tuple[str, int], LoggedFrame], key: tuple[str, int], frame: LoggedFrame) -> None:
        self.alone += key in waiting
        waiting[key] = frame
        if len(waiting) > _WAITING:
            del waiting[next(iter(waiting))]
            self.alone += 1


class _Groups:
    """Counts of consecutive frames, in a bounded number of groups of one size: what intervals are drawn from."""

    def __init__(self, classes: int) -> None:
        self._full: list[Counts] = []
        self._open: Counts = np.zeros((classes, 3), dtype=np.int64)
        self._empty = self._open.copy()
        self._size = 1
        self.frames = 0

    def add(self, counts: Counts) -> None:
        """Take (classes, 3) of the next frame: both, only the first, only the second."""
        self._open = self._open + counts
        self.frames += 1
        if self.frames % self._size:
            return
        self._full.append(self._open)
        self._open = self._empty.copy()
        if len(self._full) == 2 * _GROUPS:
            self._full = [one + other for one, other in zip(self._full[::2], self._full[1::2], strict=True)]
            self._size *= 2

    def row(self, name: str, places: Sequence[int], seed: int) -> ClassRow:
        """Return what some classes together come to, with intervals of the bootstrap over groups (Kuensch, 1989)."""
        full = np.stack([group[places].sum(axis=0) for group in self._full]) if self._full else np.zeros((0, 3))
        both, first, second = (int(n) for n in full.sum(axis=0) + self._open[places].sum(axis=0))
        total = both + first + second
        within = more_within = None
        if len(full) >= _FEWEST_GROUPS:
            rng = np.random.default_rng(seed)
            drawn = full[rng.integers(len(full), size=(_RESAMPLES, len(full)))].sum(axis=1)
            known = drawn.sum(axis=1) > 0
            if total and known.any():
                within = _middle(drawn[known, 0] / drawn[known].sum(axis=1))
            more_within = _middle(100 * (drawn[:, 2] - drawn[:, 1]) / (self._size * len(full)))
        return ClassRow(
            name,
            both,
            first,
            second,
            both / total if total else None,
            within,
            100 * (second - first) / self.frames if self.frames else 0.0,
            more_within,
        )


def _middle(values: Numbers) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _renamed(rows: Sequence[Row], places: Sequence[int]) -> list[Row]:
    return [(places[row[0]], *row[1:]) for row in rows]


def _tally(first: Sequence[Row], second: Sequence[Row], classes: int) -> Counts:
    """Return (classes, 3): objects that both see, only the first, only the second."""
    found = np.zeros((classes, 3), dtype=np.int64)
    for class_id in {row[0] for row in (*first, *second)}:
        one = [row[2:] for row in first if row[0] == class_id]
        other = [row[2:] for row in second if row[0] == class_id]
        both = len(match(np.array(one), np.array(other), min_iou=MIN_IOU)) if one and other else 0
        found[class_id] = both, len(one) - both, len(other) - both
    return found

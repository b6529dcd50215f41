"""Every group of images gets its part: where it was, where people want it, where its share or its time puts it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from labeling.core.store_splits import PARTS, Part

from .assign import in_order, stratify
from .images import Usable

Home = tuple[Part, int | None]
"""A part, and with folds the fold for which an image is val."""

TRAIN: Home = ("train", None)
VAL: Home = ("val", None)
TEST: Home = ("test", None)

_UNREVIEWED = "not reviewed, but meant for val or test or alike to an image there"
_LATER = "not reviewed, and taken at the time of val or test"
_UNDATED = "taken at a time that nobody knows, while the cut is by time"
_SEALED = "alike to images of the test part, which was opened already"


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What decides where a group goes.

    Attributes:
        shares: of the images that may be measured on, by home; above 0.
        seed: of the order among equals.
        before: where images were.
        test_only: images that people want in test.
        sealed: the test part was opened, so nothing moves into it or out of it.
        moments: when images were taken where the cut is by time, else None.
    """

    shares: Mapping[Home, float]
    seed: int = 0
    before: Mapping[str, Home] = field(default_factory=dict)
    test_only: frozenset[str] = frozenset()
    sealed: bool = False
    moments: Mapping[str, float] | None = None


@dataclass(slots=True)
class Placed:
    """Where everything went.

    Attributes:
        homes: of images, by row of ``Usable``.
        groups: rows by kin, whether placed or not.
        left_out: how many images have no home, by reason.
        moved: how many images left a home for another.
    """

    homes: dict[int, Home] = field(default_factory=dict)
    groups: dict[str, list[int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[Home, Home]] = field(default_factory=Counter)


def place(found: Usable, measured: npt.NDArray[np.bool_], kin: Mapping[str, str], rules: Rules) -> Placed:
    """Place every image, or count why not.

    A group goes as a whole. Its images that must not be measured on teach if the group teaches; otherwise they are left
    out, because a student must not know what it is measured on. With folds they stay, and their fold leaves them out.

    Args:
        found: the images.
        measured: (n,) which of them may be in val and test; only they count for shares.
        kin: the first image of its group, by sha256; images without a group may be missing.
        rules: see ``Rules``.
    """
    placing = _Placing(found, measured, rules)
    groups: dict[str, list[int]] = defaultdict(list)
    for row, sha256 in enumerate(found.images):
        groups[kin.get(sha256, sha256)].append(row)
    placing.placed.groups = dict(groups)
    placing.settle()
    if rules.moments is None:
        placing.by_class()
    else:
        placing.by_time(rules.moments)
    return placing.finish()


class _Placing:
    def __init__(self, found: Usable, measured: npt.NDArray[np.bool_], rules: Rules) -> None:
        self.placed = Placed()
        self._found, self._measured, self._rules = found, measured, rules
        self._home: dict[str, Home] = {}
        self._forced: set[str] = set()
        self._sealed_off: set[int] = set()
        before = (rules.before.get(sha256) for sha256 in found.images)
        # With folds, an image that only taught has no fold yet.
        no_place = TRAIN if TRAIN not in rules.shares else None
        self._before = [None if home == no_place else home for home in before]

    def settle(self) -> None:
        """Keep groups where they were, or put them where people want them."""
        for name, rows in self.placed.groups.items():
            before = {home for row in rows if (home := self._before[row])}
            if any(self._found.images[row] in self._rules.test_only for row in rows):
                self._forced.add(name)
                self._home[name] = TEST
            elif TEST in before and self._rules.sealed:
                self._home[name] = TEST
                if len(before) > 1:
                    self._sealed_off.update(row for row in rows if self._before[row] != TEST)
            elif before:
                self._home[name] = max(sorted(before, key=_rank), key=lambda home: self._strength(rows, home))

    def by_class(self) -> None:
        """Place the other groups so that shares and classes even out."""
        names = sorted(name for name in self.placed.groups if name not in self._home)
        taught = [name for name in names if not self._weight(name)]
        self._home |= dict.fromkeys(taught, TRAIN)
        names = [name for name in names if name not in self._home]
        homes = list(self._rules.shares)
        held = np.zeros((len(homes), self._found.holds.shape[1] + 1), dtype=np.int64)
        for name, home in self._home.items():
            if home in self._rules.shares:
                held[homes.index(home)] += self._counts(name)
        if names:
            counts = np.stack([self._counts(name) for name in names])
            order = [self._lot(name) for name in names]
            parts = stratify(counts, list(self._rules.shares.values()), held, order)
            self._home |= {name: homes[part] for name, part in zip(names, parts, strict=True)}

    def by_time(self, moments: Mapping[str, float]) -> None:
        """Place the other groups by their oldest image, so that a group across a border is in the older part."""
        dated = ((name, self._span(rows, moments)) for name, rows in self.placed.groups.items())
        spans = {name: span for name, span in dated if span}
        waiting = sorted(spans.keys() - self._home.keys(), key=lambda name: (spans[name], self._lot(name)))
        weighty = [name for name in waiting if self._weight(name)]
        if not self._home.keys() - self._forced:
            homes, shares = list(self._rules.shares), list(self._rules.shares.values())
            parts = in_order([self._weight(name) for name in weighty], shares)
            self._home |= {name: homes[part] for name, part in zip(weighty, parts, strict=True)}
        test = self._begin(TEST, moments)
        val = min(self._begin(VAL, moments), test)
        for name in waiting:
            if name in self._home:
                continue
            oldest, newest = spans[name]
            if self._weight(name):
                self._home[name] = TEST if oldest >= test else VAL if oldest >= val else TRAIN
            elif newest < val:
                self._home[name] = TRAIN
            else:
                self.placed.left_out[_LATER] += len(self.placed.groups[name])
        undated = (name for name in self.placed.groups if name not in self._home and name not in spans)
        self.placed.left_out[_UNDATED] += sum(len(self.placed.groups[name]) for name in undated)

    def finish(self) -> Placed:
        """Give each image the home of its group, if it may be there."""
        for name, home in self._home.items():
            for row in self.placed.groups[name]:
                teaches = home == TRAIN or self._measured[row]
                if row in self._sealed_off:
                    self.placed.left_out[_SEALED] += 1
                elif not teaches and home[0] != "train":
                    self.placed.left_out[_UNREVIEWED] += 1
                else:
                    own = self.placed.homes[row] = home if teaches else TRAIN
                    before = self._before[row]
                    if before and before != own:
                        self.placed.moved[before, own] += 1
        self.placed.left_out = +self.placed.left_out
        return self.placed

    def _strength(self, rows: list[int], home: Home) -> tuple[int, int]:
        there = [row for row in rows if self._before[row] == home]
        return int(self._measured[there].sum()), len(there)

    def _weight(self, name: str) -> int:
        return int(self._measured[self.placed.groups[name]].sum())

    def _counts(self, name: str) -> npt.NDArray[np.int64]:
        rows = [row for row in self.placed.groups[name] if self._measured[row] and row not in self._sealed_off]
        return np.append(self._found.holds[rows].sum(axis=0), len(rows))

    def _lot(self, name: str) -> str:
        # By the image itself, so that the order of files and of earlier runs means nothing.
        first = self._found.images[min(self.placed.groups[name])]
        return hashlib.sha256(f"{self._rules.seed} {first}".encode()).hexdigest()

    def _span(self, rows: list[int], moments: Mapping[str, float]) -> tuple[float, float] | None:
        known = [moments[sha256] for row in rows if (sha256 := self._found.images[row]) in moments]
        return (min(known), max(known)) if known else None

    def _begin(self, home: Home, moments: Mapping[str, float]) -> float:
        """Return when a part begins: its oldest image, of those that were there before if there are some."""
        begin = float("inf")
        for name in self._home.keys() - self._forced:
            if self._home[name] == home:
                rows = self.placed.groups[name]
                span = self._span([row for row in rows if self._before[row] == home] or rows, moments)
                begin = min(begin, span[0]) if span else begin
        return begin


def _rank(home: Home) -> tuple[int, int]:
    return PARTS.index(home[0]), home[1] or 0

"""What a person should know about a split that was just made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .images import Usable
from .place import TEST, TRAIN, Home, Placed

_OFF_SHARE = 0.05
_OFF_IMAGES = 2
_LARGE = 0.3
_NEARLY_ALL = 0.9
_MOST_NAMES = 6

KEPT = (
    "images keep the part they have, also those that taught before they were reviewed: --fresh draws all anew, and a "
    "student that learned from what is test then cannot be measured on it any more"
)


def remarks(
    names: Sequence[str],
    found: Usable,
    measured: npt.NDArray[np.bool_],
    placed: Placed,
    shares: Mapping[Home, float],
    *,
    kept: bool,
) -> Iterator[str]:
    """Yield what is missing or odd, one sentence each.

    Args:
        names: the classes, in the order of the ontology.
        found: the images.
        measured: (n,) which of them may be in val and test.
        placed: where they went.
        shares: asked for, by home.
        kept: images kept the part that they had before.
    """
    rows: dict[Home, list[int]] = {home: [] for home in shares}
    for row, home in placed.homes.items():
        if measured[row] and home in rows:
            rows[home].append(row)
    yield from _classes(names, found, placed, rows)
    yield from _sizes(found, measured, placed, rows, shares)
    if kept and any(_is_off(*one) for one in _shares(rows, shares)):
        yield KEPT
    unknown = sum(not found.reviewed[row] for home, some in rows.items() if home != TRAIN for row in some)
    if unknown:
        yield f"{counted(unknown, 'image')} of val, test or folds were never reviewed: figures compare machines"
    for (before, now), count in sorted(placed.moved.items(), key=str):
        yield f"moved from {_said(before)} to {_said(now)}, to a group or by a decision: {counted(count, 'image')}"


def _classes(names: Sequence[str], found: Usable, placed: Placed, rows: Mapping[Home, list[int]]) -> Iterator[str]:
    placed_rows = list(placed.homes)
    anywhere = _held(found, placed_rows)
    if nowhere := [name for name, there in zip(names, anywhere, strict=False) if not there]:
        yield f"no image of the split holds {_listed(nowhere)}: a student cannot learn it: label some"
    groups: Counter[int] = Counter()
    for some in placed.groups.values():
        groups.update(np.flatnonzero(_held(found, [row for row in some if row in placed.homes])).tolist())
    taught = [row for row in placed_rows if placed.homes[row][0] == "train"]
    of_part: dict[str, list[int]] = defaultdict(list)
    for home, some in rows.items():
        if home[0] == "train":
            of_part["train"] = taught
        else:
            of_part[_said(home)] += some
    for part, some in of_part.items():
        held = _held(found, some)
        # A part without any image is told of elsewhere.
        missing = [column for column in range(len(names)) if anywhere[column] and not held[column]] if some else []
        if missing:
            said = [f"{names[column]} (in {counted(groups[column], 'group')})" for column in missing]
            yield f"{part} has no image of {_listed(said)}: label more of other scenes"
    if any(fold is not None for _, fold in rows):
        alone = [names[column] for column in range(len(names)) if groups[column] == 1]
        if alone:
            yield f"all images of {_listed(alone)} are one group: while its fold is val, no other fold teaches it"


def _sizes(
    found: Usable,
    measured: npt.NDArray[np.bool_],
    placed: Placed,
    rows: Mapping[Home, list[int]],
    shares: Mapping[Home, float],
) -> Iterator[str]:
    sizes = [size for some in placed.groups.values() if (size := int(measured[some].sum()))]
    what = "reviewed images" if found.reviewed[measured].all() else "images"
    for home, (count, total, asked) in zip(rows, _shares(rows, shares), strict=True):
        if not count:
            apart = f"{counted(len(sizes), 'group')} of {what}"
            only = "only " if len(sizes) < len(rows) else ""
            yield f"{_said(home)} has no image, for {only}{apart} can be told apart: label other scenes"
        elif _is_off(count, total, asked):
            yield f"{_said(home)} has {count:,} of {total:,} {what}, {count / total:.0%}; asked for were {asked:.0%}"
    largest = max(sizes, default=0)
    if largest > max(_LARGE * sum(sizes), 1):
        one = "one group of near duplicates or neighbours, and stay together"
        if largest >= _NEARLY_ALL * sum(sizes):
            one += ": no draw can part them, nor does --time always: take photos of other scenes"
        yield f"{largest:,} of {sum(sizes):,} {what} are {one}"


def _shares(rows: Mapping[Home, list[int]], shares: Mapping[Home, float]) -> list[tuple[int, int, float]]:
    """Return for each home how many images it has, of how many, and what share it was to have."""
    total = sum(map(len, rows.values()))
    return [(len(some), total, shares[home] / sum(shares.values())) for home, some in rows.items()]


def _is_off(count: int, total: int, asked: float) -> bool:
    off = abs(count - asked * total)
    return off > _OFF_SHARE * total and off >= _OFF_IMAGES


def _held(found: Usable, rows: list[int]) -> npt.NDArray[np.bool_]:
    """Return which classes some images hold, (classes + 1,)."""
    return np.asarray(found.holds[rows].any(axis=0), dtype=np.bool_)


def grown(placed: Placed, found: Usable, before: Mapping[str, Home]) -> int:
    """Return how many images are new in a test part that was there before."""
    if TEST not in before.values():
        return 0
    return sum(home == TEST != before.get(found.images[row]) for row, home in placed.homes.items())


def _said(home: Home) -> str:
    return home[0] if home[1] is None else f"fold {home[1]}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, what: str) -> str:
    """Say how many there are of something, in the plural of several."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"

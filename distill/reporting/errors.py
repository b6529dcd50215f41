"""The worst errors of a student, some of every kind, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from labeling.core.geometry import area, iou
from labeling.core.matching import match
from labeling.images import LoadedImage
from labeling.teachers.interfaces import RgbImage

from ..objects import Objects

ErrorKind = Literal["miss", "false alarm", "confusion", "bad box", "found twice"]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

MOST_ERRORS = 12

_TOUCHES = 0.1
_FOUND = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class WorstError:
    """One error of a student.

    Attributes:
        kind: of error.
        pixels: RGB uint8 (H, W, 3), upright; None where no file holds the image any more.
        name: of the image, for people.
        truth: all that is there.
        found: all that the student shows at its threshold.
        truth_row: the object that is missed, confused, badly boxed or found twice; None for a false alarm.
        found_row: the box that is wrong; None for a miss.
    """

    kind: ErrorKind
    pixels: RgbImage | None
    name: str
    truth: Objects
    found: Objects
    truth_row: int | None
    found_row: int | None


def said(one: WorstError, names: Sequence[str]) -> str:
    """Return an error as one clause."""
    there = None if one.truth_row is None else names[one.truth.class_ids[one.truth_row]]
    seen = None if one.found_row is None else names[one.found.class_ids[one.found_row]]
    if seen is None or one.found_row is None:
        return f"{there} not found"
    score = one.found.scores[one.found_row]
    if there is None:
        return f"{seen} where none is, score {score:.2f}"
    if one.kind == "found twice":
        return f"{there} found already, a second box on it, score {score:.2f}"
    if there == seen:
        return f"{there} found, its box is off, score {score:.2f}"
    return f"{there} taken for {seen}, score {score:.2f}"


class _Error(NamedTuple):
    """An error: how bad it is in [0, 1], its kind, the place of its image, and its rows as in ``WorstError``."""

    weight: float
    kind: ErrorKind
    place: int
    truth_row: int | None
    found_row: int | None


def worst_errors(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    photo: Callable[[str], LoadedImage | None],
    name_of: Callable[[str], str],
    most: int = MOST_ERRORS,
) -> list[WorstError]:
    """Return the worst errors, the kinds in turn, each from another image.

    Of what is wrong the surest comes first, of what is missed the largest. A box that overlaps an object of its class
    by an IoU of 0.1 to 0.5 is a bad box; one that overlaps an object of another class by at least 0.5 is a confusion.
    An object is found twice where one more box of its class overlaps it by at least 0.5.

    Args:
        truth: what is there; one per image.
        found: what the student shows at its threshold, of the same images in the same order.
        photo: decodes the image of a sha256; None where no file holds it any more.
        name_of: name of the image of a sha256, for people.
        most: how many.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    every = [error for place, pair in enumerate(zip(truth, found, strict=True)) for error in _of_image(place, *pair)]
    every.sort(key=lambda error: -error.weight)
    waiting = [iter([error for error in every if error.kind == kind]) for kind in KINDS]
    seen: set[int] = set()
    picked: list[_Error] = []
    while waiting and len(picked) < most:
        kind = waiting.pop(0)
        error = next((one for one in kind if one.place not in seen), None)
        if error is not None:
            seen.add(error.place)
            picked.append(error)
            waiting.append(kind)
    picked.sort(key=lambda error: (KINDS.index(error.kind), -error.weight))
    return [_with_photo(error, truth[error.place], found[error.place], photo, name_of) for error in picked]


def _with_photo(
    error: _Error,
    truth: Objects,
    found: Objects,
    photo: Callable[[str], LoadedImage | None],
    name_of: Callable[[str], str],
) -> WorstError:
    loaded = photo(truth.sha256)
    pixels = None if loaded is None else loaded.pixels
    return WorstError(error.kind, pixels, name_of(truth.sha256), truth, found, error.truth_row, error.found_row)


def _of_image(place: int, truth: Objects, found: Objects) -> Iterator[_Error]:
    same = found.class_ids[:, None] == truth.class_ids[None, :]
    paired_found, paired_truth = set(), set()
    for row, column, overlap in match(found.boxes_xyxy, truth.boxes_xyxy, min_iou=_TOUCHES, prefer=same):
        if overlap < _FOUND and not same[row, column]:
            continue
        paired_found.add(row)
        paired_truth.add(column)
        if overlap < _FOUND:
            yield _Error(float(found.scores[row]), "bad box", place, column, row)
        elif not same[row, column]:
            yield _Error(float(found.scores[row]), "confusion", place, column, row)
    shared = np.where(same, iou(found.boxes_xyxy, truth.boxes_xyxy), 0.0)
    for row in set(range(len(found))) - paired_found:
        column = int(shared[row].argmax()) if len(truth) else -1
        if column in paired_truth and shared[row, column] >= _FOUND:
            yield _Error(float(found.scores[row]), "found twice", place, column, row)
        else:
            yield _Error(float(found.scores[row]), "false alarm", place, None, row)
    shares = np.sqrt(area(truth.boxes_xyxy) / (truth.size_wh[0] * truth.size_wh[1]))
    for column in set(range(len(truth))) - paired_truth:
        yield _Error(float(shares[column]), "miss", place, column, None)

"""Pictures of a student's report: its worst errors, what is there and what it found drawn in two colours."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO

from PIL import Image

from labeling.core.records import Annotation, Provenance, Source
from labeling.pictures import Picture, Shown, class_colour, picture, window_around
from labeling.teachers.interfaces import RgbImage

from ..objects import Objects
from .errors import WorstError, said

TRUTH_COLOUR, FOUND_COLOUR = class_colour(1), class_colour(0)
"""Blue and orange, which stay apart for everybody; what was found is dashed, too."""

_TRUTH_INK, _FOUND_INK = "#ffffff", "#111111"
_LARGEST_JPEG = 40_000
_QUALITIES = (70, 55, 40, 25)


def shown(one: WorstError, names: Sequence[str]) -> Shown | None:
    """Draw an error in its surroundings; None where there is no photo."""
    if one.pixels is None:
        return None
    height, width = one.pixels.shape[:2]
    focus = [*_box(one.truth, one.truth_row), *_box(one.found, one.found_row)]
    left, top, right, bottom = zip(*focus, strict=True)
    around = (min(left), min(top), max(right), max(bottom))
    marks = [*_near(one.truth, around, names, "human"), *_near(one.found, around, names, "student")]
    ids: Mapping[str, int] = {}
    dashed = {mark.id for mark in marks if mark.provenance.source == "student"}
    drawn = picture(one.pixels, marks, ids, window_around(around, (width, height)), dashed)
    text = said(one, names)
    return Shown(fitting(_two_colours(drawn)), one.name, "", f"{one.name}: {text}")


def plain(pixels: RgbImage, name: str, caption: str) -> Shown:
    """Draw a whole photo without any object."""
    return Shown(fitting(picture(pixels, (), {})), name, caption, f"{name}, {caption}")


def fitting(drawn: Picture) -> Picture:
    """Return a picture whose JPEG has at most 40 kB, coarser where it has to be."""
    data = base64.b64decode(drawn.uri.partition(",")[2])
    for quality in _QUALITIES:
        if len(data) <= _LARGEST_JPEG:
            break
        coarser = BytesIO()
        Image.open(BytesIO(base64.b64decode(drawn.uri.partition(",")[2]))).save(coarser, "jpeg", quality=quality)
        data = coarser.getvalue()
    return replace(drawn, uri="data:image/jpeg;base64," + base64.b64encode(data).decode("ascii"))


def _two_colours(drawn: Picture) -> Picture:
    colours = {True: (FOUND_COLOUR, _FOUND_INK), False: (TRUTH_COLOUR, _TRUTH_INK)}
    marks = [replace(mark, colour=colours[mark.dashed][0], ink=colours[mark.dashed][1]) for mark in drawn.marks]
    # A dashed line under a solid one could not be seen.
    return replace(drawn, marks=tuple(sorted(marks, key=lambda mark: mark.dashed)))


def _box(of: Objects, row: int | None) -> list[list[float]]:
    return [] if row is None else [of.boxes_xyxy[row].tolist()]


def _near(
    of: Objects, box: tuple[float, float, float, float], names: Sequence[str], source: Source
) -> Iterator[Annotation]:
    """Yield the objects that touch a box; all others would only hide it."""
    for row, (x0, y0, x1, y1) in enumerate(of.boxes_xyxy.tolist()):
        if x0 < box[2] and x1 > box[0] and y0 < box[3] and y1 > box[1]:
            score = float(of.scores[row]) if source == "student" else None
            rle = None if of.rles is None else of.rles[row]
            name = names[of.class_ids[row]]
            yield Annotation(f"{source}-{row}", of.sha256, name, (x0, y0, x1, y1), Provenance(source, score=score), rle)

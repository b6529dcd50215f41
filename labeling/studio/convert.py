"""One object as one region of Label Studio, and back; pure functions, percent there and pixels here.

A picture that was turned in the editor (``image_rotation``, only where somebody added ``rotateControl``) changes what
people see and nothing that is saved: percentages and sizes stay those of the upright picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal, cast

import numpy as np
import shapely

from ..core import geometry, masks
from ..core.brush import brush_to_rle, encode_brush
from ..core.errors import InputError
from ..core.records import Annotation, Rle
from ..formats.items import Corners
from ..formats.labelstudio_regions import ABOUT_THE_IMAGE, BOX_CONTROL, MASK_CONTROL, region, shown
from ..formats.labelstudio_regions import brush_numbers as numbers_of
from .polygon import MIN_POLYGON_IOU as MIN_POLYGON_IOU
from .polygon import outline_percent

POLYGON_CONTROL = "polygon"
"""Name of the ``PolygonLabels`` tag."""

MODEL_VERSION = "labelstill"
"""Of every prediction: who labels one task after the other is shown predictions of one version only."""

Kind = Literal["rectangle", "polygon", "brush"]

_TURNS = (None, 0, 90, 180, 270)
_MOST_POINTS = 10_000
_CHECKED_PX = 1024
_MOST_CROSSED = 0.02
"""Share of the area that a loop may have: a few pixels are a slip of the hand."""

_NO_TURN_DEGREES = 1e-6


@dataclass(frozen=True, slots=True)
class Drawn:
    """One object as a region says it.

    Attributes:
        region_id: id of the region.
        class_name: its label.
        box_xyxy: absolute pixels of the upright image; around the mask, around a turned rectangle.
        rle: mask of the whole image, None for a rectangle.
        kind: what was drawn.
        corners: of a turned rectangle, in pixels.
        origin: prediction, prediction-changed or manual, where Label Studio says it.
        outline: corners of a polygon in pixels, as they were drawn.
    """

    region_id: str
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    rle: Rle | None
    kind: Kind
    corners: Corners | None = None
    origin: str | None = None
    outline: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A region that says no object, and why, in one line."""

    region_id: str
    reason: str


def prediction(annotations: Sequence[Annotation], size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return the prediction that shows these labels; its score is the mean of theirs, left out without any."""
    made: dict[str, Any] = {
        "model_version": MODEL_VERSION,
        "result": [regions(one, size_wh) for one in annotations],
    }
    scores = [one.provenance.score for one in annotations if one.provenance.score is not None]
    return made | ({"score": fmean(scores)} if scores else {})


def regions(annotation: Annotation, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return the one region of one object: a polygon where it holds the mask, else a brush; a rectangle without."""
    if annotation.rle is None:
        kind, control, value = "rectanglelabels", BOX_CONTROL, _rectangle_value(annotation.box_xyxy, size_wh)
    elif (outline := outline_percent(annotation.rle)) is not None:
        value = {"points": outline.tolist(), "closed": True}
        kind, control = "polygonlabels", POLYGON_CONTROL
    else:
        value = {"format": "rle", "rle": encode_brush(annotation.rle)}
        kind, control = "brushlabels", MASK_CONTROL
    score = annotation.provenance.score
    return region(annotation.id, control, kind, value, annotation.class_name, score, size_wh)


def read(result: Sequence[Any], size_wh: tuple[int, int]) -> tuple[list[Drawn], list[Refused]]:
    """Return the objects that the raw regions of one annotation say, and the regions that say none.

    Statements about the image as a whole are neither. Whatever JSON comes, this returns.

    Args:
        result: of an annotation, a draft or a prediction.
        size_wh: of the upright image in pixels.
    """
    if not isinstance(result, list | tuple):
        return [], [Refused("?", f"expected a list of regions, got {shown(result)}")]
    drawn: list[Drawn] = []
    refused: list[Refused] = []
    for one in result:
        if isinstance(one, Mapping) and str(one.get("type")) in ABOUT_THE_IMAGE:
            continue
        try:
            drawn.append(_object(one, size_wh))
        except InputError as error:
            name = _id(one) if isinstance(one, Mapping) else "?"
            refused.append(Refused(name if name.isprintable() else shown(name), str(error)))
    return drawn, refused


def _object(region: Any, size_wh: tuple[int, int]) -> Drawn:
    if not isinstance(region, Mapping):
        raise InputError(f"expected a region as a mapping, got {shown(region)}")
    kind, value = region.get("type"), region.get("value")
    if not isinstance(kind, str) or kind not in _READERS:
        raise InputError(f"expected a rectangle, polygon or brush, got {shown(kind)}: draw it as one of these")
    if not isinstance(value, Mapping):
        raise InputError(f"expected 'value' as a mapping, got {shown(value)}")
    labels = value.get(kind)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
        raise InputError(f"expected exactly one label, got {shown(labels)}: give it one")
    drawn_on = (region.get("original_width"), region.get("original_height"))
    if drawn_on != size_wh:
        width, height = (shown(side) for side in drawn_on)
        raise InputError(f"drawn on a picture of {width} x {height} px, ours has {size_wh[0]} x {size_wh[1]}")
    if region.get("image_rotation") not in _TURNS:
        raise InputError(f"the picture was turned by {shown(region['image_rotation'])} degrees: turn it back")
    origin = region.get("origin")
    return replace(
        _READERS[kind](value, size_wh),
        region_id=_id(region),
        class_name=labels[0],
        origin=origin if isinstance(origin, str) else None,
    )


def _read_rectangle(value: Mapping[str, Any], size_wh: tuple[int, int]) -> Drawn:
    sides = [[_number(value, "x"), _number(value, "y")], [_number(value, "width"), _number(value, "height")]]
    ((x, y), (width, height)) = geometry.from_fractions(np.array(sides) / 100, size_wh).tolist()
    if min(width, height) <= 0:
        raise InputError(f"expected a width and height above 0, got {shown(sides[1])} percent")
    degrees = 0.0 if value.get("rotation") is None else _number(value, "rotation") % 360
    corners = None
    points = geometry.corners_of_box((x, y, x + width, y + height))
    if min(degrees, 360 - degrees) > _NO_TURN_DEGREES:
        points = geometry.rotated_to_corners(x, y, width, height, degrees)
        corners = cast(Corners, tuple((x, y) for x, y in points.tolist()))
    return Drawn("", "", _inside(geometry.box_around(points), size_wh), None, "rectangle", corners)


def _read_polygon(value: Mapping[str, Any], size_wh: tuple[int, int]) -> Drawn:
    said = value.get("points")
    if not isinstance(said, list) or len(said) < 3:
        raise InputError(f"expected at least three points of a polygon, got {shown(said)}")
    if value.get("closed") is False:
        raise InputError("the outline was left open: click its first point, or delete it")
    if len(said) > _MOST_POINTS:
        raise InputError(f"expected an outline of at most {_MOST_POINTS:,} points, got {len(said):,}: paint it instead")
    for point in said:
        if not isinstance(point, list) or len(point) != 2 or not all(map(_is_number, point)):
            raise InputError(f"expected points as [[x, y], ...], got {shown(point)} among them")
    outline = geometry.from_fractions(np.array(said, dtype=np.float64) / 100, size_wh)
    rle = masks.polygons_to_rle([outline], (size_wh[1], size_wh[0]))
    if not shapely.Polygon(outline).is_valid and _has_two_readings(outline):
        raise InputError("the outline crosses itself: draw it anew, or paint it with the brush")
    return replace(_masked("polygon", rle), outline=tuple((x, y) for x, y in outline.tolist()))


def _has_two_readings(outline: geometry.Points) -> bool:
    """Say whether much of an outline winds backwards or twice: the area of its ring is not that of its pixels then.

    Pixels are counted, since geometry takes minutes for some hundred lines that cross each other.
    """
    placed = outline - outline.min(axis=0)
    placed *= _CHECKED_PX / max(float(placed.max()), 1e-9)
    filled = masks.area(masks.polygons_to_rle([placed], (_CHECKED_PX, _CHECKED_PX)))
    return abs(float(shapely.Polygon(placed).area) - filled) > _MOST_CROSSED * filled


def _read_brush(value: Mapping[str, Any], size_wh: tuple[int, int]) -> Drawn:
    return _masked("brush", brush_to_rle(numbers_of(value.get("rle")), size_wh[::-1]))


def _masked(kind: Kind, rle: Rle) -> Drawn:
    box = masks.box(rle)
    if box is None:
        raise InputError("nothing of it lies inside the picture: delete it")
    return Drawn("", "", box, rle, kind)


_READERS: dict[str, Callable[[Mapping[str, Any], tuple[int, int]], Drawn]] = {
    "rectanglelabels": _read_rectangle,
    "polygonlabels": _read_polygon,
    "brushlabels": _read_brush,
}


def _rectangle_value(box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> dict[str, Any]:
    x, y, width, height = geometry.box_to_percent(box_xyxy, size_wh)
    return {"x": x, "y": y, "width": width, "height": height, "rotation": 0}


def _inside(box: tuple[float, float, float, float], size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = geometry.clip_boxes([box], size_wh)[0].tolist()
    if x1 <= x0 or y1 <= y0:
        raise InputError("nothing of it lies inside the picture: delete it")
    return x0, y0, x1, y1


def _id(region: Mapping[str, Any]) -> str:
    name = region.get("id")
    return name if isinstance(name, str) and name else "?" if name is None else shown(name)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < 1e6


def _number(value: Mapping[str, Any], key: str) -> float:
    number = value.get(key)
    if not _is_number(number):
        raise InputError(f"expected {key} as a number, got {shown(number)}")
    return float(cast(float, number))

"""One object as one region of Label Studio, and back; pure functions, percent there and pixels here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import shapely

from ..core import geometry, masks
from ..core.brush import brush_to_rle, encode_brush
from ..core.errors import InputError
from ..core.records import Annotation, Rle
from ..formats.items import Corners
from ..formats.labelstudio_regions import ABOUT_THE_IMAGE, BOX_CONTROL, IMAGE_CONTROL, MASK_CONTROL, shown

POLYGON_CONTROL = "polygon"
"""Name of the ``PolygonLabels`` tag."""

MIN_POLYGON_IOU = 0.99
"""A mask that no polygon holds as well as this is pushed as a brush."""

MODEL_VERSION = "labelstill"
"""Of every prediction: who labels one task after the other is shown predictions of one version only."""

Kind = Literal["rectangle", "polygon", "brush"]

_TOLERANCES_PX = (2.0, 1.0, 0.5)
_DIGITS = 6
_MOST_CHECKED = 10_000
"""Corners of an outline that is searched for crossings."""


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
    """

    region_id: str
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    rle: Rle | None
    kind: Kind
    corners: Corners | None = None
    origin: str | None = None


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
    elif (outline := _outline(annotation.rle)) is not None:
        points = (100 * geometry.to_fractions(outline, size_wh)).round(_DIGITS).tolist()
        kind, control, value = "polygonlabels", POLYGON_CONTROL, {"points": points, "closed": True}
    else:
        value = {"format": "rle", "rle": encode_brush(annotation.rle)}
        kind, control = "brushlabels", MASK_CONTROL
    made = {
        "id": annotation.id,
        "type": kind,
        "from_name": control,
        "to_name": IMAGE_CONTROL,
        "original_width": size_wh[0],
        "original_height": size_wh[1],
        "image_rotation": 0,
        "value": {**value, kind: [annotation.class_name]},
    }
    score = annotation.provenance.score
    return made | ({} if score is None else {"score": score})


def read(result: Sequence[Any], size_wh: tuple[int, int]) -> tuple[list[Drawn], list[Refused]]:
    """Return the objects that the raw regions of one annotation say, and the regions that say none.

    Statements about the image as a whole are neither.

    Args:
        result: of an annotation, a draft or a prediction.
        size_wh: of the upright image in pixels.
    """
    drawn: list[Drawn] = []
    refused: list[Refused] = []
    for region in result:
        if isinstance(region, Mapping) and region.get("type") in ABOUT_THE_IMAGE:
            continue
        try:
            drawn.append(_object(region, size_wh))
        except InputError as error:
            name = region.get("id") if isinstance(region, Mapping) else None
            refused.append(Refused(str(name or "?"), str(error)))
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
    if region.get("image_rotation") not in (0, None):
        raise InputError(f"the picture was turned by {shown(region['image_rotation'])} degrees: turn it back")
    name, box, rle, corners = _READERS[kind](value, size_wh)
    return Drawn(str(region.get("id")), labels[0], box, rle, name, corners, region.get("origin"))


_Shape = tuple[Kind, tuple[float, float, float, float], Rle | None, Corners | None]


def _read_rectangle(value: Mapping[str, Any], size_wh: tuple[int, int]) -> _Shape:
    sides = [[_number(value, "x"), _number(value, "y")], [_number(value, "width"), _number(value, "height")]]
    ((x, y), (width, height)) = geometry.from_fractions(np.array(sides) / 100, size_wh).tolist()
    if min(width, height) <= 0:
        raise InputError(f"expected a width and height above 0, got {shown(sides[1])} percent")
    degrees = _number(value, "rotation") % 360 if value.get("rotation") else 0.0
    corners = None
    points = geometry.corners_of_box((x, y, x + width, y + height))
    if degrees:
        points = geometry.rotated_to_corners(x, y, width, height, degrees)
        corners = cast(Corners, tuple((x, y) for x, y in points.tolist()))
    return "rectangle", _inside(geometry.box_around(points), size_wh), None, corners


def _read_polygon(value: Mapping[str, Any], size_wh: tuple[int, int]) -> _Shape:
    try:
        percent = np.array(value.get("points"), dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise InputError(f"expected points as [[x, y], ...], got {shown(value.get('points'))}") from None
    if len(percent) < 3 or not (np.abs(percent) < 1e6).all():
        raise InputError(f"expected at least three points of a polygon, got {shown(value.get('points'))}")
    outline = geometry.from_fractions(percent / 100, size_wh)
    size_hw = (size_wh[1], size_wh[0])
    rle = masks.polygons_to_rle([outline], size_hw)
    if len(outline) <= _MOST_CHECKED and not (ring := shapely.Polygon(outline)).is_valid:
        parts = [one for one in shapely.get_parts(shapely.make_valid(ring)) if isinstance(one, shapely.Polygon)]
        repaired = masks.polygons_to_rle([np.array(one.exterior.coords)[:-1] for one in parts], size_hw)
        # A loop of a few pixels is a slip of the hand; more has two readings.
        if masks.iou(rle, repaired) < MIN_POLYGON_IOU:
            raise InputError("the outline crosses itself: draw it anew, or paint it with the brush")
    return _masked("polygon", rle)


def _read_brush(value: Mapping[str, Any], size_wh: tuple[int, int]) -> _Shape:
    return _masked("brush", brush_to_rle(value.get("rle") or [], size_wh[::-1]))


def _masked(kind: Kind, rle: Rle) -> _Shape:
    box = masks.box(rle)
    if box is None:
        raise InputError("nothing of it lies inside the picture: delete it")
    return kind, box, rle, None


_READERS: dict[str, Callable[[Mapping[str, Any], tuple[int, int]], _Shape]] = {
    "rectanglelabels": _read_rectangle,
    "polygonlabels": _read_polygon,
    "brushlabels": _read_brush,
}


def _rectangle_value(box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = box_xyxy
    ((x, y), (width, height)) = (100 * geometry.to_fractions([(x0, y0), (x1 - x0, y1 - y0)], size_wh)).tolist()
    return {"x": x, "y": y, "width": width, "height": height, "rotation": 0}


def _outline(rle: Rle) -> npt.NDArray[np.float64] | None:
    """Return the plainest outline that holds a mask of one part without holes, or None."""
    polygons, _ = masks.rle_to_polygons(rle)
    if len(polygons) != 1 or not (exact := shapely.Polygon(polygons[0])).is_valid:
        return None
    size_hw = (rle["size"][0], rle["size"][1])
    candidates = (np.array(exact.simplify(by).exterior.coords)[:-1] for by in _TOLERANCES_PX)
    for outline in (*candidates, polygons[0]):
        if len(outline) >= 3 and masks.iou(rle, masks.polygons_to_rle([outline], size_hw)) >= MIN_POLYGON_IOU:
            return outline
    return None


def _inside(box: tuple[float, float, float, float], size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = geometry.clip_boxes([box], size_wh)[0].tolist()
    if x1 <= x0 or y1 <= y0:
        raise InputError("nothing of it lies inside the picture: delete it")
    return x0, y0, x1, y1


def _number(value: Mapping[str, Any], key: str) -> float:
    number = value.get(key)
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e6:
        raise InputError(f"expected {key} as a number, got {shown(number)}")
    return float(number)

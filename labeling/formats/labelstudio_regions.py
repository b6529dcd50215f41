"""One object of a Label Studio task: the regions that say it, and back; pure functions.

An object is a rectangle region (``rectanglelabels``, turned where the object has corners) and, where it has a mask, a
brush region beside it. The two belong together by their ids, ``r3`` and ``r3-mask``, which Label Studio keeps when
people edit; so a box that is not exactly the one around its mask survives, and both come back as one object. A region
without such a partner is an object of its own: a polygon, brush or ellipse gives a mask and the box around it.

Sizes are percent of the upright image, each axis of its own side. A rotation is therefore worked out in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ..core import geometry, masks
from ..core.brush import brush_to_rle, encode_brush
from ..core.errors import InputError
from ..core.geometry import Points
from .items import Corners, Item
from .together import together

IMAGE_CONTROL = "image"
"""Name of the image in the labelling configuration, and the key of its address in ``data``."""

BOX_CONTROL = "box"
"""Name of the ``RectangleLabels`` tag."""

MASK_CONTROL = "mask"
"""Name of the ``BrushLabels`` tag."""

ABOUT_THE_IMAGE = frozenset(
    {"choices", "taxonomy", "textarea", "number", "rating", "datetime", "relation", "pairwise", "ranker"}
)
"""Types of results that are statements about the image as a whole and not read."""

_MASK_SUFFIX = "-mask"
_ELLIPSE_CORNERS = 90
_MAX_PIXELS = 1 << 30


@dataclass(frozen=True, slots=True)
class _Region:
    """One shape of one task, with everything that a message about it has to name."""

    id: str
    kind: str
    value: Mapping[str, Any]
    size_wh: tuple[int, int]
    label: str
    score: float | None
    where: str

    def number(self, key: str) -> float:
        return _number(self.value.get(key), f"{self.where}: {key}")


def regions(item: Item, region_id: str, size_wh: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the rectangle of one object and, where it has a mask, the brush beside it."""
    corners = geometry.corners_of_box(item.box_xyxy) if item.corners is None else np.array(item.corners)
    x, y, width, height, degrees = geometry.corners_to_rotated(corners)
    ((x, y), (width, height)) = (100 * geometry.to_fractions([(x, y), (width, height)], size_wh)).tolist()
    rectangle = {"x": x, "y": y, "width": width, "height": height, "rotation": degrees}
    shapes = [(region_id, BOX_CONTROL, "rectanglelabels", rectangle)]
    if item.rle is not None:
        brush = {"format": "rle", "rle": encode_brush(item.rle)}
        shapes.append((region_id + _MASK_SUFFIX, MASK_CONTROL, "brushlabels", brush))
    return [region(*shape, item.class_name, item.score, size_wh) for shape in shapes]


def region(
    region_id: str,
    control: str,
    kind: str,
    value: Mapping[str, Any],
    class_name: str,
    score: float | None,
    size_wh: tuple[int, int],
) -> dict[str, Any]:
    """Return one shape as Label Studio takes it; ``value`` is its geometry in percent, without the label."""
    made = {
        "id": region_id,
        "type": kind,
        "from_name": control,
        "to_name": IMAGE_CONTROL,
        "original_width": size_wh[0],
        "original_height": size_wh[1],
        "image_rotation": 0,
        "value": {**value, kind: [class_name]},
    }
    return made | ({} if score is None else {"score": score})


def objects(results: Sequence[Any], where: str) -> tuple[list[Item], tuple[int, int] | None]:
    """Return the objects that the regions of one annotation say, and the size of their picture, None without regions.

    Raises:
        InputError: see ``labelstudio.read_task``.
    """
    with together(sum(map(_is_object, results))):
        shapes = [region for region in (_region(result, where) for result in results) if region is not None]
        for region in shapes:
            if region.size_wh != shapes[0].size_wh:
                odd, first = ("{} x {}".format(*one.size_wh) for one in (region, shapes[0]))
                raise InputError(f"{region.where}: drawn on a picture of {odd} px, the regions before it on {first} px")
        return _joined(shapes), shapes[0].size_wh if shapes else None


def _is_object(result: Any) -> bool:
    """Say whether a region, broken or not, stands for an object: it is no mask of one, and not about the image."""
    if not isinstance(result, Mapping):
        return True
    return str(result.get("type")) not in ABOUT_THE_IMAGE and not str(result.get("id", "")).endswith(_MASK_SUFFIX)


def _region(result: Any, where: str) -> _Region | None:
    """Check one element of ``result``; None for a statement about the image as a whole."""
    if not isinstance(result, Mapping):
        raise InputError(f"{where}: expected a region as a mapping, got {shown(result)}")
    where = f"{where}, region {shown(result.get('id', '?'))}"
    kind, value = result.get("type"), result.get("value")
    if isinstance(kind, str) and kind in ABOUT_THE_IMAGE:
        return None
    if not isinstance(kind, str) or kind not in _SHAPES:
        kinds = ", ".join(sorted(_SHAPES))
        raise InputError(f"{where}: expected one of {kinds}, got type {shown(kind)}; delete it or leave the task out")
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected 'value' as a mapping, got {shown(value)}")
    labels = value.get(kind)
    if not isinstance(labels, Sequence) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
        raise InputError(f"{where}: expected exactly one label, got {shown(labels)}; give it one in Label Studio")
    # A quarter turn only turns the view: what is saved stays percent of the upright picture.
    if result.get("image_rotation") not in (None, 0, 90, 180, 270):
        turned = shown(result["image_rotation"])
        raise InputError(f"{where}: the picture was rotated by {turned} degrees; rotate it back in Label Studio")
    score = result.get("score")
    return _Region(
        id=str(result.get("id", "")),
        kind=kind,
        value=value,
        size_wh=_size(result, where),
        label=labels[0],
        score=None if score is None else _number(score, f"{where}: score"),
        where=where,
    )


def _joined(regions: Sequence[_Region]) -> list[Item]:
    """Return one object per region, except that a mask goes into the rectangle that it belongs to."""
    boxes = {region.id: region for region in regions if region.kind == "rectanglelabels"}
    partners = {region.id: region for region in regions if region.id.removesuffix(_MASK_SUFFIX) in boxes}
    found = []
    for region in regions:
        if region.id not in boxes and region.id in partners:
            continue
        item = _SHAPES[region.kind](region)
        mask = partners.get(region.id + _MASK_SUFFIX) if region.id in boxes else None
        if mask is not None:
            if mask.label != region.label:
                raise InputError(
                    f"{mask.where}: the mask is a {shown(mask.label)}, its rectangle a {shown(region.label)}; "
                    "give both one label in Label Studio"
                )
            item = replace(item, rle=_SHAPES[mask.kind](mask).rle)
        found.append(item)
    return found


def _rectangle(region: _Region) -> Item:
    sizes = np.array([[region.number("x"), region.number("y")], [region.number("width"), region.number("height")]])
    ((x, y), (width, height)) = geometry.from_fractions(sizes / 100, region.size_wh).tolist()
    degrees = _number(region.value.get("rotation") or 0, f"{region.where}: rotation") % 360
    if degrees == 0:
        return Item(region.label, (x, y, x + width, y + height), score=region.score)
    points = geometry.rotated_to_corners(x, y, width, height, degrees)
    corners = cast(Corners, tuple((x, y) for x, y in points.tolist()))
    return Item(region.label, geometry.box_around(points), corners=corners, score=region.score)


def _polygon(region: _Region) -> Item:
    try:
        percent = np.array(region.value.get("points"), dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise InputError(f"{region.where}: expected points as [[x, y], …], got {error}") from error
    return _drawn(region, geometry.from_fractions(percent / 100, region.size_wh))


def _ellipse(region: _Region) -> Item:
    radii = np.array([[region.number("radiusX"), region.number("radiusY")]])
    centre = np.array([[region.number("x"), region.number("y")]])
    ((x, y), (across, down)) = geometry.from_fractions(np.concatenate([centre, radii]) / 100, region.size_wh)
    turn = np.deg2rad(_number(region.value.get("rotation") or 0, f"{region.where}: rotation"))
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
    right, below = across * np.cos(angles), down * np.sin(angles)
    outline = np.stack(
        [x + right * np.cos(turn) - below * np.sin(turn), y + right * np.sin(turn) + below * np.cos(turn)], axis=1
    )
    return _drawn(region, outline)


def _drawn(region: _Region, outline: Points) -> Item:
    try:
        rle = masks.polygons_to_rle([outline], region.size_wh[::-1])
    except InputError as error:
        raise InputError(f"{region.where}: {error}") from error
    return Item(region.label, geometry.box_around(outline), rle=rle, score=region.score)


def _brush(region: _Region) -> Item:
    try:
        rle = brush_to_rle(brush_numbers(region.value.get("rle")), region.size_wh[::-1])
    except InputError as error:
        raise InputError(f"{region.where}: {error}") from error
    return Item(region.label, masks.box(rle) or (0.0, 0.0, 0.0, 0.0), rle=rle, score=region.score)


_SHAPES: dict[str, Callable[[_Region], Item]] = {
    "rectanglelabels": _rectangle,
    "polygonlabels": _polygon,
    "brushlabels": _brush,
    "ellipselabels": _ellipse,
}


def _size(result: Mapping[str, Any], where: str) -> tuple[int, int]:
    width, height = result.get("original_width"), result.get("original_height")
    if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 and width * height < _MAX_PIXELS:
        return width, height
    raise InputError(
        f"{where}: expected the picture's size in original_width and original_height, "
        f"got {shown(width)} and {shown(height)}"
    )


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise InputError(f"{what}: expected a number, got {shown(value)}")
    return float(value)


def brush_numbers(rle: Any) -> list[int]:
    """Return what ``value.rle`` says, held to be a list before anything is made of it. Raises InputError."""
    if not isinstance(rle, list):
        raise InputError(f"expected a brush mask as a list of numbers from 0 to 255, got {shown(rle)}")
    return rle


def shown(value: Any) -> str:
    """Return JSON in at most 80 characters on one line."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a number too long to print
        shown = f"a {type(value).__name__} beyond printing"
    return shown if len(shown) <= 80 else shown[:77] + "..."

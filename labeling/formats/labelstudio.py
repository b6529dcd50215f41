"""Label Studio tasks as plain dictionaries: pure functions, no files and no server.

An object is a rectangle region (``rectanglelabels``, turned where the object has corners) and, where it has a mask, a
brush region beside it. The two belong together by their ids, ``r3`` and ``r3-mask``, which Label Studio keeps when
people edit; so a box that is not exactly the one around its mask survives, and both come back as one object. A region
without such a partner is an object of its own: a polygon, brush or ellipse gives a mask and the box around it.

Sizes are percent of the upright image, each axis of its own side. A rotation is therefore worked out in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from ..core import geometry, masks
from ..core.brush import brush_to_rle, encode_brush
from ..core.errors import InputError
from ..core.geometry import Points
from .items import Corners, Item, LabelledImage

IMAGE_CONTROL = "image"
"""Name of the image in the labelling configuration, and the key of its address in ``data``."""

BOX_CONTROL = "box"
"""Name of the ``RectangleLabels`` tag."""

MASK_CONTROL = "mask"
"""Name of the ``BrushLabels`` tag."""

KEY = "labelstill_id"
"""Key in ``data`` of the sha256 of the picture, by which a task is known again."""

NAME_KEY = "labelstill_name"
"""Key in ``data`` of the picture's name; the address of a picture on a server need not end in it."""

_MASK_SUFFIX = "-mask"
_ABOUT_THE_IMAGE = frozenset(
    {"choices", "taxonomy", "textarea", "number", "rating", "datetime", "relation", "pairwise", "ranker"}
)
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


def task(
    image: LabelledImage, image_url: str, *, model_version: str = "labelstill", reviewed: bool = False
) -> dict[str, Any]:
    """Return one task as Label Studio imports it.

    Objects of a machine become one prediction, all others one annotation. Crowds have no place in the format.

    Args:
        image: with its size.
        image_url: address of the picture as Label Studio opens it.
        model_version: name of the prediction.
        reviewed: people have looked at the image, so that it gets an annotation even when that has no regions.

    Raises:
        InputError: the image has objects and no size.
    """
    if image.objects and image.size_wh is None:
        raise InputError(f"{image.name}: Label Studio needs the width and height of the image, and they are not known")
    data = {IMAGE_CONTROL: image_url, NAME_KEY: image.name}
    if image.sha256 is not None:
        data[KEY] = image.sha256
    machine: list[dict[str, Any]] = []
    human: list[dict[str, Any]] = []
    scores = [item.score for item in image.objects if item.source == "machine" and item.score is not None]
    for number, item in enumerate(image.objects, start=1):
        assert image.size_wh is not None
        (machine if item.source == "machine" else human).extend(_regions(item, f"r{number}", image.size_wh))
    made: dict[str, Any] = {"data": data}
    if machine:
        prediction: dict[str, Any] = {"model_version": model_version, "result": machine}
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        made["predictions"] = [prediction]
    if human or (reviewed and not machine):
        made["annotations"] = [{"result": human}]
    return made


def read_task(task: Mapping[str, Any], where: str, *, predictions: bool = False) -> LabelledImage | None:
    """Return the image of a task with the objects of its newest annotation that was not cancelled.

    Statements about the image as a whole (choices, texts, relations, …) are no objects and are left out.

    Args:
        task: as exported or listed by Label Studio, JSON already parsed.
        where: file or server of the task, for messages.
        predictions: take the newest prediction where nobody annotated the task.

    Returns:
        The image, without size where it has no regions; None where there is nothing to read, which is not the same as
        an annotation without regions.

    Raises:
        InputError: what is no task, and a region without a label or with several, of a kind that is no box and no
            mask, that says another picture size than the rest, or on a rotated picture; task and region are named.
    """
    where = f"{where}: task {_shown(task.get('id', '?'))}" if isinstance(task, Mapping) else where
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected a Label Studio task with 'data', got {_shown(task)}")
    annotation = _newest(task, "annotations", where)
    source: Literal["machine", "human"] = "human"
    if annotation is None and predictions:
        annotation, source = _newest(task, "predictions", where), "machine"
    if annotation is None:
        return None
    results = annotation.get("result")
    if not isinstance(results, Sequence) or isinstance(results, str):
        raise InputError(f"{where}: expected 'result' as a list of regions, got {_shown(results)}")
    shapes = [region for region in (_region(result, where) for result in results) if region is not None]
    sizes = {region.size_wh for region in shapes}
    if len(sizes) > 1:
        odd = next(region for region in shapes if region.size_wh != shapes[0].size_wh)
        raise InputError(f"{odd.where}: drawn on a picture of {odd.size_wh} px, others on {shapes[0].size_wh}")
    objects = tuple(replace(item, source=source) for item in _objects(shapes))
    sha256 = data.get(KEY)
    return LabelledImage(
        _name(data, where), next(iter(sizes), None), objects, sha256 if isinstance(sha256, str) else None
    )


def _regions(item: Item, region_id: str, size_wh: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the rectangle of one object and, where it has a mask, the brush beside it."""
    corners = geometry.corners_of_box(item.box_xyxy) if item.corners is None else np.array(item.corners)
    x, y, width, height, degrees = geometry.corners_to_rotated(corners)
    ((x, y), (width, height)) = (100 * geometry.to_fractions([(x, y), (width, height)], size_wh)).tolist()
    rectangle = {"x": x, "y": y, "width": width, "height": height, "rotation": degrees}
    shapes = [(region_id, BOX_CONTROL, "rectanglelabels", rectangle)]
    if item.rle is not None:
        brush = {"format": "rle", "rle": encode_brush(item.rle)}
        shapes.append((region_id + _MASK_SUFFIX, MASK_CONTROL, "brushlabels", brush))
    return [
        {
            "id": shape_id,
            "type": kind,
            "from_name": control,
            "to_name": IMAGE_CONTROL,
            "original_width": size_wh[0],
            "original_height": size_wh[1],
            "image_rotation": 0,
            "value": {**value, kind: [item.class_name]},
        }
        | ({} if item.score is None else {"score": item.score})
        for shape_id, control, kind, value in shapes
    ]


def _newest(task: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any] | None:
    """Return the annotation or prediction that was made last; among equals the last of the list."""
    listed = task.get(key) or []
    if not isinstance(listed, Sequence) or not all(isinstance(one, Mapping) for one in listed):
        raise InputError(f"{where}: expected {key!r} as a list of mappings, got {_shown(listed)}")

    def made(one: Mapping[str, Any]) -> tuple[str, int]:
        number = one.get("id")
        return str(one.get("created_at") or ""), number if isinstance(number, int) else 0

    kept = [one for one in listed if not one.get("was_cancelled")]
    return max(reversed(kept), key=made) if kept else None


def _region(result: Any, where: str) -> _Region | None:
    """Check one element of ``result``; None for a statement about the image as a whole."""
    if not isinstance(result, Mapping):
        raise InputError(f"{where}: expected a region as a mapping, got {_shown(result)}")
    where = f"{where}, region {_shown(result.get('id', '?'))}"
    kind, value = result.get("type"), result.get("value")
    if kind in _ABOUT_THE_IMAGE:
        return None
    if kind not in _SHAPES:
        kinds = ", ".join(sorted(_SHAPES))
        raise InputError(f"{where}: expected one of {kinds}, got type {_shown(kind)}; delete it or leave the task out")
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected 'value' as a mapping, got {_shown(value)}")
    labels = value.get(kind)
    if not isinstance(labels, Sequence) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
        raise InputError(f"{where}: expected exactly one label, got {_shown(labels)}; give it one in Label Studio")
    if result.get("image_rotation", 0) not in (0, None):
        turned = _shown(result["image_rotation"])
        raise InputError(f"{where}: the picture was rotated by {turned} degrees; rotate it back in Label Studio")
    width, height = (result.get(key) for key in ("original_width", "original_height"))
    if not (_is_count(width) and _is_count(height) and width * height < _MAX_PIXELS):
        raise InputError(
            f"{where}: expected the picture's size in original_width and original_height, "
            f"got {_shown(width)} and {_shown(height)}"
        )
    score = result.get("score")
    return _Region(
        id=str(result.get("id", "")),
        kind=kind,
        value=value,
        size_wh=(width, height),
        label=labels[0],
        score=None if score is None else _number(score, f"{where}: score"),
        where=where,
    )


def _objects(regions: Sequence[_Region]) -> list[Item]:
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
                    f"{mask.where}: the mask is a {_shown(mask.label)}, its rectangle a {_shown(region.label)}; "
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
    corners: Corners = tuple((x, y) for x, y in points.tolist())  # type: ignore[assignment]
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
        rle = brush_to_rle(region.value.get("rle") or [], region.size_wh[::-1])
    except InputError as error:
        raise InputError(f"{region.where}: {error}") from error
    return Item(region.label, masks.box(rle) or (0.0, 0.0, 0.0, 0.0), rle=rle, score=region.score)


_SHAPES: dict[str, Callable[[_Region], Item]] = {
    "rectanglelabels": _rectangle,
    "polygonlabels": _polygon,
    "brushlabels": _brush,
    "ellipselabels": _ellipse,
}


def _name(data: Mapping[str, Any], where: str) -> str:
    """Return our own name of the picture, else the path that its address ends in."""
    name = data.get(NAME_KEY)
    if isinstance(name, str) and name:
        return name
    addresses = [value for key, value in data.items() if key == IMAGE_CONTROL and isinstance(value, str) and value]
    if not addresses:
        raise InputError(f"{where}: expected the picture's address in data.{IMAGE_CONTROL}, got {_shown(dict(data))}")
    parts = urlsplit(addresses[0])
    local = parse_qs(parts.query).get("d")
    return local[0] if local else PurePosixPath(unquote(parts.path)).name or addresses[0]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise InputError(f"{what}: expected a number, got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."

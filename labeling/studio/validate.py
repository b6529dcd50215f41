"""What is wrong with a task, found before anything is sent: Label Studio itself accepts almost everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core.errors import MissingExtraError
from ..formats.labelstudio_regions import IMAGE_CONTROL, shown

if TYPE_CHECKING:
    from label_studio_sdk.label_interface.interface import LabelInterface

_SLACK = 1e-6
"""Percent; what a rounded sum may stick out."""

_MOST_WORDS = 250
_MOST_KNOWN = 4096

_SPECIMENS: Mapping[str, Any] = {
    **dict.fromkeys(("x", "y", "width", "height"), 1.0),
    "points": [[0, 0], [1, 0], [1, 1]],
    "rle": [0, 0, 0, 0],
}
"""Geometry that stands for all that was found in order."""


def problems(task: Mapping[str, Any], config: str) -> list[str]:
    """Return everything that is wrong with a task, one line each; an empty list lets it pass.

    Sizes, places, scores and region ids are looked at here, since Label Studio's own library lets them pass. What is
    in order so far is then held against the configuration by that library: labels, controls and types.

    Args:
        task: as it will be imported.
        config: labelling configuration of the project.

    Raises:
        MissingExtraError: label-studio-sdk is not installed.
    """
    found = []
    data = task.get("data")
    if not isinstance(data, Mapping) or not data.get(IMAGE_CONTROL):
        found.append(f"data.{IMAGE_CONTROL}: expected the address of a picture, got none")
    for prediction in task.get("predictions", ()):
        found += list(_faults(prediction)) or _refused(prediction, config)
    return found


def _refused(prediction: Mapping[str, Any], config: str) -> list[str]:
    """Ask the library about each region, but only once about those that differ in nothing but their place."""
    found = []
    for region in prediction["result"]:
        about = {key: value for key, value in region.items() if key not in ("id", "score")}
        specimen = {**about, "value": {key: _SPECIMENS.get(key, value) for key, value in region["value"].items()}}
        found += [f"region {shown(region['id'])}: {line}" for line in _said(config, specimen)]
    return found


def _said(config: str, specimen: Mapping[str, Any]) -> list[str]:
    known = _known(config)
    key = repr(specimen)
    if key not in known:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        interface: Any = _interface(config)
        prediction = {"model_version": "labelstill", "result": [{"id": "1", **specimen}]}
        said = interface.validate_prediction(prediction, return_errors=True)
        known[key] = [" ".join(str(line).split()).removeprefix("Region 0: ")[:_MOST_WORDS] for line in said]
    return known[key]


@lru_cache(maxsize=4)
def _known(_config: str) -> dict[str, list[str]]:
    """Return what the library has said so far, by specimen."""
    return {}


@lru_cache(maxsize=4)
def _interface(config: str) -> LabelInterface:
    try:
        from label_studio_sdk.label_interface.interface import LabelInterface
    except ModuleNotFoundError as error:
        raise MissingExtraError("label-studio-sdk", "studio") from error
    return LabelInterface(config)


def _faults(prediction: Any) -> Iterator[str]:
    regions = prediction.get("result") if isinstance(prediction, Mapping) else None
    if not isinstance(regions, list):
        yield f"expected a prediction with a list of regions, got {shown(prediction)}"
        return
    yield from _score(prediction)
    ids = set()
    for region in regions:
        if not isinstance(region, Mapping) or not isinstance(region.get("value"), Mapping):
            yield f"expected a region with a value, got {shown(region)}"
            continue
        name = region.get("id")
        if not isinstance(name, str) or not name or name in ids:
            yield f"region {shown(name)}: expected an id of its own"
        ids.add(str(name))
        yield from (f"region {shown(name)}: {fault}" for fault in _region(region, region["value"]))


def _region(region: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[str]:
    kind = region.get("type")
    yield from _score(region)
    labels = value.get(str(kind))
    if not labels:
        yield "has no label"
    elif not isinstance(labels, list) or len(labels) != 1 or not labels[0]:
        yield f"expected exactly one label, got {shown(labels)}"
    if kind == "rectanglelabels":
        yield from _rectangle(value)
    elif kind == "polygonlabels":
        yield from _polygon(value.get("points"))
    elif kind == "brushlabels":
        yield from _brush(value.get("rle"), region.get("original_width"), region.get("original_height"))


def _rectangle(value: Mapping[str, Any]) -> Iterator[str]:
    x, y, width, height = sides = [value.get(key) for key in ("x", "y", "width", "height")]
    if not all(map(_is_number, sides)) or not (width > 0 and height > 0):  # type: ignore[operator]
        yield f"expected a width and height above 0, got {shown(sides)} as x, y, width and height"
    elif not all(map(_within, (x, y, x + width, y + height))):  # type: ignore[operator]
        yield f"expected a box within 0 to 100 percent, got {shown(sides)} as x, y, width and height"


def _polygon(points: Any) -> Iterator[str]:
    if not isinstance(points, list) or len(points) < 3:
        yield f"expected at least three points, got {shown(points)}"
    elif wrong := [one for one in points if not isinstance(one, list) or len(one) != 2 or not all(map(_within, one))]:
        yield f"expected points as [x, y] from 0 to 100 percent, got {shown(wrong[0])} among them"


def _brush(rle: Any, width: Any, height: Any) -> Iterator[str]:
    try:
        data = bytes(rle) if isinstance(rle, list) else b""
    except (TypeError, ValueError):
        data = b""
    # It begins with the number of values, four to a pixel.
    if not (_is_number(width) and _is_number(height)) or int.from_bytes(data[:4], "big") != 4 * width * height:
        yield f"expected a brush mask of {shown(width)} x {shown(height)} px, got {shown(rle)}"


def _score(made: Mapping[str, Any]) -> Iterator[str]:
    score = made.get("score")
    if score is not None and not (_is_number(score) and 0 <= score <= 1):  # false for NaN
        yield f"expected a score as a number from 0 to 1, got {shown(score)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(percent: Any) -> bool:
    return _is_number(percent) and -_SLACK <= percent <= 100 + _SLACK  # false for NaN

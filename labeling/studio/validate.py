"""What is wrong with a task, found before anything is sent: Label Studio itself accepts almost everything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core.errors import MissingExtraError
from ..formats.labelstudio_regions import IMAGE_CONTROL

if TYPE_CHECKING:
    from label_studio_sdk.label_interface.interface import LabelInterface

_SLACK = 1e-6  # percent; what a rounded sum may stick out


def problems(task: Mapping[str, Any], config: str) -> list[str]:
    """Return everything that is wrong with a task, one line each; an empty list lets it pass.

    Labels, controls and types are held against the configuration by Label Studio's own library; sizes, places and
    region ids by this module, since that library lets them pass.

    Args:
        task: as it will be imported.
        config: labelling configuration of the project.

    Raises:
        MissingExtraError: label-studio-sdk is not installed.
    """
    found = []
    if not isinstance(task.get("data"), Mapping) or not task["data"].get(IMAGE_CONTROL):
        found.append(f"data.{IMAGE_CONTROL}: expected the address of a picture, got none")
    for prediction in task.get("predictions", ()):
        found += list(_geometry(prediction.get("result", ())))
        if not found:
            interface: Any = _interface(config)
            found += interface.validate_prediction(prediction, return_errors=True)
    return found


@lru_cache(maxsize=4)
def _interface(config: str) -> LabelInterface:
    try:
        from label_studio_sdk.label_interface.interface import LabelInterface
    except ModuleNotFoundError as error:
        raise MissingExtraError("label-studio-sdk", "studio") from error
    return LabelInterface(config)


def _geometry(regions: Any) -> Iterator[str]:
    ids = set()
    for region in regions:
        name, value = region.get("id"), region.get("value", {})
        where = f"region {name}"
        if not name or name in ids:
            yield f"{where}: expected an id of its own"
        ids.add(name)
        if not value.get(region.get("type")):
            yield f"{where}: has no label"
        if region.get("type") == "rectanglelabels":
            yield from (f"{where}: {fault}" for fault in _rectangle(value))
        elif region.get("type") == "polygonlabels":
            points = value.get("points", ())
            if len(points) < 3:
                yield f"{where}: expected at least three points, got {len(points)}"
            elif not all(_within(edge) for point in points for edge in point):
                yield f"{where}: expected points from 0 to 100 percent"
        elif region.get("type") == "brushlabels" and not value.get("rle"):
            yield f"{where}: the brush is empty"


def _rectangle(value: Mapping[str, Any]) -> Iterator[str]:
    x, y, width, height = (value.get(key, math.nan) for key in ("x", "y", "width", "height"))
    if not (width > 0 and height > 0):
        yield f"expected a width and height above 0, got {width} and {height}"
    elif not all(_within(edge) for edge in (x, y, x + width, y + height)):
        yield f"expected a box within 0 to 100 percent, got x {x}, y {y}, width {width}, height {height}"


def _within(percent: float) -> bool:
    return -_SLACK <= percent <= 100 + _SLACK  # false for NaN

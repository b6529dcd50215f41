"""Label Studio tasks as plain dictionaries: pure functions, no files and no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from ..core.errors import InputError
from .items import LabelledImage
from .labelstudio_regions import BOX_CONTROL, IMAGE_CONTROL, MASK_CONTROL, objects, regions, shown

__all__ = ["BOX_CONTROL", "IMAGE_CONTROL", "KEY", "MASK_CONTROL", "NAME_KEY", "read_task", "task"]

KEY = "labelstill_id"
"""Key in ``data`` of the sha256 of the picture, by which a task is known again."""

NAME_KEY = "labelstill_name"
"""Key in ``data`` of the picture's name; the address of a picture on a server need not end in it."""


def task(image: LabelledImage, image_url: str, *, model_version: str = "labelstill") -> dict[str, Any]:
    """Return one task as Label Studio imports it.

    Objects of a machine become one prediction, all others one annotation. What has looked and found nothing, people or
    the machine, leaves an annotation or a prediction without regions. Crowds have no place in the format.

    Args:
        image: with its size.
        image_url: address of the picture as Label Studio opens it.
        model_version: name of the prediction.

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
        (machine if item.source == "machine" else human).extend(regions(item, f"r{number}", image.size_wh))
    made: dict[str, Any] = {"data": data}
    if machine or not (human or image.reviewed):
        prediction: dict[str, Any] = {"model_version": model_version, "result": machine}
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        made["predictions"] = [prediction]
    if human or (image.reviewed and not machine):
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
    where = f"{where}: task {shown(task.get('id', '?'))}" if isinstance(task, Mapping) else where
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected a Label Studio task with 'data', got {shown(task)}")
    annotation = _newest(task, "annotations", where)
    source: Literal["machine", "human"] = "human"
    if annotation is None and predictions:
        annotation, source = _newest(task, "predictions", where), "machine"
    if annotation is None:
        return None
    results = annotation.get("result")
    if not isinstance(results, Sequence) or isinstance(results, str):
        raise InputError(f"{where}: expected 'result' as a list of regions, got {shown(results)}")
    items, size_wh = objects(results, where)
    sha256 = data.get(KEY)
    return LabelledImage(
        _name(data, where),
        size_wh,
        tuple(replace(item, source=source) for item in items),
        sha256 if isinstance(sha256, str) else None,
        reviewed=source == "human",
    )


def _newest(task: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any] | None:
    """Return the annotation or prediction that was made last; among equals the last of the list."""
    listed = task.get(key) or []
    if not isinstance(listed, Sequence) or not all(isinstance(one, Mapping) for one in listed):
        raise InputError(f"{where}: expected {key!r} as a list of mappings, got {shown(listed)}")

    def made(one: Mapping[str, Any]) -> tuple[str, int]:
        number = one.get("id")
        return str(one.get("created_at") or ""), number if isinstance(number, int) else 0

    kept = [one for one in listed if not one.get("was_cancelled")]
    return max(reversed(kept), key=made) if kept else None


def _name(data: Mapping[str, Any], where: str) -> str:
    """Return our own name of the picture, else the path that its address ends in."""
    name = data.get(NAME_KEY)
    if isinstance(name, str) and name:
        return name
    addresses = [value for key, value in data.items() if key == IMAGE_CONTROL and isinstance(value, str) and value]
    if not addresses:
        raise InputError(f"{where}: expected the picture's address in data.{IMAGE_CONTROL}, got {shown(dict(data))}")
    try:
        parts = urlsplit(addresses[0])
    except ValueError as error:
        raise InputError(f"{where}: data.{IMAGE_CONTROL}: {shown(addresses[0])} is no address: {error}") from error
    local = parse_qs(parts.query).get("d")
    return local[0] if local else PurePosixPath(unquote(parts.path)).name or addresses[0]

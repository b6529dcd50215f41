"""Photos with their labels as drawable data: a JPEG thumbnail, and boxes, masks and tags in its coordinates."""

from __future__ import annotations

import base64
import colorsys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .core import masks
from .core.records import Annotation, Rle

FRAME_WH = (420, 315)
"""Width and height of the frame that every picture is fitted into; texts have the same size in all of them."""

_TAG_HEIGHT = 17.0
_LETTER = 7.1
_MOST_TAGS = 12
_JPEG_QUALITY = 82
_PALETTE = (
    "#ff7a1a", "#2f9bff", "#2fc46b", "#f23f6d", "#a06bff", "#ffc61a",
    "#14c4c4", "#ff6bd0", "#9bd11a", "#c98a4b", "#6b8cff", "#ff9d9d",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tag:
    """The text beside a box: its background rectangle in frame pixels."""

    x: float
    y: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One object, in frame pixels.

    Attributes:
        x, y, width, height: the box.
        path: outline of the mask as SVG path data, filled by the even-odd rule; None without a mask.
        colour: ``#rrggbb`` of the class.
        ink: ``#rrggbb`` of text on that colour.
        title: everything there is to say about the object.
        tag: None where surer objects have taken the room.
        dashed: the box is a dashed line.
    """

    x: float
    y: float
    width: float
    height: float
    path: str | None
    colour: str
    ink: str
    title: str
    tag: Tag | None
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo fitted into ``FRAME_WH``: the JPEG as a data URI, where it lies in the frame, and its marks."""

    uri: str
    x: float
    y: float
    width: float
    height: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of a sheet with its texts: the file, what is said about it, and both for those who do not see it."""

    picture: Picture
    name: str
    caption: str
    label: str


def class_colour(class_id: int) -> str:
    """Return the colour of the class at this position of the ontology, as ``#rrggbb``; the same in every report."""
    if 0 <= class_id < len(_PALETTE):
        return _PALETTE[class_id]
    # The golden angle keeps any number of hues apart.
    red, green, blue = colorsys.hls_to_rgb(class_id * 0.618034 % 1.0, 0.5 + 0.12 * (class_id % 3 - 1), 0.75)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def picture(
    pixels: npt.NDArray[np.uint8],
    annotations: Sequence[Annotation],
    class_ids: Mapping[str, int],
    window_xyxy: tuple[int, int, int, int] | None = None,
    dashed: Collection[str] = (),
) -> Picture:
    """Draw one photo, or a window of it, with its objects.

    Args:
        pixels: (height, width, 3) uint8 RGB, upright.
        annotations: objects of this image; those outside the window are left out.
        class_ids: class name to position in the ontology.
        window_xyxy: the part to show, whole pixels, half-open, inside the image; None for all of it.
        dashed: ids of the objects whose boxes are dashed lines.
    """
    x0, y0, x1, y1 = window_xyxy or (0, 0, pixels.shape[1], pixels.shape[0])
    scale = min(FRAME_WH[0] / (x1 - x0), FRAME_WH[1] / (y1 - y0))
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    left, top = (FRAME_WH[0] - width) / 2, (FRAME_WH[1] - height) / 2
    marks: list[Mark] = []
    tags: list[Tag] = []
    for annotation in sorted(annotations, key=_surest_first):
        bx0, by0, bx1, by1 = annotation.box_xyxy
        if bx1 <= x0 or by1 <= y0 or bx0 >= x1 or by0 >= y1:
            continue
        bx0, bx1 = (left + (min(max(x, x0), x1) - x0) * scale for x in (bx0, bx1))
        by0, by1 = (top + (min(max(y, y0), y1) - y0) * scale for y in (by0, by1))
        colour = class_colour(class_ids.get(annotation.class_name, -1))
        tag = _place(_tag_text(annotation), (bx0, by0, bx1, by1), tags) if len(tags) < _MOST_TAGS else None
        if tag is not None:
            tags.append(tag)
        path = annotation.rle and outline(annotation.rle, (x0, y0, x1, y1), (left, top), (width, height))
        ink = _ink(colour)
        what = (path or None, colour, ink, _title(annotation), tag, annotation.id in dashed)
        marks.append(Mark(bx0, by0, bx1 - bx0, by1 - by0, *what))
    # Large ones first, so that the small ones in front of them can be pointed at.
    marks.sort(key=lambda mark: -mark.width * mark.height)
    uri = _jpeg_uri(pixels[y0:y1, x0:x1], (width, height))
    return Picture(uri, left, top, width, height, tuple(marks))


def window_around(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of an image that shows a box with its surroundings, in the shape of the frame where it fits."""
    x0, y0, x1, y1 = box_xyxy
    aspect = FRAME_WH[0] / FRAME_WH[1]
    width = max(1.9 * (x1 - x0), 1.9 * (y1 - y0) * aspect, 128.0)
    spans = []
    for centre, length, limit in (((x0 + x1) / 2, width, size_wh[0]), ((y0 + y1) / 2, width / aspect, size_wh[1])):
        length = min(length, limit)
        start = min(max(centre - length / 2, 0.0), limit - length)
        spans.append((int(start), min(limit, int(start + length) + 1)))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def outline(
    rle: Rle, window_xyxy: tuple[int, int, int, int], origin: tuple[float, float], size_wh: tuple[int, int]
) -> str:
    """Return the outline of the part of a mask inside a window, drawn at ``size_wh`` from ``origin``, as SVG path data.

    Holes are contours of their own: fill by the even-odd rule. Empty where the window holds nothing of the mask.
    """
    x0, y0, x1, y1 = window_xyxy
    part = masks.decode(rle)[y0:y1, x0:x1].astype(np.uint8) * 255
    small = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours((small > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 0.8, True).reshape(-1, 2)
        if len(points) >= 3:
            pieces.append("M" + "L".join(f"{x + origin[0] + 0.5:g} {y + origin[1] + 0.5:g}" for x, y in points) + "Z")
    return "".join(pieces)


def _surest_first(annotation: Annotation) -> tuple[float, str]:
    score = annotation.provenance.score
    return (-1.0 if score is None else -score, annotation.id)


def _jpeg_uri(pixels: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> str:
    shrink = size_wh[0] < pixels.shape[1]
    small = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _place(text: str, box: tuple[float, float, float, float], taken: Sequence[Tag]) -> Tag | None:
    """Find room for a tag above, inside or below its box that no other tag has."""
    letters = sum(1.7 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text)
    width = min(letters * _LETTER + 9, float(FRAME_WH[0]))
    x = min(max(box[0] - 1, 0.0), FRAME_WH[0] - width)
    for y in (box[1] - _TAG_HEIGHT, box[1], box[3], box[3] - _TAG_HEIGHT):
        clear = all(
            x + width <= t.x or t.x + t.width <= x or y + _TAG_HEIGHT <= t.y or t.y + _TAG_HEIGHT <= y for t in taken
        )
        if clear and 0 <= y <= FRAME_WH[1] - _TAG_HEIGHT:
            return Tag(x, y, width, text)
    return None


def _tag_text(annotation: Annotation) -> str:
    name, score = annotation.class_name, annotation.provenance.score
    name = name if len(name) <= 22 else name[:21] + "…"
    return name if score is None else f"{name} {score:.2f}"


def _title(annotation: Annotation) -> str:
    made = annotation.provenance
    said = [annotation.class_name]
    if made.score is not None:
        said.append(f"score {made.score:.3f}")
    if made.mask_score is not None:
        said.append(f"mask {made.mask_score:.2f}")
    if made.prompt is not None and made.prompt != annotation.class_name:
        said.append(f"prompt “{made.prompt}”")
    said += [f"seen by {model}, {score:.2f}" for model, score in made.sources]
    said.append(made.source)
    return " · ".join(said + list(annotation.flags))


def _ink(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"

"""Pascal VOC: one XML text per image, boxes only; pure functions, no files.

VOC counts pixels from 1 and its corners are the first and the last pixel of the object, whole numbers. A half-open box
``[x0, x1)`` is therefore ``xmin = x0 + 1`` and ``xmax = x1``: only the upper left corner moves. The devkit's own files
mean it so (a box as wide as its image has ``xmin`` 1 and ``xmax`` = width), and supervision and Detectron2 read it so.
The numbers stay whole because many readers, torchvision examples among them, call ``int`` on them; a box comes back
within half a pixel, and one that is thinner than a pixel as the pixel at its centre.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..core import geometry
from ..core.errors import InputError
from .items import Item, LabelledImage
from .plain_xml import parse_xml
from .together import together

_NOTHING = ("", "0", "unspecified")
"""What programs write where nobody has said anything."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
# XML 1.0 cannot say these at all, and gives line ends back changed.
_NOT_IN_XML = re.compile("[^\t\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(image: LabelledImage) -> str:
    """Return the XML text of one image.

    Boxes are clipped to the image and rounded; an object of which nothing lies inside is left out. Masks, corners,
    scores, sources and crowds have no place in the format. ``filename`` is the whole name, folders included.

    Raises:
        InputError: the image has no size, or a name holds characters that XML has no way to write.
    """
    if image.size_wh is None:
        raise InputError(f"{image.name}: VOC needs the width and height of the image, and they are not known")
    root = Element("annotation")
    _leaf(root, "folder", "")
    _leaf(root, "filename", image.name)
    size = SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*image.size_wh, 3), strict=True):
        _leaf(size, tag, str(value))
    _leaf(root, "segmented", "0")
    for item in image.objects:
        _write_object(root, item, image.size_wh)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def read(text: str, where: str, unread: Counter[str] | None = None) -> LabelledImage:
    """Return the image and its boxes.

    Numbers may have fractions, corners may be swapped. Whatever else an object says (``difficult``, ``truncated``,
    ``pose``, its ``part`` elements, …) is not read.

    Args:
        text: of the file. A document type definition is refused: nothing in VOC needs one, and entities can blow up.
        where: name of the file for messages.
        unread: gets the tags that are not read, each once for every object that says something there.

    Raises:
        InputError: malformed XML, a document type definition, no ``filename``, or an object without a name or a box.
    """
    root = parse_xml(text, where, "a VOC file")
    if root.tag != "annotation":
        raise InputError(f"{where}: expected <annotation> as the outermost element of a VOC file, got <{root.tag}>")
    name = _text(root, "filename").replace("\\", "/")
    if not name:
        raise InputError(f"{where}: <filename> is missing or empty; it says which picture the boxes belong to")
    elements = root.findall("object")
    for element in elements:
        if unread is not None:
            unread.update(_unread(element))
    with together(len(elements)):
        objects = tuple(
            _read_object(element, f"{where}: object {number}") for number, element in enumerate(elements, start=1)
        )
    return LabelledImage(name, _read_size(root, where), objects)


def kept_box(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return a box as VOC can say it, x0, y0, x1, y1 in whole pixels, or None where nothing lies inside the image."""
    x0, y0, x1, y1 = geometry.clip_boxes([box_xyxy], size_wh)[0].tolist()
    if not (x1 > x0 and y1 > y0):
        return None
    (x0, x1), (y0, y1) = _pixels(x0, x1), _pixels(y0, y1)
    return x0, y0, x1, y1


def _write_object(root: Element, item: Item, size_wh: tuple[int, int]) -> None:
    kept = kept_box(item.box_xyxy, size_wh)
    if kept is None:
        return
    x0, y0, x1, y1 = kept
    element = SubElement(root, "object")
    _leaf(element, "name", item.class_name)
    _leaf(element, "pose", "Unspecified")
    _leaf(element, "truncated", "0")
    _leaf(element, "difficult", "0")
    box = SubElement(element, "bndbox")
    for tag, value in zip(_CORNERS, (x0 + 1, y0 + 1, x1, y1), strict=True):
        _leaf(box, tag, str(value))


def _pixels(start: float, end: float) -> tuple[int, int]:
    """Return the whole pixels of a span, half-open."""
    first, after = math.floor(start + 0.5), math.floor(end + 0.5)
    if first >= after:  # thinner than a pixel
        first = math.floor((start + end) / 2)
        after = first + 1
    return first, after


def _read_object(element: Element, where: str) -> Item:
    name = _text(element, "name").strip()
    if not name:
        raise InputError(f"{where}: <name> is missing or empty")
    box = element.find("bndbox")
    if box is None:
        raise InputError(f"{where} ({name!r}): <bndbox> is missing; only boxes are read from VOC files")
    x0, y0, x1, y1 = (_number(_text(box, tag), f"{where} ({name!r}): <{tag}>") for tag in _CORNERS)
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    return Item(name, (x0 - 1, y0 - 1, x1, y1))


def _unread(element: Element) -> set[str]:
    """Return the tags of an object that say something beyond its name and its box."""
    return {
        child.tag
        for child in element
        if child.tag not in ("name", "bndbox") and (len(child) or _text(element, child.tag).lower() not in _NOTHING)
    }


def _read_size(root: Element, where: str) -> tuple[int, int] | None:
    """Return width and height; None where the file leaves them out or says 0, as some annotation tools do."""
    size = root.find("size")
    if size is None:
        return None
    width, height = (_number(_text(size, tag) or "0", f"{where}: <{tag}>") for tag in ("width", "height"))
    return (int(width), int(height)) if width >= 1 and height >= 1 else None


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) < 1e9:
        raise InputError(f"{what}: expected a number of pixels, got {text[:40]!r}")
    return number


def _text(parent: Element, tag: str) -> str:
    text = parent.findtext(tag) or ""
    # A name may begin with a space; a text that was broken over lines by an indenting program does not.
    return text.strip() if "\n" in text else text


def is_in_xml(text: str) -> bool:
    """Say whether XML can hold a text: it has no way to write most control characters."""
    return not _NOT_IN_XML.search(text)


def _leaf(parent: Element, tag: str, text: str) -> None:
    if not is_in_xml(text):
        raise InputError(f"{text!r}: a VOC file cannot hold the control characters in this name; rename it first")
    SubElement(parent, tag).text = text

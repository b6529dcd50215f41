"""Label Studio's labelling configuration, for our tasks and of others: pure functions, no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .labelstudio_regions import BOX_CONTROL, IMAGE_CONTROL, MASK_CONTROL
from .plain_xml import parse_xml
from .voc import is_in_xml

CONFIG = "label_config.xml"
"""The labelling configuration to paste into the project, or to set through its API, before the tasks are imported."""

WHAT = "a labelling configuration"

_CONTROLS = ("RectangleLabels", "PolygonLabels", "BrushLabels", "EllipseLabels")


def config(class_names: Iterable[str]) -> str:
    """Return the configuration that the tasks fit: the picture, and rectangles and brushes of every class.

    A name that XML cannot hold (``is_in_xml``) is left out.
    """
    view = Element("View")
    SubElement(view, "Image", name=IMAGE_CONTROL, value=f"${IMAGE_CONTROL}")
    names = [name for name in class_names if is_in_xml(name)]
    for tag, control in (("RectangleLabels", BOX_CONTROL), ("BrushLabels", MASK_CONTROL)):
        labels = SubElement(view, tag, name=control, toName=IMAGE_CONTROL)
        for name in names:
            SubElement(labels, "Label", value=name)
    return written(view)


def written(view: Element) -> str:
    """Return a configuration as text, each element on a line of its own."""
    indent(view)
    return tostring(view, encoding="unicode") + "\n"


def offered(control: Element) -> Iterator[str]:
    """Yield the labels of a control as regions name them: by the alias where there is one."""
    for label in control.iter("Label"):
        yield label.get("alias") or label.get("value") or ""


def class_names(text: str, where: str) -> tuple[str, ...]:
    """Return the labels of the controls whose regions are read, as regions name them, in the order of the file.

    Raises:
        InputError: malformed XML, or a document type definition.
    """
    controls = (one for one in parse_xml(text, where, WHAT).iter() if one.tag in _CONTROLS)
    labels = (name for control in controls for name in offered(control))
    return tuple(dict.fromkeys(name for name in labels if name.strip()))

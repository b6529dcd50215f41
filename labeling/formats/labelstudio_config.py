"""Label Studio's labelling configuration for our tasks: a pure function, no server."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .labelstudio_regions import BOX_CONTROL, IMAGE_CONTROL, MASK_CONTROL
from .voc import is_in_xml


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
    indent(view)
    return tostring(view, encoding="unicode") + "\n"

"""The labelling configuration of a project on Label Studio: made from the ontology, compared, brought up to date."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from html import escape
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..core.errors import InputError, StateError
from ..core.ontology import Ontology
from ..formats.labelstudio_regions import BOX_CONTROL, IMAGE_CONTROL, MASK_CONTROL
from ..formats.plain_xml import parse_xml
from ..formats.voc import is_in_xml
from ..pictures import class_colour
from .convert import POLYGON_CONTROL

CONTROLS = {BOX_CONTROL: "RectangleLabels", POLYGON_CONTROL: "PolygonLabels", MASK_CONTROL: "BrushLabels"}
"""Name of each control -> its tag."""

#: Which keys choose a class, in the order of CONTROLS: 1, Shift-1 and Alt-1 are one class as box, polygon, brush.
_HOTKEYS = ("{}", "shift+{}", "alt+{}")
_MOST_HOTKEYS = 9


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """How a configuration on a server differs from what the ontology asks for.

    Attributes:
        missing_controls: names of our controls that are not there, or are of another kind.
        missing_labels: classes that at least one of our controls does not offer.
        extra_labels: labels of our controls that are no class, in order.
    """

    missing_controls: tuple[str, ...] = ()
    missing_labels: tuple[str, ...] = ()
    extra_labels: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Everything that is pushed can be shown; extra labels do no harm."""
        return not (self.missing_controls or self.missing_labels)


def label_config(ontology: Ontology) -> str:
    """Return the configuration of a new project: the picture, and rectangles, polygons and brushes of every class.

    Raises:
        InputError: a class name that XML cannot hold.
    """
    view = Element("View")
    SubElement(view, "Image", name=IMAGE_CONTROL, value=f"${IMAGE_CONTROL}", zoom="true", zoomControl="true")
    for control in CONTROLS:
        _add_control(view, control, ontology)
    return _text(view)


def instructions(ontology: Ontology) -> str:
    """Return the guide of every class as HTML for the people who label; empty where no class has one."""
    guided = [entry for entry in ontology.classes if entry.guide.strip()]
    rows = "".join(f"<li><b>{escape(entry.name)}</b>: {escape(entry.guide.strip())}</li>" for entry in guided)
    return f"<ul>{rows}</ul>" if rows else ""


def check_config(xml: str, ontology: Ontology) -> ConfigDiff:
    """Compare the configuration on a server with the ontology. Raises InputError for malformed XML."""
    view = _parsed(xml)
    controls = {name: _control(view, name) for name in CONTROLS}
    missing = tuple(name for name, found in controls.items() if found is None)
    offered = [set(_labels(found)) for found in controls.values() if found is not None]
    seen = dict.fromkeys(label for found in controls.values() if found is not None for label in _labels(found))
    return ConfigDiff(
        missing_controls=missing + (() if _has_image(view) else (IMAGE_CONTROL,)),
        missing_labels=tuple(name for name in ontology.names if any(name not in labels for labels in offered)),
        extra_labels=tuple(label for label in seen if label not in ontology.names),
    )


def updated_config(xml: str, ontology: Ontology, used: Collection[str] = ()) -> str:
    """Return the configuration of a server with what is missing added; everything that people changed stays.

    Args:
        xml: as it is on the server.
        ontology: of the project.
        used: classes that labels on the server may have.

    Raises:
        StateError: a used class is not in the ontology any more.
        InputError: malformed XML, a class name that XML cannot hold, or another thing under the name of a control.
    """
    if lost := sorted(set(used) - set(ontology.names)):
        raise StateError(
            f"class {lost[0]!r} is used in Label Studio and is not in the ontology: put it back, used classes stay"
        )
    view = _parsed(xml)
    if not _has_image(view):
        raise InputError(
            f"the labelling configuration has no <Image name={IMAGE_CONTROL!r} value='${IMAGE_CONTROL}'>: put it back, "
            "or push to a project of its own with --new-project"
        )
    for name in CONTROLS:
        control = _control(view, name)
        if control is None:
            _add_control(view, name, ontology)
            continue
        known = set(_labels(control))
        for place, entry in enumerate(ontology.classes):
            if entry.name not in known:
                _add_label(control, entry.name, place)
    return _text(view)


def _add_control(view: Element, name: str, ontology: Ontology) -> None:
    if any(element.get("name") == name for element in view.iter()):
        raise InputError(
            f"the labelling configuration has something else under the name {name!r}: expected <{CONTROLS[name]}>; "
            "rename it, or push to a project of its own with --new-project"
        )
    # "smart" offers the teacher's help where one is served; without it nothing changes.
    smart = {"smart": "true"} if name == BOX_CONTROL else {}
    control = SubElement(view, CONTROLS[name], {"name": name, "toName": IMAGE_CONTROL, **smart})
    for place, entry in enumerate(ontology.classes):
        _add_label(control, entry.name, place, _HOTKEYS[list(CONTROLS).index(name)])


def _add_label(control: Element, name: str, place: int, hotkey: str = "") -> None:
    if not is_in_xml(name):
        raise InputError(f"class {name!r} cannot be written into a labelling configuration: rename it")
    label = SubElement(control, "Label", value=name, background=class_colour(place))
    if hotkey and place < _MOST_HOTKEYS:
        label.set("hotkey", hotkey.format(place + 1))


def _parsed(xml: str) -> Element:
    return parse_xml(xml, "Label Studio", "a labelling configuration")


def _control(view: Element, name: str) -> Element | None:
    found = (one for one in view.iter(CONTROLS[name]) if one.get("name") == name and one.get("toName") == IMAGE_CONTROL)
    return next(found, None)


def _labels(control: Element) -> Iterator[str]:
    """Yield the labels as regions name them."""
    for label in control.iter("Label"):
        yield label.get("alias") or label.get("value") or ""


def _has_image(view: Element) -> bool:
    return any(
        one.get("name") == IMAGE_CONTROL and one.get("value") == f"${IMAGE_CONTROL}" for one in view.iter("Image")
    )


def _text(view: Element) -> str:
    indent(view)
    return tostring(view, encoding="unicode") + "\n"

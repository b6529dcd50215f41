"""The labelling configuration of a project on Label Studio: made from the ontology, compared, brought up to date."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from html import escape
from xml.etree.ElementTree import Element, SubElement

from ..core.errors import InputError, StateError
from ..core.ontology import Ontology
from ..formats.labelstudio_config import WHAT, offered, written
from ..formats.labelstudio_regions import BOX_CONTROL, IMAGE_CONTROL, MASK_CONTROL
from ..formats.plain_xml import parse_xml
from ..formats.voc import is_in_xml
from ..pictures import class_colour
from .convert import POLYGON_CONTROL

CONTROLS = {BOX_CONTROL: "RectangleLabels", POLYGON_CONTROL: "PolygonLabels", MASK_CONTROL: "BrushLabels"}
"""Name of each control -> its tag."""

_LETTERS = "qasdfgtzxcyijln"
"""Those that the editor and its tools leave free."""

#: Keys for the labels of each control, in the order of the classes. The editor has Shift-1, Shift-2 and Shift-R, the
#: browser the digits with Alt or Ctrl.
_HOTKEYS = {
    BOX_CONTROL: (*"1234567890", *(f"shift+{digit}" for digit in "34567890")),
    POLYGON_CONTROL: tuple(_LETTERS),
    MASK_CONTROL: tuple(f"shift+{letter}" for letter in _LETTERS),
}
_NO_HOTKEY = "f19"
"""On no keyboard. A label without any would be given a letter by the editor: the eraser's, or that of another tool."""


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
    for name in CONTROLS:
        _add_labels(view, _add_control(view, name), name, ontology)
    return written(view)


def instructions(ontology: Ontology) -> str:
    """Return the guide of every class as HTML for the people who label; empty where no class has one."""
    guided = [entry for entry in ontology.classes if entry.guide.strip()]
    rows = "".join(f"<li><b>{escape(entry.name)}</b>: {_lines(entry.guide)}</li>" for entry in guided)
    return f"<ul>{rows}</ul>" if rows else ""


def check_config(xml: str, ontology: Ontology) -> ConfigDiff:
    """Compare the configuration on a server with the ontology. Raises InputError for malformed XML."""
    view = parse_xml(xml, "Label Studio", WHAT)
    controls = {name: _control(view, name) for name in CONTROLS}
    labels = [dict.fromkeys(offered(control)) for control in controls.values() if control is not None]
    missing = tuple(name for name, control in controls.items() if control is None)
    seen = dict.fromkeys(label for of_one in labels for label in of_one)
    return ConfigDiff(
        missing_controls=missing + (() if _has_image(view) else (IMAGE_CONTROL,)),
        missing_labels=tuple(name for name in ontology.names if any(name not in of_one for of_one in labels)),
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
    view = parse_xml(xml, "Label Studio", WHAT, comments=True)
    if not _has_image(view):
        raise InputError(
            f"the labelling configuration has no <Image name={IMAGE_CONTROL!r} value='${IMAGE_CONTROL}'>: put it back, "
            "or push to a project of its own with --new-project"
        )
    for name in CONTROLS:
        control = _control(view, name)
        _add_labels(view, _add_control(view, name) if control is None else control, name, ontology)
    return written(view)


def _add_control(view: Element, name: str) -> Element:
    if any(element.get("name") == name for element in view.iter()):
        raise InputError(
            f"the labelling configuration has something else under the name {name!r}: expected <{CONTROLS[name]}>; "
            "rename it, or push to a project of its own with --new-project"
        )
    # "smart" offers the teacher's help where one is served; without it nothing changes.
    smart = {"smart": "true"} if name == BOX_CONTROL else {}
    return SubElement(view, CONTROLS[name], {"name": name, "toName": IMAGE_CONTROL, **smart})


def _add_labels(view: Element, control: Element, name: str, ontology: Ontology) -> None:
    """Append the classes that a control does not offer."""
    known = set(offered(control))
    taken = {element.get("hotkey", "").lower() for element in view.iter()}
    keys = iter([key for key in _HOTKEYS[name] if key not in taken])
    for place, entry in enumerate(ontology.classes):
        if entry.name in known:
            continue
        if not is_in_xml(entry.name):
            raise InputError(f"class {entry.name!r} cannot be written into a labelling configuration: rename it")
        label = SubElement(control, "Label", value=entry.name, background=class_colour(place))
        label.set("hotkey", next(keys, _NO_HOTKEY))
        if "$" in entry.name:  # the editor would put a value of the task in its place
            label.set("html", escape(entry.name))


def _control(view: Element, name: str) -> Element | None:
    found = (one for one in view.iter(CONTROLS[name]) if one.get("name") == name and one.get("toName") == IMAGE_CONTROL)
    return next(found, None)


def _has_image(view: Element) -> bool:
    return any(
        one.get("name") == IMAGE_CONTROL and one.get("value") == f"${IMAGE_CONTROL}" for one in view.iter("Image")
    )


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.strip().splitlines())

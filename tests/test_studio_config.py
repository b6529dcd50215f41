"""The labelling configuration: Label Studio's own library as oracle, hostile names, and what people changed by hand."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core.errors import InputError, StateError
from labeling.core.ontology import Ontology, OntologyClass, find_problems
from labeling.formats.labelstudio_config import class_names
from labeling.formats.voc import is_in_xml
from labeling.studio.client import StudioClient
from labeling.studio.config import CONTROLS, ConfigDiff, check_config, instructions, label_config, updated_config
from tests.studio_servers import StudioServer

HOSTILE = (
    '<img src=x onerror="alert(1)">',
    'it\'s 5 > 3 & "so" on',
    "Gabelstapler 🚜 und Tür",
    "$image",
    "$100 bill",
    "box",
    "]]>",
    "&amp;",
    "مرحبا",
)
EDITOR_KEYS = {
    *("h", "o", "e", "m", "k", "w", "p", "r", "v", "b"),  # tools
    *("u", "enter", "escape", "backspace", "delete", "[", "]"),
    *("shift+1", "shift+2", "shift+r"),
}
"""What editor 1.23.2 listens to without Ctrl or Alt, as its shipped script says."""


def ontology(*names: str, guides: dict[str, str] | None = None) -> Ontology:
    given = guides or {}
    return Ontology(
        tuple(OntologyClass(name, (f"prompt {n}",), guide=given.get(name, "")) for n, name in enumerate(names))
    )


def labels_of(xml: str, control: str) -> list[dict[str, str]]:
    (found,) = (one for one in ElementTree.fromstring(xml).iter(CONTROLS[control]) if one.get("name") == control)
    return [dict(label.attrib) for label in found.iter("Label")]


def interface(xml: str) -> Any:
    return pytest.importorskip("label_studio_sdk.label_interface", reason="needs the studio extra").LabelInterface(xml)


def test_label_studio_reads_every_class_in_every_control() -> None:
    view = interface(label_config(ontology(*HOSTILE)))
    view.validate()
    assert {control.name: control.tag for control in view.controls} == CONTROLS
    assert [list(control.labels) for control in view.controls] == [list(HOSTILE)] * 3
    assert {tuple(control.to_name) for control in view.controls} == {("image",)}
    (picture,) = view.objects
    assert (picture.tag, picture.name, picture.value) == ("Image", "image", "$image")


NAMES = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12), min_size=1, max_size=6
)


@settings(max_examples=100, deadline=None)
@given(NAMES)
def test_names_come_back_from_the_configuration_as_they_were(names: list[str]) -> None:
    classes = tuple(OntologyClass(name, (f"p{n}",)) for n, name in enumerate(names))
    if find_problems(classes):
        return
    made = Ontology(classes)
    if any(not is_in_xml(name) for name in made.names):
        with pytest.raises(InputError, match="cannot be written into a labelling configuration"):
            label_config(made)
        return
    xml = label_config(made)
    assert class_names(xml, "x") == made.names
    assert check_config(xml, made) == ConfigDiff()
    assert [len(set(re.findall(pattern, xml))) for pattern in (r' name="([^"]*)"', r' toName="([^"]*)"')] == [4, 1]


def test_a_name_that_xml_cannot_hold_is_said_by_name() -> None:
    with pytest.raises(InputError, match=r"class 'a\\uffff' cannot be written"):
        label_config(ontology("fine", "a\uffff"))
    with pytest.raises(InputError, match=r"class 'a\\uffff' cannot be written"):
        updated_config(label_config(ontology("fine")), ontology("fine", "a\uffff"))


@pytest.mark.parametrize("number", [1, 9, 10, 15, 18, 19, 40])
def test_no_key_means_two_things(number: int) -> None:
    """Also none is left out: the editor would hand out letters by itself, and with them the keys of its tools."""
    xml = label_config(ontology(*(f"class {n}" for n in range(number))))
    keys = [label["hotkey"] for control in CONTROLS for label in labels_of(xml, control)]
    assert len(keys) == 3 * number
    real = [key for key in keys if key != "f19"]
    assert len(real) == len(set(real)) == min(number, 18) + 2 * min(number, 15)
    assert set(real) & EDITOR_KEYS == set()
    assert not [key for key in real if not re.fullmatch(r"(shift\+)?[a-z0-9]", key)]


def test_the_first_nine_rectangles_have_the_digits() -> None:
    xml = label_config(ontology(*"abcdefghi"))
    assert [label["hotkey"] for label in labels_of(xml, "box")] == list("123456789")


def test_a_class_has_one_colour_of_its_own_and_keeps_it() -> None:
    names = [f"class {n}" for n in range(20)]
    xml = label_config(ontology(*names))
    colours = [[label["background"] for label in labels_of(xml, control)] for control in CONTROLS]
    assert colours[0] == colours[1] == colours[2]
    assert len(set(colours[0])) == 20
    grown = updated_config(label_config(ontology(*names[:7])), ontology(*names))
    assert [label["background"] for label in labels_of(grown, "mask")] == colours[0]


def test_a_dollar_is_shown_and_not_filled_in() -> None:
    """The editor puts task data where a label's value says $name; what it shows is then taken from ``html``."""
    xml = label_config(ontology("$5 <b>note", "plain"))
    assert [label.get("html") for label in labels_of(xml, "box")] == ["$5 &lt;b&gt;note", None]
    assert [label["value"] for label in labels_of(xml, "box")] == ["$5 <b>note", "plain"]


BY_HAND = """<View style="display: flex">
  <Style>.x > p { color: red }</Style>
  <Header value="Look twice"/>
  <Image name="image" value="$image" rotateControl="true"/>
  <Choices name="weather" toName="image"><Choice value="rain"/></Choices>
  <RectangleLabels name="box" toName="image" strokeWidth="5">
    <Label value="pallet" background="#123456" hotkey="x" hint="the wooden one"/>
    <View><Label value="Stapler" alias="forklift"/></View>
  </RectangleLabels>
  <BrushLabels name="mask" toName="image" opacity="0.3"><Label value="forklift"/><Label value="ghost"/></BrushLabels>
  <EllipseLabels name="round" toName="image"><Label value="wheel"/></EllipseLabels>
</View>"""


def test_an_update_appends_and_leaves_what_people_made() -> None:
    classes = ontology("forklift", "pallet", "person")
    assert check_config(BY_HAND, classes) == ConfigDiff(
        missing_controls=("polygon",), missing_labels=("pallet", "person"), extra_labels=("ghost",)
    )
    xml = updated_config(BY_HAND, classes, used=("forklift", "pallet"))
    before, after = ElementTree.fromstring(BY_HAND), ElementTree.fromstring(xml)
    stay = [(one.tag, one.attrib) for one in before.iter()]
    left = [(one.tag, one.attrib) for one in after.iter()]
    added = [one for one in left if one not in stay]
    assert [one for one in left if one in stay] == stay
    assert [(tag, made.get("value")) for tag, made in added] == [
        ("Label", "person"),
        ("Label", "pallet"),
        ("Label", "person"),
        ("PolygonLabels", None),
        *(("Label", name) for name in classes.names),
    ]
    assert [one.text for one in after.iter("Style")] == [".x > p { color: red }"]
    keys = [made["hotkey"] for _, made in left if "hotkey" in made]
    assert len(keys) == len(set(keys))
    assert check_config(xml, classes) == ConfigDiff(extra_labels=("ghost",))
    assert updated_config(xml, classes) == xml
    view = interface(xml)
    assert list(view.get_control("box").labels) == ["pallet", "forklift", "person"]


def test_an_alias_is_the_name_that_regions_have() -> None:
    xml = label_config(ontology("forklift")).replace('value="forklift"', 'value="Stapler" alias="forklift"')
    assert check_config(xml, ontology("forklift")).fits
    assert check_config(xml, ontology("Stapler")) == ConfigDiff((), ("Stapler",), ("forklift",))


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ("RectangleLabels", "EllipseLabels", "box"),
        ('name="polygon"', 'name="outline"', "polygon"),
        ('name="mask" toName="image"', 'name="mask" toName="other"', "mask"),
        ('value="$image"', 'value="$photo"', "image"),
        ('<Image name="image"', '<Image name="picture"', "image"),
    ],
)
def test_a_control_that_is_gone_or_of_another_kind_is_missing(before: str, after: str, missing: str) -> None:
    xml = label_config(ontology("forklift"))
    assert before in xml
    diff = check_config(xml.replace(before, after), ontology("forklift"))
    assert diff.missing_controls == (missing,)
    assert not diff.fits


def test_another_thing_under_the_name_of_a_control_is_not_touched() -> None:
    taken = BY_HAND.replace('name="weather"', 'name="polygon"')
    with pytest.raises(InputError, match=r"something else under the name 'polygon': expected <PolygonLabels>"):
        updated_config(taken, ontology("forklift"))
    with pytest.raises(InputError, match=r"has no <Image name='image' value='\$image'>"):
        updated_config(label_config(ontology("a")).replace("$image", "$photo"), ontology("a"))


def test_a_used_class_cannot_go() -> None:
    xml = label_config(ontology("forklift", "pallet"))
    with pytest.raises(StateError, match=r"class 'pallet' is used in Label Studio and is not in the ontology"):
        updated_config(xml, ontology("forklift"), used=("forklift", "pallet"))
    assert updated_config(xml, ontology("forklift"), used=("forklift",)) == xml, "an unused label does no harm"


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "document type definition"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><View/>', "document type definition"),
        ("<View>", "expected a labelling configuration, which is XML"),
        ("", "expected a labelling configuration, which is XML"),
        ("{}", "expected a labelling configuration, which is XML"),
    ],
)
def test_what_is_no_configuration_is_refused(xml: str, message: str) -> None:
    for used in (check_config, updated_config):
        with pytest.raises(InputError, match=message):
            used(xml, ontology("forklift"))


class Told(HTMLParser):
    """What a browser would make of the instructions."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert attrs == []
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_instructions_say_the_guides_and_run_nothing() -> None:
    guides = {"a<script>": "  the <b onclick='x()'>big</b> ones & no\ntoys  ", "quiet": " ", "b": '"all" of them'}
    told = Told(instructions(ontology("a<script>", "quiet", "b", guides=guides)))
    assert told.tags == ["ul", "li", "b", "br", "li", "b"]
    assert told.words == "a<script>: the <b onclick='x()'>big</b> ones & notoysb: \"all\" of them"


def test_no_guides_are_no_instructions() -> None:
    assert instructions(ontology("a", "b")) == ""


# Through a real server


@pytest.mark.server
def test_names_and_guides_come_back_from_a_real_server_as_they_were(studio_server: StudioServer) -> None:
    classes = ontology(*HOSTILE, guides={"box": '5 < 6 & "so" <img src=x onerror=alert(1)>'})
    with StudioClient(studio_server.url, studio_server.token) as client:
        fields = {"label_config": label_config(classes), "expert_instruction": instructions(classes)}
        number = client.create_project(title="names of classes", **fields)["id"]
        there = client.project(number)
        assert there is not None
        assert check_config(there["label_config"], classes) == ConfigDiff()
        for control in CONTROLS:
            assert [label["value"] for label in labels_of(there["label_config"], control)] == list(classes.names)
        assert "<img" not in there["expert_instruction"]
        more = ontology(*HOSTILE, 'one "more" <&>')
        client.update_project(number, label_config=updated_config(there["label_config"], more, used=classes.names))
        again = client.project(number)
        assert again is not None
        assert check_config(again["label_config"], more) == ConfigDiff()

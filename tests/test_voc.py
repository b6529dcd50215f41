"""Pascal VOC: a file written by hand, supervision's reader and writer, and files that want to do harm."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core.errors import InputError
from labeling.formats import voc
from labeling.formats.items import Item, LabelledImage

BY_HAND = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <folder>VOC2012</folder>
  <filename>2008_000008.jpg</filename>
  <size><width>500</width><height>442</height><depth>3</depth></size>
  <object>
    <name>horse</name>
    <bndbox><xmax>471</xmax><xmin>53</xmin><ymax>420</ymax><ymin>87</ymin></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
  </object>
  <object><name> person </name><bndbox><xmin>500.0</xmin><ymin>1</ymin><xmax>1</xmax><ymax>442</ymax></bndbox></object>
</annotation>
"""

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\\\ufffe\uffff"), min_size=1)
NAME = TEXT.filter(lambda text: text.strip() == text)
SIZE = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@st.composite
def images(draw: st.DrawFn) -> LabelledImage:
    width, height = draw(SIZE)
    objects = []
    for _ in range(draw(st.integers(0, 4))):
        x0, x1 = sorted(draw(st.tuples(st.floats(0, width), st.floats(0, width))))
        y0, y1 = sorted(draw(st.tuples(st.floats(0, height), st.floats(0, height))))
        objects.append(Item(draw(NAME), (x0, y0, x1, y1)))
    return LabelledImage(draw(TEXT), (width, height), tuple(objects))


def test_a_file_written_by_hand() -> None:
    image = voc.read(BY_HAND, "a.xml")
    assert (image.name, image.size_wh) == ("2008_000008.jpg", (500, 442))
    assert image.objects == (Item("horse", (52, 86, 471, 420)), Item("person", (0, 0, 500, 442)))


def test_whole_numbers_that_count_from_one_are_written() -> None:
    image = LabelledImage("a/b.jpg", (100, 50), (Item("cat", (0, 0, 100, 50)), Item("dog", (9.6, 10.4, 20.4, 20.6))))
    root = ElementTree.fromstring(voc.write(image))
    found = [[box.findtext(tag) for tag in ("xmin", "ymin", "xmax", "ymax")] for box in root.iter("bndbox")]
    assert found == [["1", "1", "100", "50"], ["11", "11", "20", "21"]]
    assert [root.findtext(path) for path in ("filename", "size/width", "size/height", "size/depth")] == [
        "a/b.jpg",
        "100",
        "50",
        "3",
    ]
    assert [one.findtext("difficult") for one in root.iter("object")] == ["0", "0"]


@settings(max_examples=200)
@given(images())
def test_boxes_come_back_within_half_a_pixel(image: LabelledImage) -> None:
    again = voc.read(voc.write(image), "a.xml")
    assert (again.name, again.size_wh) == (image.name, image.size_wh)
    kept = [
        item for item in image.objects if item.box_xyxy[0] < item.box_xyxy[2] and item.box_xyxy[1] < item.box_xyxy[3]
    ]
    assert [item.class_name for item in again.objects] == [item.class_name for item in kept]
    for one, other in zip(kept, again.objects, strict=True):
        x0, y0, x1, y1 = one.box_xyxy
        # What is thinner than a pixel becomes one.
        bounds = [0.5 if x1 - x0 >= 1 else 1, 0.5 if y1 - y0 >= 1 else 1] * 2
        assert (np.abs(np.subtract(one.box_xyxy, other.box_xyxy)) <= np.array(bounds) + 1e-9).all()
        assert other.box_xyxy[0] >= 0
        assert other.box_xyxy[2] <= image.size_wh[0]  # type: ignore[index]
        assert other.box_xyxy[3] <= image.size_wh[1]  # type: ignore[index]


@settings(deadline=None)  # the first example imports supervision
@given(images())
def test_supervision_reads_what_we_write_and_we_read_what_it_writes(image: LabelledImage) -> None:
    sv = pytest.importorskip("supervision")
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj, detections_to_pascal_voc

    assert image.size_wh is not None
    text = voc.write(image)
    ours = voc.read(text, "a.xml").objects
    detections, classes = detections_from_xml_obj(ElementTree.fromstring(text), [], image.size_wh)
    assert detections.xyxy.tolist() == [list(item.box_xyxy) for item in ours]
    assert [classes[one] for one in detections.class_id] == [item.class_name for item in ours]
    if not ours:
        return
    named = sv.Detections(xyxy=np.array([item.box_xyxy for item in ours]), class_id=np.arange(len(ours)))
    width, height = image.size_wh
    theirs = detections_to_pascal_voc(named, [f"c{number}" for number in range(len(ours))], "a.jpg", (height, width, 3))
    again = voc.read(theirs, "b.xml")
    assert [item.box_xyxy for item in again.objects] == [item.box_xyxy for item in ours]
    assert again.size_wh == image.size_wh


def test_what_lies_outside_is_left_out_and_the_rest_clipped() -> None:
    image = LabelledImage("a.jpg", (10, 10), (Item("out", (10, 0, 20, 5)), Item("half", (-5, -5, 4, 30))))
    assert voc.read(voc.write(image), "a.xml").objects == (Item("half", (0, 0, 4, 10)),)


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size/>"])
def test_files_without_a_size_are_read(size: str) -> None:
    assert voc.read(f"<annotation><filename>a.jpg</filename>{size}</annotation>", "a.xml").size_wh is None


def test_folders_of_another_system_become_ours() -> None:
    text = "<annotation>\n<filename>\n  sub\\a.jpg\n</filename></annotation>"
    assert voc.read(text, "a.xml").name == "sub/a.jpg"


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "document type definition"),
        (OUTSIDE, "document type definition"),
        ('<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><annotation/>', "document type definition"),
        ("", "which is XML"),
        ("<annotation>", "which is XML"),
        ("\0", "which is XML"),
        ("\ud800", "which is XML"),
        ("<annotation>&a;</annotation>", "which is XML"),
        ("<a/>", "outermost element"),
        ("<annotation/>", "<filename> is missing"),
        ("<annotation><filename>a</filename><object/></annotation>", "object 1: <name> is missing"),
        ("<annotation><filename>a</filename><object><name>c</name></object></annotation>", "'c'.*<bndbox> is missing"),
        (BY_HAND.replace(">53<", ">nan<"), "object 1 .'horse'.: <xmin>: expected a number of pixels, got 'nan'"),
        (BY_HAND.replace(">53<", ">1e99<"), "<xmin>"),
        (BY_HAND.replace(">53<", "><"), "<xmin>"),
        (BY_HAND.replace(">500<", ">wide<"), "<width>"),
    ],
)
def test_unusable_files_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^labels/a\.xml: .*{message}|^labels/a\.xml: {message}"):
        voc.read(text, "labels/a.xml")


@settings(max_examples=200)
@given(st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject) -> None:
    text = list(BY_HAND)
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.characters())
    try:
        image = voc.read("".join(text), "a.xml")
    except InputError:
        return
    assert len(image.objects) <= 2


@pytest.mark.parametrize("name", ["a\nb", "a\x07", "a\udcff", "a\rb"])
def test_names_that_xml_cannot_hold_are_refused(name: str) -> None:
    for image in (LabelledImage(name, (9, 9), ()), LabelledImage("a", (9, 9), (Item(name, (0, 0, 9, 9)),))):
        with pytest.raises(InputError, match="control characters"):
            voc.write(image)


def test_an_image_without_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.jpg: VOC needs the width and height"):
        voc.write(LabelledImage("a.jpg", None, ()))

"""Boxes unlike the others of their class, and classes in strange company."""

from __future__ import annotations

import numpy as np
import pytest

from distill.curation.company import company
from distill.curation.geometry import geometry
from distill.curation.scenes import Scene
from tests.made_scenes import Box, label, scene


def cups(*more: Box, images: int = 40) -> list[Scene]:
    """Return cups of about 60 x 60 pixels all over the images, and some more in an image of their own."""
    random = np.random.default_rng(0)
    made = []
    for i in range(images):
        x, y = random.uniform(50, 350, 2)
        w, h = random.normal(60, 4, 2)
        made.append(scene(label("cup", (x, y, x + w, y + h), image=f"i{i}"), image=f"i{i}"))
    return [*made, *(scene(label("cup", box, image=f"odd {box}"), image=f"odd {box}") for box in more)]


def worst(scenes: list[Scene]) -> tuple[Box, str, float]:
    doubt = max(geometry(lambda: scenes), key=lambda doubt: doubt.strength)
    assert doubt.label is not None
    return doubt.label.box_xyxy, doubt.reason, doubt.strength


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((100.0, 100.0, 500.0, 480.0), "times the area"),
        ((100.0, 100.0, 400.0, 112.0), "times as wide as high"),
        ((100.0, 100.0, 160.0, 102.0), "sliver of 60 x 2 pixels"),
        ((0.0, 0.0, 640.0, 480.0), "covers the whole image"),
    ],
)
def test_odd_box_comes_first_and_says_why(box: Box, why: str) -> None:
    found, reason, strength = worst(cups(box))
    assert found == box
    assert why in reason
    assert strength > 0.4


def test_factor_of_the_area_is_exact() -> None:
    scenes = [scene(label("cup", (100.0, 100.0, 150.0, 150.0), image=f"{i}"), image=f"{i}") for i in range(20)]
    scenes.append(scene(label("cup", (100.0, 100.0, 300.0, 300.0), image="big"), image="big"))
    assert worst(scenes)[1] == "16 times the area that is usual for cup"


def test_ordinary_boxes_are_hardly_doubted() -> None:
    assert max((doubt.strength for doubt in geometry(lambda: cups())), default=0.0) < 0.4


def test_image_with_far_too_many_of_a_class() -> None:
    crowd = [label("cup", (10.0 + 20 * i, 100.0, 70.0 + 20 * i, 160.0), image="crowd") for i in range(20)]
    doubts = [d for d in geometry(lambda: [*cups(), scene(*crowd, image="crowd")]) if d.kind == "spurious"]
    assert len(doubts) == 20
    assert doubts[0].reason == "one of 20 cup in this image, usual are 1"


def test_nothing_comes_of_nothing() -> None:
    assert list(geometry(list)) == []
    assert list(geometry(lambda: [scene()])) == []
    assert list(company(lambda: [scene()])) == []


def kitchens(strange: str) -> list[Scene]:
    made = []
    rooms = [("cup", "fork", "bowl"), ("zebra", "grass"), ("car", "bus"), ("bed",), ("dog",), ("boat",), ("kite",)]
    for i in range(140):
        names = rooms[i % 7]
        if i == 0:
            names = (*names, strange)
        labels = [label(name, (50.0 * k, 10.0, 50.0 * k + 40, 50.0), image=f"{i}") for k, name in enumerate(names)]
        made.append(scene(*labels, image=f"{i}"))
    return made


def test_class_in_strange_company_comes_first() -> None:
    doubt = max(company(lambda: kitchens("zebra")), key=lambda doubt: doubt.strength)
    assert doubt.label is not None
    assert doubt.label.class_name == "zebra"
    assert doubt.sha256 == kitchens("zebra")[0].sha256
    assert doubt.kind == "wrong class"
    assert doubt.reason == "zebra is seldom seen beside bowl: in 0 of 19 other images"


def test_common_class_is_at_home_everywhere() -> None:
    crowds = [
        scene(*(label("person", (50.0 * k, 10.0, 50.0 * k + 40, 50.0), image=f"p{i}") for k in range(3)), image=f"p{i}")
        for i in range(100)
    ]
    assert not [
        d for d in company(lambda: [*kitchens("person"), *crowds]) if d.label and d.label.class_name == "person"
    ]


def test_class_among_its_own_is_not_doubted() -> None:
    assert not [doubt for doubt in company(lambda: kitchens("cup")) if doubt.label and doubt.label.class_name == "cup"]

"""Two boxes around one object."""

from __future__ import annotations

from distill.curation.repeats import repeats
from tests.made_scenes import claim, label, scene

BOX = (100.0, 100.0, 200.0, 200.0)
NEAR = (102.0, 99.0, 201.0, 203.0)


def test_box_drawn_twice_is_doubted_on_both_sides_and_names_the_other() -> None:
    first, second = label("cup", BOX), label("cup", NEAR)
    doubts = {doubt.label.id: doubt for doubt in repeats(scene(first, second)) if doubt.label}
    assert set(doubts) == {first.id, second.id}
    assert doubts[first.id].claim == second
    assert doubts[second.id].strength > 0.9
    assert doubts[first.id].strength < doubts[second.id].strength


def test_copy_that_the_teacher_fits_less_is_doubted_more() -> None:
    first, second = label("cup", NEAR), label("cup", BOX)
    strengths = {d.label.id: d.strength for d in repeats(scene(first, second, claims=(claim("cup", BOX),))) if d.label}
    assert strengths[first.id] > strengths[second.id]


def test_neighbours_and_lone_boxes_are_fine() -> None:
    assert list(repeats(scene(label("cup", BOX), label("cup", (150.0, 100.0, 250.0, 200.0))))) == []
    assert list(repeats(scene(label("cup", BOX)))) == []
    assert list(repeats(scene())) == []


def test_other_class_takes_more_overlap() -> None:
    rider = (100.0, 100.0, 200.0, 165.0)  # IoU 0.65
    assert list(repeats(scene(label("person", BOX), label("horse", rider)))) == []
    both = list(repeats(scene(label("person", BOX), label("horse", NEAR))))
    same = list(repeats(scene(label("horse", BOX), label("horse", NEAR))))
    assert 0 < max(d.strength for d in both) < max(d.strength for d in same)


def test_box_inside_another_is_a_weak_doubt() -> None:
    inner = (120.0, 120.0, 160.0, 160.0)
    doubts = list(repeats(scene(label("cup", BOX), label("cup", inner))))
    strengths = [d.strength for d in doubts]
    assert {d.reason for d in doubts} == {"the smaller box lies wholly inside another, of cup"}
    assert len(strengths) == 2
    assert 0 < max(strengths) < 0.2
    assert list(repeats(scene(label("cup", BOX), label("fork", inner)))) == []

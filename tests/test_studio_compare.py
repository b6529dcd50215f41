"""What became of pushed labels: overlaps by hand and by numpy, the noise of an editor, and any shape there and back."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from labeling.core import masks
from labeling.core.brush import encode_brush
from labeling.core.records import Annotation
from labeling.studio.compare import Change, compare, to_annotations
from labeling.studio.convert import Drawn, prediction, read
from tests.drawn_shapes import SHA, SIZE, Mask, box_mask, drawn_masks, label, region, star

WHO = "anna@example.org"
BOX = label(number=1, box=(100.0, 100.0, 200.0, 200.0))
POLYGON = label(star(SIZE, 3), number=2, class_name="pallet")
BRUSH = label(box_mask(SIZE, (10, 10, 200, 200), (50, 50, 90, 90)), number=3, class_name="ring")
PUSHED = [BOX, POLYGON, BRUSH]


def sent(labels: list[Annotation], size_wh: tuple[int, int] = SIZE) -> list[dict[str, Any]]:
    """Return the regions of these labels as the editor opens them."""
    result: list[dict[str, Any]] = json.loads(json.dumps(prediction(labels, size_wh)))["result"]
    return result


def changes(labels: list[Annotation], result: list[dict[str, Any]], size_wh: tuple[int, int] = SIZE) -> list[Change]:
    drawn, refused = read(result, size_wh)
    assert refused == []
    return compare(labels, drawn, size_wh)


def change(pushed: Annotation, result: dict[str, Any]) -> Change:
    (only,) = changes([pushed], [result])
    return only


def kinds(found: list[Change]) -> list[str]:
    return [one.kind for one in found]


def test_the_three_shapes_are_what_they_are_called() -> None:
    assert [one["type"] for one in sent(PUSHED)] == ["rectanglelabels", "polygonlabels", "brushlabels"]


# Untouched


@settings(max_examples=300, deadline=None)
@given(st.lists(drawn_masks(), min_size=1, max_size=3), st.data())
def test_what_nobody_touched_comes_back_as_it_was_pushed(drawn: list[Mask], data: st.DataObject) -> None:
    """Box and mask to the bit, also where the box is not the one around the mask and the region but comes close."""
    height, width = drawn[0].shape
    labels = []
    for number, mask in enumerate(one for one in drawn if one.shape == (height, width)):
        x0, y0 = data.draw(st.floats(0, width - 1)), data.draw(st.floats(0, height - 1))
        box = (x0, y0, data.draw(st.floats(x0 + 0.5, width)), data.draw(st.floats(y0 + 0.5, height)))
        made = label(mask, number=2 * number)
        labels += [
            Annotation(made.id, SHA, "box", box, made.provenance, made.rle),
            label(box=box, number=2 * number + 1),
        ]
    found = changes(labels, sent(labels, (width, height)), (width, height))
    assert {(one.kind, one.iou) for one in found} == {("kept", 1.0)}
    kept = to_annotations(found, SHA, WHO)
    assert [(one.class_name, one.box_xyxy, one.rle) for one in kept] == [
        (one.class_name, one.box_xyxy, one.rle) for one in labels
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(640, 480), (4000, 500), (97, 1013)]))
def test_the_noise_of_an_editor_is_no_change(seed: int, size_wh: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    labels = [label(star(size_wh, seed), number=1), label(box=(3.3, 5.1, 60.7, 80.2), number=2)]
    result = sent(labels, size_wh)
    assume(result[0]["type"] == "polygonlabels")  # a star that a polygon does not hold exactly goes as a brush
    points = np.array(result[0]["value"]["points"])
    result[0]["value"]["points"] = (points + random.uniform(-9e-4, 9e-4, points.shape)).tolist()
    for key in ("x", "y", "width", "height"):
        result[1]["value"][key] += random.uniform(-4e-4, 4e-4)
    result[1]["value"]["rotation"] = 360 - 1e-12
    found = changes(labels, result, size_wh)
    assert kinds(found) == ["kept", "kept"]
    assert [one.rle for one in to_annotations(found, SHA, WHO)] == [labels[0].rle, None]


def test_a_box_that_stuck_out_of_the_picture_is_kept_as_it_was() -> None:
    out = label(box=(-3.0, 400.0, 50.0, 480.5))
    found = change(out, sent([out])[0])
    assert (found.kind, found.iou) == ("kept", 1.0)
    assert to_annotations([found], SHA, WHO)[0].box_xyxy == out.box_xyxy


def test_the_mask_that_was_pushed_is_kept_as_whatever_it_comes_back() -> None:
    """An earlier version may have sent as a brush what this one would send as a polygon."""
    assert POLYGON.rle is not None
    brush = region("brushlabels", {"format": "rle", "rle": encode_brush(POLYGON.rle)}, id=POLYGON.id)
    brush["value"]["brushlabels"] = ["pallet"]
    assert change(POLYGON, brush).kind == "kept"


# Moved


def test_a_box_moved_by_half_its_width_overlaps_by_a_third() -> None:
    (result,) = sent([BOX])
    result["value"]["x"] += 100 * 50 / SIZE[0]
    found = change(BOX, result)
    assert found.kind == "moved"
    assert found.iou == pytest.approx(1 / 3)
    (said,) = to_annotations([found], SHA, WHO)
    assert said.box_xyxy == pytest.approx((150, 100, 250, 200))
    assert said.rle is None


def test_a_pixel_is_a_move() -> None:
    (result,) = sent([BOX])
    result["value"]["width"] += 100 / SIZE[0]
    found = change(BOX, result)
    assert (found.kind, round(found.iou, 6)) == ("moved", round(100 / 101, 6))


def test_a_turned_box_is_moved() -> None:
    (result,) = sent([BOX])
    result["value"]["rotation"] = 45
    found = change(BOX, result)
    assert found.kind == "moved"
    half = 50 * np.sqrt(2)
    assert to_annotations([found], SHA, WHO)[0].box_xyxy == pytest.approx(
        (100 - half * 1, 100, 100 + half, 100 + 2 * half)
    )


def test_a_dragged_corner_makes_a_new_mask_with_the_box_around_it() -> None:
    (result,) = sent([POLYGON])
    tip = max(result["value"]["points"])
    tip[0] = 99.0
    found = change(POLYGON, result)
    assert POLYGON.rle is not None
    assert found.drawn is not None
    assert found.drawn.rle is not None
    before, after = masks.decode(POLYGON.rle), masks.decode(found.drawn.rle)
    assert found.kind == "moved"
    assert found.iou == pytest.approx((before & after).sum() / (before | after).sum())
    (said,) = to_annotations([found], SHA, WHO)
    rows, columns = np.nonzero(after)
    assert said.box_xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert said.rle == found.drawn.rle


def test_a_corner_dragged_by_a_pixel_is_a_move_although_the_masks_are_nearly_one() -> None:
    for place in range(len(sent([POLYGON])[0]["value"]["points"])):
        (result,) = sent([POLYGON])
        result["value"]["points"][place][0] += 100 / SIZE[0]
        found = change(POLYGON, result)
        assert found.kind == "moved", place
        assert 0.98 < found.iou < 1


def test_a_corner_that_was_taken_out_is_a_move() -> None:
    (result,) = sent([POLYGON])
    del result["value"]["points"][0]
    assert change(POLYGON, result).kind == "moved"


def test_one_painted_pixel_is_a_move_of_a_brush() -> None:
    assert BRUSH.rle is not None
    mask = masks.decode(BRUSH.rle).copy()
    mask[400, 600] = True
    (result,) = sent([BRUSH])
    result["value"]["rle"] = encode_brush(mask)
    found = change(BRUSH, result)
    assert (found.kind, found.iou) == ("moved", pytest.approx(1 - 1 / mask.sum()))
    assert to_annotations([found], SHA, WHO)[0].rle == masks.encode(mask)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_overlap_is_the_one_that_numpy_counts(seed: int, other: int) -> None:
    size_wh = (90, 60)
    before, after = star(size_wh, seed), star(size_wh, other, reach=0.3)
    pushed = label(before)
    said = region("brushlabels", {"rle": encode_brush(after)}, size_wh=size_wh, id=pushed.id)
    (found,) = changes([pushed], [said], size_wh)
    assert found.iou == pytest.approx((before & after).sum() / (before | after).sum())
    assert found.kind == ("kept" if (before == after).all() else "moved")


# Relabelled, added, deleted


def test_another_class_wins_over_another_place() -> None:
    result = sent(PUSHED)
    for one in result:
        one["value"][one["type"]] = ["person"]
    result[0]["value"]["x"] += 100 * 50 / SIZE[0]
    found = changes(PUSHED, result)
    assert kinds(found) == ["relabelled"] * 3
    assert [one.iou for one in found] == [pytest.approx(1 / 3), 1.0, 1.0]
    said = to_annotations(found, SHA, WHO)
    assert [one.class_name for one in said] == ["person"] * 3
    assert [one.rle for one in said] == [one.rle for one in PUSHED]
    assert [one.box_xyxy for one in said[1:]] == [one.box_xyxy for one in PUSHED[1:]]


def test_changes_stand_in_the_order_of_what_was_pushed_and_then_of_what_was_drawn() -> None:
    value = {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": 0}
    new = [region("rectanglelabels", value, id=name) for name in ("first new", "second new")]
    box, _, brush = sent(PUSHED)
    found = changes(PUSHED, [new[0], brush, new[1], box])
    assert kinds(found) == ["kept", "deleted", "kept", "added", "added"]
    assert [one.pushed for one in found] == [*PUSHED, None, None]
    assert [one.drawn and one.drawn.region_id for one in found[3:]] == ["first new", "second new"]
    assert [one.iou for one in found] == [1, 0, 1, 0, 0]
    assert found[1].drawn is None
    said = to_annotations(found, SHA, WHO)
    assert [one.provenance.parent_id for one in said] == [BOX.id, BRUSH.id, None, None]


def test_deleted_and_drawn_anew_are_two_changes() -> None:
    (result,) = sent([BOX])
    assert kinds(changes([BOX], [result | {"id": "drawn anew"}])) == ["deleted", "added"]


def test_a_second_region_with_the_same_id_is_added() -> None:
    first, second = sent([BOX])[0], copy.deepcopy(sent([BOX])[0])
    second["value"]["x"] += 20
    found = changes([BOX], [first, second])
    assert kinds(found) == ["kept", "added"]
    said = to_annotations(found, SHA, WHO)
    assert [one.provenance.parent_id for one in said] == [BOX.id, None]
    assert len({one.id for one in said}) == 2
    twice = to_annotations(changes([BOX], [first, first, first]), SHA, WHO)
    assert len({one.id for one in twice}) == 3


def test_a_box_that_came_back_as_a_mask_or_the_reverse_is_moved_and_has_the_new_shape() -> None:
    outline = {"points": [[20, 20], [40, 20], [40, 40], [20, 40]]}
    became = change(BOX, region("polygonlabels", outline, id=BOX.id))
    assert became.kind == "moved"
    assert to_annotations([became], SHA, WHO)[0].rle is not None
    value = {"x": 20, "y": 20, "width": 20, "height": 20, "rotation": 0}
    lost = change(BRUSH, region("rectanglelabels", value, id=BRUSH.id, value={**value, "rectanglelabels": ["ring"]}))
    assert lost.kind == "moved"
    assert to_annotations([lost], SHA, WHO)[0].rle is None
    assert 0 < became.iou < 1
    assert 0 < lost.iou < 1


def test_nothing_pushed_and_nothing_drawn_is_no_change() -> None:
    assert compare([], [], SIZE) == []
    assert to_annotations([], SHA, WHO) == []
    assert kinds(compare(PUSHED, [], SIZE)) == ["deleted"] * 3
    assert to_annotations(compare(PUSHED, [], SIZE), SHA, WHO) == []


# What people said


def test_people_say_it_and_the_teacher_does_not() -> None:
    for said, pushed in zip(to_annotations(changes(PUSHED, sent(PUSHED)), SHA, WHO), PUSHED, strict=True):
        made = said.provenance
        assert (made.source, made.annotator, made.parent_id) == ("human", WHO, pushed.id)
        assert (made.model, made.prompt, made.score, made.mask_score) == (None, None, None, None)
        assert said.sha256 == SHA
        assert said.id != pushed.id


def test_ids_are_a_function_of_what_was_said() -> None:
    found = changes(PUSHED, sent(PUSHED))
    ids = [one.id for one in to_annotations(found, SHA, WHO)]
    assert ids == [one.id for one in to_annotations(changes(PUSHED, sent(PUSHED)), SHA, WHO)]
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)
    others = [
        to_annotations(found, SHA, "ben@example.org"),
        to_annotations(found, "cd" * 32, WHO),
        to_annotations([Change("relabelled", one.pushed, _named(one.drawn, "x"), 1.0) for one in found], SHA, WHO),
    ]
    assert len({*ids, *(one.id for some in others for one in some)}) == 4 * len(ids)


def test_two_masks_in_one_box_have_two_ids() -> None:
    drawn = [
        Drawn("new", "box", (0.0, 0.0, 9.0, 9.0), masks.encode(box_mask(SIZE, *boxes)), "brush")
        for boxes in ([(0, 0, 9, 9)], [(0, 0, 9, 9), (3, 3, 5, 5)])
    ]
    one, other = (to_annotations(compare([], [each], SIZE), SHA, WHO)[0] for each in drawn)
    assert one.id != other.id


def _named(drawn: Drawn | None, class_name: str) -> Drawn:
    assert drawn is not None
    return Drawn(drawn.region_id, class_name, drawn.box_xyxy, drawn.rle, drawn.kind)

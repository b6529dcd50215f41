"""Objects to regions and back: shapely, the SDK and plain numpy as oracles, then any shape, then any JSON."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core import masks
from labeling.core.brush import encode_brush
from labeling.core.records import Annotation
from labeling.studio import convert
from labeling.studio.convert import Drawn, read, regions
from labeling.studio.polygon import MIN_POLYGON_IOU, outline_percent
from tests.drawn_shapes import SIZE, Mask, box_mask, drawn_masks, label, region, star
from tests.paths import ROOT

GOLDEN = ROOT / "tests" / "golden_studio"
WIDE = (1000, 250)
TRIANGLE = [[10.0, 10.0], [50.0, 10.0], [10.0, 50.0]]


def one(said: dict[str, Any], size_wh: tuple[int, int] = SIZE) -> Drawn:
    """Return the object that a region says, after a journey through JSON."""
    drawn, refused = read(json.loads(json.dumps([said])), size_wh)
    assert refused == []
    (only,) = drawn
    return only


def reason(said: Any, size_wh: tuple[int, int] = SIZE) -> str:
    """Return why a region is refused."""
    drawn, refused = read([said], size_wh)
    assert drawn == []
    (only,) = refused
    assert "\n" not in only.reason
    assert len(only.reason) < 300
    return only.reason


def mask_of(drawn: Drawn) -> Mask:
    assert drawn.rle is not None
    return masks.decode(drawn.rle)


def turned(x: float, y: float, width: float, height: float, degrees: float) -> shapely.Polygon:
    """Return a rectangle in pixels turned by shapely; y points down, so shapely's turn is clockwise on the screen."""
    upright = shapely.box(x, y, x + width, y + height)
    return shapely.affinity.rotate(upright, degrees, origin=(x, y))


# Rectangles


def test_a_box_is_percent_of_each_side() -> None:
    made = regions(label(box=(250.0, 50.0, 500.0, 75.0), score=None), WIDE)
    assert made["value"] == {"x": 25, "y": 20, "width": 25, "height": 10, "rotation": 0, "rectanglelabels": ["box"]}
    assert (made["type"], made["from_name"], made["to_name"], made["image_rotation"]) == (
        "rectanglelabels",
        "box",
        "image",
        0,
    )
    assert (made["original_width"], made["original_height"]) == WIDE
    assert made["id"] == label().id
    assert "score" not in made


@given(
    st.tuples(st.integers(10, 4000), st.integers(10, 4000)),
    st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.01, 0.1), st.floats(0.01, 0.1)),
    st.floats(-720, 720),
)
def test_a_turned_rectangle_is_what_shapely_turns_in_pixels(
    size_wh: tuple[int, int], place: tuple[float, float, float, float], degrees: float
) -> None:
    x, y, across, down = place
    value = {"x": 100 * x, "y": 100 * y, "width": 100 * across, "height": 100 * down, "rotation": degrees}
    expected = turned(x * size_wh[0], y * size_wh[1], across * size_wh[0], down * size_wh[1], degrees)
    seen = shapely.box(0, 0, *size_wh)
    if expected.intersection(seen).area < 1e-3:
        return
    drawn = one(region("rectanglelabels", value, size_wh=size_wh), size_wh)
    box = shapely.box(*expected.bounds).intersection(seen).bounds
    assert drawn.box_xyxy == pytest.approx(box, abs=1e-4 * max(size_wh))
    assert drawn.rle is None
    if drawn.corners is None:
        assert min(degrees % 360, 360 - degrees % 360) < 1e-5
    else:
        assert (
            np.abs(np.array(drawn.corners) - shapely.get_coordinates(expected)[[0, 3, 2, 1]]).max()
            < 1e-6 * max(size_wh)
            or shapely.Polygon(drawn.corners).symmetric_difference(expected).area < 1e-6 * expected.area + 1e-9
        )


def test_a_quarter_turn_on_a_wide_picture_by_hand() -> None:
    # 100 x 25 px, turned clockwise about (500, 125): it hangs down to the left.
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90}
    drawn = one(region("rectanglelabels", value, size_wh=WIDE), WIDE)
    assert drawn.box_xyxy == pytest.approx((475, 125, 500, 225))
    assert drawn.corners is not None


def test_the_noise_of_a_whole_turn_is_no_turn() -> None:
    for rotation in (0, None, 360, -360, 1e-14, -1e-14, 359.9999999999):
        value = {"x": 10, "y": 10, "width": 10, "height": 10, "rotation": rotation}
        assert one(region("rectanglelabels", value)).corners is None, rotation


def test_a_box_is_clipped_to_the_picture_both_ways() -> None:
    said = region("rectanglelabels", {"x": -10, "y": 90, "width": 30, "height": 30, "rotation": 0})
    assert one(said).box_xyxy == pytest.approx((0, 432, 128, 480))
    made = regions(label(box=(-3.0, 470.0, 20.0, 480.0000001)), SIZE)["value"]
    assert made["x"] == 0
    assert made["y"] + made["height"] == pytest.approx(100, abs=1e-12)


# Masks


def test_a_plain_mask_is_one_polygon_with_few_corners() -> None:
    for seed in range(8):
        mask = star(SIZE, seed)
        made = regions(label(mask), SIZE)
        assert made["type"] == "polygonlabels"
        assert made["from_name"] == convert.POLYGON_CONTROL
        assert made["value"]["closed"] is True
        assert len(made["value"]["points"]) < 45
        again = one(made)
        assert masks.iou(masks.encode(mask), again.rle or {}) >= MIN_POLYGON_IOU  # type: ignore[arg-type]
        assert again.outline is not None
        assert shapely.Polygon(again.outline).is_valid


def test_no_simpler_outline_of_one_tolerance_would_hold_the_mask() -> None:
    """Against all tolerances, a hundred of them, by shapely's own simplification of the drawn outline."""
    for seed in range(6):
        rle = masks.encode(star(SIZE, seed))
        (exact,), _ = masks.rle_to_polygons(rle)
        fewest = math.inf
        for tolerance in np.geomspace(0.5, 8, 100):
            ring = shapely.get_coordinates(shapely.Polygon(exact).simplify(tolerance))[:-1]
            if len(ring) >= 3 and masks.iou(rle, masks.polygons_to_rle([ring], (480, 640))) >= MIN_POLYGON_IOU:
                fewest = min(fewest, len(ring))
        found = outline_percent(rle)
        assert found is not None
        assert len(found) <= 1.25 * fewest + 2


def test_holes_and_parts_are_brushes() -> None:
    for boxes in (
        [(10, 10, 200, 200), (50, 50, 90, 90)],  # a hole
        [(10, 10, 60, 60), (100, 100, 160, 160)],  # two parts
        [(10, 10, 60, 60), (60, 60, 90, 90)],  # two that touch at a corner
        [(10, 10, 200, 200), (50, 50, 90, 90), (300, 300, 400, 400)],  # a part with a hole and one without
    ):
        mask = box_mask(SIZE, *boxes)
        made = regions(label(mask), SIZE)
        assert (made["type"], made["from_name"]) == ("brushlabels", "mask")
        assert (mask_of(one(made)) == mask).all()


def test_specks_and_lines_are_brushes_up_to_one_pixel() -> None:
    for box in ((5, 5, 6, 6), (5, 5, 300, 6), (5, 5, 6, 300), (639, 479, 640, 480)):
        mask = box_mask(SIZE, box)
        made = regions(label(mask), SIZE)
        assert made["type"] == "brushlabels"
        again = one(made)
        assert (mask_of(again) == mask).all()
        assert again.box_xyxy == box


def test_brush_numbers_are_those_of_the_sdk() -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="label_studio_sdk comes with 'studio'")
    for mask in (box_mask(SIZE, (10, 10, 200, 200), (50, 50, 90, 90)), star(SIZE, 1) ^ star(SIZE, 2)):
        made = regions(label(mask), SIZE)["value"]
        assert made["format"] == "rle"
        assert made["rle"] == list(brush.mask2rle(mask.astype(np.uint8) * 255))


def test_the_outline_of_a_large_mask_is_found_in_no_time() -> None:
    noise = np.random.default_rng(0).random((2160, 3840)) < 0.5
    started = time.perf_counter()
    assert outline_percent(masks.encode(noise)) is None
    assert time.perf_counter() - started < 6  # tracing a million parts would take a minute
    started = time.perf_counter()
    for seed in range(5):
        assert outline_percent(masks.encode(star(SIZE, seed))) is not None
    assert time.perf_counter() - started < 1


@settings(max_examples=300, deadline=None)
@given(drawn_masks())
def test_every_mask_comes_back(mask: Mask) -> None:
    rle = masks.encode(mask)
    size_wh = (mask.shape[1], mask.shape[0])
    made = regions(label(mask), size_wh)
    again = one(made, size_wh)
    assert again.rle is not None
    overlap = (mask_of(again) & mask).sum() / (mask_of(again) | mask).sum()
    assert overlap >= MIN_POLYGON_IOU
    if made["type"] == "brushlabels":
        assert again.rle == rle
        assert again.box_xyxy == label(mask).box_xyxy
        assert made["value"]["rle"] == encode_brush(mask)
    else:
        inside = np.array(made["value"]["points"])
        assert ((inside >= 0) & (inside <= 100)).all()


@settings(deadline=None)
@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.data())
def test_every_box_comes_back_to_half_a_pixel(size_wh: tuple[int, int], data: st.DataObject) -> None:
    width, height = size_wh
    x0, y0 = data.draw(st.floats(0, width * 0.99)), data.draw(st.floats(0, height * 0.99))
    x1, y1 = data.draw(st.floats(x0 + width / 200, width)), data.draw(st.floats(y0 + height / 200, height))
    again = one(regions(label(box=(x0, y0, x1, y1)), size_wh), size_wh)
    assert again.box_xyxy == pytest.approx((x0, y0, x1, y1), abs=1e-6)
    assert again.kind == "rectangle"


# What comes back from the editor


@pytest.mark.parametrize("degrees", [None, 0, 90, 180, 270])
def test_a_turned_picture_changes_nothing_that_is_saved(degrees: int | None) -> None:
    """Saved by the editor with the picture turned right: red lies at (60, 60) to (180, 120) of the upright picture."""
    said = region("rectanglelabels", {"x": 10, "y": 20, "width": 20, "height": 20, "rotation": 0}, size_wh=(600, 300))
    drawn = one({**said, "image_rotation": degrees}, (600, 300))
    assert drawn.box_xyxy == pytest.approx((60, 60, 180, 120))


def test_a_polygon_is_drawn_like_the_even_pixels_of_numpy() -> None:
    value = {"points": [[10, 10], [50, 10], [50, 50], [10, 50]], "closed": True}
    drawn = one(region("polygonlabels", value))
    assert (mask_of(drawn) == box_mask(SIZE, (64, 48, 320, 240))).all()
    assert drawn.box_xyxy == (64, 48, 320, 240)
    assert np.allclose(drawn.outline or (), [(64, 48), (320, 48), (320, 240), (64, 240)])


def test_a_polygon_over_the_border_is_cut_there() -> None:
    value = {"points": [[-20, -20], [30, -20], [30, 30], [-20, 30]]}
    drawn = one(region("polygonlabels", value))
    assert drawn.box_xyxy == pytest.approx((0, 0, 192, 144), abs=1)
    cut = masks.iou(drawn.rle or {}, masks.encode(box_mask(SIZE, (0, 0, 192, 144))))  # type: ignore[arg-type]
    assert cut > 0.98


def test_the_origin_and_the_id_come_along() -> None:
    value = {"x": 10, "y": 20, "width": 20, "height": 20, "rotation": 0}
    drawn = one(region("rectanglelabels", value, id="b" * 32, origin="prediction-changed"))
    assert (drawn.region_id, drawn.origin, drawn.class_name) == ("b" * 32, "prediction-changed", "box")
    assert one(region("rectanglelabels", value, origin=7, id=12)).origin is None
    assert one(region("rectanglelabels", value, id=12)).region_id == "12"


def test_a_slip_of_the_hand_is_no_crossing_and_a_bow_tie_is_one() -> None:
    slip = [[10, 10], [60, 10], [60, 60], [59.7, 60.3], [60, 60.3], [59.8, 59.8], [10, 60]]
    assert not shapely.Polygon(slip).is_valid
    assert one(region("polygonlabels", {"points": slip})).box_xyxy == pytest.approx((64, 48, 384, 288), abs=3)
    tie = [[10, 10], [60, 60], [60, 10], [10, 60]]
    assert reason(region("polygonlabels", {"points": tie})).startswith("the outline crosses itself")


def test_an_outline_that_winds_twice_or_backwards_over_much_of_it_is_refused() -> None:
    twice = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 10], [40, 10], [40, 60], [10, 60]]
    lopsided = [[10, 10], [60, 10], [60, 60], [20, 60], [20, 5], [10, 5]]
    for points in (twice, lopsided):
        assert not shapely.Polygon(points).is_valid
        assert "crosses itself" in reason(region("polygonlabels", {"points": points}))


def test_a_scribble_of_thousands_of_lines_is_refused_at_once() -> None:
    points = (100 * np.random.default_rng(0).random((5000, 2))).tolist()
    started = time.perf_counter()
    assert "crosses itself" in reason(region("polygonlabels", {"points": points}))
    assert time.perf_counter() - started < 10


def test_an_outline_that_runs_to_a_hole_and_back_is_no_crossing() -> None:
    """Some tools say holes so: the way in and the way out are one line."""
    points = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 10], [20, 20], [20, 50], [50, 50], [50, 20], [20, 20]]
    assert not shapely.Polygon(points).is_valid
    expected = box_mask(SIZE, (64, 48, 384, 288), (128, 96, 320, 240))
    assert masks.iou(one(region("polygonlabels", {"points": points})).rle or {}, masks.encode(expected)) > 0.98  # type: ignore[arg-type]


def test_a_spike_there_and_back_is_a_slip_too() -> None:
    spike = [[10, 10], [60, 10], [80, 10], [60, 10], [60, 60], [10, 60]]
    assert one(region("polygonlabels", {"points": spike})).kind == "polygon"


def test_statements_about_the_image_are_no_objects() -> None:
    said = [{"type": kind, "value": {}} for kind in ("choices", "textarea", "relation", "taxonomy", "rating")]
    assert read(said, SIZE) == ([], [])


RECTANGLE = {"x": 10, "y": 10, "width": 10, "height": 10, "rotation": 0}
BRUSH = {"format": "rle", "rle": encode_brush(box_mask(SIZE, (10, 10, 40, 40)))}
HUGE = 10**400
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]

ODD: dict[str, tuple[Any, str]] = {
    "no mapping": ([1], "as a mapping"),
    "an ellipse": (region("ellipselabels", {"x": 50, "y": 50, "radiusX": 5, "radiusY": 5}), "got 'ellipselabels'"),
    "a key point": (region("keypointlabels", {"x": 50, "y": 50, "width": 1}), "got 'keypointlabels'"),
    "a rectangle without a label": (region("rectangle", RECTANGLE), "got 'rectangle'"),
    "a kind of its own": (region("whatever", {}), "got 'whatever'"),
    "no kind": ({"id": "a"}, "got None"),
    "a list as kind": (region("rectanglelabels", {}, type=["rectanglelabels"]), "got ['rectanglelabels']"),
    "no value": (region("rectanglelabels", {}, value=None), "'value' as a mapping"),
    "no label": (region("rectanglelabels", {**RECTANGLE, "rectanglelabels": []}), "exactly one label, got []"),
    "two labels": (region("rectanglelabels", {**RECTANGLE, "rectanglelabels": ["a", "b"]}), "exactly one label"),
    "an empty label": (region("rectanglelabels", {**RECTANGLE, "rectanglelabels": [""]}), "exactly one label"),
    "a number as label": (region("rectanglelabels", {**RECTANGLE, "rectanglelabels": [1]}), "exactly one label"),
    "text as labels": (region("rectanglelabels", {**RECTANGLE, "rectanglelabels": "a"}), "exactly one label"),
    "another picture": (region("rectanglelabels", RECTANGLE, original_width=480, original_height=640), "480 x 640 px"),
    "no size": (region("rectanglelabels", RECTANGLE, original_width=None), "None x 480 px"),
    "an odd turn": (region("rectanglelabels", RECTANGLE, image_rotation=45), "turned by 45 degrees"),
    "NaN": (region("rectanglelabels", {**RECTANGLE, "x": math.nan}), "x as a number, got nan"),
    "infinity": (region("rectanglelabels", {**RECTANGLE, "width": math.inf}), "width as a number, got inf"),
    "a truth value": (region("rectanglelabels", {**RECTANGLE, "y": True}), "y as a number, got True"),
    "text": (region("rectanglelabels", {**RECTANGLE, "height": "10"}), "height as a number, got '10'"),
    "a number out of bounds": (region("rectanglelabels", {**RECTANGLE, "x": HUGE}), "x as a number, got 1000"),
    "an odd rotation": (region("rectanglelabels", {**RECTANGLE, "rotation": False}), "rotation as a number"),
    "no width": (region("rectanglelabels", {**RECTANGLE, "width": 0}), "above 0"),
    "a negative height": (region("rectanglelabels", {**RECTANGLE, "height": -5}), "above 0"),
    "outside": (region("rectanglelabels", {**RECTANGLE, "x": 100, "y": 10}), "nothing of it lies inside"),
    "two points": (region("polygonlabels", {"points": [[1, 1], [2, 2]]}), "at least three points"),
    "an open outline": (region("polygonlabels", {"points": TRIANGLE, "closed": False}), "the outline was left open"),
    "no points": (region("polygonlabels", {}), "at least three points"),
    "text as points": (region("polygonlabels", {"points": "abc"}), "at least three points"),
    "points of three": (region("polygonlabels", {"points": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}), "[[x, y], ...]"),
    "points as text": (region("polygonlabels", {"points": [["1", "2"], ["3", "4"], ["5", "1"]]}), "[[x, y], ...]"),
    "a truth value as point": (region("polygonlabels", {"points": [[True, 2], [3, 4], [5, 1]]}), "[[x, y], ...]"),
    "NaN among points": (region("polygonlabels", {"points": [[math.nan, 2], [3, 4], [5, 1]]}), "[[x, y], ...]"),
    "huge points": (region("polygonlabels", {"points": [[HUGE, 2], [3, 4], [5, 1]]}), "[[x, y], ...]"),
    "points far away": (region("polygonlabels", {"points": [[900, 900], [950, 900], [900, 950]]}), "corners near"),
    "points beside it": (region("polygonlabels", {"points": [[110, 10], [120, 10], [110, 20]]}), "nothing of it"),
    "points on one spot": (region("polygonlabels", {"points": [[150, 10]] * 4}), "nothing of it"),
    "no brush": (region("brushlabels", {"format": "rle"}), "a list of numbers"),
    "an empty brush": (region("brushlabels", {"rle": []}), "of 0 values"),
    "a number as brush": (region("brushlabels", {"rle": 10**12}), "a list of numbers"),
    "a mapping as brush": (region("brushlabels", {"rle": {"0": 1}}), "a list of numbers"),
    "no bytes": (region("brushlabels", {"rle": [1, 2, 256]}), "from 0 to 255"),
    "a brush of nothing": (region("brushlabels", {"rle": encode_brush(box_mask(SIZE))}), "nothing of it lies inside"),
    "half a brush": (region("brushlabels", {"rle": BRUSH["rle"][:20]}), "ends at value"),
    "a brush of another picture": (region("brushlabels", {"rle": encode_brush(box_mask((64, 48)))}), "640 x 480 px"),
    "a brush that says it is huge": (region("brushlabels", {"rle": [255, 255, 255, 255, 57, 27, 240]}), "values in 7"),
    "deep": (region("rectanglelabels", {"x": DEEP}), "x as a number"),
    "deep labels": (region("rectanglelabels", {"rectanglelabels": DEEP}), "exactly one label"),
    "a deep id": (region("rectanglelabels", {}, id=DEEP), "x as a number"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_says_no_object_is_refused_in_one_line(odd: str) -> None:
    said, expected = ODD[odd]
    assert expected in reason(said)


def test_a_brush_of_the_largest_picture_is_read_and_a_lie_about_it_is_not() -> None:
    size_wh = (3840, 2160)
    mask = box_mask(size_wh, (100, 100, 3000, 2000), (500, 500, 900, 900))
    made = regions(label(mask), size_wh)
    assert (mask_of(one(made, size_wh)) == mask).all()
    for numbers in (made["value"]["rle"][:-40], [0, 0, 0, 1, *made["value"]["rle"][4:]], [255] * 9):
        assert reason({**made, "value": {**made["value"], "rle": numbers}}, size_wh)


def test_refused_ids_are_one_printable_line() -> None:
    for name, shown in (
        ("a\nb", "'a\\nb'"),
        ("\x1b[2J", "'\\x1b[2J'"),
        ("\ud800", "'\\ud800'"),
        (None, "?"),
        ("ok", "ok"),
    ):
        (refused,) = read([{"id": name}], SIZE)[1]
        assert refused.region_id == shown


def test_one_bad_region_does_not_hide_the_others() -> None:
    drawn, refused = read([region("rectanglelabels", RECTANGLE), 7, region("brushlabels", BRUSH)], SIZE)
    assert ([each.kind for each in drawn], len(refused)) == (["rectangle", "brush"], 1)


def test_no_list_of_regions_is_one_refusal() -> None:
    for said in (None, {}, {"a": 1}, "text", 3, True):
        drawn, refused = read(said, SIZE)  # type: ignore[arg-type]
        assert drawn == []
        assert "a list of regions" in refused[0].reason


NUMBER = st.integers() | st.floats() | st.floats(-50, 150) | st.booleans()
JSON = st.recursive(
    st.none() | NUMBER | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
KINDS = st.sampled_from(["rectanglelabels", "polygonlabels", "brushlabels", "choices", "keypointlabels"])
VALUES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("x", "y", "width", "height", "rotation"), NUMBER | JSON),
        "points": st.lists(st.lists(st.floats(-60, 160) | NUMBER, min_size=2, max_size=2), max_size=9) | JSON,
        "rle": st.lists(st.integers(0, 255), max_size=60).map(lambda tail: [0, 0, 12, 128, *tail]) | JSON,
        **dict.fromkeys(("rectanglelabels", "polygonlabels", "brushlabels"), st.just(["box"]) | JSON),
    },
)
REGIONS = st.fixed_dictionaries(
    {"type": KINDS | JSON, "value": VALUES | JSON},
    optional={
        "id": JSON,
        "origin": JSON,
        "original_width": st.just(40) | JSON,
        "original_height": st.just(20) | JSON,
        "image_rotation": st.sampled_from([0, 90, 180, 270]) | JSON,
    },
)
COMPLETE = REGIONS.map(lambda said: said | {"original_width": 40, "original_height": 20, "image_rotation": 0})


@settings(max_examples=600, deadline=None)
@given(st.lists(REGIONS | COMPLETE | JSON, max_size=4) | JSON)
def test_any_json_is_read_or_refused(said: Any) -> None:
    drawn, refused = read(said, (40, 20))
    for each in drawn:
        x0, y0, x1, y1 = each.box_xyxy
        assert 0 <= x0 < x1 <= 40
        assert 0 <= y0 < y1 <= 20
        assert each.rle is None or masks.area(each.rle) > 0
        assert isinstance(each.region_id, str)
    assert all("\n" not in each.reason and each.region_id.isprintable() for each in refused)
    if isinstance(said, list):
        assert len(drawn) + len(refused) <= len(said)


# Predictions


def test_the_score_of_a_prediction_is_the_mean_of_those_that_have_one() -> None:
    said = convert.prediction([label(score=0.5), label(number=1, score=1.0), label(number=2, score=None)], SIZE)
    assert said["score"] == 0.75
    assert said["model_version"] == convert.MODEL_VERSION
    assert [each.get("score") for each in said["result"]] == [0.5, 1.0, None]
    assert "score" not in convert.prediction([label(score=None)], SIZE)
    assert "score" not in convert.prediction([], SIZE)


def golden_labels() -> list[Annotation]:
    return [
        label(box=(12.5, 20.25, 100.125, 99.875)),
        label(star((160, 120), 3), number=1, class_name="pallet & 'co' <1>", score=None),
        label(box_mask((160, 120), (10, 10, 60, 60), (20, 20, 30, 30)), number=2),
        label(box_mask((160, 120), (80, 5, 150, 40)), number=3, class_name="gabelstapler ü"),
        label(box_mask((160, 120), (3, 3, 4, 4)), number=4),
    ]


def test_a_prediction_is_what_it_was() -> None:
    """A changed outline makes regions that wait in Label Studio look moved: see ``outline_percent``."""
    check_golden("prediction.json", convert.prediction(golden_labels(), (160, 120)))


def check_golden(name: str, found: Any) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    path: Path = GOLDEN / name
    if os.environ.get("LABELSTILL_WRITE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")

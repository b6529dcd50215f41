"""Label Studio tasks: regions by hand, shapely for rotations, the SDK for brushes, and tasks that say odd things."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labeling.core import geometry, masks
from labeling.core.errors import InputError
from labeling.formats import labelstudio as ls
from labeling.formats.items import Item, LabelledImage

SIZE = (1000, 500)
TILTED = geometry.rotated_to_corners(300, 100, 200, 80, 33)


def region(kind: str = "rectanglelabels", *, label: str = "cat", **changes: Any) -> dict[str, Any]:
    """Return a region as Label Studio exports it; ``value`` is added to, everything else is replaced."""
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0} | changes.pop("value", {})
    return {
        "id": "a1",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": SIZE[0],
        "original_height": SIZE[1],
        "image_rotation": 0,
        "value": value | {kind: [label]},
    } | changes


def task(*regions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    annotation = {"id": 7, "result": list(regions)}
    return {"id": 42, "data": {"image": "/data/upload/3/photo.jpg"}, "annotations": [annotation]} | changes


def read(*regions: dict[str, Any]) -> tuple[Item, ...]:
    image = ls.read_task(json.loads(json.dumps(task(*regions))), "tasks.json")
    assert image is not None
    return image.objects


def there_and_back(image: LabelledImage) -> LabelledImage:
    text = json.dumps(ls.task(image, "/data/local-files/?d=x.jpg"), allow_nan=False)
    again = ls.read_task(json.loads(text), "tasks.json", predictions=True)
    assert again is not None
    return again


@st.composite
def images(draw: st.DrawFn) -> LabelledImage:
    width, height = draw(st.tuples(st.integers(2, 60), st.integers(2, 60)))
    source = draw(st.sampled_from(["machine", "human"]))
    objects = []
    for _ in range(draw(st.integers(1, 4))):
        x0, x1 = sorted(draw(st.tuples(st.floats(0, width), st.floats(0, width))))
        y0, y1 = sorted(draw(st.tuples(st.floats(0, height), st.floats(0, height))))
        mask = draw(st.none() | hnp.arrays(np.bool_, (height, width)))
        turn = draw(st.none() | st.floats(0.1, 359))
        corners = None
        if turn is not None:
            points = geometry.rotated_to_corners(x0, y0, draw(st.floats(1, 50)), draw(st.floats(1, 50)), turn)
            corners = tuple(map(tuple, points.tolist()))
            x0, y0, x1, y1 = geometry.box_around(points)
        objects.append(
            Item(
                draw(st.text(min_size=1)),
                (x0, y0, x1, y1),
                rle=None if mask is None else masks.encode(mask),
                corners=corners,  # type: ignore[arg-type]
                score=draw(st.none() | st.floats(0, 1)) if source == "machine" else None,
                source=source,  # type: ignore[arg-type]
            )
        )
    return LabelledImage(
        draw(st.text(min_size=1)), (width, height), tuple(objects), sha256="ab", reviewed=source == "human"
    )


@settings(max_examples=200, deadline=None)
@given(images())
def test_objects_come_back_one_by_one(image: LabelledImage) -> None:
    again = there_and_back(image)
    assert (again.name, again.size_wh, again.sha256) == (image.name, image.size_wh, image.sha256)
    assert again.reviewed == image.reviewed
    assert len(again.objects) == len(image.objects)
    for one, other in zip(image.objects, again.objects, strict=True):
        assert (one.class_name, one.rle, one.source) == (other.class_name, other.rle, other.source)
        assert one.score == other.score
        np.testing.assert_allclose(one.box_xyxy, other.box_xyxy, atol=1e-3)
        if one.corners is not None:
            np.testing.assert_allclose(one.corners, other.corners, atol=1e-3)


def test_a_task_by_hand() -> None:
    box = Item("cat", (100, 100, 400, 300), score=0.5, source="machine")
    made = ls.task(LabelledImage("a/b.jpg", SIZE, (box,), "ab"), "/data/x.jpg", model_version="m1")
    assert made == {
        "data": {"image": "/data/x.jpg", "labelstill_name": "a/b.jpg", "labelstill_id": "ab"},
        "predictions": [
            {
                "model_version": "m1",
                "score": 0.5,
                "result": [
                    {
                        "id": "r1",
                        "type": "rectanglelabels",
                        "from_name": "box",
                        "to_name": "image",
                        "original_width": 1000,
                        "original_height": 500,
                        "image_rotation": 0,
                        "score": 0.5,
                        "value": {
                            "x": 10.0,
                            "y": 20.0,
                            "width": 30.0,
                            "height": 40.0,
                            "rotation": 0.0,
                            "rectanglelabels": ["cat"],
                        },
                    }
                ],
            }
        ],
    }


def test_a_mask_is_a_brush_of_the_sdk_beside_its_box() -> None:
    sdk = pytest.importorskip("label_studio_sdk.converter.brush")
    mask = np.zeros((50, 100), dtype=bool)
    mask[10:20, 30:60] = True
    item = Item("cat", (29.3, 9.7, 61.2, 20.9), rle=masks.encode(mask), source="human")
    (annotation,) = ls.task(LabelledImage("a.jpg", (100, 50), (item,)), "/data/a.jpg")["annotations"]
    rectangle, brush = annotation["result"]
    assert [rectangle["id"], brush["id"]] == ["r1", "r1-mask"]
    assert [rectangle["from_name"], brush["from_name"]] == [ls.BOX_CONTROL, ls.MASK_CONTROL]
    assert brush["value"]["format"] == "rle"
    assert brush["value"]["rle"] == sdk.mask2rle(mask.astype(np.uint8) * 255)
    assert "score" not in brush


def test_predictions_of_the_label_studio_client_are_what_we_write() -> None:
    """Oracle: the SDK's own check of predictions against a labelling configuration."""
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    config = (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="{ls.BOX_CONTROL}" toName="{ls.IMAGE_CONTROL}"><Label value="cat"/></RectangleLabels>'
        f'<BrushLabels name="{ls.MASK_CONTROL}" toName="{ls.IMAGE_CONTROL}"><Label value="cat"/></BrushLabels></View>'
    )
    mask = masks.encode(np.eye(5, dtype=bool))
    items = (
        Item("cat", (0, 0, 5, 5), rle=mask, score=0.5, source="machine"),
        Item("cat", (0, 0, 1, 1), corners=((1, 0), (2, 1), (1, 2), (0, 1)), score=0.5, source="machine"),
    )
    (prediction,) = ls.task(LabelledImage("a.jpg", (5, 5), items), "/data/a.jpg")["predictions"]
    assert interface.LabelInterface(config).validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize(("reviewed", "key"), [(True, "annotations"), (False, "predictions")])
def test_looked_and_found_nothing_is_said(reviewed: bool, key: str) -> None:
    made = ls.task(LabelledImage("a.jpg", SIZE, (), reviewed=reviewed), "/data/a.jpg")
    assert set(made) == {"data", key}
    assert [one["result"] for one in made[key]] == [[]]
    again = ls.read_task(made, "t", predictions=True)
    assert again == LabelledImage("a.jpg", None, (), reviewed=reviewed)


def test_rotation_is_worked_out_in_pixels() -> None:
    """On a picture that is not square, percent of the two axes are not of one length."""
    (item,) = read(region(value={"x": 20, "y": 20, "width": 30, "height": 20, "rotation": 90}))
    assert item.box_xyxy == pytest.approx((100, 100, 200, 400))


PERCENT = st.floats(0, 100)


@given(PERCENT, PERCENT, st.floats(0.1, 100), st.floats(0.1, 100), st.floats(-400, 400))
def test_rotated_rectangles_are_those_of_shapely(x: float, y: float, w: float, h: float, degrees: float) -> None:
    (item,) = read(region(value={"x": x, "y": y, "width": w, "height": h, "rotation": degrees}))
    box = shapely.box(x * 10, y * 5, (x + w) * 10, (y + h) * 5)
    expected = shapely.affinity.rotate(box, degrees, origin=(x * 10, y * 5))
    assert item.box_xyxy == pytest.approx(expected.bounds, abs=1e-6)
    if degrees % 360:
        assert item.corners is not None
        assert shapely.Polygon(item.corners).hausdorff_distance(expected) < 1e-6
    else:
        assert item.corners is None


def test_polygons_and_ellipses_become_masks() -> None:
    points = [[10, 20], [50, 20], [50, 80], [10, 80]]
    polygon, ellipse = read(
        region("polygonlabels", id="p", value={"points": points, "closed": True}),
        region("ellipselabels", id="e", value={"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30}),
    )
    assert polygon.box_xyxy == pytest.approx((100, 100, 500, 400))
    assert polygon.rle is not None
    assert masks.area(polygon.rle) == 400 * 300
    circle = shapely.Point(0, 0).buffer(1, quad_segs=64)
    expected = shapely.affinity.rotate(shapely.affinity.scale(circle, 200, 50), 30, origin=(0, 0))
    expected = shapely.affinity.translate(expected, 500, 250)
    assert ellipse.rle is not None
    assert masks.area(ellipse.rle) == pytest.approx(expected.area, rel=0.01)
    assert ellipse.box_xyxy == pytest.approx(expected.bounds, abs=0.5)


def test_a_brush_of_its_own_has_the_box_around_its_pixels() -> None:
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[10:20, 30:60] = True
    (item,) = ls.task(LabelledImage("a", SIZE, (Item("cat", (0, 0, 1, 1), rle=masks.encode(mask)),)), "a")[
        "annotations"
    ]
    brush = item["result"][1] | {"id": "made by hand"}
    (found,) = read(brush)
    assert (found.box_xyxy, found.rle) == ((30, 10, 60, 20), masks.encode(mask))


def test_box_and_mask_stay_one_object_and_either_can_be_deleted() -> None:
    mask = masks.encode(np.ones((4, 4), dtype=bool))
    items = tuple(Item(name, (0, 0, 3, 3), rle=mask, source="human") for name in ("cat", "dog"))
    (annotation,) = ls.task(LabelledImage("a", (4, 4), items), "a")["annotations"]
    first, first_mask, second, second_mask = annotation["result"]
    assert len(read(second_mask, first, first_mask, second)) == 2
    assert [item.rle is not None for item in read(first, second, second_mask)] == [False, True]
    assert [item.box_xyxy for item in read(first_mask, second)] == [(0, 0, 4, 4), (0, 0, 3, 3)]
    relabelled = copy.deepcopy(first_mask)
    relabelled["value"]["brushlabels"] = ["dog"]
    with pytest.raises(InputError, match=r"region 'r1-mask': the mask is a 'dog', its rectangle a 'cat'"):
        read(first, relabelled)


def annotation(number: int, label: str, **changes: Any) -> dict[str, Any]:
    return {"id": number, "result": [region(label=label)]} | changes


@pytest.mark.parametrize(
    ("annotations", "label"),
    [
        ([annotation(1, "old"), annotation(2, "new")], "new"),
        ([annotation(2, "new"), annotation(1, "old")], "new"),
        ([annotation(3, "skipped", was_cancelled=True), annotation(2, "kept")], "kept"),
        (
            [
                annotation(9, "old", created_at="2026-01-01T00:00:00Z"),
                annotation(8, "new", created_at="2026-02-01T00:00:00Z"),
            ],
            "new",
        ),
        ([{"result": [region(label="first")]}, {"result": [region(label="last")]}], "last"),
    ],
)
def test_the_newest_annotation_that_was_not_cancelled_counts(annotations: list[Any], label: str) -> None:
    image = ls.read_task(task(annotations=annotations, predictions=[annotation(99, "machine")]), "t", predictions=True)
    assert image is not None
    assert [item.class_name for item in image.objects] == [label]
    assert image.reviewed


def test_predictions_are_read_when_asked_and_nothing_is_not_empty() -> None:
    machine = task(annotations=[annotation(1, "skipped", was_cancelled=True)], predictions=[annotation(5, "cat")])
    assert ls.read_task(machine, "t") is None
    image = ls.read_task(machine, "t", predictions=True)
    assert image is not None
    assert [(item.class_name, item.source) for item in image.objects] == [("cat", "machine")]
    assert not image.reviewed
    assert ls.read_task(task(annotations=[]), "t", predictions=True) is None
    empty = ls.read_task(task(), "t")
    assert empty is not None
    assert empty.objects == ()


def test_statements_about_the_whole_picture_are_no_objects() -> None:
    choice = {"id": "c", "type": "choices", "value": {"choices": ["blurry"]}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    assert len(read(choice, region(), relation)) == 1


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"image": "/data/local-files/?d=set%20a/%C3%A9.jpg"}, "set a/é.jpg"),
        ({"image": "/data/upload/3/12ab-photo%201.jpg"}, "12ab-photo 1.jpg"),
        ({"image": "https://example.org/a/b.png?x=1"}, "b.png"),
        ({"image": "s3://bucket/a/b.png"}, "b.png"),
        ({"image": "x", "labelstill_name": "a/b.jpg"}, "a/b.jpg"),
    ],
)
def test_name_of_the_picture(data: dict[str, Any], name: str) -> None:
    image = ls.read_task(task(region(), data=data), "t")
    assert image is not None
    assert image.name == name


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([region(value={"rectanglelabels": []}, label="x") | {"value": {"x": 1}}], "exactly one label, got None"),
        ([region() | {"value": region()["value"] | {"rectanglelabels": []}}], "exactly one label"),
        ([region() | {"value": region()["value"] | {"rectanglelabels": ["a", "b"]}}], "exactly one label"),
        ([region() | {"value": region()["value"] | {"rectanglelabels": "cat"}}], "exactly one label"),
        ([region(), region(id="b2", original_width=999)], "region 'b2': drawn on a picture of 999 x 500 px"),
        ([region(image_rotation=45)], "rotated by 45 degrees; rotate it back"),
        ([region(original_width=None)], "original_width and original_height"),
        ([region(original_width=-5)], "original_width and original_height"),
        ([region(original_width=10**9, original_height=10**9)], "original_width and original_height"),
        ([region("keypointlabels")], "got type 'keypointlabels'"),
        ([region(value={"x": "10"})], "x: expected a number, got '10'"),
        ([region(value={"x": True})], "x: expected a number"),
        ([region(value={"width": None})], "width: expected a number"),
        ([region(value={"rotation": "a"})], "rotation: expected a number"),
        ([region(score="high")], "score: expected a number"),
        ([region("polygonlabels", value={"points": [[1, 2], [3, 4]]})], "at least three corners"),
        ([region("polygonlabels", value={"points": [[1, 2], [3]]})], "expected points"),
        ([region("polygonlabels", value={"points": [[1, 2], [1e9, 4], [3, 3]]})], "near the 1000 x 500 image"),
        ([region("polygonlabels")], "points"),
        ([region("brushlabels", value={"rle": [0] * 9})], "expected a brush mask of 1000 x 500 px"),
        ([region("brushlabels")], "expected a brush mask"),
        ([region("ellipselabels")], "radiusX: expected a number"),
        ([region() | {"value": None}], "expected 'value' as a mapping"),
        (["region"], "expected a region as a mapping"),
    ],
)
def test_unusable_regions_are_named_with_their_task(regions: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^tasks\.json: task 42.*{message}") as caught:
        ls.read_task(task(*regions), "tasks.json")
    if isinstance(regions[-1], dict):
        assert f"region {regions[-1]['id']!r}" in str(caught.value)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "task",
        {},
        {"data": None},
        task(annotations="x"),
        task(annotations=[None]),
        task(data={}),
        task(data={"image": 3}),
    ]
    + [task(annotations=[{"id": 1, "result": result}]) for result in (None, "x", 3)],
)
def test_what_is_no_task_is_refused(broken: Any) -> None:
    with pytest.raises(InputError, match=r"^tasks\.json: "):
        ls.read_task(broken, "tasks.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_tasks_are_read_or_refused(data: st.DataObject) -> None:
    mask = masks.encode(np.eye(6, dtype=bool))
    items = (Item("cat", (0, 0, 5, 5), rle=mask), Item("dog", (0, 0, 1, 1), corners=((1, 0), (2, 1), (1, 2), (0, 1))))
    broken = ls.task(LabelledImage("a.jpg", (6, 6), items), "/data/a.jpg")
    place: Any = broken
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    try:
        ls.read_task(broken, "t", predictions=data.draw(st.booleans()))
    except InputError as error:
        message = str(error)
    else:
        message = "t: "
    assert message.startswith("t: ")


def test_an_image_with_objects_and_without_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.jpg: Label Studio needs the width and height"):
        ls.task(LabelledImage("a.jpg", None, (Item("cat", (0, 0, 1, 1)),)), "/data/a.jpg")

"""Tasks before they are sent: what Label Studio would accept without a word is found, and what we make passes."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core import masks
from labeling.core.errors import MissingExtraError
from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation, Provenance, Rle
from labeling.studio.config import label_config
from labeling.studio.convert import prediction
from labeling.studio.validate import problems

LabelInterface = pytest.importorskip("label_studio_sdk.label_interface", reason="needs the studio extra").LabelInterface

CONFIG = label_config(parse_classes("cat, dog"))
SIZE = (20, 10)


def annotation(number: int, *, mask: Rle | None = None, score: float | None = 0.5) -> Annotation:
    box = (1.0, 2.0, 9.0, 8.0)
    return Annotation(f"{number:032x}", "ab" * 32, "cat", box, Provenance("teacher", model="m", score=score), mask)


def drawn(*, hole: bool = False) -> Rle:
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[1:9, 2:15] = True
    mask[4:6, 6:9] = not hole
    return masks.encode(mask)


def task() -> dict[str, Any]:
    """Return a task with a rectangle, a polygon and a brush, in this order."""
    labels = [annotation(1), annotation(2, mask=drawn()), annotation(3, mask=drawn(hole=True))]
    made = {"data": {"image": "/data/a.png"}, "predictions": [prediction(labels, SIZE)]}
    assert [one["type"] for one in regions(made)] == ["rectanglelabels", "polygonlabels", "brushlabels"]
    return made


def regions(made: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made["predictions"][0]["result"]
    return found


def test_what_we_make_passes() -> None:
    assert problems(task(), CONFIG) == []
    assert problems(json.loads(json.dumps(task())), CONFIG) == []
    assert problems({"data": {"image": "x"}}, CONFIG) == []
    assert problems({"data": {"image": "x"}, "predictions": [prediction([], SIZE)]}, CONFIG) == []


Change = Callable[[list[dict[str, Any]]], Any]
RECTANGLE, POLYGON, BRUSH = 0, 1, 2


def value(number: int, **changes: Any) -> Change:
    return lambda found: found[number]["value"].update(changes)


def region(number: int, **changes: Any) -> Change:
    return lambda found: found[number].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # What Label Studio's own library lets pass.
        (value(RECTANGLE, x=70, width=40), "within 0 to 100 percent"),
        (value(RECTANGLE, y=-1), "within 0 to 100 percent"),
        (value(RECTANGLE, width=-5), "width and height above 0"),
        (value(RECTANGLE, height=0), "width and height above 0"),
        (region(POLYGON, id=f"{1:032x}"), "expected an id of its own"),
        (region(POLYGON, id=""), "expected an id of its own"),
        (region(POLYGON, id=7), "expected an id of its own"),
        (value(RECTANGLE, rectanglelabels=[]), "has no label"),
        (value(POLYGON, polygonlabels=None), "has no label"),
        (value(POLYGON, polygonlabels=[""]), "expected exactly one label, got ['']"),
        (value(RECTANGLE, rectanglelabels=["cat", "dog"]), "expected exactly one label, got ['cat', 'dog']"),
        (value(BRUSH, brushlabels="cat"), "expected exactly one label, got 'cat'"),
        (value(POLYGON, points=[[1, 1], [5, 5]]), "at least three points"),
        (value(POLYGON, points=[[1, 1], [5, 5], [5, 101]]), "from 0 to 100 percent, got [5, 101] among them"),
        (value(POLYGON, points=[[1, 1], [5, 5], [5]]), "points as [x, y]"),
        (value(POLYGON, points=[[1, 1], [5, 5], ["5", 1]]), "points as [x, y]"),
        (value(BRUSH, rle=[]), "expected a brush mask of 20 x 10 px"),
        (value(BRUSH, rle=[0, 0, 3, 33, 1]), "expected a brush mask of 20 x 10 px"),
        (value(BRUSH, rle=[256, 0, 0, 0]), "expected a brush mask"),
        (region(BRUSH, original_width=21), "expected a brush mask of 21 x 10 px"),
        # Numbers that are none.
        (value(RECTANGLE, x=math.nan), "within 0 to 100 percent"),
        (value(RECTANGLE, width=math.inf), "within 0 to 100 percent"),
        (value(RECTANGLE, width=math.nan), "width and height above 0"),
        (value(RECTANGLE, x=None), "as x, y, width and height"),
        (value(RECTANGLE, height="5"), "width and height above 0"),
        (value(POLYGON, points=[[1, 1], [5, 5], [5, math.nan]]), "points as [x, y]"),
        (region(RECTANGLE, score=math.nan), "expected a score as a number"),
        (region(RECTANGLE, score="high"), "expected a score as a number"),
        (region(RECTANGLE, score=1.01), "from 0 to 1, got 1.01"),
        (region(BRUSH, score=-0.1), "from 0 to 1, got -0.1"),
        # What only the configuration can tell.
        (value(RECTANGLE, rectanglelabels=["cow"]), "cow"),
        (value(POLYGON, polygonlabels=["Cat"]), "Cat"),
        (value(BRUSH, brushlabels=["cow"]), "cow"),
        (region(RECTANGLE, from_name="boxes"), "'boxes' not found in configuration"),
        (region(RECTANGLE, to_name="picture"), "'picture' not found in configuration"),
    ],
)
def test_one_fault_is_one_line_that_says_it(change: Change, said: str) -> None:
    made = task()
    change(regions(made))
    (line,) = problems(made, CONFIG)
    assert said in line
    assert len(line) <= 300
    assert "\n" not in line


def test_a_shape_under_the_control_of_another_is_found() -> None:
    made = task()
    regions(made)[BRUSH]["from_name"] = "box"
    lines = problems(made, CONFIG)
    assert "Type 'brushlabels' does not match expected type 'rectanglelabels'" in lines[0]


def test_the_score_of_a_prediction_is_one_too() -> None:
    made = task()
    made["predictions"][0]["score"] = 70
    assert problems(made, CONFIG) == ["expected a score as a number from 0 to 1, got 70"]


def test_every_region_with_a_fault_is_named() -> None:
    made = task()
    for found in regions(made):
        found["id"] = "twice\x1b[2J"
    lines = problems(made, CONFIG)
    assert lines == [r"region 'twice\x1b[2J': expected an id of its own"] * 2


@pytest.mark.parametrize("data", [None, {}, {"image": ""}, {"picture": "x"}])
def test_a_task_has_the_address_of_a_picture(data: Any) -> None:
    assert problems(task() | {"data": data}, CONFIG) == ["data.image: expected the address of a picture, got none"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_task_is_judged_and_never_breaks_the_judge(data: st.DataObject) -> None:
    broken = copy.deepcopy(task())
    place: Any = broken["predictions"]
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    assert all(line and len(line) <= 300 and line.isprintable() for line in problems(broken, CONFIG))


def test_the_library_is_asked_once_about_regions_that_differ_in_nothing_but_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would turn over every number of a brush, and a mask of a large photo has a hundred thousand."""
    seen = []
    judge = LabelInterface.validate_prediction

    def listening(self: Any, made: dict[str, Any], return_errors: bool) -> Any:
        seen.extend(made["result"])
        return judge(self, made, return_errors)

    monkeypatch.setattr(LabelInterface, "validate_prediction", listening)
    made = task()
    before = copy.deepcopy(made)
    config = CONFIG.replace("</View>", "<Header value='of this test alone'/></View>")
    assert problems(made, config) == problems(made, config) == []
    assert [len(one["value"].get("rle", ())) for one in seen] == [0, 0, 4]
    assert made == before


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "label_studio_sdk.label_interface.interface", None)
    with pytest.raises(MissingExtraError, match=r"extra 'studio'"):
        problems(task(), CONFIG.replace("cat", "cat of this test alone").replace("dog", "cat"))

"""Filters: what stays, what is dropped and under which reason."""

from __future__ import annotations

import importlib
import tracemalloc
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core.geometry import iou
from labeling.teachers import filters
from labeling.teachers.filter_settings import drop_words
from labeling.teachers.filters import FilterSettings, apply
from labeling.teachers.seams import COARSE, CUT

if TYPE_CHECKING:
    import supervision as sv

pytestmark = pytest.mark.torch

NAMES = ("box", "cone", "barrel")
SIZE_WH = (100, 60)

Row = tuple[Sequence[float], float, int, str]


def detections(rows: Sequence[Row]) -> sv.Detections:
    """Build detections from (box, score, class id, prompt); each row carries its number as a feature."""
    import supervision as sv

    prompts = np.empty(len(rows), dtype=object)
    prompts[:] = [row[3] for row in rows]
    result = sv.Detections(
        xyxy=np.zeros((len(rows), 4), dtype=np.float32),
        confidence=np.array([row[1] for row in rows], dtype=np.float32),
        class_id=np.array([row[2] for row in rows], dtype=int),
        data={"prompt": prompts, "feature": np.arange(len(rows), dtype=np.float16)[:, None]},
    )
    # The constructor refuses numbers that are not finite; nothing keeps them out later.
    result.xyxy = np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4)
    return result


def test_no_boxes_give_no_boxes() -> None:
    kept, drops = apply(detections([]), SIZE_WH, NAMES, (0.3,) * 3, FilterSettings())
    assert len(kept) == 0
    assert not drops
    assert set(kept.data) == {"prompt", "feature", "flags"}


def test_every_drop_is_counted_by_reason_and_class() -> None:
    nan, inf = float("nan"), float("inf")
    kept, drops = apply(
        detections(
            [
                ((10, 10, 30, 30), 0.9, 0, "box"),
                ((10, 10, 30, inf), 0.9, 0, "box"),
                ((10, 10, 30, 30), nan, 1, "cone"),
                ((30, 30, 10, 10), 0.9, 1, "cone"),
                ((50, 10, 70, 30), 0.2, 2, "barrel"),
                ((-20, -20, -5, -5), 0.9, 2, "barrel"),
                ((40, 40, 41, 42), 0.9, 1, "cone"),
                ((10, 10, 30, 29), 0.8, 0, "crate"),
            ]
        ),
        SIZE_WH,
        NAMES,
        (0.3, 0.3, 0.3),
        FilterSettings(),
    )
    assert kept.xyxy.tolist() == [[10, 10, 30, 30]]
    assert drops == {
        ("not_finite", "box"): 1,
        ("not_finite", "cone"): 1,
        ("inverted", "cone"): 1,
        ("score", "barrel"): 1,
        ("outside", "barrel"): 1,
        ("min_area", "cone"): 1,
        ("nms", "box"): 1,
    }


def test_each_class_has_its_own_score() -> None:
    rows = [((10, 10, 30, 30), 0.5, 0, "box"), ((50, 10, 70, 30), 0.5, 1, "cone")]
    kept, drops = apply(detections(rows), SIZE_WH, NAMES, (0.5, 0.6, 0.0), FilterSettings())
    assert kept.class_id.tolist() == [0]
    assert drops == {("score", "cone"): 1}


def test_of_two_prompts_of_a_class_the_better_one_is_recorded() -> None:
    rows = [((10, 10, 30, 30), 0.6, 0, "crate"), ((10, 11, 30, 30), 0.8, 0, "wooden box")]
    kept, _ = apply(detections(rows), SIZE_WH, NAMES, (0.3,) * 3, FilterSettings())
    assert kept.data["prompt"].tolist() == ["wooden box"]
    assert kept.data["feature"].tolist() == [[1.0]]


@pytest.mark.parametrize(("agnostic", "classes"), [(False, [1, 0]), (True, [1])])
def test_classes_suppress_each_other_only_where_asked(agnostic: bool, classes: list[int]) -> None:
    rows = [((10, 10, 30, 30), 0.6, 0, "box"), ((10, 11, 30, 30), 0.8, 1, "cone")]
    kept, drops = apply(detections(rows), SIZE_WH, NAMES, (0.3,) * 3, FilterSettings(class_agnostic_nms=agnostic))
    assert kept.class_id.tolist() == classes
    assert sum(drops.values()) == 2 - len(classes)


def test_boxes_are_clipped_to_the_image() -> None:
    kept, drops = apply(
        detections([((-10, -20, 50, 400), 0.9, 0, "box")]), SIZE_WH, NAMES, (0.3,) * 3, FilterSettings()
    )
    assert kept.xyxy.tolist() == [[0, 0, 50, 60]]
    assert not drops


def test_a_box_of_the_whole_image_is_flagged_and_kept() -> None:
    rows = [((0, 0, 100, 58), 0.9, 0, "box"), ((0, 0, 100, 50), 0.8, 1, "cone")]
    kept, _ = apply(detections(rows), SIZE_WH, NAMES, (0.3,) * 3, FilterSettings())
    assert kept.data["flags"].tolist() == [("full_image",), ()]


def test_equal_boxes_with_equal_scores_leave_the_first() -> None:
    rows = [((10, 10, 30, 30), 0.5, 0, f"prompt {n}") for n in range(40)]
    kept, drops = apply(detections(rows), SIZE_WH, NAMES, (0.3,) * 3, FilterSettings())
    assert kept.data["prompt"].tolist() == ["prompt 0"]
    assert drops == {("nms", "box"): 39}


def test_thousands_of_boxes_of_one_class_need_no_matrix_of_all_pairs() -> None:
    """3,000 boxes in pairs of which one goes; a matrix of them takes 9 million numbers several times over."""
    corner = np.array([(x, y) for x in range(0, 1500, 30) for y in range(0, 900, 30)], dtype=np.float32)
    boxes = np.concatenate([np.hstack([corner, corner + 20]), np.hstack([corner + 1, corner + 20])])
    rows = [(tuple(box), 0.5, 0, "box") for box in boxes.tolist()]
    many = detections(rows)
    importlib.import_module("torchvision.ops")  # 130 MB of Python are none of the boxes' doing
    tracemalloc.start()
    kept, drops = apply(many, (1500, 900), NAMES, (0.3,) * 3, FilterSettings())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.xyxy.tolist() == boxes[:1500].tolist()
    assert drops == {("nms", "box"): 1500}
    assert peak < 60_000_000


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.booleans())
def test_both_ways_of_finding_doubles_agree(seed: int, nms_iou: float, agnostic: bool) -> None:
    random = np.random.default_rng(seed)
    corner = random.integers(0, 60, (80, 2))
    boxes = np.hstack([corner, corner + random.integers(3, 40, (80, 2))]).clip(0, 60)
    chosen = random.integers(0, 3, 80).tolist()
    rows = [(tuple(box), score, kind, "p") for box, score, kind in zip(boxes, random.random(80), chosen, strict=True)]
    options = FilterSettings(nms_iou, agnostic)
    expected, counts = apply(detections(rows), SIZE_WH, NAMES, (0.1,) * 3, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "_MATRIX", 10)
        found, others = apply(detections(rows), SIZE_WH, NAMES, (0.1,) * 3, options)
    assert found.xyxy.tolist() == expected.xyxy.tolist()
    assert found.data["feature"].tolist() == expected.data["feature"].tolist()
    assert others == counts


def test_every_reason_of_a_drop_has_words() -> None:
    assert drop_words(CUT) == "part of an object that a tile cuts"
    assert drop_words(COARSE) == "small thing that a closer look shows better"


_number = st.one_of(
    st.floats(-50, 150, width=32), st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, 100.0])
)
_row = st.tuples(
    st.tuples(_number, _number, _number, _number), st.floats(0, 1, width=32), st.integers(0, 2), st.just("p")
)


@settings(deadline=None)
@given(rows=st.lists(_row, max_size=25))
def test_what_stays_is_sound_and_nothing_vanishes_uncounted(rows: list[Row]) -> None:
    options = FilterSettings(nms_iou=0.5)
    kept, drops = apply(detections(rows), SIZE_WH, NAMES, (0.3, 0.5, 0.0), options)
    assert len(kept) + sum(drops.values()) == len(rows)
    assert np.isfinite(kept.xyxy).all()
    assert (kept.xyxy >= 0).all()
    assert (kept.xyxy <= [100, 60, 100, 60]).all()
    assert ((kept.xyxy[:, 2:] - kept.xyxy[:, :2]).prod(axis=1) >= options.min_area_px).all()
    assert (np.diff(kept.confidence) <= 0).all()
    same_class = kept.class_id[:, None] == kept.class_id[None]
    overlaps = iou(kept.xyxy.astype(float), kept.xyxy.astype(float)) * same_class * (1 - np.eye(len(kept)))
    assert (overlaps <= options.nms_iou + 1e-6).all()
    again, more = apply(kept, SIZE_WH, NAMES, (0.3, 0.5, 0.0), options)
    assert again.xyxy.tolist() == kept.xyxy.tolist()
    assert not more

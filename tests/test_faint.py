"""Faint boxes: which are remembered beside the labels, where they rest, and that nobody takes them for labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.core.errors import StateError
from labeling.core.geometry import iou
from labeling.core.ontology import Ontology, parse_classes
from labeling.core.store import Store
from labeling.core.store_rows import Faint
from labeling.image_files import scan
from labeling.images import LoadedImage, load
from labeling.label_run import label_files
from labeling.planning import make_plan
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.filters import MOST_FAINT, apply, faint
from labeling.teachers.interfaces import Detected, RgbImage
from labeling.teachers.teacher import Teacher
from tests.fakes import DrawnDetector, DrawnSegmenter, draw
from tests.outcomes import digest, machine, outcome, refused

pytestmark = pytest.mark.torch

NAMES = ("box", "cone", "barrel")
SCORES = (0.5, 0.5, 0.3)
SIZE_WH = (100, 60)

Row = tuple[Sequence[float], float, int]


WIDE = FilterSettings(faint_share=0.4)


def split(rows: Sequence[Row], options: FilterSettings = WIDE) -> tuple[list[Row], list[Row]]:
    """Return the boxes that are kept, and the faint ones."""
    import supervision as sv

    found = sv.Detections(
        xyxy=np.zeros((len(rows), 4), dtype=np.float32),
        confidence=np.array([row[1] for row in rows], dtype=np.float32),
        class_id=np.array([row[2] for row in rows], dtype=int),
    )
    found.xyxy = np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4)  # also what is not finite
    kept, _ = apply(found, SIZE_WH, NAMES, SCORES, options)
    low = faint(found, kept, SIZE_WH, SCORES, options)
    return tuple(
        [
            (tuple(box), round(score, 6), class_id)
            for box, score, class_id in zip(
                some.xyxy.tolist(), some.confidence.tolist(), some.class_id.tolist(), strict=True
            )
        ]
        for some in (kept, low)
    )  # type: ignore[return-value]


def test_a_faint_box_lies_between_the_share_of_its_class_and_its_threshold() -> None:
    rows = [
        ((0, 0, 9, 9), 0.5, 0),
        ((20, 0, 29, 9), 0.499, 0),
        ((40, 0, 49, 9), 0.2, 0),
        ((60, 0, 69, 9), 0.199, 0),
        ((80, 0, 89, 9), 0.3, 2),
        ((0, 20, 9, 29), 0.13, 2),
        ((20, 20, 29, 29), 0.11, 2),
    ]
    kept, low = split(rows)
    assert kept == [rows[0], rows[4]]
    assert low == [rows[1], rows[2], rows[5]]


def test_what_repeats_a_kept_box_of_its_class_or_a_better_faint_one_is_left_out() -> None:
    sure, other = ((10, 10, 30, 30), 0.9, 0), ((10, 10, 30, 30), 0.45, 1)
    repeats = ((10, 11, 30, 30), 0.4, 0), ((10, 20, 30, 40), 0.4, 0)
    neighbour = ((10, 21, 30, 41), 0.41, 0)
    alone, again = ((60, 10, 80, 30), 0.4, 0), ((60, 11, 80, 30), 0.39, 0)
    rows = [sure, *repeats, other, neighbour, alone, again]
    assert split(rows) == ([sure], [other, neighbour, alone])
    across = FilterSettings(class_agnostic_nms=True, faint_share=0.4)
    assert split(rows, across) == ([sure], [neighbour, alone])


def test_a_faint_box_never_takes_the_place_of_a_kept_one_of_another_class() -> None:
    """With suppression across classes a box at 0.45 is faint for one class and better than a kept one of another."""
    low, sure = ((10, 10, 30, 30), 0.45, 0), ((10, 10, 30, 30), 0.31, 2)
    assert split([low, sure], FilterSettings(class_agnostic_nms=True)) == ([sure], [])


@pytest.mark.parametrize(
    "box",
    [
        (float("nan"), 0, 10, 10),
        (10, 10, float("inf"), 20),
        (30, 30, 10, 10),
        (-20, -20, -5, -5),
        (40, 40, 41, 42),
        (0, 0, 100, 58),
    ],
)
def test_what_is_no_box_or_covers_everything_is_not_remembered(box: Sequence[float]) -> None:
    assert split([(box, 0.4, 0)]) == ([], [])


def test_faint_boxes_are_clipped_and_the_best_fifty_stay() -> None:
    rows = [((10.0 * (i % 10) - 1, 6.0 * (i // 10), 10.0 * (i % 10) + 7, 6.0 * (i // 10) + 5), i) for i in range(80)]
    scored: list[Row] = [(box, 0.2 + 0.0025 * i, 0) for box, i in rows]
    kept, low = split(scored)
    assert (kept, len(low)) == ([], MOST_FAINT)
    assert [score for _, score, _ in low] == pytest.approx([0.2 + 0.0025 * i for i in range(79, 29, -1)], abs=1e-5)
    assert low[9][0][0] == 0  # the first of a row began one pixel outside


_edge = st.one_of(st.floats(-20, 120, width=32), st.sampled_from([float("nan"), float("inf"), 0.0, 100.0]))
_row = st.tuples(st.tuples(_edge, _edge, _edge, _edge), st.floats(0, 1, width=32), st.integers(0, 2))


@settings(deadline=None)
@given(rows=st.lists(_row, max_size=25), share=st.sampled_from([0.1, 0.4, 1.0]))
def test_faint_boxes_are_sound_and_change_no_label(rows: list[Row], share: float) -> None:
    kept, low = split(rows, FilterSettings(faint_share=share))
    assert kept == split(rows, FilterSettings(faint_share=1.0))[0]
    assert not low or share < 1
    for box, score, class_id in low:
        assert share * SCORES[class_id] <= score + 1e-6
        assert score < SCORES[class_id]
        assert 0 <= box[0] < box[2] <= 100
        assert 0 <= box[1] < box[3] <= 60
        others = [other for other in kept + low if other[2] == class_id and other != (box, score, class_id)]
        assert all(iou([box], [other[0]])[0, 0] <= 0.5 + 1e-5 for other in others)


# From a run into labels.db


class Unsure(DrawnDetector):
    """As sure of green things as it is told."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        found = super().detect(images, ontology, floor)
        for one in found:
            one.detections.confidence[one.detections.class_id == 1] = self.score
        return found


class Watching(DrawnSegmenter):
    """Counts the boxes that it is asked about."""

    boxes = 0

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[np.ndarray]) -> list:  # type: ignore[type-arg]
        self.boxes += sum(len(boxes) for boxes in boxes_xyxy)
        return super().segment(images, boxes_xyxy)


ONTOLOGY = parse_classes("crimson: red box, leaf: green box")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        opened.write_classes(ONTOLOGY)
        opened.start_run("label", {})
        yield opened


def loaded(path: Path) -> LoadedImage:
    return load(path, max_pixels=10**6)


def run(store: Store, folder: Path, score: float, key: str) -> Watching:
    segmenter = Watching()
    teacher = Teacher(Unsure(score), segmenter, ONTOLOGY, [0.5, 0.5], WIDE, "drawn/1")
    plan = make_plan(scan([folder]), store.known_files(), store.done_keys(), store.states(), key, inputs=[folder])
    label_files(store, plan, teacher, loaded, key=key, run_id=1, batch=2, batch_memory="batch")
    return segmenter


def remembered(store: Store) -> list[tuple[object, ...]]:
    return store.rows("SELECT sha256, class_name, x0, y0, x1, y1, round(score, 4) FROM faint ORDER BY sha256")


def test_faint_boxes_of_a_run_rest_apart_from_labels_and_are_replaced_with_them(tmp_path: Path, store: Store) -> None:
    shapes = [("red", (5, 5, 20, 20)), ("green", (40, 10, 60, 30))]
    path = draw(tmp_path / "photos" / "a.png", shapes).path
    segmenter = run(store, tmp_path / "photos", 0.3, "first")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert remembered(store) == [(sha256, "leaf", 40, 10, 60, 30, 0.3)]
    assert segmenter.boxes == 1
    assert [label.class_name for label in store.annotations_of(sha256)] == ["crimson"]
    assert store.annotations_of(sha256, "claims") == []
    assert store.counts()["annotations"] == {"crimson": 1, "leaf": 0}
    assert not store.drop_counts()
    run(store, tmp_path / "photos", 0.25, "second")
    assert remembered(store) == [(sha256, "leaf", 40, 10, 60, 30, 0.25)]
    run(store, tmp_path / "photos", 0.1, "third")
    assert remembered(store) == []
    run(store, tmp_path / "photos", 0.8, "fourth")
    assert remembered(store) == []
    assert store.counts()["annotations"] == {"crimson": 1, "leaf": 1}


def test_a_batch_with_an_impossible_faint_box_is_refused_as_a_whole(store: Store) -> None:
    store.write_classes(parse_classes("crimson: red box, leaf: green box, box"))
    bad = replace(outcome("a", machine("a")), faint=(Faint("unknown", (0.0, 0.0, 1.0, 1.0), 0.2),))
    with pytest.raises(StateError, match="refused the data"):
        store.commit_batch([outcome("b"), bad], 1)
    assert store.states() == {}


def test_faint_boxes_go_when_the_image_is_quarantined_and_stay_untouched_when_people_spoke(store: Store) -> None:
    low = (Faint("leaf", (0.0, 0.0, 2.0, 2.0), 0.2),)
    store.commit_batch([replace(outcome(name), faint=low) for name in ("a", "b")], 1)
    store.set_reviewed(digest("b"), [], "reviewed-empty")
    store.commit_batch([refused("a"), replace(outcome("b", key="k2"), faint=low * 2)], 1)
    assert remembered(store) == [(digest("b"), "leaf", 0, 0, 2, 2, 0.2)]

"""The runtime of a bundle: pictures in and boxes out as in evaluation, threads, logs, and what it refuses."""

from __future__ import annotations

import ast
import base64
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import runtime
from export.runtime import (
    Allowance,
    Card,
    Floats,
    Frame,
    Lane,
    Log,
    Model,
    Objects,
    Result,
    RuntimeFault,
    Source,
    drawn,
    folder_source,
    frame_facts,
    log_line,
    run,
    sureness,
    video_source,
)

NAMES = ("crate", "drum", "ladder")
CARD = Card(
    kind="ultralytics",
    model="yolov8n",
    task="detect",
    names=NAMES,
    imgsz=(64, 64),
    dynamic=False,
    letterbox="square",
    stride=32,
    layout="yolo",
    precision="fp32",
    thresholds={"crate": 0.4, "drum": 0.2, "ladder": 0.8},
    nms_iou=0.7,
    max_objects=300,
    second_look=None,
    licence="AGPL-3.0",
    weights="ab" * 32,
    dataset="cd" * 32,
    ontology="ef" * 32,
)
BOUND = {"below": 0.5, "share": 0.1, "per_minute": 2}
torch_only = pytest.mark.torch


class Brightest:
    """A network that calls the whole canvas a crate, as sure as its brightest pixel is bright."""

    def __init__(self, card: Card = CARD, seconds: float = 0.0) -> None:
        self.card = card
        self.seconds = seconds

    def run(self, tensor: Floats) -> list[Floats]:
        time.sleep(self.seconds)
        high, wide = tensor.shape[2:]
        return [yolo([(wide / 2, high / 2, wide, high, (float(tensor.max()), 0, 0))])]


def yolo(rows: Sequence[tuple[float, float, float, float, Sequence[float]]], extra: Any = None) -> Floats:
    """Return output0 of boxes cxcywh with a score for each class."""
    columns = np.array([[*row[:4], *row[4]] for row in rows], dtype=np.float32).reshape(len(rows), -1).T
    if extra is not None:
        columns = np.concatenate((columns, np.asarray(extra, dtype=np.float32).T))
    return np.ascontiguousarray(columns[None])


def grey(value: int, high: int = 48, wide: int = 64) -> Frame:
    return np.full((high, wide, 3), value, dtype=np.uint8)


def decoded(rows: Any, card: Card = CARD, frame: Frame | None = None, floor: float | None = None) -> Objects:
    model = Model(Brightest(card))
    return model.decode([yolo(rows)], model.prepare(grey(0, 64, 64) if frame is None else frame), floor)


# Before the network


@given(
    high=st.integers(1, 400),
    wide=st.integers(1, 400),
    size=st.sampled_from([32, 64, 160, 320]),
    letterbox=st.sampled_from(["square", "rect"]),
    margin=st.sampled_from([0, 8]),
)
@settings(max_examples=120, deadline=None)
def test_a_letterbox_is_what_can_be_computed_by_hand(
    high: int, wide: int, size: int, letterbox: str, margin: int
) -> None:
    frame = np.random.default_rng(high * 401 + wide).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    card = replace(CARD, imgsz=(size, size), letterbox=letterbox, margin=margin)
    canvas = Model(Brightest(card)).prepare(frame)
    gain = (size - 2 * margin) / max(high, wide)
    new_high, new_wide = max(1, round(high * gain)), max(1, round(wide * gain))
    inside = frame if (new_high, new_wide) == (high, wide) else cv2.resize(frame, (new_wide, new_high))
    missing = size - new_high, size - new_wide
    if letterbox == "rect":
        missing = tuple(-(length + 2 * margin) % 32 + 2 * margin for length in (new_high, new_wide))
    assert min(missing) >= 2 * margin
    assert canvas.tensor.shape == (1, 3, new_high + missing[0], new_wide + missing[1])
    left, top = missing[1] // 2, missing[0] // 2  # the odd pixel goes to the right and below
    assert canvas.pad_xy == (left, top)
    expected = np.full((*canvas.tensor.shape[2:], 3), 114, dtype=np.uint8)
    expected[top : top + new_high, left : left + new_wide] = inside
    rgb = expected[:, :, ::-1].astype(np.float32) / 255
    assert np.array_equal(canvas.tensor[0].transpose(1, 2, 0), rgb)


@torch_only
@given(high=st.integers(1, 300), wide=st.integers(1, 300), auto=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_letterbox_is_that_of_training(high: int, wide: int, auto: bool) -> None:
    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.data.augment import LetterBox

    frame = np.random.default_rng(high * 301 + wide).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    card = replace(CARD, imgsz=(160, 160), letterbox="rect" if auto else "square")
    theirs = LetterBox((160, 160), auto=auto, stride=32)(image=frame)
    ours = np.rint(Model(Brightest(card)).prepare(frame).tensor[0].transpose(1, 2, 0)[:, :, ::-1] * 255)
    assert np.array_equal(ours, theirs)


@torch_only
def test_a_stretched_frame_fills_the_canvas_as_that_of_dfine() -> None:
    from distill.dfine.pictures import squared

    card = replace(CARD, letterbox="stretch")
    for high, wide in ((30, 40), (300, 200)):
        frame = np.random.default_rng(0).integers(0, 256, (high, wide, 3), dtype=np.uint8)
        canvas = Model(Brightest(card)).prepare(frame)
        assert np.array_equal(np.rint(canvas.tensor[0].transpose(1, 2, 0)[:, :, ::-1] * 255), squared(frame, 64))
        assert canvas.gain_xy == (64 / wide, 64 / high)


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_a_frame_of_another_form_is_refused(frame: Any) -> None:
    with pytest.raises(RuntimeFault, match="expected a frame"):
        Model(Brightest()).prepare(frame)


# After the network


def test_a_box_comes_back_in_pixels_of_the_frame() -> None:
    frame = grey(0, 96, 192)  # a third of its size on the canvas, 16 grey rows above
    found = decoded([(32, 32, 20, 10, (0.9, 0.1, 0.0))], frame=frame)
    assert found.boxes_xyxy.tolist() == [pytest.approx([66, 33, 126, 63], abs=1e-4)]
    assert found.class_ids.tolist() == [0]
    assert found.scores.tolist() == [pytest.approx(0.9)]


def test_a_box_is_cut_at_the_border_of_the_frame() -> None:
    assert decoded([(2, 60, 20, 20, (0.9, 0, 0))]).boxes_xyxy.tolist() == [[0, 50, 12, 64]]


def test_each_class_has_its_threshold_and_reaching_it_counts() -> None:
    rows = [
        (8, 8, 6, 6, (0.39, 0, 0)),
        (24, 8, 6, 6, (0, 0.2, 0)),
        (40, 8, 6, 6, (0, 0, 0.79)),
        (56, 8, 6, 6, (0.4, 0, 0)),
    ]
    assert decoded(rows).class_ids.tolist() == [0, 1]
    assert decoded(rows, floor=0.25).scores.tolist() == pytest.approx([0.79, 0.4, 0.39])


def test_boxes_of_one_class_suppress_each_other_and_others_do_not() -> None:
    rows = [(20, 20, 20, 20, (0.9, 0, 0)), (21, 20, 20, 20, (0.8, 0, 0)), (20, 20, 20, 20, (0, 0.7, 0))]
    assert decoded(rows).class_ids.tolist() == [0, 1]


def test_rows_that_are_no_numbers_are_dropped_and_the_others_stay() -> None:
    bad, worse = float("nan"), float("inf")
    rows = [
        (bad, 8, 6, 6, (0.9, 0, 0)),
        (8, 8, worse, 6, (0.9, 0, 0)),
        (8, 8, 6, 6, (bad, 0.9, 0)),
        (40, 40, 6, 6, (0.5, 0, 0)),
    ]
    assert decoded(rows).scores.tolist() == [0.5]


def test_a_frame_without_objects_has_empty_columns() -> None:
    found = decoded([(8, 8, 6, 6, (0.01, 0.01, 0.01))])
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.scores.shape == found.class_ids.shape == (0,)


def test_only_the_best_objects_are_returned() -> None:
    rows = [(8 + 12 * k, 8, 6, 6, (0.5 + 0.1 * k, 0, 0)) for k in range(4)]
    assert decoded(rows, replace(CARD, max_objects=2)).scores.tolist() == pytest.approx([0.8, 0.7])


@torch_only
@given(seed=st.integers(0, 10_000), count=st.integers(0, 80), iou=st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=60, deadline=None)
def test_suppression_is_that_of_torchvision(seed: int, count: int, iou: float) -> None:
    import torch
    from torchvision.ops import batched_nms

    random = np.random.default_rng(seed)
    middle, sides = random.uniform(-10, 74, (count, 2)), random.uniform(4, 40, (count, 2))
    boxes = np.concatenate((middle - sides / 2, middle + sides / 2), axis=1).astype(np.float32)
    scores, class_ids = random.permutation(count).astype(np.float32) + 1, random.integers(0, 3, count)
    expected = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(class_ids), iou)
    assert runtime._not_suppressed(boxes, scores, class_ids, iou).tolist() == expected.tolist()


def test_what_the_graph_has_suppressed_is_only_sorted_and_moved() -> None:
    card = replace(CARD, layout="nms")
    rows = [[4, 4, 12, 12, 0.5, 0], [4, 4, 12, 12, 0.9, 1], [4, 4, 12, 12, 0.7, 2], [4, 4, 12, 12, 0.9, 7], [0] * 6]
    model = Model(Brightest(card))
    found = model.decode([np.array([rows], dtype=np.float32)], model.prepare(grey(0, 128, 128)))
    assert found.class_ids.tolist() == [1, 0]
    assert found.boxes_xyxy.tolist() == [[8, 8, 24, 24]] * 2


def test_a_query_may_be_of_two_classes_as_at_home() -> None:
    card = replace(CARD, layout="queries", letterbox="stretch")
    scores = np.array([[[0.5, 0.6, 0.1], [0.1, 0.1, float("nan")], [0.9, 0, 0]]], dtype=np.float32)
    boxes = np.array([[[0.5, 0.5, 0.5, 0.5], [0.5] * 4, [0.5, 0.5, 0, 0.5]]], dtype=np.float32)
    model = Model(Brightest(card))
    found = model.decode([scores, boxes], model.prepare(grey(0, 40, 80)))
    assert found.class_ids.tolist() == [1, 0]
    assert found.boxes_xyxy.tolist() == [[20, 10, 60, 30]] * 2


@torch_only
@pytest.mark.parametrize(("high", "wide"), [(48, 64), (300, 400), (37, 111), (500, 90), (64, 64)])
@pytest.mark.parametrize("letterbox", ["square", "rect"])
@pytest.mark.parametrize("margin", [0, 8])
def test_masks_are_those_of_evaluation(high: int, wide: int, letterbox: str, margin: int) -> None:
    import torch

    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.utils.ops import process_mask_native

    from distill.yolo.photo_masks import photo_masks
    from labeling.teachers.detectors.yolo_canvas import Canvas

    thresholds = dict.fromkeys(NAMES, 0.3)
    card = replace(CARD, imgsz=(160, 160), task="segment", letterbox=letterbox, thresholds=thresholds, margin=margin)
    model, random = Model(Brightest(card)), np.random.default_rng(high)
    canvas = model.prepare(grey(90, high, wide))
    canvas_high, canvas_wide = canvas.tensor.shape[2:]
    coarse = random.normal(size=(32, 6, 6)).astype(np.float32)
    protos = np.stack(
        [cv2.resize(one, (canvas_wide // 4, canvas_high // 4), interpolation=cv2.INTER_CUBIC) for one in coarse]
    )
    rows = [
        (
            random.uniform(0, canvas_wide),
            random.uniform(0, canvas_high),
            *random.uniform(20, 160, 2),
            (0.4 + k / 40, 0, 0),
        )
        for k in range(12)
    ]
    coefficients = random.normal(size=(12, 32))
    found = model.decode([yolo(rows, coefficients), protos[None]], canvas)
    assert found.masks is not None
    assert len(found.masks) == len(found.scores) >= 3
    order = [int(np.argmin([abs(0.4 + k / 40 - score) for k in range(12)])) for score in found.scores]
    taken = (
        torch.from_numpy(protos),
        torch.from_numpy(coefficients[order].astype(np.float32)),
        torch.from_numpy(found.boxes_xyxy),
    )
    placed = Canvas(np.zeros((canvas_high, canvas_wide, 3), dtype=np.uint8), (canvas.gain_xy[::-1], canvas.pad_xy))
    theirs = photo_masks(*taken, placed, (high, wide)).numpy()
    if margin == 0:
        assert np.array_equal(theirs, process_mask_native(*taken, (high, wide)).numpy())
    for ours, mask in zip(found.masks, theirs.astype(bool), strict=True):
        assert ours.shape == (high, wide)
        assert (ours & mask).sum() >= 0.99 * (ours | mask).sum()
    assert sum(mask.sum() for mask in theirs) > 0


def test_masks_take_the_memory_of_their_boxes_only() -> None:
    card = replace(CARD, task="segment")
    model = Model(Brightest(card))
    canvas = model.prepare(grey(0, 640, 640))
    protos = np.ones((1, 1, 16, 16), dtype=np.float32)
    found = model.decode([yolo([(32, 32, 8, 8, (0.9, 0, 0))], [[1.0]]), protos], canvas)
    assert found.masks is not None
    (_left, _top, inside), whole = found.masks.windows[0], found.masks[0]
    assert inside.shape == (80, 80)
    assert whole.shape == (640, 640)
    assert whole.sum() == whole[280:360, 280:360].sum() == 6400


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_queries_that_are_no_numbers_are_dropped(bad: float) -> None:
    card = replace(CARD, layout="queries", letterbox="stretch")
    scores = np.array([[[0.9, 0, 0], [bad, 0, 0], [0.9, 0, 0]]], dtype=np.float32)
    boxes = np.array([[[0.5] * 4, [0.5] * 4, [0.5, 0.5, bad, 0.5]]], dtype=np.float32)
    model = Model(Brightest(card))
    objects, sure = model.judge([scores, boxes], model.prepare(grey(0)))
    assert objects.scores.tolist() == pytest.approx([0.9])
    assert sure == 0


# Doubt


def test_sureness_is_the_distance_of_the_most_doubtful_object() -> None:
    thresholds = np.array([0.4, 0.8], dtype=np.float32)

    def sure(*objects: tuple[float, int]) -> float:
        scores, class_ids = [one[0] for one in objects], [one[1] for one in objects]
        return sureness(np.array(scores, dtype=np.float32), np.array(class_ids, dtype=np.int64), thresholds)

    assert sure() == 1
    assert sure((1.0, 0)) == pytest.approx(1)
    assert sure((0.7, 0)) == pytest.approx(0.3 / 0.6)
    assert sure((0.6, 1)) == pytest.approx(0.2 / 0.8)
    assert sure((0.7, 0), (0.6, 1)) == pytest.approx(0.25)
    assert sure((0.09, 0)) == 1  # below a quarter of the lowest threshold nothing counts


def test_one_look_gives_the_objects_and_the_doubt_of_what_nearly_counts() -> None:
    model = Model(Brightest())
    rows = [(20, 20, 8, 8, (0.9, 0, 0)), (40, 40, 8, 8, (0.3, 0, 0))]
    objects, sure = model.judge([yolo(rows)], model.prepare(grey(0, 64, 64)))
    assert objects.scores.tolist() == pytest.approx([0.9])
    assert sure == pytest.approx(0.1 / 0.6)


@given(times=st.lists(st.floats(0, 90), max_size=60), most=st.integers(0, 5))
def test_no_sixty_seconds_see_more_than_the_bound(times: list[float], most: int) -> None:
    now = [0.0]
    allowance = Allowance(most, clock=lambda: now[0])
    granted = []
    for now[0] in sorted(times):
        if allowance.take():
            granted.append(now[0])
    assert all(sum(start <= one < start + 60 for one in granted) <= most for start in granted)
    assert len(granted) + allowance.refused == len(times)


def test_the_bound_frees_itself_after_a_minute() -> None:
    now = [0.0]
    allowance = Allowance(1, clock=lambda: now[0])
    answers = []
    for now[0] in (0, 1, 59.9, 60, 61):
        answers.append(allowance.take())
    assert answers == [True, False, False, True, False]


# Threads


def numbered(count: int, *, live: bool = False, pause: float = 0.0) -> Source:
    def frames() -> Iterator[tuple[str, Frame | None]]:
        for number in range(count):
            time.sleep(pause)
            yield f"{number}", grey(number % 250)

    return Source(frames(), live)


def test_no_frame_of_a_file_is_lost_and_the_order_stays() -> None:
    seen: list[int] = []
    tally = run(Model(Brightest(seconds=0.001)), numbered(60), lambda one: seen.append(one.number))
    assert seen == list(range(60))
    assert (tally.seen, tally.dropped, tally.unreadable) == (60, 0, 0)


def test_frames_that_are_looked_at_side_by_side_come_in_their_order_and_sooner() -> None:
    class Uneven(Brightest):
        """The first of every three frames takes longest."""

        def run(self, tensor: Floats) -> list[Floats]:
            time.sleep(0.03 if round(float(tensor.max()) * 255) % 3 == 0 else 0.01)
            return super().run(tensor)

    seen: list[int] = []
    begun = time.perf_counter()
    tally = run(Model(Uneven()), numbered(60), lambda one: seen.append(one.number), workers=3)
    assert time.perf_counter() - begun < 0.8  # one after the other 1.0 s at least
    assert seen == list(range(60))
    assert (tally.seen, tally.dropped) == (60, 0)


def test_the_newest_frame_of_a_camera_wins_and_the_others_are_counted() -> None:
    seen: list[Result] = []
    tally = run(Model(Brightest(seconds=0.03)), numbered(60, live=True, pause=0.002), seen.append)
    assert tally.dropped > 20
    assert tally.seen + tally.dropped == 60
    assert [one.number for one in seen] == sorted({one.number for one in seen})
    assert seen[-1].number == 59
    assert all(one.frame[0, 0, 0] == one.number for one in seen)


def test_a_slow_listener_bounds_what_waits() -> None:
    ahead, read = [], [0]

    def frames() -> Iterator[tuple[str, Frame | None]]:
        for number in range(20):
            read[0] = number + 1
            yield "", grey(0)

    def slow(result: Result) -> None:
        time.sleep(0.01)
        ahead.append(read[0] - result.number)

    run(Model(Brightest()), Source(frames(), live=False), slow)
    # Two in each lane, one in the hands of each thread.
    assert max(ahead) <= 7


class Breaking(Brightest):
    def run(self, tensor: Floats) -> list[Floats]:
        if tensor.max() > 5 / 255:
            raise ValueError("the network is gone")
        return super().run(tensor)


def breaking_source() -> Iterator[tuple[str, Frame | None]]:
    yield "0", grey(0)
    raise RuntimeFault("the camera is gone")


def test_a_fault_in_any_thread_ends_the_run_and_is_told() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="network is gone"):
        run(Model(Breaking()), numbered(1000))
    seen: list[Result] = []
    with pytest.raises(RuntimeFault, match="camera is gone"):
        run(Model(Brightest()), Source(breaking_source(), live=True), seen.append)
    assert len(seen) == 1

    def refuse(result: Result) -> None:
        raise OSError("no listener")

    with pytest.raises(OSError, match="no listener"):
        run(Model(Brightest()), numbered(1000), refuse)
    assert threading.active_count() == before


def test_ctrl_c_ends_in_good_order() -> None:
    def interrupt(result: Result) -> None:
        if result.number == 3:
            raise KeyboardInterrupt

    before = threading.active_count()
    tally = run(Model(Brightest()), numbered(1000), interrupt)
    assert tally.interrupted
    assert tally.seen == 4
    assert threading.active_count() == before


def test_a_closed_lane_gives_what_waits_and_takes_no_more() -> None:
    lane = Lane(2)
    assert lane.put(1)
    assert lane.put(2)
    lane.close()
    assert not lane.put(3)
    assert list(lane) == [1, 2]


def test_doubtful_frames_are_handed_on_within_the_bound() -> None:
    # Brightness 0.41 is just above the threshold of 0.4, 1 is far above it.
    values = [255, 105, 105, 255, 105, 105]
    handed: list[int] = []
    source = Source(iter([(str(k), grey(value)) for k, value in enumerate(values)]), live=False)
    results: list[Result] = []
    tally = run(
        Model(Brightest(replace(CARD, second_look=BOUND, letterbox="stretch"))),
        source,
        results.append,
        lambda frame, objects: handed.append(int(frame[0, 0, 0]) + len(objects.scores)),
    )
    assert [one.doubtful for one in results] == [False, True, True, False, True, True]
    assert [one.second for one in results] == [False, True, True, False, False, False]
    assert handed == [106, 106]
    assert (tally.doubtful, tally.second, tally.over_bound) == (4, 2, 2)


def test_frames_that_could_not_be_handed_on_do_not_count_as_such() -> None:
    answers: Iterator[Any] = iter([None, False, OSError("the disk is full"), True])

    def ask(_frame: Frame, _objects: Objects) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    told: list[str] = []
    results: list[Result] = []
    source = Source(iter([(str(k), grey(105)) for k in range(5)]), live=False)
    model = Model(Brightest(replace(CARD, second_look=BOUND, letterbox="stretch")))
    tally = run(model, source, results.append, ask, per_minute=4, tell=told.append)
    assert [one.second for one in results] == [True, False, False, True, False]
    assert (tally.doubtful, tally.second, tally.not_handed, tally.over_bound) == (5, 2, 2, 1)
    assert ["the disk is full" in line for line in told] == [True]


def test_a_network_that_returns_no_numbers_is_doubtful_counted_and_said_once() -> None:
    class Gone(Brightest):
        def run(self, tensor: Floats) -> list[Floats]:
            return [np.full((1, 7, 4), np.nan, dtype=np.float32)]

    told: list[str] = []
    results: list[Result] = []
    tally = run(Model(Gone(replace(CARD, second_look=BOUND))), numbered(3), results.append, tell=told.append)
    assert (tally.seen, tally.broken, tally.doubtful) == (3, 3, 3)
    assert [json.loads(json.dumps(log_line(one), allow_nan=False))["sure"] for one in results] == [0, 0, 0]
    assert [line for line in told if "numbers that are none" in line] == told[:1] == told


def test_a_shadow_on_a_gpu_is_asked_by_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: range(6))
    on_cpu: Any = object.__new__(runtime.OnnxSession)
    assert runtime.workers_for(on_cpu, 1) == runtime.workers_for(on_cpu, 1, on_cpu) == 6
    assert runtime.workers_for(on_cpu, 1, Brightest()) == runtime.workers_for(Brightest(), 1, on_cpu) == 1


def test_a_shadow_sees_the_same_frames_and_has_to_know_the_same_classes() -> None:
    results: list[Result] = []
    run(Model(Brightest()), numbered(3), results.append, shadow=Model(Brightest(replace(CARD, weights="00" * 32))))
    assert all(one.shadow is not None and "shadow" in log_line(one) for one in results)
    other = replace(CARD, names=("dog",), thresholds={"dog": 0.5})
    with pytest.raises(RuntimeFault, match="same classes"):
        run(Model(Brightest()), numbered(3), shadow=Model(Brightest(other)))


# Logs and pictures


def a_result(frame: Frame, number: int = 3) -> Result:
    objects = Objects(
        np.array([[1.4, 2.6, 30, 40]], dtype=np.float32), np.array([0.87654], np.float32), np.array([1]), None
    )
    return Result(number, "hall.mp4", 1234.56789, frame, objects, 0.123456, True, True, (1.23456, 2, 3), None)


def test_a_log_line_holds_what_can_be_computed_by_hand() -> None:
    frame = np.zeros((128, 256, 3), dtype=np.uint8)
    frame[:, 128:] = (200, 100, 40)  # a step from left to right: gradients point to 0 degrees
    line = log_line(a_result(frame))
    grey_half = round(0.114 * 200 + 0.587 * 100 + 0.299 * 40)
    assert line["light"] == pytest.approx(grey_half / 2 / 255, abs=1e-4)
    # The Laplacian is +g and -g on the two columns beside the step, 0 elsewhere.
    assert line["blur"] == pytest.approx(math.log1p(2 * grey_half**2 / 256), abs=1e-3)
    sketch = np.frombuffer(base64.b64decode(line["sketch"]), dtype=np.uint8)
    assert sketch[:48].reshape(4, 4, 3)[:, :2].max() == 0
    assert sketch[:48].reshape(4, 4, 3)[:, 2:].reshape(-1, 3).tolist() == [[200, 100, 40]] * 8
    assert sketch[48:].tolist() == [255, 0, 0, 0, 0, 0, 0, 0]
    rest = {key: value for key, value in line.items() if key not in ("light", "blur", "sketch")}
    assert rest == {
        "t": 1234.568,
        "n": 3,
        "source": "hall.mp4",
        "wh": [256, 128],
        "objects": [[1, 0.877, 1, 3, 30, 40]],
        "sure": 0.1235,
        "second": True,
        "ms": [1.235, 2, 3],
    }


def test_an_even_frame_has_no_gradients() -> None:
    light, blur, sketch = frame_facts(grey(51))
    assert (light, blur) == (pytest.approx(0.2), 0)
    assert sketch == bytes([51] * 48 + [0] * 8)


def test_a_narrow_frame_takes_little_memory_and_others_have_the_facts_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda *given, **more: sizes.append(given[1]) or resize(*given, **more))
    frame_facts(np.zeros((30_000, 1, 3), dtype=np.uint8))
    frame_facts(grey(9, 1600, 100))
    assert [high for wide, high in sizes if wide == 256] == [4096, 4096]


def test_a_clock_that_is_behind_loses_no_newer_lines(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"2099010{number + 1}-000000.jsonl").write_text("older\n")
    (tmp_path / "99999999-999999.jsonl").write_text("of somebody else\n")
    log = Log(tmp_path, CARD, lambda _: None, file_bytes=900, files=3)
    for number in range(12):
        log.write({"n": number, "filler": "x" * 200})
        last = sorted(tmp_path.glob("20*.jsonl"))[-1]
        assert json.loads(last.read_text().splitlines()[-1])["n"] == number
    assert len(list(tmp_path.glob("20*.jsonl"))) == 3
    assert (tmp_path / "99999999-999999.jsonl").exists()


def test_a_log_begins_with_its_model_and_goes_on_in_another_file_when_full(tmp_path: Path) -> None:
    told: list[str] = []
    log = Log(tmp_path / "logs", CARD, told.append, file_bytes=900, files=2)
    for number in range(12):
        log.write({"n": number, "filler": "x" * 200})
        assert json.loads(max((tmp_path / "logs").iterdir()).read_text().splitlines()[-1])["n"] == number
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) == 2
    assert told
    assert all(line.endswith("2 logs are kept") for line in told)
    for path in files:
        assert path.stem.replace("-", "").isdigit()
        assert len(path.stem) == len("20261122-143000")
        head = json.loads(path.read_text().splitlines()[0])
        assert (head["labelstill"], head["format"], head["model"]) == ("edge-log", 1, CARD.weights)
        assert (head["names"], head["thresholds"]) == (list(NAMES), dict(CARD.thresholds))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path: Path) -> None:
    told: list[str] = []
    log = Log(tmp_path, CARD, told.append)
    log.write({"n": 0})
    with open("/dev/full", "wb", buffering=0) as log._file:
        log.write({"n": 1})
        log.write({"n": 2})
    assert len(told) == 1
    assert "No space left" in told[0]


def test_objects_are_drawn_on_a_copy() -> None:
    frame = grey(0)
    picture = drawn(frame, a_result(frame).objects, NAMES)
    assert frame.max() == 0
    assert picture[20, 1].max() > 0


# Sources


def test_a_folder_is_read_in_order_and_what_is_no_image_is_said(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), grey(10))
    (tmp_path / "ab.txt").write_text("no image")
    (tmp_path / "z.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    told: list[str] = []
    seen: list[str] = []
    tally = run(Model(Brightest()), folder_source(tmp_path), lambda one: seen.append(one.source), tell=told.append)
    assert seen == ["a.png", "b.png", "sub/c.png"]
    assert tally.unreadable == 2
    assert [line.split(":")[0] for line in told] == ["ab.txt", "z.png"]


def test_a_name_that_is_no_utf_8_is_read_and_named(tmp_path: Path) -> None:
    written = cv2.imencode(".png", grey(10))[1].tobytes()
    folder = os.fsencode(tmp_path)
    for name, data in ((b"h\xe4.png", written), (b"k\xe4.png", b"none")):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    told: list[str] = []
    seen: list[str] = []
    tally = run(Model(Brightest()), folder_source(tmp_path), lambda one: seen.append(one.source), tell=told.append)
    assert seen == [r"h\xe4.png"]
    assert (tally.unreadable, tally.reasons) == (1, {"cannot be read as an image": 1})
    Path(os.fsdecode(folder + b"/\xe4.avi")).write_bytes(b"none")
    with pytest.raises(RuntimeFault, match="no UTF-8: rename it"):
        video_source(Path(os.fsdecode(folder + b"/\xe4.avi")))


def test_a_jpeg_without_its_end_is_left_out_and_one_with_more_behind_it_is_not(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    whole = cv2.imencode(".jpg", photo)[1].tobytes()
    thumbnail = b"\xff\xe1" + (len(whole[:9000]) + 4).to_bytes(2, "big") + whole[:9000] + b"\xff\xd9"
    (tmp_path / "a-whole.jpg").write_bytes(whole)
    (tmp_path / "b-trailer.jpg").write_bytes(whole + b"a film of the moment" * 9)
    (tmp_path / "c-half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d-thumbnail.jpg").write_bytes(whole[:2] + thumbnail + whole[2:-2])
    seen: list[str] = []
    told: list[str] = []
    tally = run(Model(Brightest()), folder_source(tmp_path), lambda one: seen.append(one.source), tell=told.append)
    assert seen == ["a-whole.jpg", "b-trailer.jpg"]
    assert tally.reasons == {"truncated": 2}
    assert told == ["c-half.jpg: truncated, left out", "d-thumbnail.jpg: truncated, left out"]


def a_video(path: Path, frames: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(frames):
        writer.write(grey(20 * number % 256))
    writer.release()
    return path


def test_every_frame_of_a_video_is_seen_and_a_torn_one_is_said(tmp_path: Path) -> None:
    whole = a_video(tmp_path / "whole.avi")
    assert run(Model(Brightest()), video_source(whole)).seen == 12
    with pytest.raises(RuntimeFault, match="cannot be opened"):
        video_source(tmp_path / "none.avi")


def test_a_video_is_a_file_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("wow!.avi", "7"):
        a_video(Path("some.avi")).rename(name)
        assert run(Model(Brightest()), video_source(Path(name))).seen == 12
    with pytest.raises(RuntimeFault, match="there is no such file"):
        video_source(Path("0"))


def test_a_camera_that_stops_is_a_fault(tmp_path: Path) -> None:
    source = runtime.camera_source(str(a_video(tmp_path / "camera.avi")))
    assert source.live
    with pytest.raises(RuntimeFault, match="gave no more frames after 12"):
        run(Model(Brightest()), source)


def test_the_file_is_written_for_python_3_8() -> None:
    text = Path(runtime.__file__).read_text()
    ast.parse(text, feature_version=(3, 8))
    assert "strict=" not in text
    assert "slots=" not in text
    assert "removeprefix" not in text

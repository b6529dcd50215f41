"""The numbers of an evaluation: pycocotools as oracle, cases worked out by hand, then what must hold for all."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from distill.curation.photo_facts import PhotoFacts
from distill.evaluate import Evaluation, evaluate, to_json
from distill.objects import Objects
from labeling.core.errors import InputError
from labeling.core.masks import area
from tests.made_objects import drawn, ellipses, names, said, true

A, B, C = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 300.0, 300.0), (400.0, 300.0, 500.0, 400.0)
ELSEWHERE = (550.0, 10.0, 600.0, 60.0)


def _coco(truth: Sequence[Objects], found: Sequence[Objects], classes: int, masks: bool) -> COCOeval:
    """Run pycocotools on the same objects."""

    def entries(images: Sequence[Objects]) -> list[dict[str, Any]]:
        rows = [(place, one, row) for place, one in enumerate(images) for row in range(len(one))]
        made = []
        for place, one, row in rows:
            x0, y0, x1, y1 = one.boxes_xyxy[row].tolist()
            entry = {
                "id": len(made) + 1,
                "image_id": place,
                "category_id": int(one.class_ids[row]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "score": float(one.scores[row]),
                "iscrowd": 0,
            }
            if masks:
                assert one.rles is not None
                rle = one.rles[row]
                assert rle is not None
                entry |= {"segmentation": rle, "area": float(area(rle))}
            made.append(entry)
        return made

    def loaded(images: Sequence[Objects]) -> COCO:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": k, "width": one.size_wh[0], "height": one.size_wh[1]} for k, one in enumerate(images)],
            "categories": [{"id": k, "name": str(k)} for k in range(classes)],
            "annotations": entries(images),
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(loaded(truth), loaded(found), "segm" if masks else "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def _same(ours: float | None, theirs: float) -> None:
    assert (ours is None and theirs == -1) or ours == pytest.approx(theirs, abs=1e-6)


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(values[values > -1].mean()) if (values > -1).any() else -1


def _compare(found: Evaluation, run: COCOeval) -> None:
    ap, ap50, ap75, small, medium, large, _, _, ar100, ar_small, ar_medium, ar_large = run.stats
    _same(found.ap50_95, ap)
    _same(found.ap50, ap50)
    _same(found.ap75, ap75)
    _same(found.ar100, ar100)
    for size, theirs, recall in zip(found.sizes, (small, medium, large), (ar_small, ar_medium, ar_large), strict=True):
        _same(size.ap50_95, theirs)
        _same(size.ar100, recall)
    precision, recall = run.eval["precision"][..., 0, -1], run.eval["recall"][..., 0, -1]
    for k, one in enumerate(found.classes):
        _same(one.ap50, _mean(precision[0, :, k]))
        _same(one.ap75, _mean(precision[5, :, k]))
        _same(one.ap50_95, _mean(precision[:, :, k]))
        _same(one.ar100, _mean(recall[:, k]))
        if one.precision_curve is not None:
            np.testing.assert_allclose(one.precision_curve, precision[0, :, k], atol=1e-6)


@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 12),
    classes=st.integers(1, 4),
    most=st.integers(0, 8),
    recall=st.sampled_from([0.0, 0.5, 1.0]),
    false=st.sampled_from([0.0, 2.0, 8.0]),
    coarse=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_boxes_have_the_numbers_of_pycocotools(
    seed: int, images: int, classes: int, most: int, recall: float, false: float, coarse: bool
) -> None:
    truth, found = drawn(seed, images, classes=classes, most=most, recall=recall, false=false, coarse=coarse)
    _compare(evaluate(truth, found, names(classes), resamples=10), _coco(truth, found, classes, masks=False))


@given(seed=st.integers(0, 10**6), coarse=st.booleans())
@settings(max_examples=8, deadline=None)
def test_masks_have_the_numbers_of_pycocotools(seed: int, coarse: bool) -> None:
    truth, found = (
        [ellipses(one) for one in side] for side in drawn(seed, 6, classes=2, coarse=coarse, size_wh=(160, 120))
    )
    measured = evaluate(truth, found, names(2), masks=True, resamples=10)
    _compare(measured, _coco(truth, found, 2, masks=True))
    assert measured.without_mask == 0


def test_more_than_a_hundred_objects_of_a_class_count_as_in_pycocotools() -> None:
    truth, found = drawn(3, 4, classes=2, most=8, false=260)
    assert max(int((one.class_ids == 0).sum()) for one in found) > 100
    _compare(evaluate(truth, found, names(2), resamples=10), _coco(truth, found, 2, masks=False))


def test_masks_and_boxes_are_not_the_same() -> None:
    truth = [ellipses(true("a", (0, A)))]
    box_alone = [said("a", (0, A, 0.9))]
    assert evaluate(truth, box_alone, ["x"], resamples=2).ap75 == pytest.approx(1)
    by_mask = evaluate(truth, box_alone, ["x"], masks=True, resamples=2)
    # The ellipse fills pi / 4 = 0.785 of its box, the rectangle that stands for the mask all of it.
    assert by_mask.ap50_95 == pytest.approx(0.6)
    assert by_mask.without_mask == 1


def test_one_right_before_one_wrong_is_an_average_precision_worked_out_by_hand() -> None:
    truth = [true("a", (0, A), (0, B)), true("b")]
    found = [said("a", (0, A, 0.9), (0, B, 0.7)), said("b", (0, ELSEWHERE, 0.8))]
    measured = evaluate(truth, found, ["x"], resamples=10)
    # Precision 1 up to recall 0.5 (51 of 101 places), then 2/3.
    assert measured.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    one = measured.classes[0]
    assert one.precision_curve is not None
    assert one.score_curve is not None
    assert one.precision_curve[[0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert one.score_curve[[0, 50, 51, 100]] == pytest.approx([0.9, 0.9, 0.7, 0.7])
    assert (one.images, one.objects, one.found) == (1, 2, 3)
    assert (measured.images, measured.objects, measured.found) == (2, 2, 3)


def test_class_that_is_nowhere_was_not_measured_and_lowers_no_mean() -> None:
    truth = [true("a", (0, A))]
    found = [said("a", (0, A, 0.9), (1, B, 0.8))]
    measured = evaluate(truth, found, ["there", "nowhere"], resamples=10)
    nowhere = measured.classes[1]
    assert (nowhere.ap50, nowhere.ap75, nowhere.ap50_95, nowhere.ar100) == (None, None, None, None)
    assert (nowhere.recall_at_precision, nowhere.precision_curve, nowhere.ap50_interval) == (None, None, None)
    assert (nowhere.objects, nowhere.found) == (0, 1)
    assert measured.ap50 == pytest.approx(1)


def test_class_that_is_there_and_never_found_has_zero() -> None:
    measured = evaluate([true("a", (0, A), (1, B))], [said("a", (0, A, 0.9))], names(2), resamples=10)
    assert measured.classes[1].ap50 == 0
    assert measured.ap50 == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([], [], None),
        ([true("a")], [said("a")], None),
        ([true("a")], [said("a", (0, A, 0.5))], None),
        ([true("a", (0, A))], [said("a")], 0.0),
        ([true("a", (0, A)), true("b", (1, A))], [said("a"), said("b")], 0.0),
    ],
    ids=["no images", "nothing anywhere", "nothing true", "nothing found", "nothing found in two"],
)
def test_nothing_to_measure_is_no_crash(truth: list[Objects], found: list[Objects], expected: float | None) -> None:
    measured = evaluate(truth, found, names(2), resamples=10, facts={})
    assert measured.ap50 == expected
    assert measured.ap50_95 == expected
    json.dumps(to_json(measured), allow_nan=False)


def test_no_class_at_all_is_no_crash() -> None:
    assert evaluate([true("a")], [said("a")], [], resamples=10).ap50 is None


def test_perfect_answers_have_one_everywhere() -> None:
    truth, _ = drawn(1, 10)
    measured = evaluate(truth, truth, names(3), resamples=20)
    assert measured.ap50 == measured.ap50_95 == measured.ar100 == pytest.approx(1)
    assert measured.ap50_interval == pytest.approx((1, 1))
    assert all(one.recall_at_precision == 1 for one in measured.classes)


def test_sizes_count_objects_as_their_areas_say() -> None:
    small, medium, large = (0.0, 0.0, 31.0, 33.0), (100.0, 0.0, 132.0, 33.0), (0.0, 200.0, 96.0, 297.0)
    truth = [true("a", (0, small), (0, medium), (0, large))]
    measured = evaluate(truth, [said("a", (0, medium, 0.9))], ["x"], resamples=2)
    assert [(one.name, one.objects, one.ap50) for one in measured.sizes] == [
        ("small", 1, 0.0),
        ("medium", 1, pytest.approx(1)),
        ("large", 1, 0.0),
    ]


def _facts(image: Objects, brightness: float = 0.5, sharpness: float = 2000.0) -> PhotoFacts:
    return PhotoFacts(image.sha256, brightness, 0.25, sharpness, None, None, np.zeros((48, 48), dtype=np.uint8))


def test_slices_by_light_and_sharpness_find_where_it_fails() -> None:
    truth = [true(f"{k}", (0, A)) for k in range(12)]
    found = [said(f"{k}", (0, B if k < 4 else A, 0.9)) for k in range(12)]
    facts = {
        one.sha256: _facts(one, 0.1 if k < 4 else 0.95 if k < 6 else 0.5, 1.0 if k in (2, 3) else 2000.0)
        for k, one in enumerate(truth[:10])
    }
    # The wrong ones come first among equal scores; precision and recall end at the same share.
    parts = {one.name: one for one in evaluate(truth, found, ["x"], facts=facts, resamples=50).slices}
    assert {name: (one.images, one.objects, one.ap50) for name, one in parts.items()} == {
        "dark": (4, 4, 0.0),
        "ordinary": (4, 4, pytest.approx(1)),
        "bright": (2, 2, pytest.approx(1)),
        "blurred": (2, 2, 0.0),
        "sharp": (8, 8, pytest.approx(6 / 8 * 76 / 101)),
        "few": (12, 12, pytest.approx(8 / 12 * 67 / 101)),
        "crowded": (0, 0, None),
    }
    assert parts["dark"].ap50_interval == (0.0, 0.0)
    assert parts["crowded"].ap50_interval is None
    assert "0.20" in parts["dark"].rule


def test_slices_are_evaluations_of_their_images_alone() -> None:
    truth, found = drawn(5, 60, false=3)
    whole = evaluate(truth, found, names(3), resamples=10)
    crowded = next(one for one in whole.slices if one.name == "crowded")
    rows = [k for k, one in enumerate(truth) if len(one) > int(crowded.rule.split()[2].rstrip(","))]
    alone = evaluate([truth[k] for k in rows], [found[k] for k in rows], names(3), resamples=10)
    assert crowded.images == len(rows) > 0
    assert crowded.ap50 == pytest.approx(alone.ap50)


def test_order_of_images_and_objects_changes_nothing() -> None:
    truth, found = drawn(8, 20)
    turned = [
        Objects(one.sha256, one.size_wh, one.boxes_xyxy[::-1], one.class_ids[::-1], one.scores[::-1])
        for one in reversed(found)
    ]
    one = evaluate(truth, found, names(3), resamples=10)
    other = evaluate(truth[::-1], turned, names(3), resamples=10)
    assert (one.ap50, one.ap50_95) == pytest.approx((other.ap50, other.ap50_95))


def test_one_seed_gives_one_answer_and_another_seed_another_interval() -> None:
    truth, found = drawn(8, 20)
    one, again, other = (to_json(evaluate(truth, found, names(3), resamples=100, seed=seed)) for seed in (0, 0, 1))
    assert one == again
    assert one["ap50"] == other["ap50"]
    assert one["ap50_interval"] != other["ap50_interval"]


def test_json_holds_everything_as_plain_values() -> None:
    truth, found = drawn(2, 10)
    plain = json.loads(json.dumps(to_json(evaluate(truth, found, names(3), resamples=10)), allow_nan=False))
    assert len(plain["classes"][0]["precision_curve"]) == 101
    assert len(plain["ap50_interval"]) == 2


def test_other_images_than_those_of_the_truth_are_refused() -> None:
    truth, found = drawn(2, 3)
    with pytest.raises(InputError, match="expected what was found in 3 images"):
        evaluate(truth, found[:2], names(3))
    with pytest.raises(InputError, match="image 0: the truth is of"):
        evaluate(truth, found[::-1], names(3))
    with pytest.raises(InputError, match="class ids from 0 to 0"):
        evaluate(truth, found, names(1))
    with pytest.raises(InputError, match="the precision is 0"):
        evaluate(truth, found, names(3), precision=0)


def test_student_that_does_not_know_names_of_images_is_measured() -> None:
    truth = [true("a", (0, A))]
    unnamed = Objects("", truth[0].size_wh, truth[0].boxes_xyxy, truth[0].class_ids, truth[0].scores)
    assert evaluate(truth, [unnamed], ["x"], resamples=2).ap50 == pytest.approx(1)

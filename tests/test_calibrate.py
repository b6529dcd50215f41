"""Calibration: thresholds as a full search would choose them, planted prompts, and no gain where there is none."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest

from labeling.core.errors import InputError
from labeling.core.ontology import Ontology, OntologyClass, parse_classes
from labeling.trust.aliases import prompt_options
from labeling.trust.calibration import calibrated
from labeling.trust.calibration_claims import Aim, Claims, average_precision, claims
from labeling.trust.calibration_search import Prompts, Search, Settings, folds, most_passes
from labeling.trust.calibration_thresholds import choose_thresholds
from labeling.trust.gold import GoldImage
from labeling.trust.opinions import Opinion

SIZE = (1000, 100)


def cell(number: int) -> list[float]:
    return [number * 50.0, 10.0, number * 50.0 + 40, 50.0]


def people(name: str, *class_ids: int) -> GoldImage:
    """Objects in the first cells of a row, one each."""
    boxes = np.array([cell(number) for number in range(len(class_ids))]).reshape(-1, 4)
    return GoldImage(name, SIZE, boxes, np.array(class_ids, dtype=np.int64))


def opinion(name: str, *said: tuple[int, int, float]) -> Opinion:
    """Boxes as (cell, class, score)."""
    boxes = np.array([cell(number) for number, _, _ in said]).reshape(-1, 4)
    ids = np.array([class_id for _, class_id, _ in said], dtype=np.int64)
    scores = np.array([score for _, _, score in said])
    return Opinion(name, SIZE, boxes, ids, scores, ("p",) * len(said))


def world(
    images: int, seed: int, right: tuple[float, float], wrong: tuple[float, float]
) -> list[tuple[GoldImage, Opinion]]:
    """Three objects of class 0 per image and three cells with nothing, scored uniformly within bounds."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(images):
        said = [(place, 0, float(random.uniform(*(right if place < 3 else wrong)))) for place in range(6)]
        made.append((people(f"{number}", 0, 0, 0), opinion(f"{number}", *said)))
    return made


def search(pairs: Sequence[tuple[GoldImage, Opinion]], threshold: float = 0.5, aim: Aim | None = None) -> Search:
    today = Settings((("a",),), None, 0.5, (threshold,))
    gold, said = [one for one, _ in pairs], [other for _, other in pairs]
    return Search(gold, today, [("a",)], (), aim or Aim(), lambda _p, _n: said, np.arange(len(gold)))


def test_hits_misses_and_false_alarms_are_those_counted_by_hand() -> None:
    gold = [people("a", 0, 0, 1), people("b")]
    said = [
        opinion("a", (0, 0, 0.9), (1, 1, 0.8), (2, 1, 0.7), (5, 0, 0.6)),
        opinion("b", (0, 1, 0.3)),
    ]
    found = claims(gold, said, 2, 0.5)
    rows = np.arange(2)
    assert found.counts([0.5, 0.5], rows).tolist() == [[[1, 1, 2], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]]
    assert found.counts([0.65, 0.2], rows).tolist() == [[[1, 0, 2], [1, 1, 1]], [[0, 0, 0], [0, 1, 0]]]


def test_an_object_is_found_once_and_the_second_box_is_a_false_alarm() -> None:
    near = opinion("a", (0, 0, 0.9), (0, 0, 0.8))
    near.boxes_xyxy[1] += 6
    found = claims([people("a", 0)], [near], 1, 0.9)
    assert found.hit.tolist() == [True, False]
    assert claims([people("a", 0)], [near], 1, 0.5).hit.tolist() == [True]


def test_average_precision_is_that_of_pycocotools() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(4)
    gold, said = [], []
    for number in range(25):
        ids = random.integers(0, 3, random.integers(0, 6))
        guessed = np.where(random.random(12) < 0.9, np.resize(np.append(ids, 0), 12), random.integers(0, 3, 12))
        picked = random.permutation(6)[: random.integers(1, 6)]
        gold.append(people(f"{number}", *ids))
        said.append(opinion(f"{number}", *((int(c), int(guessed[c]), float(random.random())) for c in picked)))
    labels = [
        (i, b, c) for i, one in enumerate(gold) for b, c in zip(one.boxes_xyxy, one.class_ids, strict=True)
    ]  # fmt: skip
    boxes = [
        {"id": n, "image_id": i, "category_id": int(c), "bbox": [b[0], b[1], 40, 40], "area": 1600, "iscrowd": 0}
        for n, (i, b, c) in enumerate(labels, 1)
    ]
    results = [
        {"image_id": i, "category_id": int(c), "bbox": [b[0], b[1], 40, 40], "score": float(s)}
        for i, one in enumerate(said) for b, c, s in zip(one.boxes_xyxy, one.class_ids, one.scores, strict=True)
    ]  # fmt: skip
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(25)], "annotations": boxes, "categories": [{"id": c} for c in range(3)],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    ours = average_precision(claims(gold, said, 3, 0.5), np.ones((1, 25)))
    assert ours[0] == pytest.approx(run.stats[1], abs=1e-9)
    assert 0.1 < ours[0] < 0.9


@pytest.mark.parametrize(("miss", "false"), [(1, 1), (5, 1), (1, 5)])
def test_the_threshold_costs_about_as_little_as_the_best_of_all(miss: float, false: float) -> None:
    pairs = world(60, 0, (0.3, 0.9), (0.1, 0.6))
    found = claims([one for one, _ in pairs], [other for _, other in pairs], 1, 0.5)
    aim, rows = Aim(miss, false), np.arange(60)

    def loss(threshold: float) -> float:
        return float(aim.loss(*found.counts([threshold], rows).sum(axis=(0, 1))))

    best = min(loss(step) for step in np.linspace(0, 1, 1001))
    (chosen,) = choose_thresholds(found, rows, aim, [0.5])
    assert best <= loss(chosen) <= best * 1.05
    assert loss(chosen) < min(loss(0.05), loss(0.95))


def test_a_dearer_miss_lowers_the_threshold_and_a_dearer_false_alarm_raises_it() -> None:
    pairs = world(60, 0, (0.3, 0.9), (0.1, 0.6))
    found = claims([one for one, _ in pairs], [other for _, other in pairs], 1, 0.5)
    dear_miss, even, dear_false = (
        choose_thresholds(found, np.arange(60), aim, [0.5])[0] for aim in (Aim(5, 1), Aim(1, 1), Aim(1, 5))
    )
    assert dear_miss < even < dear_false


def test_under_a_wanted_precision_the_lowest_threshold_that_reaches_it_is_taken() -> None:
    pairs = world(80, 1, (0.3, 0.9), (0.1, 0.6))
    found = claims([one for one, _ in pairs], [other for _, other in pairs], 1, 0.5)
    (chosen,) = choose_thresholds(found, np.arange(80), Aim(precision=0.9), [0.5])
    hits, false, objects = found.counts([chosen], np.arange(80)).sum(axis=(0, 1))
    reached = [
        hits_there / objects
        for step in np.linspace(0, 1, 1001)
        for hits_there, false_there, _ in [found.counts([step], np.arange(80)).sum(axis=(0, 1))]
        if hits_there >= 0.9 * (hits_there + false_there) > 0
    ]
    assert hits / (hits + false) == pytest.approx(0.9, abs=0.02)
    assert hits / objects == pytest.approx(max(reached), abs=0.03)


def test_a_class_with_few_objects_leans_on_the_common_threshold_and_one_without_keeps_its_own() -> None:
    gold = [people(f"{n}", *([0] * 4), *([1] if n == 0 else [])) for n in range(30)]
    said = [
        opinion(f"{n}", *((c, 0, 0.8) for c in range(4)), *([(4, 1, 0.3)] if n == 0 else []), (9, 0, 0.6), (10, 2, 0.9))
        for n in range(30)
    ]
    own, few, unseen = choose_thresholds(claims(gold, said, 3, 0.5), np.arange(30), Aim(), [0.5, 0.5, 0.42])
    assert own == pytest.approx(0.7)  # in the middle between 0.8, where objects are, and 0.6, where nothing is
    assert unseen == 0.42
    # Alone it would lie just under its one box at 0.3; the common one is that of class 0, which has nearly all objects.
    assert few == pytest.approx((1 * 0.2997 + 10 * 0.7) / 11, abs=1e-3)
    common = choose_thresholds(claims(gold, said, 3, 0.5), np.arange(30), Aim(), [0.5, 0.5, 0.42], own=False)
    assert common == pytest.approx((0.7, 0.7, 0.42))


def test_a_threshold_that_is_too_high_is_found_and_the_gain_is_shown() -> None:
    found = calibrated(search(world(60, 2, (0.3, 0.6), (0.05, 0.2)), threshold=0.5))
    assert found.gain_shown
    assert 0.2 < found.chosen.thresholds[0] < 0.32
    hits, false, objects = found.counts_today.sum(axis=0)
    assert 90 < objects - hits < 150
    assert objects == 180
    assert false == 0
    assert found.counts_calibrated[0].tolist() == [180, 0, 180]
    assert found.loss.calibrated == 0
    assert found.loss.high < 0
    assert found.f1.calibrated == 1
    assert found.ap50.today == found.ap50.calibrated


def test_where_today_is_best_no_gain_is_shown_more_often_than_chance_allows() -> None:
    shown = 0
    for seed in range(5):
        pairs = world(32, 100 + seed, (0.3, 0.9), (0.1, 0.7))
        shown += calibrated(search(pairs, threshold=0.5)).gain_shown
    assert shown <= 1


def test_images_that_choose_never_report() -> None:
    """One image decides everything alone: in its own fold others choose, so its gain is never reported."""
    pairs = [(people(f"{n}", 0), opinion(f"{n}", (0, 0, 0.6))) for n in range(40)]
    pairs[7] = (people("7", *[0] * 19), opinion("7", *((c, 0, 0.2) for c in range(19))))
    found = calibrated(search(pairs, threshold=0.5))
    assert not found.gain_shown


def prompted(answers: dict[str, float], false: dict[str, int], asked: list[Prompts]) -> Search:
    """Class 0 is found by each prompt with some chance; class 1 always. A pass is noted."""
    random = np.random.default_rng(5)
    luck = random.random((60, 3))
    gold = [people(f"{n}", 0, 0, 0, 1) for n in range(60)]

    def ask(prompts: Prompts, _per_pass: int | None) -> list[Opinion]:
        asked.append(prompts)
        said = []
        for n in range(60):
            seen = [(c, 0, 0.8) for c in range(3) if any(luck[n, c] < answers[text] for text in prompts[0])]
            vain = [(10 + k, 0, 0.8) for k in range(max(false[text] for text in prompts[0]))]
            said.append(opinion(f"{n}", *seen, *vain, (3, 1, 0.9)))
        return said

    today = Settings((("good",), ("other",)), None, 0.5, (0.5, 0.5))
    return Search(gold, today, [tuple(answers), ("other",)], (), Aim(), ask, np.arange(60))


def test_a_planted_prompt_is_found_in_as_many_passes_as_were_announced() -> None:
    asked: list[Prompts] = []
    options = {"good": 0.4, "worse": 0.1, "better": 0.9, "vain": 0.95}
    made = prompted(options, {"good": 0, "worse": 0, "better": 0, "vain": 5}, asked)
    found = calibrated(made)
    assert found.chosen.prompts == (("better",), ("other",))
    assert found.gain_shown
    assert len(asked) == len(set(asked)) == found.passes <= most_passes([tuple(options), ("other",)], ())
    assert found.counts_calibrated[0, 0] > 1.8 * found.counts_today[0, 0]


def test_without_a_better_prompt_the_own_one_stays() -> None:
    made = prompted({"good": 0.8, "worse": 0.1, "same": 0.8}, {"good": 0, "worse": 0, "same": 0}, [])
    found = calibrated(made)
    assert found.chosen.prompts == made.today.prompts
    assert not found.gain_shown


def test_nms_that_drops_neighbours_is_loosened() -> None:
    gold, said = [], []
    for n in range(40):
        boxes = np.array([[0, 0, 40, 40], [14, 0, 54, 40]], dtype=float)  # overlap 0.48, above 0.3
        gold.append(GoldImage(f"{n}", SIZE, boxes, np.zeros(2, dtype=np.int64)))
        said.append(Opinion(f"{n}", SIZE, boxes, np.zeros(2, dtype=np.int64), np.array([0.9, 0.8]), ("p", "p")))
    today = Settings((("a",),), None, 0.3, (0.5,))
    found = calibrated(Search(gold, today, [("a",)], (), Aim(), lambda _p, _n: said, np.arange(40)))
    assert found.chosen.nms_iou == 0.5
    assert found.gain_shown
    assert found.ap50.calibrated > found.ap50.today


def test_rows_of_a_group_share_a_fold_and_folds_are_of_like_size() -> None:
    groups = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10])
    parts = folds(groups)
    assert sorted(np.concatenate(parts).tolist()) == list(range(14))
    assert {len(part) for part in parts} <= {2, 3}
    homes = [next(k for k, part in enumerate(parts) if row in part) for row in range(14)]
    assert len({homes[row] for row in (0, 1, 2)}) == len({homes[row] for row in (10, 11)}) == 1


def test_too_few_images_and_none_with_an_object_are_refused() -> None:
    with pytest.raises(InputError, match="29 gold images are too few: review 1 more"):
        calibrated(search(world(29, 0, (0.3, 0.6), (0.1, 0.2))))
    empty = [(people(f"{n}"), opinion(f"{n}", (0, 0, 0.6))) for n in range(30)]
    with pytest.raises(InputError, match="no gold image holds an object"):
        calibrated(search(empty))


def test_average_precision_without_an_object_is_not_measured() -> None:
    none = Claims(*(np.zeros(0, dtype=kind) for kind in (int, int, float, bool)), np.zeros((2, 1)))
    assert np.isnan(average_precision(none, np.ones((1, 2)))).all()


def test_prompts_to_try_are_the_own_ones_the_given_ones_and_the_synonyms_once_each() -> None:
    ontology = Ontology((OntologyClass("a", ("a",), synonyms=("A", "alpha")), OntologyClass("b", ("bee",))))
    assert prompt_options(ontology, None) == (("a", "alpha"), ("bee",))
    assert prompt_options(ontology, "a: one | alpha, b: Bee | wasp") == (("a", "one", "alpha"), ("bee", "wasp"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("c: x", "unknown class 'c'"),
        ("a: bee", "already belongs to class 'a'"),
        ("a: " + " | ".join(f"p{n}" for n in range(9)), "class 'a' has 10 prompts to try: expected at most 8"),
        ("missing.yaml", "missing.yaml"),
    ],
)
def test_prompts_that_cannot_be_tried_are_refused(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prompt_options(parse_classes("a, b: bee"), given)

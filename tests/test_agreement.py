"""Agreement between people: textbook tables and the libraries as oracles, known error rates, odd cases."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple

import krippendorff
import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import cohen_kappa_score

from labeling.studio.agreement import Agreement, Seen, agreement, gate
from labeling.studio.chance import NO_OBJECT, UNSEEN, fleiss_kappa
from labeling.studio.kappa import Estimate, Measures, Ratings, cohen_kappa, measure

Labels = npt.NDArray[np.int64]
NAMES = ("cup", "fork", "knife", "mug", "plate")
PEOPLE = ("ann", "bob", "cy")


def drawn(labels: Labels, image: Sequence[int], *, jitter: float = 3.0, seed: int = 0) -> list[Seen]:
    """Draw a table of (units, people) labels: the units of an image stand side by side, far from each other."""
    random = np.random.default_rng(seed)
    seen = []
    for number in sorted(set(image)):
        rows = labels[np.asarray(image) == number]
        objects: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = {}
        for person, column in zip(PEOPLE, rows.T, strict=False):
            if column[0] == UNSEEN:
                continue
            objects[person] = []
            for place in random.permutation(len(column)):
                x0, y0, x1, y1 = np.array([100 * place, 0, 100 * place + 60, 60]) + random.uniform(-jitter, jitter, 4)
                if column[place] != NO_OBJECT:
                    objects[person].append((NAMES[column[place] - 1], (x0, y0, x1, y1)))
        seen.append(Seen(f"photo {number}", objects))
    return seen


def answers(
    units: int, people: int, *, error: float, missed: float, seed: int, per_image: int = 4, absent: float = 0.0
) -> tuple[Labels, list[int]]:
    """Let people look at objects of five classes: each is missed or misnamed with a known rate."""
    random = np.random.default_rng(seed)
    truth = random.integers(1, 6, (units, 1))
    wrong = (truth - 1 + random.integers(1, 5, (units, people))) % 5 + 1
    labels = np.where(random.random((units, people)) < error, wrong, truth)
    labels = np.where(random.random((units, people)) < missed, NO_OBJECT, labels)
    image = np.arange(units) // per_image
    away = random.random((units // per_image + 1, people)) < absent
    labels = np.where(away[image], UNSEEN, labels)
    kept = (labels > 0).any(axis=1)
    return labels[kept], image[kept].tolist()


def of_class(labels: Labels, label: int) -> Labels:
    return np.where(labels == UNSEEN, UNSEEN, (labels == label).astype(np.int64))


def their_alpha(labels: Labels) -> float:
    data = np.where(labels == UNSEEN, np.nan, labels.astype(float)).T
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"))


def without_no_object(labels: Labels) -> Labels:
    return np.where(labels == NO_OBJECT, UNSEEN, labels)


def test_two_people_are_measured_as_by_the_libraries_on_the_matched_table() -> None:
    labels, image = answers(200, 2, error=0.2, missed=0.15, seed=1)
    found = agreement(drawn(labels, image), resamples=10)
    (pair,) = found.pairs
    assert (pair.annotators, pair.units, pair.images) == (("ann", "bob"), len(labels), len(set(image)))
    said = (None, *NAMES)
    assert sum(pair.table.values()) == len(labels)
    assert pair.table == {
        (said[x], said[y]): int(((labels[:, 0] == x) & (labels[:, 1] == y)).sum())
        for x, y in set(map(tuple, labels.tolist()))
    }
    both = labels[(labels > 0).all(axis=1)]
    assert pair.overall.kappa.value == pytest.approx(cohen_kappa_score(*labels.T))
    assert pair.overall.kappa_matched.value == pytest.approx(cohen_kappa_score(*both.T))
    assert pair.overall.alpha.value == pytest.approx(their_alpha(labels))
    assert pair.overall.alpha_matched.value == pytest.approx(their_alpha(both))
    agreed = (both[:, 0] == both[:, 1]).sum()
    assert pair.overall.found.value == pytest.approx(2 * agreed / (labels > 0).sum())
    assert tuple(pair.classes) == NAMES
    for label, name in enumerate(NAMES, start=1):
        one, alone = pair.classes[name], of_class(labels, label)
        assert one.kappa.value == pytest.approx(cohen_kappa_score(*alone.T))
        assert one.kappa_matched.value == pytest.approx(cohen_kappa_score(*of_class(both, label).T))
        assert one.alpha.value == pytest.approx(their_alpha(alone))
        assert one.alpha_matched.value == pytest.approx(their_alpha(of_class(both, label)))
        assert one.found.value == pytest.approx(2 * alone.all(axis=1).sum() / alone.sum())


def test_three_people_of_whom_some_are_absent_are_measured_as_by_krippendorff() -> None:
    labels, image = answers(240, 3, error=0.15, missed=0.1, seed=2, absent=0.2)
    seen_by = (labels != UNSEEN).sum(axis=1)
    assert set(seen_by.tolist()) == {1, 2, 3}
    found = agreement(drawn(labels, image), resamples=10).everyone
    compared = labels[seen_by >= 2]
    assert found.units == len(compared)
    assert found.overall.alpha.value == pytest.approx(their_alpha(compared))
    assert found.overall.alpha_matched.value == pytest.approx(their_alpha(without_no_object(compared)))
    for label, name in enumerate(NAMES, start=1):
        assert found.classes[name].alpha.value == pytest.approx(their_alpha(of_class(compared, label)))
    full = compared[(compared != UNSEEN).all(axis=1)]
    assert fleiss_kappa([[(row == x).sum() for x in range(6)] for row in full]) == pytest.approx(_fleiss(full))


def _fleiss(labels: Labels) -> float:
    """Fleiss 1971 word by word, for a fixed number of people."""
    subjects, people = labels.shape
    table = np.array([[(row == label).sum() for label in range(6)] for row in labels])
    agreeing = sum((row**2).sum() - people for row in table) / (subjects * people * (people - 1))
    by_chance = sum((table[:, label].sum() / (subjects * people)) ** 2 for label in range(6))
    return float((agreeing - by_chance) / (1 - by_chance))


def test_everyone_has_the_kappa_of_fleiss() -> None:
    labels, image = answers(120, 3, error=0.2, missed=0.2, seed=8)
    found = agreement(drawn(labels, image), resamples=10).everyone
    assert found.overall.kappa.value == pytest.approx(_fleiss(labels))
    for label, name in enumerate(NAMES, start=1):
        assert found.classes[name].kappa.value == pytest.approx(_fleiss(of_class(labels, label)))


def test_textbook_values() -> None:
    # Fleiss' worked example: 10 subjects, 14 psychiatrists, 5 categories.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(table) == pytest.approx(0.20993, abs=1e-5)
    # Two readers of 50 proposals: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no; kappa is (0.7 - 0.5) / (1 - 0.5).
    assert cohen_kappa(np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [20, 5, 10, 15], axis=0)) == pytest.approx(0.4)


# Krippendorff 2011, section C: four observers, twelve units, some missing; nominal alpha is 0.743.
_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3],
        [-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1],
    ]
).T


@pytest.mark.parametrize("largest", [10**6, 0])
def test_alpha_is_that_of_the_paper_by_the_library_and_from_the_sums(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.studio.kappa._LARGEST", largest)
    ratings = Ratings(_OBSERVERS, np.arange(12), np.empty((0, 3)), 12)
    overall, _classes = measure(ratings, NAMES, cohen=False, confidence=0.95, resamples=10, seed=0)
    assert overall.alpha.value == pytest.approx(0.743, abs=5e-4)


def test_cohens_kappa_of_the_sums_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, image = answers(120, 2, error=0.2, missed=0.2, seed=4)
    seen = drawn(labels, image)
    theirs = agreement(seen, resamples=10).pairs[0].overall
    asked = []
    monkeypatch.setattr("labeling.studio.kappa.cohen_kappa", lambda labels: asked.append(len(labels)) or 9.0)
    assert agreement(seen, resamples=10).pairs[0].overall.kappa.value == 9.0
    assert len(asked) == 2
    low, high = theirs.kappa.low, theirs.kappa.high
    assert theirs.kappa.value is not None
    assert low is not None
    assert high is not None
    assert low <= theirs.kappa.value <= high


def _kappa_to_expect(error: float, missed: float) -> float:
    """Return Cohen's kappa of endlessly many objects, of which those that nobody drew are not known."""
    said = np.full((5, 6), error / 4 * (1 - missed))
    said[:, 0] = missed
    said[range(5), range(1, 6)] = (1 - error) * (1 - missed)
    table = said.T @ said / 5
    table[0, 0] = 0
    table /= table.sum()
    by_chance = (table.sum(axis=0) * table.sum(axis=1)).sum()
    return float((np.trace(table) - by_chance) / (1 - by_chance))


def test_known_error_rates_are_recovered_inside_the_interval() -> None:
    for error, missed in ((0.1, 0.0), (0.15, 0.1)):
        true, hits, matched_hits, runs = _kappa_to_expect(error, missed), 0, 0, 40
        for seed in range(runs):
            labels, image = answers(240, 2, error=error, missed=missed, seed=seed)
            overall = agreement(drawn(labels, image), resamples=300).pairs[0].overall
            hits += _holds(overall.kappa, true)
            matched_hits += _holds(overall.kappa_matched, _kappa_to_expect(error, 0))
        # 95 % of 40 is 38; fewer than 33 has a chance below 1 in 100 with intervals that are right.
        assert hits >= 33, (error, missed)
        assert matched_hits >= 33, (error, missed)


def _holds(estimate: Estimate, value: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= value <= estimate.high


def test_a_box_without_partner_is_no_object_to_the_other() -> None:
    here, there, far = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 11.0), (50.0, 50.0, 60.0, 60.0)
    found = agreement(
        [Seen("a", {"ann": [("cup", here), ("cup", far)], "bob": [("mug", there)]}), Seen("b", {"bob": [], "ann": []})]
    )
    (pair,) = found.pairs
    assert pair.table == {("cup", "mug"): 1, ("cup", None): 1}
    assert pair.overall.iou.value == pytest.approx(10 / 11)
    assert pair.classes["cup"].iou == Estimate(None, reason="no matched box was given this class by both")
    assert found.drawn == {"cup": 2, "mug": 1}
    assert (pair.images, pair.units) == (2, 2)
    assert agreement([Seen("a", {"ann": [("cup", here)], "bob": [("cup", there)]})], min_iou=0.95).pairs[0].units == 2


def test_equal_boxes_of_two_classes_are_paired_by_class() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    seen = [Seen("a", {"ann": [("cup", box), ("mug", box)], "bob": [("mug", box), ("cup", box)], "cy": [("mug", box)]})]
    found = agreement(seen)
    assert found.pairs[0].table == {("cup", "cup"): 1, ("mug", "mug"): 1}
    assert [one.kind for one in found.disagreements] == ["object"]
    assert found.everyone.units == 2


def _at(x: float) -> tuple[float, float, float, float]:
    return (x, 0.0, x + 10, 10.0)


def test_boxes_of_three_people_become_one_unit_through_the_one_between() -> None:
    seen = [Seen("a", {"ann": [("cup", _at(0))], "bob": [("cup", _at(3))], "cy": [("cup", _at(6))]})]
    found = agreement(seen)
    assert [pair.overall.iou.value is None for pair in found.pairs] == [False, True, False]  # ann and cy are apart
    assert (found.everyone.units, found.disagreements) == (1, ())


def test_nobody_has_two_boxes_in_one_unit_and_the_most_alike_go_first() -> None:
    # ann's box is at IoU 0.80 with bob's and at 0.85 with cy's second; bob's is at 0.90 with cy's first.
    cy = [("cup", _at(0)), ("cup", _at(2.4))]
    found = agreement([Seen("a", {"ann": [("cup", _at(1.6))], "bob": [("cup", _at(0.5))], "cy": cy})])
    assert found.everyone.units == 2
    units = {frozenset(one.boxes) for one in found.disagreements}
    assert units == {frozenset({"bob", "cy"}), frozenset({"ann", "cy"})}


def test_disagreements_come_worst_first() -> None:
    small, large, third = (0.0, 0.0, 5.0, 5.0), (20.0, 0.0, 60.0, 40.0), (100.0, 0.0, 120.0, 20.0)
    seen = [
        Seen("two of three", {"ann": [("cup", small)], "bob": [("cup", small)], "cy": []}),
        Seen("missed", {"ann": [("cup", small), ("cup", large), ("cup", third)], "bob": [("cup", third)]}),
        Seen("named", {"ann": [("cup", small)], "bob": [("mug", small)]}),
        Seen("alone", {"ann": [("cup", small)]}),
    ]
    found = agreement(seen)
    assert [(one.image, one.kind, one.share) for one in found.disagreements] == [
        ("named", "class", 1.0),
        ("missed", "object", 1.0),
        ("missed", "object", 1.0),
        ("two of three", "object", pytest.approx(2 / 3)),
    ]
    assert found.disagreements[1].boxes == {"ann": large}
    assert found.disagreements[1].said == {"ann": "cup", "bob": None}
    assert found.disagreements[3].said == {"ann": "cup", "bob": "cup", "cy": None}


def test_order_and_names_of_people_and_images_of_one_person_change_nothing() -> None:
    labels, image = answers(80, 3, error=0.2, missed=0.1, seed=6)
    seen = drawn(labels, image)
    renamed = {"ann": "zoe", "bob": "ann", "cy": "mia"}
    other = [Seen(one.image, {renamed[who]: objects for who, objects in one.objects.items()}) for one in seen]
    alone = Seen("alone", {"ann": [("cup", _at(0))]})
    first, second = agreement(seen, resamples=50), agreement([*other, alone], resamples=50)
    assert _numbers(first.everyone.overall) == pytest.approx(_numbers(second.everyone.overall))
    assert (first.everyone.images, first.images, second.everyone.images, second.images) == (20, 20, 20, 21)
    assert agreement(seen, resamples=50) == first
    assert agreement(seen, resamples=50, seed=1) != first
    backwards = agreement(seen[::-1], resamples=50)
    values = [measures.alpha.value for measures in first.everyone.classes.values()]
    assert [measures.alpha.value for measures in backwards.everyone.classes.values()] == pytest.approx(values)


def _numbers(measures: Measures) -> list[float]:
    return [number for one in astuple(measures) for number in one[:3]]


def _no_number_is_nan(found: Agreement) -> bool:
    groups = [found.everyone, *found.pairs]
    measures = [one for group in groups for one in (group.overall, *group.classes.values())]
    estimates = [Estimate(*one) for each in measures for one in astuple(each)]
    assert len(estimates) >= 6
    assert all((one.value is None) == bool(one.reason) for one in estimates)
    return all(number is None or np.isfinite(number) for one in estimates for number in (one.value, one.low, one.high))


def test_what_is_undefined_is_none_with_the_reason_and_never_nan() -> None:
    cup, fork = [("cup", _at(0))], [("fork", _at(0))]
    nothing = agreement([])
    assert _no_number_is_nan(nothing)
    assert (nothing.pairs, nothing.everyone.images, nothing.everyone.annotators) == ((), 0, ())

    empty = agreement([Seen("a", {"ann": [], "bob": []})])
    assert _no_number_is_nan(empty)
    assert empty.everyone.overall.alpha == Estimate(None, reason="nothing to compare")
    assert empty.everyone.overall.found == Estimate(None, reason="nobody drew an object")

    one = agreement([Seen(name, {"ann": cup, "bob": cup}) for name in "ab"])
    assert _no_number_is_nan(one)
    assert one.pairs[0].overall.kappa == Estimate(None, reason="everyone always said 'cup'")
    assert one.everyone.classes["cup"].alpha.reason == "everyone always said 'cup'"
    assert one.everyone.overall.found == Estimate(1.0, 1.0, 1.0)

    apart = agreement([Seen("a", {"ann": cup, "bob": []}), Seen("b", {"ann": [], "bob": fork})])
    assert _no_number_is_nan(apart)
    assert apart.pairs[0].overall.kappa_matched == Estimate(None, reason="nothing to compare")
    assert apart.pairs[0].overall.iou == Estimate(None, reason="no two boxes matched")
    assert apart.pairs[0].overall.found.value == 0

    few = agreement([Seen("a", {"ann": [*cup, ("fork", _at(50))], "bob": fork, "cy": []})])
    assert _no_number_is_nan(few)
    assert few.everyone.overall.alpha.value is not None
    assert few.everyone.overall.alpha.low is None  # one image has no interval


def test_the_gate_asks_for_alpha_with_no_object() -> None:
    labels, image = answers(200, 2, error=0.1, missed=0.1, seed=3)
    found = agreement(drawn(labels, image), resamples=10)
    value = found.everyone.overall.alpha.value
    assert value is not None
    judged = gate(found, value)
    assert (judged.statistic, judged.passed, judged.estimate) == ("alpha", True, found.everyone.overall.alpha)
    assert gate(found, value + 1e-9).passed is False
    assert gate(found).threshold == 0.7


def test_with_one_class_the_gate_asks_how_often_one_finds_what_the_other_drew() -> None:
    cup: list[tuple[str, tuple[float, float, float, float]]] = [("cup", _at(50 * n)) for n in range(10)]
    found = agreement([Seen("a", {"ann": cup, "bob": cup}), Seen("b", {"ann": cup, "bob": cup[1:]})])
    assert found.everyone.overall.alpha.value is not None
    assert found.everyone.overall.alpha.value == pytest.approx(0)  # although 19 of 20 objects were drawn by both
    judged = gate(found, 0.9)
    assert (judged.statistic, judged.passed, judged.estimate.value) == ("found", True, pytest.approx(38 / 39))
    assert gate(agreement([Seen("a", {"ann": [], "bob": []})])).passed is None


def test_500_images_of_three_people_take_less_than_ten_seconds() -> None:
    labels, image = answers(4000, 3, error=0.1, missed=0.1, seed=9, per_image=8)
    seen = drawn(labels, image)
    assert len(seen) == 500
    start = time.perf_counter()
    found = agreement(seen)
    assert time.perf_counter() - start < 10
    assert found.everyone.units == len(labels)

"""Planted label errors are what they are called, and how early a list shows them is counted right."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from labeling.core.errors import InputError
from labeling.core.geometry import iou
from labeling.core.records import Annotation, Provenance
from tests.paths import ROOT

NAMES = ("pallet", "forklift", "person")
SIZE = (640, 480)
Labels = dict[str, list[Annotation]]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "curation"))


@pytest.fixture
def planting() -> ModuleType:
    return importlib.import_module("plant_errors")


@pytest.fixture
def curves() -> ModuleType:
    return importlib.import_module("errors_curves")


def annotation(image: str, number: int, box: tuple[float, float, float, float], name: str = "pallet") -> Annotation:
    return Annotation(f"{image}-{number}", image, name, box, Provenance("imported", annotator="people"))


@pytest.fixture
def labels() -> Labels:
    """20 images of 10 boxes each, no two of which touch, with room around them."""
    random = np.random.default_rng(5)
    images: Labels = {}
    for image in (f"image{number:02}" for number in range(20)):
        images[image] = []
        for number in range(10):
            x, y = 10 + 120 * (number % 5), 20 + 220 * (number // 5)
            width, height = random.uniform(20, 60, 2)
            images[image].append(
                annotation(image, number, (x, y, x + width, y + height), NAMES[random.integers(len(NAMES))])
            )
    return images


@pytest.fixture
def sizes(labels: Labels) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(labels, SIZE)


def of_kind(planted: list, kind: str) -> list:
    found = [error for error in planted if error.kind == kind]
    assert found
    return found


def test_each_kind_gets_its_share_of_the_boxes_and_no_box_two_errors(
    planting: ModuleType, labels: Labels, sizes: dict[str, tuple[int, int]]
) -> None:
    changed, planted = planting.plant(labels, sizes, NAMES, 1)
    assert Counter(error.kind for error in planted) == dict.fromkeys(planting.KINDS, 2)
    hurt = [error.before.id for error in planted if error.before is not None]
    assert len(set(hurt)) == len(hurt) == 8
    # -2 missing, +2 spurious, +2 copies
    assert sum(map(len, changed.values())) == 202


def test_at_least_one_of_each_kind_is_planted(planting: ModuleType, labels: Labels) -> None:
    few = {"image00": labels["image00"]}
    _, planted = planting.plant(few, {"image00": SIZE}, NAMES, 1)
    assert Counter(error.kind for error in planted) == dict.fromkeys(planting.KINDS, 1)


def test_the_labels_hold_what_was_planted_and_else_what_people_said(
    planting: ModuleType, labels: Labels, sizes: dict[str, tuple[int, int]]
) -> None:
    changed, planted = planting.plant(labels, sizes, NAMES, 1, share=0.05)
    before = {label for some in labels.values() for label in some}
    after = {label for some in changed.values() for label in some}
    kept_twice = {error.before for error in of_kind(planted, "duplicate box")}
    gone = {error.before for error in planted if error.before is not None} - kept_twice
    new = {label for error in planted for label in error.after} - kept_twice
    assert after == before - gone | new
    assert len({label.id for label in after}) == sum(map(len, changed.values()))
    assert all(label.sha256 == image for image, some in changed.items() for label in some)


@pytest.mark.parametrize("seed", range(5))
def test_every_error_is_what_it_is_called(
    planting: ModuleType, labels: Labels, sizes: dict[str, tuple[int, int]], seed: int
) -> None:
    _, planted = planting.plant(labels, sizes, NAMES, seed, share=0.05)
    for error in of_kind(planted, "wrong class"):
        (now,) = error.after
        assert now.class_name != error.before.class_name
        assert now.class_name in NAMES
        assert now.box_xyxy == error.before.box_xyxy
    for error in of_kind(planted, "bad box"):
        (now,) = error.after
        assert iou([now.box_xyxy], [error.before.box_xyxy])[0, 0] == pytest.approx(1 / 3)
        assert now.class_name == error.before.class_name
    for error in of_kind(planted, "duplicate box"):
        first, second = error.after
        assert first == error.before
        assert 0.8 < iou([first.box_xyxy], [second.box_xyxy])[0, 0] < 1
        assert second.class_name == first.class_name
    assert all(error.after == () for error in of_kind(planted, "missing"))
    widths = {round(label.box_xyxy[2] - label.box_xyxy[0], 6) for some in labels.values() for label in some}
    for error in of_kind(planted, "spurious"):
        (now,) = error.after
        assert error.before is None
        assert not iou([now.box_xyxy], [label.box_xyxy for label in labels[now.sha256]]).any()
        assert round(now.box_xyxy[2] - now.box_xyxy[0], 6) in widths


def test_planted_boxes_stay_inside_the_image_and_clear_of_spurious_ones(planting: ModuleType, labels: Labels) -> None:
    # The outermost boxes lie on the border: a shift may not leave it.
    tight = dict.fromkeys(labels, (550, 300))
    for seed in range(20):
        _, planted = planting.plant(labels, tight, NAMES, seed, share=0.05)
        for error in planted:
            for label in error.after:
                x0, y0, x1, y1 = label.box_xyxy
                assert 0 <= x0 < x1 <= 550
                assert 0 <= y0 < y1 <= 300
        shown = [label for error in planted for label in error.after]
        for (spurious,) in (error.after for error in of_kind(planted, "spurious")):
            others = [label.box_xyxy for label in shown if label is not spurious and label.sha256 == spurious.sha256]
            assert not iou([spurious.box_xyxy], others).any()


def test_the_seed_decides_and_the_input_stays(
    planting: ModuleType, labels: Labels, sizes: dict[str, tuple[int, int]]
) -> None:
    copy = {image: list(some) for image, some in labels.items()}
    assert planting.plant(labels, sizes, NAMES, 3) == planting.plant(labels, sizes, NAMES, 3)
    assert planting.plant(labels, sizes, NAMES, 3) != planting.plant(labels, sizes, NAMES, 4)
    reversed_order = dict(reversed(labels.items()))
    assert planting.plant(reversed_order, sizes, NAMES, 3) == planting.plant(labels, sizes, NAMES, 3)
    assert labels == copy


def test_too_few_boxes_or_classes_are_refused(planting: ModuleType, labels: Labels) -> None:
    with pytest.raises(InputError, match="3 boxes"):
        planting.plant({"image00": labels["image00"][:3]}, {"image00": SIZE}, NAMES, 0)
    with pytest.raises(InputError, match="of 1 classes"):
        planting.plant({"image00": labels["image00"]}, {"image00": SIZE}, NAMES[:1], 0)


@pytest.fixture
def case(planting: ModuleType, curves: ModuleType) -> tuple[list, list]:
    """Ten rows: a wrong class in row 2, a box twice in rows 4 and 5, a missing one in row 8, one in none."""
    boxes = [annotation("image", number, (50 * number, 0, 50 * number + 40, 40)) for number in range(9)]
    claim = replace(boxes[8], id="claim", class_name="person", box_xyxy=(410, 0, 440, 40))
    elsewhere = replace(claim, id="elsewhere", sha256="other")
    rows = [curves.Row(box, None) for box in boxes[:8]] + [curves.Row(None, claim), curves.Row(None, elsewhere)]
    planted = [
        planting.Planted("wrong class", "image", boxes[2], (boxes[2],)),
        planting.Planted("duplicate box", "image", boxes[4], (boxes[4], boxes[5])),
        planting.Planted("missing", "image", boxes[8], ()),
        planting.Planted("missing", "image", annotation("image", 99, (0, 300, 40, 340)), ()),
    ]
    return rows, planted


def test_an_error_is_found_with_the_first_row_that_shows_it(curves: ModuleType, case: tuple[list, list]) -> None:
    found = curves.ranked(*case, boxes=15)
    assert curves.showing(*case) == [[2], [4, 5], [8], []]
    assert [found.at(budget) for budget in (0.2, 0.3, 0.4, 0.5, 0.8, 0.9, 1)] == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
    assert found.at(1, "missing") == 0.5
    assert found.counts == {"missing": 2, "wrong class": 1, "duplicate box": 1, "all": 4}
    assert found.by_boxes == 0.25  # three rows


def test_a_candidate_shows_a_missing_label_from_half_iou_whatever_its_class(
    planting: ModuleType, curves: ModuleType
) -> None:
    gone = annotation("image", 0, (0, 0, 100, 100))
    error = planting.Planted("missing", "image", gone, ())
    assert error.shown_by(None, replace(gone, class_name="person", box_xyxy=(0, 0, 100, 50)))
    assert not error.shown_by(None, replace(gone, box_xyxy=(0, 0, 100, 49)))
    assert not error.shown_by(None, replace(gone, sha256="other"))
    assert not error.shown_by(gone, None)


def test_chance_is_what_shuffled_lists_show(curves: ModuleType, case: tuple[list, list]) -> None:
    rows, planted = case
    random = np.random.default_rng(0)
    shuffled = [curves.ranked([rows[at] for at in random.permutation(len(rows))], planted, 15) for _ in range(4000)]
    said = curves.at_random(rows, planted)
    for budget in (0.2, 0.5):
        simulated = np.mean([one.at(budget) for one in shuffled])
        # The formula draws with replacement, which counts for little in lists longer than this one.
        assert said.at(budget) == pytest.approx(simulated, abs=0.02)
    assert said.at(0.2, "wrong class") == pytest.approx(0.2)
    assert said.at(0.2, "duplicate box") == pytest.approx(0.36)
    assert said.at(0.2, "missing") == pytest.approx(0.1)


def test_the_oracle_shows_first_what_any_row_shows(curves: ModuleType, case: tuple[list, list]) -> None:
    best = curves.oracle(*case, boxes=15)
    assert [best.at(budget) for budget in (0.1, 0.2, 0.3, 1)] == [0.25, 0.5, 0.75, 0.75]


def test_plantings_are_averaged_by_error(curves: ModuleType, case: tuple[list, list]) -> None:
    rows, planted = case
    one, other = curves.ranked(rows, planted, 15), curves.ranked(rows, planted[:1], 15)
    assert curves.mean([one, other])["all"][29] == pytest.approx((4 * 0.25 + 1) / 5)

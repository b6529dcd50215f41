"""The queue: doubtful and unlike images first, an even and honest lot between them, the same order every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labeling.core.errors import InputError
from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.records import Annotation
from labeling.core.store import Feature, ImageOutcome, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.queue import doubt, lot, order, set_aside
from labeling.vectors import LOOK
from tests.made_stores import dropped, ontology
from tests.outcomes import digest, machine, outcome


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        yield opened


def scored(image: str, *scores: float | None) -> ImageOutcome:
    labels = [machine(image, number) for number in range(len(scores))]
    return outcome(image, *(_with_score(label, score) for label, score in zip(labels, scores, strict=True)))


def _with_score(label: Annotation, score: float | None) -> Annotation:
    return replace(label, provenance=replace(label.provenance, score=score))


def seen(made: ImageOutcome, vector: Sequence[float], model: str = "m") -> ImageOutcome:
    return replace(made, features=(Feature(None, model, np.array(vector, dtype=np.float16)),))


def write(
    store: Store, *outcomes: ImageOutcome, known: Ontology | None = None, threshold: float | None = None
) -> list[str]:
    store.write_classes(known or ontology(["box"]))
    run = store.start_run("label", {} if threshold is None else {"classes": ["box"], "scores": [threshold]})
    store.commit_batch(outcomes, run)
    store.finish_run(run, {})
    return [made.sha256 for made in outcomes if made.sha256 is not None]


def names(store: Store, images: Sequence[str], **settings: float) -> list[str]:
    return [entry.sha256 for entry in order(store, images, **{"audit_share": 0.0, **settings})]  # type: ignore[arg-type]


def test_an_image_with_a_doubtful_box_comes_before_a_sure_one_and_an_empty_one_between(store: Store) -> None:
    images = write(store, scored("sure", 0.97, 0.95), scored("doubtful", 0.97, 0.31), scored("empty"), threshold=0.3)
    assert names(store, images) == [digest("doubtful"), digest("empty"), digest("sure")]


def test_doubt_is_measured_from_the_threshold_and_not_from_zero(store: Store) -> None:
    high = Ontology((OntologyClass("box", ("box",)), OntologyClass("pallet", ("pallet",), threshold=0.6)))
    pallet = machine("pallet", class_name="pallet")
    images = write(store, scored("box", 0.65), outcome("pallet", _with_score(pallet, 0.65)), known=high)
    assert names(store, images) == [digest("pallet"), digest("box")]


def test_the_thresholds_are_those_of_the_last_run(store: Store) -> None:
    images = write(store, scored("only", 0.4))
    assert doubt(store, images)[images[0]] == pytest.approx((1 - 0.4) ** 2)
    write(store, threshold=0.4)
    assert doubt(store, images)[images[0]] == pytest.approx(1.0)


def test_every_middling_box_adds_its_doubt(store: Store) -> None:
    images = write(store, scored("one", 0.6), scored("many", *[0.6] * 8))
    found = doubt(store, images)
    assert found[digest("one")] == pytest.approx(0.4**2)
    assert found[digest("many")] == pytest.approx(8 * 0.4**2)


def test_boxes_that_just_missed_the_threshold_add_doubt(store: Store) -> None:
    plain, missed = scored("plain", 0.8), dropped(scored("missed", 0.8), {("score", "box"): 3, ("nms", "box"): 50})
    images = write(store, plain, missed)
    found = doubt(store, images)
    assert found[digest("missed")] > found[digest("plain")]


def test_doubt_tells_crowded_images_apart(store: Store) -> None:
    images = write(store, scored("fairly sure", *[0.6] * 30), scored("doubtful", *[0.3] * 30), threshold=0.25)
    found = doubt(store, images)
    assert found[digest("doubtful")] > 2 * found[digest("fairly sure")]


@pytest.mark.parametrize("boxes", [1, 30])
def test_doubt_outweighs_a_small_difference_in_distance_in_crowded_sets_too(store: Store, boxes: int) -> None:
    random = np.random.default_rng(4)
    sure = [seen(scored(f"sure {n}", *[0.6] * boxes), random.standard_normal(64).tolist()) for n in range(40)]
    doubtful = seen(scored("doubtful", *[0.3] * boxes), random.standard_normal(64).tolist())
    images = write(store, *sure, doubtful, threshold=0.25)
    store.set_reviewed(images.pop(0), [], "reviewed-empty")
    assert names(store, images)[0] == digest("doubtful")


def test_near_duplicates_are_spread_over_the_queue(store: Store) -> None:
    random = np.random.default_rng(5)
    kinds = random.standard_normal((6, 80))
    made = [
        seen(scored(f"{kind}-{copy}", 0.5), kinds[kind] + 0.01 * random.standard_normal(80))
        for kind in range(6)
        for copy in range(5)
    ]
    images = write(store, *made)
    kind_of = {digest(f"{kind}-{copy}"): kind for kind in range(6) for copy in range(5)}
    first = [kind_of[image] for image in names(store, images)[:6]]
    assert sorted(first) == list(range(6))


def test_doubt_and_distance_are_weighed_against_each_other(store: Store) -> None:
    same, other = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    images = write(
        store,
        seen(scored("doubtful", 0.05), same),
        seen(scored("its twin", 0.06), same),
        seen(scored("unlike and fairly sure", 0.5), other),
    )
    first, second, _ = names(store, images)
    assert first == digest("doubtful")
    assert second == digest("unlike and fairly sure")


def test_among_looks_alone_the_dark_image_is_unlike_the_bright_ones(store: Store) -> None:
    bright = [seen(scored(f"bright {n}", 0.5), [0.80 + 0.01 * n] * 80, LOOK) for n in range(8)]
    images = write(store, *bright, seen(scored("dark", 0.5), [0.05] * 80, LOOK))
    assert digest("dark") in names(store, images)[:2]


def test_the_queue_says_how_doubtful_and_how_far_apart_an_image_is(store: Store) -> None:
    images = write(
        store,
        seen(scored("first", 0.0, 0.0), [1.0, 0.0]),
        seen(scored("its twin", 0.0), [1.0, 0.0]),
        seen(scored("opposite", 0.5), [-1.0, 0.0]),
        scored("unseen", 1.0),
    )
    queue = {entry.sha256: entry for entry in order(store, images, audit_share=0)}
    assert {image: queue[digest(image)].doubt for image in ("first", "its twin", "opposite", "unseen")} == {
        "first": 2.0, "its twin": 1.0, "opposite": 0.25, "unseen": 0.0,
    }  # fmt: skip
    assert queue[digest("first")].apart == 1.0
    assert queue[digest("its twin")].apart == pytest.approx(0.0, abs=1e-3)
    assert queue[digest("opposite")].apart == pytest.approx(1.0, abs=0.05)
    assert queue[digest("unseen")].apart is None
    assert {(entry.doubt, entry.apart) for entry in order(store, images, audit_share=1)} == {(None, None)}


def test_a_reviewed_image_is_what_others_are_compared_with_and_one_without_features_is_not(store: Store) -> None:
    made = [scored("reviewed blind", 0.5), seen(scored("new", 0.5), [1.0, 0.0]), seen(scored("other", 0.5), [0.0, 1.0])]
    images = write(store, *made)
    store.set_reviewed(digest("reviewed blind"), [], "reviewed-empty")
    assert next(order(store, images[1:], audit_share=0)).apart == 1.0
    store.set_reviewed(digest("new"), [], "reviewed-empty")
    assert next(order(store, images[2:], audit_share=0)).apart != 1.0


def test_only_what_was_decided_about_a_whole_image_sets_it_aside(store: Store) -> None:
    images = write(store, *(scored(name, 0.5) for name in ("dropped", "twin", "label dropped", "to relabel")))
    DecisionLedger(store).change(
        [
            Decided(images[0], "drop"),
            Decided(images[1], "duplicate-of", images[2]),
            Decided(images[2], "drop", annotation_id="one label"),
            Decided(images[3], "relabel"),
        ]
    )
    assert set_aside(store) == {images[0], images[1]}


def test_of_images_that_repeat_each_other_in_a_ring_one_stays(store: Store) -> None:
    a, b, c, d, e = sorted(write(store, *(scored(name, 0.5) for name in "abcde")))
    ring = [(a, b), (b, c), (c, a), (d, c)]
    DecisionLedger(store).change([Decided(one, "duplicate-of", other) for one, other in ring])
    assert set_aside(store) == {b, c, d}
    DecisionLedger(store).change([Decided(e, "drop"), Decided(a, "duplicate-of", e)])
    assert set_aside(store) == {b, c, d, e}


@pytest.mark.parametrize("broken", [[np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0]])
def test_the_order_stays_useful_with_features_missing_broken_or_of_another_encoder(
    store: Store, broken: list[float]
) -> None:
    images = write(
        store,
        seen(scored("sure", 0.99), [1.0, 0.0]),
        seen(scored("other encoder", 0.9), [1.0, 0.0, 0.0], model="other"),
        seen(scored("broken", 0.9), broken),
        scored("none", 0.05),
        seen(scored("doubtful", 0.05), [0.0, 1.0]),
    )
    queue = names(store, images)
    assert set(queue) == set(images)
    assert set(queue[:2]) == {digest("none"), digest("doubtful")}


def test_every_candidate_comes_exactly_once_also_over_many_blocks(store: Store) -> None:
    random = np.random.default_rng(1)
    made = [seen(scored(f"{n}", float(random.random())), random.standard_normal(8).tolist()) for n in range(2300)]
    images = write(store, *made)
    queue = list(order(store, images))
    assert Counter(entry.sha256 for entry in queue) == Counter(images)
    assert sum(entry.drawn for entry in queue) == 230


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (0.1, 4), (0.25, 10), (1.0, 40)])
def test_the_lot_takes_its_exact_share_and_is_spread_evenly(store: Store, share: float, drawn: int) -> None:
    images = write(store, *(scored(f"{number}", number / 40) for number in range(40)))
    queue = list(order(store, images, audit_share=share))
    assert sum(entry.drawn for entry in queue) == drawn
    for length in range(41):
        assert abs(sum(entry.drawn for entry in queue[:length]) - share * length) <= 1


def test_the_lot_does_not_look_at_the_labels(store: Store) -> None:
    images = write(store, *(scored(f"{number}", 0.5) for number in range(50)))
    before = {entry.sha256 for entry in order(store, images) if entry.drawn}
    write(store, *(scored(f"{number}", number / 50) for number in range(50)))
    assert {entry.sha256 for entry in order(store, images) if entry.drawn} == before
    assert {entry.sha256 for entry in order(store, images, seed=1) if entry.drawn} != before


def test_the_order_does_not_depend_on_the_order_of_the_candidates(store: Store) -> None:
    random = np.random.default_rng(2)
    images = write(store, *(seen(scored(f"{n}", 0.5), random.standard_normal(4).tolist()) for n in range(60)))
    orders = [list(order(store, some)) for some in (images, images[::-1], sorted(images))]
    assert orders[0] == orders[1] == orders[2]


def test_no_candidates_give_an_empty_queue(store: Store) -> None:
    assert list(order(store, [])) == []


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(store: Store, share: float) -> None:
    with pytest.raises(InputError, match="expected a number from 0 to 1"):
        order(store, [], audit_share=share)


def test_a_lot_is_uniform_and_differs_by_purpose() -> None:
    lots = [lot(digest(str(number)), "blind") for number in range(2000)]
    assert all(0 <= value < 1 for value in lots)
    assert sum(value < 0.05 for value in lots) == pytest.approx(100, abs=35)
    assert lot(digest("a"), "blind") == lot(digest("a"), "blind") != lot(digest("a"), "audit 0")

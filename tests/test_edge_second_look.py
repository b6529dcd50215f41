"""Which frames a student hands on: the limit on val, and what it is worth beside a lot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.objects import Objects
from export.runtime import Model, sureness
from export.second_look import SecondLook, calibrate, second_look
from labeling.core.errors import InputError
from tests.made_objects import drawn, names, said, true
from tests.test_edge_runtime import CARD, Brightest, grey

BOX = (10.0, 10.0, 50.0, 60.0)
AWAY = (200.0, 200.0, 260.0, 280.0)
HALF = {"crate": 0.5}


def made(*frames: tuple[float, bool]) -> tuple[list[Objects], list[Objects]]:
    """Return frames with one object of a score each, which is there or not."""
    truth = [true(f"frame {k}", *([(0, BOX)] if there else [])) for k, (_, there) in enumerate(frames)]
    return truth, [said(f"frame {k}", (0, BOX, score)) for k, (score, _) in enumerate(frames)]


def chosen(*frames: tuple[float, bool], share: float = 0.25) -> SecondLook:
    return second_look(*made(*frames), ["crate"], HALF, share=share, per_minute=12)


def test_a_limit_and_its_worth_are_what_can_be_computed_by_hand() -> None:
    # Sureness |score - 0.5| / 0.5: 0.1, 0.2, 0.6, 0.9. The first is a false alarm, the second a miss, the rest right.
    found = chosen((0.55, False), (0.4, True), (0.8, True), (0.95, True))
    assert found.below == pytest.approx(0.15)
    assert (found.share, found.frames, found.wrong) == (0.25, 4, 2)
    assert found.caught == 0.5
    assert found.by_lot == 0.5
    assert found.error_rates[[0, 25, 50, 75]] == pytest.approx([0.5, 1 / 3, 0, 0])
    assert np.isnan(found.error_rates[100])
    assert found.card == {"below": found.below, "share": 0.25, "per_minute": 12}
    assert found.sentence().startswith("25% of the frames are handed on, and with them 50% (")
    assert chosen((0.55, False), (0.4, True), (0.8, True), (0.95, True), share=0.5).caught == 1


def test_a_frame_with_a_miss_and_one_with_a_box_in_the_wrong_place_are_wrong() -> None:
    truth = [true("a", (0, BOX)), true("b", (0, BOX)), true("c", (0, BOX)), true("d")]
    found = [said("a"), said("b", (0, AWAY, 0.9)), said("c", (0, BOX, 0.9), (0, AWAY, 0.2)), said("d")]
    assert second_look(truth, found, ["crate"], HALF).wrong == 2


def test_equally_sure_frames_are_not_cut_apart() -> None:
    found = chosen(*[(0.6, True)] * 3, (0.9, True), share=0.5)
    assert found.share == 0
    assert found.caught is None
    assert found.caught_interval is None
    assert "was not measured" in found.sentence()


def test_each_class_has_its_own_threshold() -> None:
    truth = [true("a", (0, BOX)), true("b", (1, BOX))]
    found = [said("a", (0, BOX, 0.3)), said("b", (1, BOX, 0.3))]
    assert second_look(truth, found, ["crate", "drum"], {"crate": 0.2, "drum": 0.4}).wrong == 1


@given(seed=st.integers(0, 999), share=st.floats(0.02, 0.98), coarse=st.booleans())
@settings(max_examples=40, deadline=None)
def test_at_most_the_share_is_handed_on_and_the_limit_gives_that_share(seed: int, share: float, coarse: bool) -> None:
    truth, said_of = drawn(seed, 40, coarse=coarse)
    thresholds = dict(zip(names(3), (0.3, 0.5, 0.6), strict=True))
    found = second_look(truth, said_of, names(3), thresholds, share=share, resamples=20)
    limits = np.array(list(thresholds.values()), dtype=np.float32)
    sure = [sureness(one.scores.astype(np.float32), one.class_ids, limits) for one in said_of]
    assert found.share == np.mean([one < found.below for one in sure]) <= share
    assert found.error_rates[0] == pytest.approx(found.by_lot)
    rates = found.error_rates[:-1]
    assert ((rates >= -1e-9) & (rates <= 1 + 1e-9)).all()


def test_doubt_finds_wrong_frames_far_better_than_a_lot_and_a_deaf_student_does_not() -> None:
    random = np.random.default_rng(5)
    there = random.random(600) < 0.5
    scores = np.clip(0.5 + np.where(there, 1, -1) * random.normal(0.25, 0.2, 600), 0.13, 1)
    knowing = chosen(*zip(scores.tolist(), there.tolist(), strict=True), share=0.2)
    assert knowing.caught is not None
    assert knowing.caught_interval is not None
    assert knowing.caught_interval[0] > 0.5 > 2 * knowing.share
    assert knowing.error_rates[20] < knowing.by_lot / 2
    deaf = chosen(*zip(random.permutation(scores).tolist(), there.tolist(), strict=True), share=0.2)
    assert deaf.caught_interval is not None
    assert deaf.caught_interval[0] < 0.2 < deaf.caught_interval[1]


def test_a_card_is_calibrated_on_frames_alone() -> None:
    # Stretched, the score is the brightness; the threshold of crates is 0.4.
    model = Model(Brightest(replace(CARD, letterbox="stretch")))
    found = calibrate(model, [grey(value) for value in (255, 51, 108, 204)], share=0.3, per_minute=5)
    assert found is not None
    assert found["below"] == pytest.approx(((108 / 255 - 0.4) / 0.6 + 0.2 / 0.6) / 2)
    assert (found["share"], found["per_minute"]) == (0.25, 5)
    assert calibrate(model, []) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"share": 0.0}, "share of frames"),
        ({"share": 1.0}, "share of frames"),
        ({"per_minute": 0.0}, "per minute"),
        ({"thresholds": {}}, "crate has none"),
        ({"truth": [], "found": []}, "got none"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(changed: dict[str, object], words: str) -> None:
    truth, found = made((0.5, True))
    given_ = {"truth": truth, "found": found, "names": ["crate"], "thresholds": HALF} | changed
    with pytest.raises(InputError, match=words):
        second_look(**given_)  # type: ignore[arg-type]

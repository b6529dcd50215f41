"""Coverage: kinds that people never saw are found by planted clusters, also where features are few, broken or none."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pytest

from distill.curation.coverage import Coverage, coverage
from labeling.core.errors import MissingExtraError
from labeling.core.store import Feature, ImageOutcome, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.vectors import LOOK
from tests.made_stores import ontology
from tests.outcomes import digest, human, outcome

DIM = 96


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        opened.write_classes(ontology(["box", "pallet"]))
        yield opened


def seen(name: str, vector: npt.ArrayLike, model: str = "m") -> ImageOutcome:
    made = outcome(name)
    return ImageOutcome(
        made.files, made.sha256, 6, 4, done_key="k", features=(Feature(None, model, np.array(vector, dtype="f2")),)
    )


def write(store: Store, outcomes: Sequence[ImageOutcome], reviewed: Sequence[str] = ()) -> None:
    run = store.start_run("label", {})
    store.commit_batch(outcomes, run)
    for name in reviewed:
        store.set_reviewed(digest(name), [human(name)], "reviewed")


def kinds(count: int, copies: int, spread: float = 0.05) -> dict[str, npt.NDArray[np.float64]]:
    """Return images named KIND-COPY around so many directions that have nothing in common."""
    random = np.random.default_rng(3)
    centres = np.linalg.qr(random.standard_normal((DIM, count)))[0].T
    return {
        f"{kind}-{copy}": centres[kind] + spread * random.standard_normal(DIM) / np.sqrt(DIM)
        for kind in range(count)
        for copy in range(copies)
    }


def found(store: Store, **settings: int) -> Coverage:
    made = coverage(store, **settings)
    assert made is not None
    return made


def kind_of(sha256: str, images: dict[str, npt.NDArray[np.float64]]) -> str:
    return next(name.split("-")[0] for name in images if digest(name) == sha256)


def test_the_kind_that_nobody_reviewed_is_a_gap_and_the_reviewed_kinds_are_none(store: Store) -> None:
    images = kinds(5, 20)
    write(
        store, [seen(name, at) for name, at in images.items()], [f"{kind}-{n}" for kind in range(4) for n in range(5)]
    )
    made = found(store)
    assert (made.encoder, made.reviewed, made.waiting, made.without) == ("m", 20, 80, 0)
    assert {kind_of(sha256, images) for gap in made.gaps for sha256 in gap.examples} == {"4"}
    assert sum(gap.size for gap in made.gaps) == 20
    assert all(gap.reviewed == 0 and gap.distance is not None and gap.distance > 5 for gap in made.gaps)
    assert made.covered_share == pytest.approx(60 / 80, abs=0.03)


def test_one_reviewed_image_of_each_kind_covers_most_of_it(store: Store) -> None:
    images = kinds(6, 30)
    write(store, [seen(name, at) for name, at in images.items()], [f"{kind}-0" for kind in range(6)])
    assert found(store).covered_share > 0.4
    write(store, [], [f"{kind}-{n}" for kind in range(6) for n in range(1, 6)])
    made = found(store)
    assert made.covered_share > 0.9
    assert made.gaps == ()


def test_without_reviewed_images_nothing_is_covered_and_the_gaps_are_all_kinds_the_largest_first(store: Store) -> None:
    images = kinds(4, 10)
    write(store, [seen(name, at) for name, at in images.items()])
    made = found(store, most=64)
    assert (made.reviewed, made.waiting, made.covered_share) == (0, 40, 0.0)
    assert sum(gap.size for gap in made.gaps) == 40
    assert {gap.distance for gap in made.gaps} == {None}
    assert [gap.size for gap in made.gaps] == sorted((gap.size for gap in made.gaps), reverse=True)
    assert len(found(store, most=2).gaps) == 2


def test_where_nothing_waits_everything_is_covered(store: Store) -> None:
    images = kinds(2, 3)
    write(store, [seen(name, at) for name, at in images.items()], list(images))
    made = found(store)
    assert (made.waiting, made.covered_share, made.gaps) == (0, 1.0, ())


def test_examples_are_of_the_gap_wait_and_differ_from_each_other(store: Store) -> None:
    images = kinds(2, 40)
    twins = {f"1-twin{n}": images["1-0"] for n in range(30)}
    write(store, [seen(name, at) for name, at in (images | twins).items()], [f"0-{n}" for n in range(10)])
    for gap in found(store).gaps:
        assert 0 < len(gap.examples) <= 8
        assert len(set(gap.examples)) == len(gap.examples)
        assert {kind_of(sha256, images | twins) for sha256 in gap.examples} == {"1"}


def test_a_skipped_or_dropped_image_neither_waits_nor_covers_but_a_dropped_label_changes_nothing(store: Store) -> None:
    images = kinds(2, 10)
    write(store, [seen(name, at) for name, at in images.items()], ["0-0", "1-0"])
    store.set_reviewed(digest("0-1"), [], "skipped")
    DecisionLedger(store).change(
        [
            Decided(digest("1-0"), "drop"),
            Decided(digest("0-2"), "duplicate-of", digest("0-0")),
            Decided(digest("0-3"), "drop", annotation_id="a label"),
        ]
    )
    made = found(store)
    assert (made.reviewed, made.waiting) == (1, 16)
    assert sum(gap.size for gap in made.gaps if gap.reviewed == 0) >= 9


def test_no_features_at_all_give_none(store: Store) -> None:
    assert coverage(store) is None
    write(store, [outcome("plain")])
    assert coverage(store) is None
    write(store, [seen("broken", [np.nan] * 4)])
    assert coverage(store) is None


def test_the_look_serves_where_the_teacher_never_saw_the_reviewed_images(store: Store) -> None:
    random = np.random.default_rng(0)
    made = []
    for number in range(40):
        dark = number % 2
        look = Feature(None, LOOK, np.full(80, 0.05 if dark else 0.8, dtype="f2") + 0.01 * random.random(80))
        own = Feature(None, "m", random.standard_normal(DIM).astype("f2"))
        one = outcome(f"{number}")
        features = (look,) if number < 6 else (look, own)
        made.append(ImageOutcome(one.files, one.sha256, 6, 4, done_key="k", features=features))
    write(store, made, [f"{number}" for number in (0, 2, 4)])
    told = found(store)
    assert told.encoder == LOOK
    assert told.covered_share == pytest.approx(17 / 37, abs=0.1)
    examples = {sha256 for gap in told.gaps for sha256 in gap.examples}
    assert examples <= {digest(f"{number}") for number in range(1, 40, 2)}


def test_images_without_features_of_the_encoder_are_counted_and_left_out(store: Store) -> None:
    images = kinds(2, 10)
    write(
        store, [*(seen(name, at) for name, at in images.items()), outcome("none"), seen("other", [1, 2], "x")], ["0-0"]
    )
    made = found(store)
    assert (made.encoder, made.waiting, made.without) == ("m", 21, 2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_images_are_no_error(store: Store, count: int) -> None:
    write(store, [seen(f"{number}", [1.0, 2.0]) for number in range(count)])
    assert found(store).covered_share == 0.0
    write(store, [], ["0"])
    assert found(store).covered_share == 1.0


def test_the_same_store_gives_the_same_answer(store: Store) -> None:
    images = kinds(4, 30, spread=1.0)
    write(store, [seen(name, at) for name, at in images.items()], ["0-0", "1-0"])
    assert found(store) == found(store)


def test_without_scikit_learn_the_message_names_the_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, [seen("0", [1.0, 0.0]), seen("1", [0.0, 1.0])], ["0"])
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*curate"):
        coverage(store)


def test_ten_thousand_images_take_seconds(store: Store) -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((10_000, 64)).astype("f2")
    write(store, [seen(f"{number}", vector) for number, vector in enumerate(vectors)])
    with store.transaction() as db:
        db.execute("UPDATE images SET state = 'reviewed-empty' WHERE sha256 < '4'")
    start = perf_counter()
    assert found(store).reviewed > 2000
    assert perf_counter() - start < 30

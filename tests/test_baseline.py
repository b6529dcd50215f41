"""The baseline copies the labels of the most similar training photo, stretched, and says how similar it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors

from distill.baseline import baseline, nearest_photos
from labeling.core import masks
from labeling.core.records import Annotation
from labeling.core.store import Feature, FileStamp, ImageOutcome, Store
from labeling.vectors import LOOK, Encoder
from tests.made_reviews import claim, sha
from tests.made_stores import Box, ellipse, human, write

NAMES = ("box", "pallet")
DIM = 16
BOX: Box = (10.0, 10.0, 30.0, 20.0)
Vector = npt.NDArray[np.float64]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        yield opened


def photo(
    name: str,
    vector: Vector | None,
    labels: Sequence[Annotation] = (),
    size: tuple[int, int] = (100, 50),
    model: str = "m/1",
) -> ImageOutcome:
    features = () if vector is None else (Feature(None, model, vector.astype(np.float16)),)
    file = FileStamp(f"/photos/{name}".encode(), 1, 1)
    said = tuple(labels or [claim(name, 9, "box", BOX)])
    return ImageOutcome((file,), sha(name), *size, annotations=said, features=features, done_key="done")


def axis(number: int) -> Vector:
    return np.asarray(np.eye(DIM)[number])


def test_each_image_gets_the_labels_of_its_nearest_training_photo_stretched_to_its_size(store: Store) -> None:
    write(
        store,
        NAMES,
        [
            photo(
                "train 0", axis(0), [claim("train 0", 0, "box", BOX), claim("train 0", 1, "pallet", (0, 0, 100, 50))]
            ),
            photo("train 1", axis(1), [claim("train 1", 0, "pallet", BOX)]),
            photo("train 2", axis(2)),
            photo("test 0", axis(0) + 0.1 * axis(1), size=(200, 200)),
            photo("test 1", axis(1)),
            photo("test 2", axis(2) + 0.1 * axis(0)),
        ],
    )
    store.set_reviewed(sha("train 2"), [], "reviewed-empty")
    train, asked = [sha(f"train {k}") for k in range(3)], [sha(f"test {k}") for k in (2, 1, 0)]
    found = baseline(store, train, asked, NAMES)
    assert (found.encoder, found.left_out) == ("m/1", ())
    assert [one.sha256 for one in found.objects] == asked
    empty, same, larger = found.objects
    assert len(empty) == 0
    assert same.boxes_xyxy.tolist() == [list(BOX)]
    assert same.class_ids.tolist() == [1]
    assert same.scores == pytest.approx([1.0])
    assert larger.size_wh == (200, 200)
    assert larger.boxes_xyxy.tolist() == [[20.0, 40.0, 60.0, 80.0], [0.0, 0.0, 200.0, 200.0]]
    assert larger.class_ids.tolist() == [0, 1]
    near = found.nearest[asked[2]]
    assert near.sha256 == train[0]
    assert larger.scores.tolist() == [near.similarity] * 2
    assert 0.5 < near.similarity < 1


def test_people_who_reviewed_a_training_photo_are_copied_and_not_the_teacher(store: Store) -> None:
    write(store, NAMES, [photo("train", axis(0), [claim("train", 0, "box", BOX)]), photo("test", axis(0))])
    store.set_reviewed(sha("train"), [human(sha("train"), "pallet", (1.0, 2.0, 3.0, 4.0))], "reviewed")
    (one,) = baseline(store, [sha("train")], [sha("test")], NAMES).objects
    assert (one.class_ids.tolist(), one.boxes_xyxy.tolist()) == ([1], [[1.0, 2.0, 3.0, 4.0]])


def test_a_training_photo_that_teaches_nothing_is_not_copied(store: Store) -> None:
    for name in ("skipped", "train", "test"):
        write(store, NAMES, [photo(name, axis(0) if name != "train" else axis(1))])
    store.set_reviewed(sha("skipped"), [], "skipped")
    found = baseline(store, [sha("skipped"), sha("train")], [sha("test")], NAMES)
    assert found.nearest[sha("test")].sha256 == sha("train")


def test_the_nearest_photo_is_that_of_scikit_learn_over_several_blocks(store: Store) -> None:
    random = np.random.default_rng(5)
    vectors = (random.standard_normal((700, DIM)) + 3).astype(np.float16)
    images = [sha(str(number)) for number in range(700)]
    write(store, NAMES, [photo(str(number), vector) for number, vector in enumerate(vectors)])
    train, asked = images[:100], images[100:]
    found = nearest_photos(store, Encoder("m/1", DIM), train, asked)
    plain = vectors.astype(np.float64)
    centred = plain - plain[:100].mean(axis=0)
    judge = NearestNeighbors(n_neighbors=1, metric="cosine").fit(centred[:100])
    distances, rows = judge.kneighbors(centred[100:])
    assert list(found) == asked
    assert [one.sha256 for one in found.values()] == [train[row] for row in rows[:, 0]]
    assert [one.similarity for one in found.values()] == pytest.approx((1 - distances[:, 0] / 2).tolist(), abs=1e-5)


def test_a_leaked_photo_finds_itself_with_full_similarity(store: Store) -> None:
    random = np.random.default_rng(1)
    write(store, NAMES, [photo(str(number), random.standard_normal(DIM)) for number in range(20)])
    found = baseline(store, [sha(str(k)) for k in range(20)], [sha("7")], NAMES)
    assert found.nearest[sha("7")].sha256 == sha("7")
    assert found.nearest[sha("7")].similarity == pytest.approx(1)


def test_images_without_features_are_named_and_not_guessed(store: Store) -> None:
    write(store, NAMES, [photo("train", axis(0)), photo("odd", None), photo("test", axis(0)), photo("bare", None)])
    found = baseline(store, [sha("odd"), sha("train")], [sha("bare"), sha("test")], NAMES)
    assert found.left_out == (sha("bare"),)
    assert found.nearest.keys() == {sha("test")}
    assert found.nearest[sha("test")].sha256 == sha("train")


def test_without_any_features_nothing_is_said(store: Store) -> None:
    write(store, NAMES, [photo("train", None), photo("test", None)])
    found = baseline(store, [sha("train")], [sha("test")], NAMES)
    assert (found.encoder, found.objects, found.left_out) == (None, (), (sha("test"),))


def test_the_encoder_that_knows_the_most_images_is_asked_and_a_model_goes_before_the_plain_look(store: Store) -> None:
    write(store, NAMES, [photo("train", axis(0)), photo("test", axis(0)), photo("new", None)])
    images = [sha(name) for name in ("train", "test")]
    with store.transaction() as db:
        db.executemany(
            "INSERT INTO features VALUES (?, NULL, ?, ?, ?)",
            [(sha(name), LOOK, 80, np.ones(80, dtype="<f2").tobytes()) for name in ("train", "test", "new")],
        )
    assert baseline(store, images[:1], images[1:], NAMES).encoder == "m/1"
    assert baseline(store, images[:1], [*images[1:], sha("new")], NAMES).encoder == LOOK


def test_masks_are_stretched_with_their_boxes(store: Store) -> None:
    mask = ellipse((20, 10, 80, 40), (100, 50))
    label = claim("train", 0, "box", (20.0, 10.0, 80.0, 40.0))
    rle = masks.encode(mask)
    masked = Annotation(label.id, label.sha256, label.class_name, label.box_xyxy, label.provenance, rle)
    write(store, NAMES, [photo("train", axis(0), [masked]), photo("test", axis(0), size=(300, 100))])
    (one,) = baseline(store, [sha("train")], [sha("test")], NAMES, masks=True).objects
    assert one.rles is not None
    assert one.rles[0] is not None
    expected = masks.encode(ellipse((60, 20, 240, 80), (300, 100)))
    assert masks.iou(one.rles[0], expected) > 0.95
    (plain,) = baseline(store, [sha("train")], [sha("test")], NAMES).objects
    assert plain.rles is None

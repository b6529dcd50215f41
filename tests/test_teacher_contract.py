"""One suite over every detector and segmenter of the tables: what ``interfaces.py`` promises, on tiny models.

Tolerances between a batch and its images alone, and between orders of the classes: 0.01 pixels and 1e-5 of a score for
boxes, 0.5 % of the pixels of a mask. Everything else is exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from labeling.core.errors import BackendError
from labeling.core.masks import decode
from labeling.core.ontology import Ontology, parse_classes
from labeling.teachers import backends, licences
from labeling.teachers.backends import TeacherSpec
from labeling.teachers.interfaces import Detected, Detector, RgbImage, Segmented, Segmenter
from tests.zoo import DETECTORS, SEGMENTERS

pytestmark = pytest.mark.torch

WORDS = parse_classes("box: box | red box, cone, ladder")
SIZES = ((96, 128), (80, 60), (64, 64))

#: More than one way to be the same row, and rows that are made of others.
_DETECTORS_BESIDES = {"bundled,ultralytics", "grounding-dino/original", "yoloe/exemplars"}
_SEGMENTERS_BESIDES = {"sam2/original"}


@pytest.fixture(scope="module", autouse=True)
def _accepted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The licences that a person has to accept first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name, row in backends.DETECTORS.items():
            if row.accept is not None:
                licences.accept(name)
        yield


@pytest.fixture(scope="module")
def photos() -> list[RgbImage]:
    """Noise of three sizes: random models answer it with scores that differ, where a drawn photo has ties at 0 or 1."""
    return [np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def test_every_row_of_both_tables_takes_part() -> None:
    """The count is written out, so that a teacher that falls out of the suite is seen."""
    assert set(DETECTORS) == set(backends.DETECTORS) | _DETECTORS_BESIDES
    assert set(SEGMENTERS) == set(backends.SEGMENTERS) | _SEGMENTERS_BESIDES
    assert (len(DETECTORS), len(SEGMENTERS)) == (14, 6)


@dataclass(frozen=True)
class Made:
    """One detector, loaded, and what it says about the photos at floor 0."""

    name: str
    spec: TeacherSpec
    detector: Detector
    found: list[Detected]


@pytest.fixture(scope="module", params=DETECTORS.values())
def made(request: pytest.FixtureRequest, photos: list[RgbImage], tmp_path_factory: pytest.TempPathFactory) -> Made:
    name, maker = request.param
    spec = maker(tmp_path_factory.mktemp("weights"))
    assert spec.detector == name.partition("/")[0]
    detector = backends.build_detector(spec)
    return Made(name, spec, detector, detector.detect(photos, WORDS, 0.0))


def test_a_photo_gives_one_result_of_the_promised_shape(made: Made, photos: list[RgbImage]) -> None:
    assert len(made.found) == len(photos)
    for detected, photo in zip(made.found, photos, strict=True):
        boxes = detected.detections
        count = len(boxes)
        assert count > 0, "a suite without boxes shows nothing"
        assert (boxes.xyxy.shape, boxes.xyxy.dtype) == ((count, 4), np.float32)
        assert (boxes.confidence.shape, boxes.confidence.dtype) == ((count,), np.float32)
        assert boxes.confidence.min() >= 0
        assert boxes.confidence.max() <= 1
        assert np.issubdtype(boxes.class_id.dtype, np.integer)
        assert set(boxes.class_id.tolist()) <= {0, 1, 2}
        owners = [(prompt, class_id) for prompt, class_id in zip(boxes.data["prompt"], boxes.class_id, strict=True)]
        assert set(owners) <= set(WORDS.prompts)
        _assert_optional(detected, photo)


def _assert_optional(detected: Detected, photo: RgbImage) -> None:
    data, count = detected.detections.data, len(detected.detections)
    if "feature" in data:
        assert (data["feature"].dtype, data["feature"].shape[0], data["feature"].ndim) == (np.float16, count, 2)
    if detected.image_feature is not None:
        assert (detected.image_feature.dtype, detected.image_feature.ndim) == (np.float16, 1)
    assert ("rle" in data) == ("mask_score" in data)
    for rle in data.get("rle", ()):
        assert rle is None or rle["size"] == list(photo.shape[:2])
    if "mask_score" in data:
        assert (data["mask_score"].dtype, data["mask_score"].shape) == (np.float32, (count,))
    if "sources" in data:
        assert all(0 <= score <= 1 and model for sources in data["sources"] for model, score in sources)


def test_no_photo_gives_no_result(made: Made) -> None:
    assert made.detector.detect([], WORDS, 0.0) == []


def test_the_floor_is_kept_and_nothing_reaches_more_than_one(made: Made, photos: list[RgbImage]) -> None:
    scores = np.concatenate([one.detections.confidence for one in made.found])
    middle = float(np.median(scores))
    kept = np.concatenate([one.detections.confidence for one in made.detector.detect(photos, WORDS, middle)])
    assert (kept >= middle).all()
    assert 0 < len(kept) < len(scores)
    if not made.spec.members:  # what is fused depends on all boxes; otherwise the floor only cuts
        # Whether a score of the floor itself is kept is left to rounding.
        assert (scores > middle + 1e-5).sum() <= len(kept) <= (scores >= middle - 1e-5).sum()
    for one in made.detector.detect(photos, WORDS, 1.01):
        assert len(one.detections) == 0
        assert one.detections.xyxy.shape == (0, 4)
        assert len(one.detections.data["prompt"]) == 0


def test_a_photo_alone_gives_what_it_gives_in_a_batch(made: Made, photos: list[RgbImage]) -> None:
    turned = made.detector.detect(photos[::-1], WORDS, 0.0)[::-1]
    for photo, together, other in zip(photos, made.found, turned, strict=True):
        (alone,) = made.detector.detect([photo], WORDS, 0.0)
        _assert_same(alone, together)
        _assert_same(other, together)


def test_two_calls_and_two_loads_agree_to_the_bit(made: Made, photos: list[RgbImage]) -> None:
    for detector in (made.detector, backends.build_detector(made.spec)):
        for one, two in zip(detector.detect(photos, WORDS, 0.0), made.found, strict=True):
            np.testing.assert_array_equal(one.detections.xyxy, two.detections.xyxy)
            np.testing.assert_array_equal(one.detections.confidence, two.detections.confidence)
            np.testing.assert_array_equal(one.detections.class_id, two.detections.class_id)
            assert list(one.detections.data["prompt"]) == list(two.detections.data["prompt"])


def test_the_order_of_the_classes_changes_no_box(made: Made, photos: list[RgbImage]) -> None:
    turned = Ontology(tuple(reversed(WORDS.classes)))
    for one, two in zip(made.detector.detect(photos, turned, 0.0), made.found, strict=True):
        boxes = one.detections
        boxes.class_id = 2 - boxes.class_id
        _assert_same(one, two)


def test_photos_are_only_read(made: Made, photos: list[RgbImage]) -> None:
    locked = [photo.copy() for photo in photos]
    for photo in locked:
        photo.setflags(write=False)
    for one, two in zip(made.detector.detect(locked, WORDS, 0.0), made.found, strict=True):
        np.testing.assert_array_equal(one.detections.xyxy, two.detections.xyxy)


def test_a_photo_that_is_a_view_is_read_like_its_copy(made: Made, photos: list[RgbImage]) -> None:
    for view in (photos[2][..., ::-1], photos[2][::-1, ::2]):
        one, two = (made.detector.detect([photo], WORDS, 0.0)[0] for photo in (view, view.copy()))
        np.testing.assert_array_equal(one.detections.xyxy, two.detections.xyxy)
        np.testing.assert_array_equal(one.detections.confidence, two.detections.confidence)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 3)])
def test_a_photo_of_any_shape_is_no_failure(made: Made, size: tuple[int, int]) -> None:
    (found,) = made.detector.detect([np.full((*size, 3), 128, dtype=np.uint8)], WORDS, 0.0)
    assert np.isfinite(found.detections.xyxy).all()


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_plain_photo_is_no_failure(made: Made, grey: int) -> None:
    (found,) = made.detector.detect([np.full((70, 50, 3), grey, dtype=np.uint8)], WORDS, 0.05)
    assert np.isfinite(found.detections.xyxy).all()


def test_weights_of_another_model_are_refused_with_what_was_expected(
    made: Made, other_weights: Mapping[str, Path]
) -> None:
    for spec in made.spec.members or (made.spec,):
        weights = _other(spec.weights, other_weights)
        with pytest.raises(BackendError, match=r"expected|are no") as refusal:
            backends.build_detector(replace(spec, weights=str(weights)))
        _assert_names(str(refusal.value), weights)


def _assert_same(one: Detected, two: Detected) -> None:
    """Compare boxes in pairs: those that are as good as equal may have changed places."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    first, second = one.detections, two.detections
    assert len(first) == len(second)
    rows, columns = linear_sum_assignment(cdist(_numbers(first), _numbers(second)))
    np.testing.assert_allclose(first.xyxy[rows], second.xyxy[columns], rtol=0, atol=1e-2)
    np.testing.assert_allclose(first.confidence[rows], second.confidence[columns], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(first.class_id[rows], second.class_id[columns])
    assert list(first.data["prompt"][rows]) == list(second.data["prompt"][columns])


def _numbers(boxes: Any) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = np.column_stack([boxes.xyxy, boxes.confidence * 100, boxes.class_id * 100])
    return numbers


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that no row takes: a folder as transformers writes it, and tensors in files of both kinds."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("other")
    tensors = {"stem.weight": torch.ones(4, 3), "stem.bias": torch.zeros(4)}
    (folder / "config.json").write_text(json.dumps({"model_type": "clap"}))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    torch.save(tensors, folder.parent / "other.pt")
    torch.save(tensors, folder.parent / "other.pth")
    files = (folder / "model.safetensors", folder.parent / "other.pt", folder.parent / "other.pth")
    return {"folder": folder} | {file.suffix: file for file in files}


def _other(weights: str | None, other_weights: Mapping[str, Path]) -> Path:
    """Return what a user may take for weights of this kind: a folder for a folder, a file of its suffix for a file."""
    path = Path(weights or "folder")
    return other_weights[path.suffix if path.is_file() else "folder"]


def _assert_names(message: str, weights: Path) -> None:
    assert str(weights) in message
    if weights.is_dir():
        assert "'clap'" in message
    assert "\n" not in message


@dataclass(frozen=True)
class Cut:
    """One segmenter, loaded, and its masks of the photos."""

    name: str
    spec: TeacherSpec
    segmenter: Segmenter
    boxes: list[npt.NDArray[np.float32]]
    masks: list[Segmented]


@pytest.fixture(scope="module", params=SEGMENTERS.values())
def cut(request: pytest.FixtureRequest, photos: list[RgbImage], tmp_path_factory: pytest.TempPathFactory) -> Cut:
    name, maker = request.param
    spec = maker(tmp_path_factory.mktemp("weights"))
    assert spec.segmenter == name.partition("/")[0]
    segmenter = backends.build_segmenter(spec)
    assert segmenter is not None
    boxes = [_boxes(photo) for photo in photos]
    return Cut(name, spec, segmenter, boxes, segmenter.segment(photos, boxes))


def _boxes(photo: RgbImage) -> npt.NDArray[np.float32]:
    """The two boxes that are drawn, one that touches the border, and a small one."""
    height, width = photo.shape[:2]
    return np.array(
        [
            [width / 8, height / 8, width / 2, height / 2],
            [width / 2, height / 2, width - 5, height - 5],
            [0, 0, width, height],
            [10.5, 10.25, 16, 18],
        ],
        dtype=np.float32,
    )


def _pixels(segmented: Segmented, photo: RgbImage) -> npt.NDArray[np.bool_]:
    empty = np.zeros(photo.shape[:2], dtype=bool)
    return np.array([empty if rle is None else decode(rle) for rle in segmented.rles]).reshape(-1, *photo.shape[:2])


def test_a_box_gives_one_mask_of_the_promised_shape(cut: Cut, photos: list[RgbImage]) -> None:
    assert len(cut.masks) == len(photos)
    drawn = 0
    for segmented, boxes, photo in zip(cut.masks, cut.boxes, photos, strict=True):
        assert len(segmented.rles) == len(boxes)
        assert all(rle is None or rle["size"] == list(photo.shape[:2]) for rle in segmented.rles)
        assert (segmented.scores.dtype, segmented.scores.shape) == (np.float32, (len(boxes),))
        assert ((segmented.scores >= 0) & (segmented.scores <= 1)).all()
        if segmented.image_feature is not None:
            assert (segmented.image_feature.dtype, segmented.image_feature.ndim) == (np.float16, 1)
        drawn += int(_pixels(segmented, photo).any(axis=(1, 2)).sum())
    assert drawn > 0, "a suite without masks shows nothing"


def test_no_photo_and_no_box_give_no_mask(cut: Cut, photos: list[RgbImage]) -> None:
    none = np.zeros((0, 4), dtype=np.float32)
    assert cut.segmenter.segment([], []) == []
    for segmented in cut.segmenter.segment(photos, [none, none, none]):
        assert segmented.rles == ()
        assert (segmented.scores.dtype, segmented.scores.shape) == (np.float32, (0,))
    mixed = cut.segmenter.segment(photos, [cut.boxes[0], none, cut.boxes[2]])
    assert [len(one.rles) for one in mixed] == [4, 0, 4]


def test_a_photo_alone_gives_the_masks_it_gives_in_a_batch(cut: Cut, photos: list[RgbImage]) -> None:
    for photo, boxes, together in zip(photos, cut.boxes, cut.masks, strict=True):
        (alone,) = cut.segmenter.segment([photo], [boxes])
        np.testing.assert_allclose(alone.scores, together.scores, rtol=0, atol=1e-5)
        assert (_pixels(alone, photo) != _pixels(together, photo)).mean() < 0.005


def test_two_calls_and_two_loads_give_the_same_masks(cut: Cut, photos: list[RgbImage]) -> None:
    again = backends.build_segmenter(cut.spec)
    assert again is not None
    for segmenter in (cut.segmenter, again):
        for one, two in zip(segmenter.segment(photos, cut.boxes), cut.masks, strict=True):
            assert one.rles == two.rles
            np.testing.assert_array_equal(one.scores, two.scores)


def test_photos_and_boxes_are_only_read(cut: Cut, photos: list[RgbImage]) -> None:
    locked = [photo.copy() for photo in photos]
    boxes = [one.copy() for one in cut.boxes]
    for array in (*locked, *boxes):
        array.setflags(write=False)
    for one, two in zip(cut.segmenter.segment(locked, boxes), cut.masks, strict=True):
        assert one.rles == two.rles


def test_a_photo_that_is_a_view_has_the_masks_of_its_copy(cut: Cut, photos: list[RgbImage]) -> None:
    view = photos[2][..., ::-1]
    one, two = (cut.segmenter.segment([photo], [cut.boxes[2]])[0] for photo in (view, view.copy()))
    assert one.rles == two.rles


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 3)])
def test_a_photo_of_any_shape_has_masks_like_any_other(cut: Cut, size: tuple[int, int]) -> None:
    height, width = size
    boxes = np.array([[0, 0, width, height], [0, 0, 0.5, 0.5]], dtype=np.float32)
    (segmented,) = cut.segmenter.segment([np.full((*size, 3), 128, dtype=np.uint8)], [boxes])
    assert len(segmented.rles) == 2
    assert np.isfinite(segmented.scores).all()


@pytest.mark.parametrize("grey", [0, 255])
def test_a_plain_photo_has_masks_like_any_other(cut: Cut, grey: int) -> None:
    plain = np.full((70, 50, 3), grey, dtype=np.uint8)
    (segmented,) = cut.segmenter.segment([plain], [_boxes(plain)])
    assert len(segmented.rles) == 4
    assert np.isfinite(segmented.scores).all()


def test_weights_of_another_segmenter_are_refused_with_what_was_expected(
    cut: Cut, other_weights: Mapping[str, Path]
) -> None:
    weights = _other(cut.spec.segmenter_weights, other_weights)
    with pytest.raises(BackendError, match=r"expected|are no") as refusal:
        backends.build_segmenter(replace(cut.spec, segmenter_weights=str(weights)))
    _assert_names(str(refusal.value), weights)

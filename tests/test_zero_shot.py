"""OWLv2 and OmDet-Turbo against the library's own way from image and prompts to boxes, on tiny random models."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from labeling.core.errors import BackendError, InputError, MissingExtraError
from labeling.core.ontology import Ontology, parse_classes
from labeling.teachers.interfaces import RgbImage
from tests import zoo_zero_shot

if TYPE_CHECKING:
    from labeling.teachers.detectors.zero_shot import PromptDetector

pytestmark = pytest.mark.torch

WORDS = parse_classes("box: box | red box, cone, ladder")
SORTED = ["box", "red box", "cone", "ladder"]
SIZES = ((96, 128), (80, 60), (64, 64), (40, 150))


@pytest.fixture(scope="module")
def owlv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo_zero_shot.save_owlv2(tmp_path_factory.mktemp("owlv2"))


@pytest.fixture(scope="module")
def omdet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo_zero_shot.save_omdet_turbo(tmp_path_factory.mktemp("omdet"))


def load_owlv2(folder: Path) -> PromptDetector:
    from labeling.teachers.detectors.owlv2 import load_owlv2

    return load_owlv2(folder, "cpu")


def load_omdet(folder: Path, prompts_per_pass: int | None = None) -> PromptDetector:
    from labeling.teachers.detectors.omdet_turbo import load_omdet_turbo

    return load_omdet_turbo(folder, "cpu", prompts_per_pass)


def photo(size_hw: tuple[int, int], seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), dtype=np.uint8)


def assert_boxes(found: Any, boxes: npt.NDArray[Any], scores: npt.NDArray[Any], prompts: list[str]) -> None:
    """The order of boxes is no promise, so both sides are sorted by score."""
    mine, theirs = np.argsort(-found.confidence), np.argsort(-scores)
    np.testing.assert_allclose(found.confidence[mine], scores[theirs], atol=1e-5)
    np.testing.assert_allclose(found.xyxy[mine], boxes[theirs], atol=2e-3)
    assert list(found.data["prompt"][mine]) == [prompts[index] for index in theirs]


@pytest.mark.parametrize("size_hw", SIZES)
def test_owlv2_finds_what_the_library_finds(owlv2: Path, size_hw: tuple[int, int]) -> None:
    """Oracle: transformers' processor, whole model and post-processing, which undoes the padding to a square."""
    import torch
    from transformers import Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    image = photo(size_hw)
    processor = Owlv2Processor(Owlv2ImageProcessor.from_pretrained(owlv2), zoo_zero_shot.clip_tokenizer(pad="<pad>"))
    model = Owlv2ForObjectDetection.from_pretrained(owlv2).eval()
    inputs = processor(text=[SORTED], images=image, max_length=16, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, threshold=-1.0, target_sizes=[size_hw], text_labels=[SORTED]
    )
    (found,) = load_owlv2(owlv2).detect([image], WORDS, 0.0)
    assert len(found.detections) == 64
    assert_boxes(found.detections, expected["boxes"].numpy(), expected["scores"].numpy(), expected["text_labels"])


@pytest.mark.parametrize("size_hw", SIZES)
def test_omdet_turbo_finds_what_the_library_finds(omdet: Path, size_hw: tuple[int, int]) -> None:
    """Oracle: transformers' processor and whole model; its own post-processing would run NMS."""
    import torch
    from transformers import DetrImageProcessor, OmDetTurboForObjectDetection, OmDetTurboProcessor

    image = photo(size_hw)
    processor = OmDetTurboProcessor(DetrImageProcessor.from_pretrained(omdet), zoo_zero_shot.clip_tokenizer())
    model = OmDetTurboForObjectDetection.from_pretrained(omdet).eval()
    inputs = processor(images=image, text=SORTED, input_data_format="channels_last", return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    scores, winners = outputs.decoder_class_logits[0].sigmoid().max(dim=-1)
    centre, size = outputs.decoder_coord_logits[0].numpy().reshape(-1, 2, 2).swapaxes(0, 1)
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    boxes = corners * [size_hw[1], size_hw[0], size_hw[1], size_hw[0]]
    (found,) = load_omdet(omdet).detect([image], WORDS, 0.0)
    assert len(found.detections) == 20
    assert_boxes(found.detections, boxes, scores.numpy(), [SORTED[index] for index in winners.tolist()])


@pytest.mark.parametrize("load", ["owlv2", "omdet", "sam3"])
@pytest.mark.parametrize("size_hw", SIZES)
def test_what_the_model_sees_at_a_place_lies_there_in_the_photo(
    load: str, size_hw: tuple[int, int], tmp_path: Path
) -> None:
    """Planted: a white rectangle on black, looked for in the pixels that the image encoder gets."""
    from labeling.teachers.detectors.omdet_turbo import load_omdet_turbo
    from labeling.teachers.detectors.owlv2 import load_owlv2
    from labeling.teachers.detectors.sam3 import load_sam3

    model = {
        "owlv2": lambda: load_owlv2(zoo_zero_shot.save_owlv2(tmp_path), "cpu"),
        "omdet": lambda: load_omdet_turbo(zoo_zero_shot.save_omdet_turbo(tmp_path), "cpu"),
        "sam3": lambda: load_sam3(zoo_zero_shot.save_sam3(tmp_path), "cpu"),
    }[load]()._model
    height, width = size_hw
    drawn = np.array([width // 4, height // 4, width * 3 // 4, height * 7 // 8])
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    image[drawn[1] : drawn[3], drawn[0] : drawn[2]] = 255
    seen = model.pixels(image)[0, 0].numpy()
    rows, columns = (np.flatnonzero((seen > seen.mean()).any(axis=axis)) for axis in (1, 0))
    shares = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / np.tile(seen.shape[::-1], 2)
    canvas = np.tile(model.canvas_wh(image), 2)
    # The encoder sees the canvas in steps of this many pixels.
    assert np.abs(shares * canvas - drawn).max() <= 1.5 * (canvas / np.tile(seen.shape[::-1], 2)).max()


def test_the_image_encoder_runs_once_whatever_the_number_of_prompts(omdet: Path) -> None:
    detector = load_omdet(omdet, prompts_per_pass=1)
    model: Any = detector._model
    calls: list[int] = []
    model._model.vision_backbone.register_forward_hook(lambda *_: calls.append(1))
    (found,) = detector.detect([photo((64, 64))], WORDS, 0.0)
    assert len(calls) == 1
    assert len(found.detections) == 4 * 20


def test_prompts_that_do_not_fit_into_one_task_get_another_pass(tmp_path: Path) -> None:
    """A task of 24 tokens: 2 special ones, 6 letters of "detect", then each prompt with a mark behind it."""
    detector = load_omdet(zoo_zero_shot.save_omdet_turbo(tmp_path, positions=24))
    passes = detector._model.passes(WORDS)
    assert [[span.prompt for span in one.spans] for one in passes] == [["box", "red box", "cone"], ["ladder"]]
    lengths = [one.text[2].shape[1] for one in passes]
    assert lengths == [24, 2 + 6 + 7]


@pytest.mark.parametrize(("prompt", "fits"), [("a" * 14, True), ("a" * 15, False), ("Box. in a VEST?", True)])
def test_a_prompt_that_the_text_encoder_cannot_hold_is_refused_before_any_photo(
    owlv2: Path, prompt: str, fits: bool
) -> None:
    """OWLv2 reads 16 tokens with both ends; the tokenizer of the test has one per letter."""
    ontology = parse_classes(f"thing: {prompt}, cone")
    if fits:
        assert load_owlv2(owlv2).detect([], ontology, 1.0) == []
    else:
        with pytest.raises(InputError, match=r"has 15 tokens, the detector reads at most 14"):
            load_owlv2(owlv2).detect([], ontology, 1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("thing: ?, cone", "has no words"),
        ("one: red box, two: Red  Box.", "different classes read the same"),
        ("one: box €", "does not have the word"),
    ],
)
def test_prompts_that_mean_nothing_to_the_model_are_refused(owlv2: Path, words: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_owlv2(owlv2).detect([], parse_classes(words), 1.0)


def test_numbers_that_are_not_finite_are_dropped_and_counted(owlv2: Path) -> None:
    import torch

    detector = load_owlv2(owlv2)
    model: Any = detector._model
    with torch.no_grad():
        model._model.box_bias[5] = torch.nan
    (found,) = detector.detect([photo((64, 64))], WORDS, 0.0)
    assert len(found.detections) == 63
    assert found.dropped == {"not_finite": 1}


def test_features_of_the_photo_leave_the_padding_out(owlv2: Path) -> None:
    """By hand: the upper half of the patches belongs to a photo that is twice as wide as high."""
    import torch

    from labeling.teachers.detectors.owlv2 import load_owlv2

    detector = load_owlv2(owlv2, "cpu")
    image = photo((64, 128))
    (found,) = detector.detect([image], WORDS, 1.1)
    with torch.inference_mode():
        pooled = detector._model.look(detector._model.pixels(image)).pooled[0]
    assert found.image_feature is not None
    np.testing.assert_allclose(found.image_feature, pooled[:, :4].mean(dim=(1, 2)).numpy(), atol=0.01)


def test_the_order_of_the_classes_changes_no_box(omdet: Path, owlv2: Path) -> None:
    turned = Ontology(tuple(reversed(WORDS.classes)))
    for detector in (load_omdet(omdet), load_owlv2(owlv2)):
        (first,), (second,) = (detector.detect([photo((64, 64))], words, 0.0) for words in (WORDS, turned))
        np.testing.assert_array_equal(first.detections.xyxy, second.detections.xyxy)
        np.testing.assert_array_equal(first.detections.confidence, second.detections.confidence)
        np.testing.assert_array_equal(first.detections.class_id, 2 - second.detections.class_id)


def test_a_backbone_of_a_library_that_is_not_here_says_what_to_install(
    omdet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published weights are of this kind."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else found(name))
    settings = json.loads((omdet / "config.json").read_text())
    settings["backbone_config"] = {"model_type": "timm_backbone", "backbone": "swin_tiny_patch4_window7_224"}
    for file in omdet.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(MissingExtraError, match=r"timm is not installed; it comes with the extra 'timm'"):
        load_omdet(tmp_path)


def test_weights_of_another_model_are_refused_by_name(owlv2: Path, omdet: Path) -> None:
    with pytest.raises(BackendError, match=r"expected a model of type owlv2, config\.json says 'omdet-turbo'"):
        load_owlv2(omdet)
    with pytest.raises(BackendError, match=r"expected a model of type omdet-turbo, config\.json says 'owlv2'"):
        load_omdet(owlv2)

"""SAM 3 against the library's whole model, prompt by prompt, on tiny random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import parse_classes
from labeling.teachers.interfaces import RgbImage
from tests import zoo_zero_shot
from tests.test_sam2 import full, without_islands

if TYPE_CHECKING:
    from labeling.teachers.detectors.zero_shot import PromptDetector

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

WORDS = parse_classes("box: box | red box, cone, ladder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo_zero_shot.save_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> PromptDetector:

    from labeling.teachers.detectors.sam3 import load_sam3

    return load_sam3(folder, "cpu")


def photo(height: int, width: int, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size_hw", [(96, 128), (80, 60)])
def test_boxes_scores_and_masks_are_those_of_the_library(
    detector: PromptDetector, folder: Path, size_hw: tuple[int, int]
) -> None:
    """Oracle: transformers' processor, whole model and post-processing; masks from upsampled logits, as Meta's code."""
    import torch
    from transformers import Sam3Model, Sam3Processor

    image = photo(*size_hw)
    processor, model = Sam3Processor.from_pretrained(folder), Sam3Model.from_pretrained(folder).eval()
    (found,) = detector.detect([image], WORDS, 0.0)
    assert len(found.detections) == 4 * 10
    for number, prompt in enumerate(["box", "red box", "cone", "ladder"]):
        inputs = processor(images=image, text=prompt, input_data_format="channels_last", return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        (expected,) = processor.post_process_instance_segmentation(outputs, threshold=-1.0, target_sizes=[size_hw])
        rows = slice(number * 10, number * 10 + 10)
        assert set(found.detections.data["prompt"][rows]) == {prompt}
        np.testing.assert_allclose(found.detections.confidence[rows], expected["scores"].numpy(), atol=1e-5)
        np.testing.assert_allclose(found.detections.xyxy[rows], expected["boxes"].numpy(), atol=1e-3)
        upsampled = torch.nn.functional.interpolate(outputs.pred_masks, size_hw, mode="bilinear")[0].numpy() > 0
        for mask, rle in zip(upsampled, found.detections.data["rle"][rows], strict=True):
            # Up to rounding of logits next to 0.
            assert (full(rle, size_hw) != without_islands(mask)).mean() < 0.005
    assert 0.2 < np.mean([full(rle, size_hw).mean() for rle in found.detections.data["rle"]]) < 0.8
    assert np.isnan(found.detections.data["mask_score"]).all()


def test_the_image_encoder_runs_once_for_all_prompts(detector: PromptDetector) -> None:
    model: Any = detector._model
    calls: list[int] = []
    handle = model._model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    detector.detect([photo(64, 64), photo(96, 128)], WORDS, 0.0)
    handle.remove()
    assert len(calls) == 1  # all photos are stretched to one size


def test_columns_for_masks_are_there_without_a_box(detector: PromptDetector) -> None:
    (found,) = detector.detect([photo(64, 64)], WORDS, 1.01)
    assert len(found.detections) == 0
    assert found.detections.data["rle"].shape == (0,)
    assert found.detections.data["mask_score"].dtype == np.float32


def test_a_prompt_beyond_32_tokens_is_refused_before_any_photo(detector: PromptDetector) -> None:
    assert detector.detect([], parse_classes(f"thing: {'a' * 30}"), 1.0) == []
    with pytest.raises(InputError, match="has 31 tokens, the detector reads at most 30"):
        detector.detect([], parse_classes(f"thing: {'a' * 31}"), 1.0)


def test_the_published_layout_of_the_video_model_loads(folder: Path, detector: PromptDetector, tmp_path: Path) -> None:
    """The published folder is of type sam3_video: the detector's tensors have a prefix, others lie beside them."""
    import torch
    from safetensors.torch import load_file, save_file

    from labeling.teachers.detectors.sam3 import load_sam3

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "config.json").read_text())
    video = {"model_type": "sam3_video", "detector_config": settings, "architectures": ["Sam3VideoModel"]}
    (tmp_path / "config.json").write_text(json.dumps(video))
    tensors = load_file(folder / "model.safetensors")
    renamed = {f"detector_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(renamed | {"tracker_model.bias": torch.zeros(3)}, tmp_path / "model.safetensors", {"format": "pt"})
    (expected,) = detector.detect([photo(64, 64)], WORDS, 0.0)
    (found,) = load_sam3(tmp_path, "cpu").detect([photo(64, 64)], WORDS, 0.0)
    np.testing.assert_array_equal(found.detections.xyxy, expected.detections.xyxy)
    np.testing.assert_array_equal(found.detections.confidence, expected.detections.confidence)


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    from labeling.teachers.detectors.sam3 import load_sam3

    with pytest.raises(BackendError, match=r"expected a model of type sam3 or sam3_video, config\.json says 'owlv2'"):
        load_sam3(zoo_zero_shot.save_owlv2(tmp_path), "cpu")

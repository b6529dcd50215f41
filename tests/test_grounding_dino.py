"""The GroundingDINO adapter against transformers' own pre- and post-processing, on tiny random models."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import Ontology, OntologyClass, parse_classes
from labeling.teachers.catalogue import DETECTORS
from labeling.teachers.interfaces import Detected, RgbImage
from tests import tiny_models

if TYPE_CHECKING:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

pytestmark = pytest.mark.torch

ONTOLOGY = parse_classes("crate: red box | blue box, vest: hi-vis vest, forklift")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_grounding_dino(tmp_path_factory.mktemp("grounding-dino"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> GroundingDinoDetector:
    import torch

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    torch.set_num_threads(1)
    return GroundingDinoDetector(folder, device="cpu")


def photo(height: int, width: int, seed: int = 0) -> RgbImage:
    """Return noise with a tint, so that swapped channels would be seen."""
    noise = np.random.default_rng(seed).integers(0, 128, (height, width, 3))
    return (noise + np.array([120, 40, 0])).astype(np.uint8)


def facts(detected: Detected, ontology: Ontology) -> list[tuple[Any, ...]]:
    """Return what was found as comparable rows, best first."""
    found = detected.detections
    rows = zip(found.confidence, found.xyxy, found.class_id, found.data["prompt"], strict=True)
    # Rounded: the order of additions differs between batches.
    return sorted(
        (
            (-round(float(score), 3), ontology.names[class_id], prompt, *np.round(box).tolist())
            for score, box, class_id, prompt in rows
        )
    )


def test_detections_keep_the_contract(detector: GroundingDinoDetector) -> None:
    images = [photo(50, 70), photo(70, 50), photo(100, 140), photo(3, 400), photo(1, 1)]
    results = detector.detect(images, ONTOLOGY, 0.0)
    assert len(results) == len(images)
    for detected in results:
        found = detected.detections
        assert len(found) == 20
        assert found.xyxy.dtype == found.confidence.dtype == np.float32
        assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
        assert set(found.class_id) <= {0, 1, 2}
        for class_id, prompt in zip(found.class_id, found.data["prompt"], strict=True):
            assert prompt in ONTOLOGY.classes[class_id].prompts
        assert found.data["feature"].shape == (20, 64)
        assert found.data["feature"].dtype == np.float16
        assert detected.image_feature is not None
        assert detected.image_feature.shape == (64,)
        assert not detected.dropped


def test_nothing_found_and_nothing_asked_keep_their_columns(detector: GroundingDinoDetector) -> None:
    assert detector.detect([], ONTOLOGY, 0.0) == []
    (detected,) = detector.detect([photo(50, 70)], ONTOLOGY, 1.01)
    assert len(detected.detections) == 0
    assert detected.detections.data["feature"].shape == (0, 64)
    assert detected.detections.data["prompt"].shape == (0,)
    assert detected.image_feature is not None


def test_boxes_and_scores_are_those_of_the_library_on_the_whole_caption(folder: Path) -> None:
    """Oracle: transformers' processor on a PIL image and the caption as text, its post-processing, plain loops."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, GroundingDinoForObjectDetection, GroundingDinoProcessor

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    image = photo(50, 70)
    words = {"barrel": ["barrel"], "traffic light": ["traffic", "light"], "vest": ["hi", "-", "vis", "vest"]}
    caption = "barrel. traffic light. hi-vis vest."
    processor = GroundingDinoProcessor(
        AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )
    model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(image), text=caption, return_tensors="pt")
    tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    with torch.no_grad():
        outputs = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=0.0, target_sizes=[(50, 70)]
    )
    probabilities = outputs.logits[0].sigmoid()

    ontology = parse_classes("barrel, traffic light, vest: hi-vis vest")
    detector = GroundingDinoDetector(folder, device="cpu")
    (chunk,) = detector.chunks(ontology)
    assert sorted(chunk.token_ids) == sorted(inputs["input_ids"][0].tolist())
    (detected,) = detector.detect([image], ontology, 0.0)
    assert len(detected.detections) == len(expected["boxes"]) == 20
    np.testing.assert_allclose(sorted(detected.detections.xyxy.tolist()), sorted(expected["boxes"].tolist()), atol=1e-3)
    best = []
    for query in range(20):
        means = {
            name: np.mean([float(probabilities[query, tokens.index(word)]) for word in parts])
            for name, parts in words.items()
        }
        name = max(means, key=lambda name: means[name])
        best.append((round(float(means[name]), 3), name))
    got = [
        (round(float(score), 3), ontology.names[class_id])
        for score, class_id in zip(detected.detections.confidence, detected.detections.class_id, strict=True)
    ]
    assert sorted(got) == sorted(best)


def test_the_order_of_the_classes_does_not_matter(detector: GroundingDinoDetector) -> None:
    classes = [OntologyClass(f"class {n}", (f"thing {n} made of words", f"item{n}")) for n in range(30)]
    first, second = Ontology(tuple(classes)), Ontology(tuple(classes[::-1]))
    assert len(detector.chunks(first)) > 1
    images = [photo(50, 70), photo(70, 50)]
    for one, other in zip(detector.detect(images, first, 0.2), detector.detect(images, second, 0.2), strict=True):
        assert len(one.detections) > 0
        assert facts(one, first) == facts(other, second)


def test_a_batch_gives_what_single_images_give(detector: GroundingDinoDetector) -> None:
    images = [photo(50, 70, 1), photo(70, 50, 2), photo(100, 140, 3), photo(50, 70, 4)]
    together = detector.detect(images, ONTOLOGY, 0.0)
    for image, detected in zip(images, together, strict=True):
        (alone,) = detector.detect([image], ONTOLOGY, 0.0)
        assert facts(detected, ONTOLOGY) == facts(alone, ONTOLOGY)
        np.testing.assert_allclose(detected.image_feature, alone.image_feature, atol=1e-2)


def test_images_are_encoded_once_for_all_captions_and_never_padded(folder: Path) -> None:
    import torch

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    detector = GroundingDinoDetector(folder, device="cpu")
    seen: list[tuple[int, ...]] = []
    swin = next(m for m in detector._model.modules() if type(m).__name__ == "SwinBackbone")
    swin.register_forward_pre_hook(lambda _module, inputs: seen.append(tuple(inputs[0].shape)))
    ontology = Ontology(tuple(OntologyClass(f"c{n}", (f"thing {n} made of words",)) for n in range(60)))
    assert len(detector.chunks(ontology)) > 2
    detector.detect([photo(60, 90), photo(90, 60), photo(120, 180)], ontology, 0.5)
    assert seen == [(2, 3, 64, 96), (1, 3, 96, 64)]
    assert isinstance(swin, torch.nn.Module)


def test_an_elongated_image_keeps_its_coordinates(detector: GroundingDinoDetector) -> None:
    (detected,) = detector.detect([photo(2, 600)], ONTOLOGY, 0.0)
    assert detected.detections.xyxy[:, 2].max() > 75  # of 600, not of a squeezed canvas


def test_numbers_that_are_not_finite_are_counted(folder: Path) -> None:
    import torch

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    detector = GroundingDinoDetector(folder, device="cpu")
    with torch.no_grad():
        detector._model.bbox_embed[-1].layers[-1].bias.fill_(float("nan"))
    (detected,) = detector.detect([photo(50, 70)], ONTOLOGY, 0.0)
    assert len(detected.detections) == 0
    assert detected.dropped == {"not_finite": 20}


def test_an_unreadable_prompt_is_refused_before_any_image(detector: GroundingDinoDetector) -> None:
    with pytest.raises(InputError, match="vocabulary does not have the word '☂'"):
        detector.detect([], parse_classes("red ☂"), 0.3)


def test_mm_grounding_dino_runs_through_the_same_adapter(tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    tiny_models.save_grounding_dino(tmp_path, model_type="mm-grounding-dino")
    (detected,) = GroundingDinoDetector(tmp_path, device="cpu").detect([photo(50, 70)], ONTOLOGY, 0.0)
    assert len(detected.detections) == 20


def test_folders_of_another_kind_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    def refusal(weights: Path, device: str = "cpu") -> str:
        with pytest.raises((BackendError, InputError)) as caught:
            GroundingDinoDetector(weights, device=device)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    tiny_models.save_sam2(tmp_path / "sam2")
    assert "says 'sam2'" in refusal(tmp_path / "sam2")
    assert "'nowhere' cannot be used" in refusal(folder, device="nowhere")
    shutil.copytree(folder, tmp_path / "no-tokenizer", ignore=lambda _folder, names: ["tokenizer.json"])
    refusal(tmp_path / "no-tokenizer")

    from transformers import BertTokenizer

    shutil.copytree(folder, tmp_path / "shifted")
    vocabulary = tiny_models.vocabulary()
    vocabulary["."], vocabulary["red"] = vocabulary["red"], vocabulary["."]
    BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path / "shifted")
    assert "the tokenizer has '.' at id 1030, expected 1012" in refusal(tmp_path / "shifted")


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(detector: GroundingDinoDetector, folder: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    images = [photo(50, 70), photo(70, 50)]
    on_gpu = GroundingDinoDetector(folder, device="cuda").detect(images, ONTOLOGY, 0.0)
    for one, other in zip(detector.detect(images, ONTOLOGY, 0.0), on_gpu, strict=True):
        np.testing.assert_allclose(sorted(one.detections.confidence), sorted(other.detections.confidence), atol=2e-3)
        np.testing.assert_allclose(
            sorted(one.detections.xyxy.tolist()), sorted(other.detections.xyxy.tolist()), atol=0.5
        )


@pytest.mark.slow
def test_the_full_size_default_model_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    torch.set_num_threads(os.cpu_count() or 1)
    tiny_models.save_full_size_grounding_dino(tmp_path)
    detector = GroundingDinoDetector(tmp_path, device="auto")
    started = time.perf_counter()
    (detected,) = detector.detect([photo(480, 640)], parse_classes("forklift, pallet, person in hi-vis vest"), 0.0)
    seconds = time.perf_counter() - started
    assert len(detected.detections) == 900
    assert detected.detections.data["feature"].shape == (900, 768)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    parameters = sum(p.numel() for p in detector._model.parameters()) / 1e6
    with capsys.disabled():
        sys.stdout.write(
            f"\nGroundingDINO-T, random weights: {parameters:.0f} M parameters, one 640x480 photo at 1066x800, "
            f"3 prompts: {seconds:.1f} s on {detector._device}, process peak {peak_gb:.1f} GB\n"
        )


def test_one_prompt_per_pass_gives_what_each_prompt_gives_alone(tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    weights = tiny_models.save_grounding_dino(tmp_path)
    ontology = parse_classes("box: box | red box, cone")
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    apart = GroundingDinoDetector(weights, "cpu", prompts_per_pass=1)
    assert [[span.prompt for span in chunk.spans] for chunk in apart.chunks(ontology)] == [
        ["box"],
        ["red box"],
        ["cone"],
    ]
    found = apart.detect([image], ontology, 0.0)[0].detections
    whole = GroundingDinoDetector(weights, "cpu")
    assert len(whole.chunks(ontology)) == 1
    for prompt, class_id in ontology.prompts:
        alone = whole.detect([image], parse_classes(prompt), 0.0)[0].detections
        rows = found.data["prompt"] == prompt
        np.testing.assert_allclose(found.xyxy[rows], alone.xyxy, atol=1e-3)
        np.testing.assert_allclose(found.confidence[rows], alone.confidence, atol=1e-6)
        assert set(found.class_id[rows]) == {class_id}
    with pytest.raises(InputError, match="prompts per pass is 0: expected a whole number from 1"):
        GroundingDinoDetector(weights, "cpu", prompts_per_pass=0).chunks(ontology)


@pytest.mark.parametrize("size_wh", [(700, 100), (3000, 90), (100, 800)])
def test_the_small_bundled_model_takes_photos_of_any_ratio(size_wh: tuple[int, int]) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    detector = GroundingDinoDetector(Path(str(DETECTORS["bundled"].default_weights)), "cpu")
    width, height = size_wh
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    boxes = detector.detect([image], parse_classes("pallet"), 0.0)[0].detections.xyxy
    assert len(boxes) > 0
    # The canvas is padded to a ratio of six, no more.
    assert boxes.max() <= max(size_wh) * 1.5

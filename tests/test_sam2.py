"""The SAM 2 adapter against transformers' own pre- and post-processing, on tiny random models."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from labeling.core.errors import BackendError
from labeling.core.masks import decode
from labeling.core.records import Rle
from labeling.teachers.interfaces import RgbImage
from tests import tiny_models

if TYPE_CHECKING:
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Sam2Segmenter:

    from labeling.teachers.segmenters.sam2 import Sam2Segmenter

    return Sam2Segmenter(folder, device="cpu")


def photo(height: int, width: int, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def random_boxes(count: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    corners = np.random.default_rng(seed).uniform(0, 1, (count, 2, 2)) * [width, height]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def without_islands(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the mask without its 8-connected parts that are smaller than 1 % of its area."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:  # the background and at most one part
        return mask
    kept = stats[:, cv2.CC_STAT_AREA] >= 0.01 * mask.sum()
    kept[0] = False
    cleaned: npt.NDArray[np.bool_] = kept[parts]
    return cleaned


def calls(module: Any, run: Callable[[], Any]) -> tuple[int, Any]:
    """Return how often a torch module ran during ``run``, and what that returned."""
    count = []
    handle = module.register_forward_hook(lambda *_: count.append(1))
    result = run()
    handle.remove()
    return len(count), result


def full(rle: Rle | None, size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.zeros(size_hw, dtype=bool) if rle is None else decode(rle)


def test_masks_are_those_of_the_library_on_the_full_frame(segmenter: Sam2Segmenter, folder: Path) -> None:
    """Oracle: transformers' processor, whole model and post-processing to the full frame."""
    import torch
    from PIL import Image
    from transformers import Sam2Model, Sam2Processor

    image, boxes = photo(50, 71), random_boxes(5, 50, 71)
    processor, model = Sam2Processor.from_pretrained(folder), Sam2Model.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(image), input_boxes=[boxes.tolist()], return_tensors="pt")
    with torch.no_grad():
        outputs = model(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"], multimask_output=False)
    (expected,) = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    (segmented,) = segmenter.segment([image], [boxes])
    assert len(segmented.rles) == 5
    for mask, rle in zip(expected[:, 0].numpy(), segmented.rles, strict=True):
        assert mask.shape == (50, 71)
        # Up to rounding of logits next to 0: the embeddings are the same, the decoder is called apart from the encoder.
        assert (full(rle, (50, 71)) != without_islands(mask)).mean() < 0.005
    np.testing.assert_allclose(segmented.scores, outputs.iou_scores[0, :, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_the_window_cuts_nothing_off_the_full_frame(seed: int) -> None:
    """Oracle: torch's own upsampling of the whole mask; sizes from 1 pixel to far above and below the grid."""
    import torch

    from labeling.teachers.segmenters.sam2 import encode_masks

    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 300, 2))
    noise = torch.randn(4, 16, 12, generator=torch.Generator().manual_seed(seed)) - random.uniform(0, 3)
    blob = torch.full((1, 16, 12), -3.0)
    blob[0, 5 : 5 + seed % 11 + 1, seed % 12] = 2.0
    logits = torch.cat([noise, blob])
    upsampled = torch.nn.functional.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0]
    expected = (upsampled > 0).numpy()
    encoded = encode_masks(logits, (height, width))
    assert len(encoded) == 5
    for mask, rle in zip(expected, encoded, strict=True):
        assert (full(rle, (height, width)) == without_islands(mask)).all()
        assert (rle is None) == (not mask.any())


LOGITS = {
    "noise": lambda random, shape: random.normal(size=shape) - random.uniform(0, 2),
    "whole numbers, with ties": lambda random, shape: random.integers(-2, 3, shape),
    "short numbers, with ties": lambda random, shape: random.normal(size=shape).round(1),
    "next to nothing": lambda random, shape: random.integers(-1, 2, shape) * 1e-3 + random.normal(size=shape) * 1e-9,
    "very large": lambda random, shape: random.normal(size=shape) * 1e6,
    "positive everywhere": lambda random, shape: random.uniform(0.1, 1, shape),
}


@pytest.mark.parametrize("kind", LOGITS)
def test_bytes_are_those_of_the_full_frame(kind: str) -> None:
    """Oracle: what SAM2ImagePredictor does, and pycocotools on the full frame; sizes far above and below the grid."""
    import torch
    from pycocotools import mask as coco

    from labeling.teachers.segmenters.sam2 import encode_masks

    random = np.random.default_rng(0)
    sizes = [(1080, 1920), (129, 1), (1, 129), (301, 457), (719, 1281), (200, 200)]
    # torch has another kernel, with other rounding, where height and width add up to 128 pixels or less.
    sizes += [(int(height), int(width)) for height, width in random.integers(65, 500, (25, 2))]
    seen = 0
    for number, size_hw in enumerate(sizes):
        cells = (256, 256) if number < 6 else tuple(int(side) for side in random.integers(1, 40, 2))
        logits = torch.tensor(LOGITS[kind](random, (2, *cells)), dtype=torch.float32)
        upsampled = torch.nn.functional.interpolate(logits[:, None], size_hw, mode="bilinear", align_corners=False)
        for mask, rle in zip((upsampled[:, 0] > 0).numpy(), encode_masks(logits, size_hw, islands=True), strict=True):
            expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
            if mask.any():
                assert rle == {"size": expected["size"], "counts": expected["counts"].decode()}
                seen += 1
            else:
                assert rle is None
    assert seen > 30


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_bytes_of_half_precision_are_those_of_the_full_frame(dtype: str) -> None:
    import torch

    from labeling.core.masks import encode
    from labeling.teachers.segmenters.sam2 import encode_masks

    logits = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    upsampled = torch.nn.functional.interpolate(logits[:, None].float(), (301, 457), mode="bilinear")[:, 0]
    assert encode_masks(logits, (301, 457), islands=True) == [encode(mask) for mask in (upsampled > 0).numpy()]


@pytest.mark.parametrize("density", [0.02, 0.2, 0.5])
def test_islands_of_runs_are_those_of_pixels(density: float) -> None:
    """Oracle: OpenCV's 8-connected parts of the full frame."""
    import torch

    from labeling.core.masks import encode
    from labeling.teachers.segmenters.sam2 import encode_masks

    random = np.random.default_rng(0)
    dropped = 0
    for _ in range(20):
        logits = torch.tensor(np.where(random.random((24, 24)) < density, 1.0, -1.0), dtype=torch.float32)
        logits[5:12, 5:12] = 1.0
        upsampled = torch.nn.functional.interpolate(logits[None, None], (150, 131), mode="bilinear")[0, 0]
        cleaned = without_islands((upsampled > 0).numpy())
        dropped += int((upsampled > 0).sum()) - int(cleaned.sum())
        assert encode_masks(logits[None], (150, 131)) == [encode(cleaned)]
    assert dropped > 0


def test_logits_that_are_no_numbers_are_outside_the_mask() -> None:
    import torch

    from labeling.teachers.segmenters.sam2 import encode_masks

    logits = torch.full((1, 16, 16), -1.0)
    logits[0, 4:8, 4:8] = torch.inf
    logits[0, 5, 5] = torch.nan
    logits[0, 12:] = -torch.inf
    (rle,) = encode_masks(logits, (160, 160))
    mask = full(rle, (160, 160))
    assert mask[45, 65]
    assert not mask[55, 55]
    assert not mask[120:].any()


def test_memory_does_not_grow_with_the_number_of_boxes() -> None:
    import tracemalloc

    import torch

    from labeling.teachers.segmenters.sam2 import encode_masks

    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    blob = 0.5 - torch.hypot(xx, yy)
    encode_masks(blob[None], (1080, 1920))
    peaks = []
    for count in (1, 100):
        logits = blob.expand(count, 64, 64)
        tracemalloc.start()
        rles = encode_masks(logits, (1080, 1920))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(rles) == count
    # One frame of booleans is 2 MB: 100 boxes may keep their text, never their frames.
    assert peaks[1] < peaks[0] + 100 * 64 * 64 * 4 + 1_000_000


def test_a_mask_that_comes_out_empty_is_none() -> None:
    import torch

    from labeling.teachers.segmenters.sam2 import encode_masks

    logits = torch.full((3, 16, 16), -1.0)
    logits[1, 8, 8] = 5.0
    logits[2] = float("nan")
    first, second, third = encode_masks(logits, (64, 48))
    assert first is None
    assert second is not None
    assert second["size"] == [64, 48]
    assert third is None


def test_islands_below_one_percent_are_dropped_and_holes_stay() -> None:
    mask = np.zeros((120, 200), dtype=bool)
    mask[:100, :100] = True
    mask[40:60, 40:60] = False
    part = mask.copy()
    part[0:20, 120:140] = True
    speck = part.copy()
    speck[110:115, 150:155] = True
    assert (without_islands(speck) == part).all()
    assert (without_islands(part) == part).all()
    assert not without_islands(np.zeros((3, 3), dtype=bool)).any()


def test_work_is_done_once_per_image_and_never_without_boxes(segmenter: Sam2Segmenter) -> None:
    images = [photo(50, 70, 1), photo(70, 50, 2), photo(64, 64, 3)]
    boxes = [random_boxes(130, 50, 70), np.zeros((0, 4), dtype=np.float32), random_boxes(3, 64, 64)]
    encoder, decoder = segmenter._model.vision_encoder, segmenter._model.mask_decoder
    encoded, _ = calls(encoder, lambda: segmenter.segment(images, boxes))
    decoded, results = calls(decoder, lambda: segmenter.segment(images, boxes))
    assert encoded == 1  # one batch of the two images that have boxes
    assert decoded == 3 + 1  # 64 + 64 + 2, and 3
    assert [len(segmented.rles) for segmented in results] == [130, 0, 3]
    assert [segmented.scores.shape for segmented in results] == [(130,), (0,), (3,)]
    assert results[1].image_feature is None
    assert results[0].image_feature is not None
    assert results[0].image_feature.shape == (32,)
    assert calls(encoder, lambda: segmenter.segment(images[1:2], boxes[1:2]))[0] == 0
    assert segmenter.segment([], []) == []


def test_a_batch_gives_what_single_images_give(segmenter: Sam2Segmenter) -> None:
    images = [photo(50, 70, 1), photo(70, 50, 2)]
    boxes = [random_boxes(70, 50, 70, 1), random_boxes(2, 70, 50, 2)]
    for image, some, together in zip(images, boxes, segmenter.segment(images, boxes), strict=True):
        (alone,) = segmenter.segment([image], [some])
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-5)
        for one, other in zip(alone.rles, together.rles, strict=True):
            assert (full(one, image.shape[:2]) != full(other, image.shape[:2])).mean() < 0.005


def test_scores_lie_between_zero_and_one(segmenter: Sam2Segmenter) -> None:
    (segmented,) = segmenter.segment([photo(50, 70)], [random_boxes(9, 50, 70)])
    assert segmented.scores.dtype == np.float32
    assert ((segmented.scores >= 0) & (segmented.scores <= 1)).all()


def test_the_published_video_configuration_is_accepted(tmp_path: Path) -> None:
    """Published SAM 2 folders say "sam2_video": the image model is read out of them."""
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter

    tiny_models.save_sam2(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"model_type": "sam2"', '"model_type": "sam2_video"'))
    (segmented,) = Sam2Segmenter(tmp_path, device="cpu").segment([photo(50, 70)], [random_boxes(1, 50, 70)])
    assert len(segmented.rles) == 1


def test_a_detector_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter

    tiny_models.save_grounding_dino(tmp_path)
    with pytest.raises(BackendError, match=r"expected a model of type sam2 .* says 'grounding-dino'") as caught:
        Sam2Segmenter(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(segmenter: Sam2Segmenter, folder: Path) -> None:
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter

    image, boxes = photo(50, 70), random_boxes(5, 50, 70)
    (one,), (other,) = segmenter.segment([image], [boxes]), Sam2Segmenter(folder, "cuda").segment([image], [boxes])
    np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)
    for first, second in zip(one.rles, other.rles, strict=True):
        assert (full(first, (50, 70)) != full(second, (50, 70))).mean() < 0.02


@pytest.mark.slow
def test_the_full_size_default_model_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    from labeling.teachers.segmenters.sam2 import Sam2Segmenter

    tiny_models.save_full_size_sam2(tmp_path)
    segmenter = Sam2Segmenter(tmp_path, device="auto")
    started = time.perf_counter()
    (segmented,) = segmenter.segment([photo(480, 640)], [random_boxes(5, 480, 640)])
    seconds = time.perf_counter() - started
    assert len(segmented.rles) == 5
    assert segmented.image_feature is not None
    assert segmented.image_feature.shape == (256,)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    parameters = sum(p.numel() for p in segmenter._model.parameters()) / 1e6
    with capsys.disabled():
        sys.stdout.write(
            f"\nSAM 2.1 hiera-small, random weights: {parameters:.0f} M parameters, one 640x480 photo at 1024x1024, "
            f"5 boxes: {seconds:.1f} s on {segmenter._device}, process peak {peak_gb:.1f} GB\n"
        )

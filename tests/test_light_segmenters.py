"""SAM 2 of its package, EdgeTAM and MobileSAM: what all of them promise, and each against its own library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.core.errors import BackendError, MissingExtraError
from labeling.core.masks import decode, encode
from labeling.teachers.backends import build_segmenter
from tests import tiny_models, zoo_segmenters
from tests.test_sam2 import calls, full, photo, random_boxes, without_islands

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

KINDS = ("sam2-native", "edgetam", "mobile-sam")
IMAGES = [photo(50, 70, 1), photo(96, 40, 2), photo(64, 64, 3)]
NO_BOXES = np.zeros((0, 4), dtype=np.float32)


#: The package sam2 has quick tests of its own in test_sam2_native.py.
@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=[pytest.mark.slow] if kind == "sam2-native" else []) for kind in KINDS],
)
def segmenter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:

    folder = tmp_path_factory.mktemp(request.param)
    spec = zoo_segmenters.SEGMENTERS[request.param](folder)
    yield zoo_segmenters.shrink(build_segmenter(spec))
    for file in folder.glob("*.pt"):
        file.unlink()


def encoder_and_decoder(segmenter: Any) -> tuple[Any, Any]:
    model = segmenter._model
    encoder = getattr(model, "image_encoder", None) or model.vision_encoder
    return encoder, getattr(model, "sam_mask_decoder", None) or model.mask_decoder


def same(one: Any, other: Any) -> None:
    assert len(one.rles) == len(other.rles)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    for first, second in zip(one.rles, other.rles, strict=True):
        size_hw = (first or second)["size"]
        assert (full(first, size_hw) != full(second, size_hw)).mean() < 0.005


def test_a_batch_of_unlike_sizes_gives_what_single_images_give(segmenter: Any) -> None:
    boxes = [random_boxes(3, *image.shape[:2], seed) for seed, image in enumerate(IMAGES)]
    together = segmenter.segment(IMAGES, boxes)
    for image, some, result in zip(IMAGES, boxes, together, strict=True):
        assert all(rle is None or rle["size"] == list(image.shape[:2]) for rle in result.rles)
        assert result.scores.dtype == np.float32
        assert ((result.scores >= 0) & (result.scores <= 1)).all()
        same(segmenter.segment([image], [some])[0], result)
        same(segmenter.segment_embedded(segmenter.embed(image), some, image.shape[:2]), result)


def test_the_same_images_give_the_same_answer_twice(segmenter: Any) -> None:
    boxes = [random_boxes(2, *image.shape[:2]) for image in IMAGES]
    for one, other in zip(segmenter.segment(IMAGES, boxes), segmenter.segment(IMAGES, boxes), strict=True):
        assert one.rles == other.rles
        assert one.scores.tobytes() == other.scores.tobytes()


def test_masks_depend_on_image_and_box(segmenter: Any) -> None:
    """Both images have one size, both boxes one image: whatever is ignored would make two masks equal."""
    images = [photo(64, 64, 1), photo(64, 64, 2)]
    boxes = np.array([[4, 4, 30, 30], [20, 10, 60, 60]], dtype=np.float32)
    first, second = (result.rles for result in segmenter.segment(images, [boxes, boxes]))
    assert first[0] != first[1]
    assert first[0] != second[0]


def test_work_is_done_once_per_image_and_never_without_boxes(segmenter: Any) -> None:
    boxes = [random_boxes(70, 50, 70), NO_BOXES, random_boxes(1, 64, 64)]
    encoder, decoder = encoder_and_decoder(segmenter)
    encoded, _ = calls(encoder, lambda: segmenter.segment(IMAGES, boxes))
    decoded, results = calls(decoder, lambda: segmenter.segment(IMAGES, boxes))
    assert encoded == 1  # one batch of the two images that have boxes
    assert decoded == 2 + 1  # 64 + 6, and 1
    assert [len(result.rles) for result in results] == [70, 0, 1]
    assert results[1].image_feature is None
    assert results[0].image_feature.dtype == np.float16
    assert calls(encoder, lambda: segmenter.segment(IMAGES[:1], [NO_BOXES]))[0] == 0
    assert segmenter.segment([], []) == []
    assert segmenter.segment_embedded(None, NO_BOXES, (50, 70)).rles == ()


def test_boxes_of_one_call_do_not_know_of_each_other(segmenter: Any) -> None:
    boxes = random_boxes(4, 50, 70)
    (together,) = segmenter.segment(IMAGES[:1], [boxes])
    for row in range(4):
        (alone,) = segmenter.segment(IMAGES[:1], [boxes[row : row + 1]])
        np.testing.assert_allclose(alone.scores, together.scores[row : row + 1], atol=1e-5)
        assert (full(alone.rles[0], (50, 70)) != full(together.rles[row], (50, 70))).mean() < 0.005


@pytest.mark.parametrize("part", [0, 1])
def test_memory_that_ran_out_passes_through_and_other_failures_are_named(segmenter: Any, part: int) -> None:
    import torch

    def fail(error: Exception) -> Any:
        def raise_it(*_: Any) -> None:
            raise error

        return encoder_and_decoder(segmenter)[part].register_forward_pre_hook(raise_it)

    boxes = [random_boxes(2, 50, 70)]
    for error, expected in (
        (torch.OutOfMemoryError("full"), torch.OutOfMemoryError),
        (RuntimeError("x"), BackendError),
    ):
        hook = fail(error)
        try:
            with pytest.raises(expected):
                segmenter.segment(IMAGES[:1], boxes)
        finally:
            hook.remove()


def test_edgetam_gives_the_masks_of_the_library(tmp_path: Path) -> None:
    """Oracle: transformers' processor, whole model and post-processing to the full frame."""
    import torch
    import transformers as tf
    from PIL import Image

    from labeling.teachers.segmenters.edgetam import EdgeTamSegmenter

    folder = zoo_segmenters.save_edgetam(tmp_path)
    image, boxes = photo(50, 71), random_boxes(5, 50, 71)
    processor, model = tf.Sam2Processor.from_pretrained(folder), tf.EdgeTamModel.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(image), input_boxes=[boxes.tolist()], return_tensors="pt")
    with torch.no_grad():
        outputs = model(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"], multimask_output=False)
    (expected,) = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    (segmented,) = EdgeTamSegmenter(folder, device="cpu").segment([image], [boxes])
    for mask, rle in zip(expected[:, 0].numpy(), segmented.rles, strict=True):
        assert (full(rle, (50, 71)) != without_islands(mask)).mean() < 0.005
    np.testing.assert_allclose(segmented.scores, outputs.iou_scores[0, :, 0].numpy(), atol=1e-5)


def test_edgetam_reads_its_image_part_out_of_a_video_model(tmp_path: Path) -> None:
    """The published folder holds the video model and its processor. Oracle: its tensors, read apart."""
    from safetensors.torch import load_file

    from labeling.teachers.segmenters.edgetam import EdgeTamSegmenter

    folder = zoo_segmenters.save_edgetam(tmp_path, video=True)
    segmenter = EdgeTamSegmenter(folder, device="cpu")
    stored = load_file(folder / "model.safetensors")
    loaded = segmenter._model.state_dict()
    shared = [key for key in loaded if key in stored]
    assert len(shared) > 100
    assert all((loaded[key] == stored[key]).all() for key in shared)
    assert len(segmenter.segment([photo(50, 70)], [random_boxes(2, 50, 70)])[0].rles) == 2


def test_edgetam_refuses_a_folder_of_sam2(tmp_path: Path) -> None:
    from labeling.teachers.segmenters.edgetam import EdgeTamSegmenter

    pytest.importorskip("timm", reason="timm is not installed")
    tiny_models.save_sam2(tmp_path)
    with pytest.raises(BackendError, match=r"expected a model of type edgetam or edgetam_video, .* says 'sam2'"):
        EdgeTamSegmenter(tmp_path, device="cpu")


def test_edgetam_without_timm_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.setattr(transformers.utils, "is_timm_available", lambda: False)
    tiny_models.save_sam2(tmp_path)
    spec = zoo_segmenters._spec("edgetam", tmp_path)
    with pytest.raises(MissingExtraError, match="timm"):
        build_segmenter(spec)


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from labeling.teachers.segmenters.mobile_sam import MobileSamSegmenter

    weights = zoo_segmenters.save_mobile_sam(tmp_path_factory.mktemp("mobile"))
    return zoo_segmenters.shrink(MobileSamSegmenter(weights, device="cpu"))


def test_mobile_sam_gives_the_masks_of_the_library(mobile: Any) -> None:
    """Oracle: ultralytics' own predictor, on an image that fills the canvas, so that nothing is resized or padded."""
    import torch
    from ultralytics.models.sam import Predictor

    side = zoo_segmenters.SMALL
    image, boxes = photo(side, side), random_boxes(5, side, side)
    predictor = Predictor(overrides={"imgsz": side, "mode": "predict", "device": "cpu", "verbose": False})
    predictor.setup_model(model=mobile._model, verbose=False)
    predictor.imgsz = [side, side]
    zoo_segmenters.shrink(mobile)  # the predictor may set a size of its own
    predictor.batch = (["photo"], [image[..., ::-1]], [""])
    with torch.inference_mode():
        logits, scores = predictor.inference(predictor.preprocess([image[..., ::-1]]), bboxes=boxes)
    upsampled = torch.nn.functional.interpolate(logits[None], (side, side), mode="bilinear")[0] > 0
    (segmented,) = mobile.segment([image], [boxes])
    for mask, rle in zip(upsampled.numpy(), segmented.rles, strict=True):
        assert (full(rle, (side, side)) != without_islands(mask)).mean() < 0.005
    np.testing.assert_allclose(segmented.scores, scores.clamp(0, 1).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("size_hw", "inside"),
    [((96, 128), (192, 256)), ((50, 71), (180, 256)), ((1, 3000), (4, 256)), ((9, 9), (256, 256))],
)
def test_mobile_sam_keeps_proportions_in_whole_cells(
    mobile: Any, size_hw: tuple[int, int], inside: tuple[int, int]
) -> None:
    assert mobile._inside(size_hw) == inside
    (result,) = mobile.segment([photo(*size_hw)], [np.array([[0, 0, size_hw[1], size_hw[0]]], dtype=np.float32)])
    assert result.rles[0] is None or result.rles[0]["size"] == list(size_hw)


def test_mobile_sam_leaves_the_empty_part_of_the_canvas_out_of_the_mask(mobile: Any) -> None:
    """Oracle: the mask of the whole canvas, its upper 3/4 alone stretched to the image."""
    import torch

    image, boxes = photo(192, 256), random_boxes(3, 192, 256)
    with torch.inference_mode():
        levels = mobile._encode([image])
        sparse, dense = mobile._model.prompt_encoder(points=None, boxes=torch.from_numpy(boxes), masks=None)
        logits, _ = mobile._model.mask_decoder(
            levels[0], mobile._model.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=False
        )
    upper = torch.nn.functional.interpolate(logits[:, :, :48], (192, 256), mode="bilinear")[:, 0] > 0
    (segmented,) = mobile.segment([image], [boxes])
    assert list(segmented.rles) == [encode(without_islands(mask)) if mask.any() else None for mask in upper.numpy()]


@pytest.mark.parametrize("broken", ["sam", "truncated", "missing", "module"])
def test_mobile_sam_refuses_what_is_no_checkpoint_of_its_own(tmp_path: Path, broken: str) -> None:
    import torch

    from labeling.teachers.segmenters.mobile_sam import MobileSamSegmenter

    path = tmp_path / "mobile_sam.pt"
    if broken == "sam":
        torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, path)
        message = "no original checkpoint of MobileSAM: .* the first of which is 'image_encoder.pos_embed'"
    elif broken == "module":
        torch.save({"model": torch.nn.Linear(2, 2)}, path)
        message = "hold more than tensors: .* expected an original checkpoint of MobileSAM"
    else:
        weights = zoo_segmenters.save_mobile_sam(tmp_path)
        if broken == "truncated":
            weights.write_bytes(weights.read_bytes()[:1_000_000])
            message = "no PyTorch file|no readable PyTorch file"
        else:
            state = torch.load(weights, weights_only=True)
            del state["mask_decoder.iou_token.weight"]
            torch.save(state, weights)
            message = r"do not fit MobileSAM: 1 tensors differ, the first is mask_decoder.iou_token.weight \(absent"
    with pytest.raises(BackendError, match=message) as caught:
        MobileSamSegmenter(path, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_mobile_sam_runs_in_full_size(tmp_path: Path) -> None:
    from labeling.teachers.segmenters.mobile_sam import MobileSamSegmenter

    segmenter = MobileSamSegmenter(zoo_segmenters.save_mobile_sam(tmp_path), device="cpu")
    (segmented,) = segmenter.segment([photo(96, 128)], [random_boxes(2, 96, 128)])
    assert [rle and decode(rle).shape for rle in segmented.rles] == [(96, 128)] * 2
    assert segmented.image_feature is not None
    assert segmented.image_feature.shape == (256,)

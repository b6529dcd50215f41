"""Segmenters with random weights for the contract suite, one maker per way to load one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labeling.teachers.backends import TeacherSpec
from tests import tiny_models

#: Side in pixels of the canvas that ``shrink`` gives to networks that come in one size alone.
SMALL = 256


def bundled(_: Path) -> TeacherSpec:
    return _spec("bundled", None)


def sam2(folder: Path) -> TeacherSpec:
    return _spec("sam2", tiny_models.save_sam2(folder))


def sam2_original(folder: Path) -> TeacherSpec:
    return _spec("sam2", save_native(folder))


def sam2_native(folder: Path) -> TeacherSpec:
    return _spec("sam2-native", save_native(folder))


def edgetam(folder: Path) -> TeacherSpec:
    return _spec("edgetam", save_edgetam(folder))


def mobile_sam(folder: Path) -> TeacherSpec:
    return _spec("mobile-sam", save_mobile_sam(folder))


SEGMENTERS: dict[str, Callable[[Path], TeacherSpec]] = {
    "bundled": bundled,
    "sam2": sam2,
    "sam2/original": sam2_original,
    "sam2-native": sam2_native,
    "edgetam": edgetam,
    "mobile-sam": mobile_sam,
}

#: Networks that come in full size alone: some seconds per image on a CPU.
SLOW = frozenset({"sam2/original", "sam2-native", "mobile-sam"})


def _spec(segmenter: str, weights: Path | None) -> TeacherSpec:
    named = None if weights is None else str(weights)
    return TeacherSpec(detector="bundled", segmenter=segmenter, segmenter_weights=named, device="cpu")


def native_network(config: str = "configs/sam2.1/sam2.1_hiera_t.yaml") -> Any:
    """Return a network of the package sam2 with random weights."""
    from labeling.teachers.segmenters.sam2_native import _network

    return _network(config)


def save_native(folder: Path, *, version: str = "2.1") -> Path:
    """Save random weights of the tiny SAM 2, 78 MB in half precision, as its authors save theirs."""
    import torch

    pytest.importorskip("sam2", reason="the package sam2 is not installed")
    torch.manual_seed(0)
    state = native_network(f"configs/sam{version}/sam{version}_hiera_t.yaml").state_dict()
    torch.save({"model": {key: tensor.half() for key, tensor in state.items()}}, folder / "sam2_hiera_tiny.pt")
    return folder / "sam2_hiera_tiny.pt"


def save_mobile_sam(folder: Path) -> Path:
    """Save random weights of MobileSAM, 20 MB in half precision, with biases that a forgotten refresh would show."""
    import torch

    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.models.sam.build import build_mobile_sam

    torch.manual_seed(0)
    state = build_mobile_sam().state_dict()
    for key, tensor in state.items():
        if key.endswith("attention_biases"):
            tensor.copy_(torch.randn_like(tensor))
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    torch.save(halves, folder / "mobile_sam.pt")
    return folder / "mobile_sam.pt"


def save_edgetam(folder: Path, *, video: bool = False) -> Path:
    """Save a small EdgeTAM of random weights; images are resized to 64 x 64, masks come as 16 x 16."""
    import torch
    import transformers as tf

    pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    kind = "EdgeTamVideo" if video else "EdgeTam"
    small: dict[str, Any] = {"embed_dim": [8, 16, 24, 32], "depth": [1, 1, 1, 1]}
    backbone = tf.TimmWrapperConfig(
        architecture="repvit_m0_9",
        model_args=small | {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    vision = tf.EdgeTamVisionConfig(
        backbone_config=backbone, backbone_channel_list=[32, 24, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]], fpn_hidden_size=32,
    )  # fmt: skip
    prompts = getattr(tf, f"{kind}PromptEncoderConfig")(hidden_size=32, image_size=64, patch_size=16)
    decoder = getattr(tf, f"{kind}MaskDecoderConfig")(
        hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32
    )
    memory: dict[str, Any] = {
        "image_size": 64, "memory_attention_hidden_size": 32, "memory_attention_rope_feat_sizes": [4, 4],
        "memory_attention_rope_k_sizes": [4, 4], "memory_attention_mlp_hidden_size": 32,
        "memory_encoder_hidden_size": 32, "mask_downsampler_embed_dim": 32, "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
    }  # fmt: skip
    config = getattr(tf, f"{kind}Config")(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder, **(memory if video else {})
    )
    model = getattr(tf, f"{kind}Model")(config)
    with torch.no_grad():
        for matrix in (parameter for parameter in model.parameters() if parameter.ndim > 1):
            matrix *= 5  # as they come, the image hardly moves the masks
    model.save_pretrained(folder)
    pictures = tf.Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16})
    processor = tf.Sam2VideoProcessor(pictures, tf.Sam2VideoVideoProcessor()) if video else tf.Sam2Processor(pictures)
    processor.save_pretrained(folder)
    return folder


def shrink(segmenter: Any) -> Any:
    """Return the segmenter with a canvas of 256 x 256 pixels: the same network at a sixteenth of the time."""
    model = segmenter._model
    if hasattr(model, "set_imgsz"):  # of ultralytics
        model.set_imgsz([SMALL, SMALL])
    elif hasattr(model, "sam_prompt_encoder"):  # of the package sam2
        model.image_size = SMALL
        model.sam_prompt_encoder.image_embedding_size = (SMALL // 16, SMALL // 16)
        model.sam_prompt_encoder.input_image_size = (SMALL, SMALL)
    return segmenter

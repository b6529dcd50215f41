"""Tiny random OWLv2, OmDet-Turbo and SAM 3 folders, each with a tokenizer that knows letters alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from labeling.teachers.backends import TeacherSpec

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!-'"
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(pad: str = _END) -> Any:
    """Return a CLIP tokenizer without merges: one token per letter."""
    from transformers import CLIPTokenizer

    pieces = [character + end for character in _CHARACTERS for end in ("", "</w>")]
    # The padding of OWLv2 has id 0, and the text encoders find the end of a text as its highest id.
    ids = {piece: index for index, piece in enumerate(["<pad>", *pieces, _BEGIN, _END])}
    return CLIPTokenizer(vocab=ids, merges=[], pad_token=pad)


def _text_settings(tokenizer: Any, positions: int) -> dict[str, Any]:
    return dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=positions, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def save_owlv2(folder: Path, *, seed: int = 0, side: int = 64) -> Path:
    """Save an OWLv2 of 64 patches; images are padded to a square and resized to 64 x 64."""
    import torch
    import transformers as tf

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(pad="<pad>")
    config = tf.Owlv2Config(
        text_config=_text_settings(tokenizer, 16),
        vision_config=dict(
            hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=side,
            patch_size=8,
        ),
        projection_dim=32,
    )  # fmt: skip
    model = tf.Owlv2ForObjectDetection(config)
    with torch.no_grad():  # as they come, the heads of so small a model answer 0 or 1
        for head in (model.box_head, model.class_head):
            for parameter in head.parameters():
                parameter *= 0.3
    _save(model, folder, noise=0.0)
    tokenizer.save_pretrained(folder)
    tf.Owlv2ImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def save_omdet_turbo(folder: Path, *, seed: int = 0, positions: int = 77) -> Path:
    """Save an OmDet-Turbo of 20 queries; images are resized to 64 x 64."""
    import torch
    import transformers as tf

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    config = tf.OmDetTurboConfig(
        backbone_config=tf.SwinConfig(
            image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=2,
            out_indices=[2, 3, 4],
        ),
        text_config=tf.CLIPTextConfig(**_text_settings(tokenizer, positions)),
        apply_layernorm_after_vision_backbone=False, image_size=64, text_projection_in_dim=32,
        text_projection_out_dim=32, class_embed_dim=32, task_encoder_hidden_dim=32, encoder_hidden_dim=16,
        vision_features_channels=[16, 16, 16], encoder_in_channels=[32, 64, 128], encoder_dim_feedforward=32,
        encoder_attention_heads=2, decoder_hidden_dim=16, decoder_num_heads=2, decoder_num_layers=2,
        decoder_dim_feedforward=32, decoder_num_points=2, num_queries=20,
    )  # fmt: skip
    _save(tf.OmDetTurboForObjectDetection(config), folder, noise=0.1)
    tokenizer.save_pretrained(folder)
    tf.DetrImageProcessor(size={"height": 64, "width": 64}, do_pad=False).save_pretrained(folder)
    return folder


def save_sam3(folder: Path, *, seed: int = 7) -> Path:
    """Save a SAM 3 of 10 queries; images are stretched to 112 x 112, masks come as 32 x 32 and cover about half."""
    import torch
    import transformers as tf

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    small = dict(hidden_size=32, num_attention_heads=2)
    layers = dict(small, num_layers=1, intermediate_size=32)
    config = tf.Sam3Config(
        vision_config=tf.Sam3VisionConfig(
            backbone_config=tf.Sam3ViTConfig(
                **small, intermediate_size=32, num_hidden_layers=2, image_size=112, pretrain_image_size=56,
                patch_size=14, window_size=4, global_attn_indexes=[1],
            ),
            fpn_hidden_size=32, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        ),
        text_config=tf.CLIPTextConfig(**_text_settings(tokenizer, 32), projection_dim=32),
        geometry_encoder_config=tf.Sam3GeometryEncoderConfig(**layers),
        detr_encoder_config=tf.Sam3DETREncoderConfig(**layers),
        detr_decoder_config=tf.Sam3DETRDecoderConfig(**layers, num_queries=10),
        mask_decoder_config=tf.Sam3MaskDecoderConfig(**small, num_upsampling_stages=2),
    )  # fmt: skip
    _save(tf.Sam3Model(config), folder, noise=0.1)
    image_processor = tf.Sam3ImageProcessor(size={"height": 112, "width": 112}, mask_size={"height": 32, "width": 32})
    tf.Sam3Processor(image_processor=image_processor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def _save(model: Any, folder: Path, *, noise: float) -> None:
    """Save a model whose answers differ from box to box: some heads start at zero, noise wakes them."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * noise
    model.save_pretrained(folder)


def _spec(name: str, save: Callable[[Path], Path]) -> Callable[[Path], TeacherSpec]:
    return lambda folder: TeacherSpec(detector=name, weights=str(save(folder)), segmenter="none", device="cpu")


DETECTORS: dict[str, Callable[[Path], TeacherSpec]] = {
    "owlv2": _spec("owlv2", save_owlv2),
    "omdet-turbo": _spec("omdet-turbo", save_omdet_turbo),
    "sam3": _spec("sam3", save_sam3),
}

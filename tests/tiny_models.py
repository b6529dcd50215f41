"""Builds tiny and full-size GroundingDINO and SAM 2 folders with random weights and a home-made vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = (
    "red", "blue", "green", "yellow", "black", "white", "box", "barrel", "cone", "ladder", "person", "helmet",
    "forklift", "pallet", "traffic", "light", "sign", "boat", "sail", "t", "-", "shirt", "in", "vest", "hi", "vis", ",",
)  # fmt: skip


def vocabulary(size: int | None = None) -> dict[str, int]:
    """Word to id, laid out as GroundingDINO needs it: special tokens and delimiters at BERT's own ids."""
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    ids = {1030 + offset: word for offset, word in enumerate(WORDS)}
    # Pieces of one letter make any lower-case word readable, as in BERT's own vocabulary.
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
    missing = [piece for piece in letters if piece not in WORDS]
    ids |= {1100 + offset: piece for offset, piece in enumerate(missing)}
    total = size or 1100 + len(missing)
    return {(special | ids).get(index, f"[unused{index}]"): index for index in range(total)}


def save_grounding_dino(folder: Path, *, queries: int = 20, model_type: str = "grounding-dino", seed: int = 0) -> Path:
    """Save a GroundingDINO of about 0.3 million random parameters; images are resized to 64-96 pixels."""
    import torch
    import transformers as tf

    torch.manual_seed(seed)
    words = vocabulary()
    prefix = {"grounding-dino": "GroundingDino", "mm-grounding-dino": "MMGroundingDino"}[model_type]
    config = getattr(tf, f"{prefix}Config")(
        backbone_config=tf.SwinConfig(
            image_size=64, embed_dim=16, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=4, out_indices=[2, 3]
        ),
        text_config=tf.BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
        ),
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=queries, num_feature_levels=3,
        encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    _save_detector(getattr(tf, f"{prefix}ForObjectDetection")(config), words, folder, shortest=64, longest=96)
    return folder


def save_full_size_grounding_dino(folder: Path) -> Path:
    """Save random weights in the configuration of IDEA-Research/grounding-dino-tiny."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    backbone = tf.SwinConfig(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, image_size=224,
        out_indices=[2, 3, 4],
    )  # fmt: skip
    config = tf.GroundingDinoConfig(backbone_config=backbone, text_config=tf.BertConfig())
    model = tf.GroundingDinoForObjectDetection(config)
    _save_detector(model, vocabulary(config.text_config.vocab_size), folder, shortest=800, longest=1333)
    return folder


def _save_detector(model: Any, words: dict[str, int], folder: Path, *, shortest: int, longest: int) -> None:
    from transformers import BertTokenizer, GroundingDinoImageProcessor

    model.save_pretrained(folder)
    BertTokenizer(vocab=words).save_pretrained(folder)
    size = {"shortest_edge": shortest, "longest_edge": longest}
    GroundingDinoImageProcessor(size=size).save_pretrained(folder)


def save_sam2(folder: Path, *, seed: int = 0, sizes: Sequence[int] = (16, 8, 4)) -> Path:
    """Save a SAM 2 of about 0.1 million random parameters; images are resized to 64 x 64, masks come as 16 x 16."""
    import torch
    import transformers as tf

    torch.manual_seed(seed)
    side = sizes[0] * 4
    backbone = tf.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[side, side], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = tf.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[size, size] for size in sizes], fpn_hidden_size=32,
    )  # fmt: skip
    config = tf.Sam2Config(
        vision_config=vision,
        prompt_encoder_config=tf.Sam2PromptEncoderConfig(hidden_size=32, image_size=side, patch_size=16),
        mask_decoder_config=tf.Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32
        ),
    )
    _save_segmenter(tf.Sam2Model(config), folder, side)
    return folder


def save_full_size_sam2(folder: Path) -> Path:
    """Save random weights in the configuration of facebook/sam2.1-hiera-small."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    backbone = tf.Sam2HieraDetConfig(
        hidden_size=96, num_attention_heads=1, blocks_per_stage=[1, 2, 11, 2],
        embed_dim_per_stage=[96, 192, 384, 768], num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 14, 7], global_attention_blocks=[7, 10, 13],
    )  # fmt: skip
    _save_segmenter(
        tf.Sam2Model(tf.Sam2Config(vision_config=tf.Sam2VisionConfig(backbone_config=backbone))), folder, 1024
    )
    return folder


def _save_segmenter(model: Any, folder: Path, side: int) -> None:
    from transformers import Sam2ImageProcessor, Sam2Processor

    model.save_pretrained(folder)
    image_processor = Sam2ImageProcessor(
        size={"height": side, "width": side}, mask_size={"height": side // 4, "width": side // 4}
    )
    Sam2Processor(image_processor=image_processor).save_pretrained(folder)

"""Builds tiny and full-size GroundingDINO and SAM 2 folders with random weights and a home-made vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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


def original_shapes(
    *, embed: int, depths: Sequence[int], heads: Sequence[int], window: int, words: int, text_width: int,
    text_layers: int, text_feedforward: int, layers: int, feedforward: int, queries: int, width: int = 256,
) -> dict[str, tuple[int, ...]]:  # fmt: skip
    """Name and shape of every tensor of an original GroundingDINO checkpoint with four levels and three stages."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, *inside: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, *inside), (out,)

    def attention(name: str) -> None:
        shapes[f"{name}.in_proj_weight"], shapes[f"{name}.in_proj_bias"] = (3 * width, width), (3 * width,)
        linear(f"{name}.out_proj", width, width)

    def deformable(name: str) -> None:
        for part, out in (("sampling_offsets", 256), ("attention_weights", 128), ("value_proj", width)):
            linear(f"{name}.{part}", out, width)
        linear(f"{name}.output_proj", width, width)

    def perceptron(name: str, *widths: int) -> None:
        for number, (inside, out) in enumerate(pairwise(widths)):
            linear(f"{name}.layers.{number}", out, inside)

    linear("backbone.0.patch_embed.proj", embed, 3, 4, 4)
    linear("backbone.0.patch_embed.norm", embed)
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        side, at = embed * 2**stage, f"backbone.0.layers.{stage}"
        for block in (f"{at}.blocks.{number}" for number in range(depth)):
            linear(f"{block}.norm1", side)
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, count)
            shapes[f"{block}.attn.relative_position_index"] = (window**2, window**2)
            linear(f"{block}.attn.qkv", 3 * side, side)
            linear(f"{block}.attn.proj", side, side)
            linear(f"{block}.norm2", side)
            linear(f"{block}.mlp.fc1", 4 * side, side)
            linear(f"{block}.mlp.fc2", side, 4 * side)
        if stage < 3:
            linear(f"{at}.downsample.norm", 4 * side)
            shapes[f"{at}.downsample.reduction.weight"] = (2 * side, 4 * side)
        if stage:
            linear(f"backbone.0.norm{stage}", side)
            linear(f"input_proj.{stage - 1}.0", width, side, 1, 1)
    linear("input_proj.3.0", width, embed * 8, 3, 3)
    for level in range(4):
        linear(f"input_proj.{level}.1", width)
    for name, rows in (("word", words), ("position", 512), ("token_type", 2)):
        shapes[f"bert.embeddings.{name}_embeddings.weight"] = (rows, text_width)
    linear("bert.embeddings.LayerNorm", text_width)
    for at in (f"bert.encoder.layer.{number}" for number in range(text_layers)):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            linear(f"{at}.{part}", text_width, text_width)
        linear(f"{at}.attention.output.LayerNorm", text_width)
        linear(f"{at}.intermediate.dense", text_feedforward, text_width)
        linear(f"{at}.output.dense", text_width, text_feedforward)
        linear(f"{at}.output.LayerNorm", text_width)
    linear("bert.pooler.dense", text_width, text_width)
    linear("feat_map", width, text_width)
    shapes |= {"transformer.level_embed": (4, width), "transformer.tgt_embed.weight": (queries, width)}
    for number in range(layers):
        at = f"transformer.encoder.layers.{number}"
        deformable(f"{at}.self_attn")
        text, fusion = f"transformer.encoder.text_layers.{number}", f"transformer.encoder.fusion_layers.{number}"
        attention(f"{text}.self_attn")
        for block, inner in ((at, feedforward), (text, feedforward // 2)):
            linear(f"{block}.linear1", inner, width)
            linear(f"{block}.linear2", width, inner)
            linear(f"{block}.norm1", width)
            linear(f"{block}.norm2", width)
        for side_name in "vl":
            shapes[f"{fusion}.gamma_{side_name}"] = (width,)
            linear(f"{fusion}.layer_norm_{side_name}", width)
            linear(f"{fusion}.attn.{side_name}_proj", feedforward // 2, width)
            linear(f"{fusion}.attn.values_{side_name}_proj", feedforward // 2, width)
            linear(f"{fusion}.attn.out_{side_name}_proj", width, feedforward // 2)
        at = f"transformer.decoder.layers.{number}"
        deformable(f"{at}.cross_attn")
        attention(f"{at}.ca_text")
        attention(f"{at}.self_attn")
        linear(f"{at}.linear1", feedforward, width)
        linear(f"{at}.linear2", width, feedforward)
        for norm in ("norm1", "norm2", "norm3", "catext_norm"):
            linear(f"{at}.{norm}", width)
        perceptron(f"bbox_embed.{number}", width, width, width, 4)
        perceptron(f"transformer.decoder.bbox_embed.{number}", width, width, width, 4)
    linear("transformer.decoder.norm", width)
    perceptron("transformer.decoder.ref_point_head", 2 * width, width, width)
    perceptron("transformer.enc_out_bbox_embed", width, width, width, 4)
    linear("transformer.enc_output", width, width)
    linear("transformer.enc_output_norm", width)
    return shapes


def save_original_grounding_dino(folder: Path, *, prefix: str = "module.", seed: int = 0) -> Path:
    """Save random weights as an original .pth file of 20 MB, with vocabulary and image settings beside it."""
    import torch
    import transformers as tf

    words = vocabulary()
    shapes = original_shapes(
        embed=16, depths=(1, 1, 1, 1), heads=(1, 2, 2, 2), window=4, words=len(words), text_width=64, text_layers=1,
        text_feedforward=32, layers=2, feedforward=64, queries=20,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator) * 0.03 for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if "norm" in name.lower() and name.endswith("weight"):
            tensor += 1
        if (head := name.partition("bbox_embed.")[2]) and "enc_out" not in name:
            tensor.copy_(tensors["bbox_embed.0." + head.partition(".")[2]])
        if name.endswith("relative_position_index"):
            tensors[name] = _position_index(4)
    # Two that published files have and that are for training alone.
    tensors |= {"label_enc.weight": torch.zeros(3, 256), "bert.embeddings.position_ids": torch.arange(512)[None]}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {prefix + name: tensor for name, tensor in tensors.items()}}, folder / "original.pth")
    tf.BertTokenizer(vocab=words).save_pretrained(folder)
    tf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return folder / "original.pth"


def _position_index(window: int) -> Any:
    """(window**2, window**2) row of the bias table for every pair of cells, as Swin keeps it beside its weights."""
    import torch

    rows, columns = (axis.reshape(-1) for axis in torch.meshgrid(*2 * [torch.arange(window)], indexing="ij"))
    offsets = (rows[:, None] - rows) + window - 1, (columns[:, None] - columns) + window - 1
    return offsets[0] * (2 * window - 1) + offsets[1]


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

"""Original GroundingDINO checkpoints (.pth): their sizes, read from the tensors, and their names in transformers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from ...core.errors import BackendError
from ..hub import cached_snapshot
from ..weights import UntrustedWeightsError, load_part, load_pretrained, read_checkpoint

#: The encoder of text whose vocabulary every published checkpoint was trained with.
TEXT_ENCODER = "google-bert/bert-base-uncased"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
#: What tells this architecture from any other.
_MARKS = (
    "transformer.level_embed",
    "transformer.tgt_embed.weight",
    "feat_map.weight",
    "backbone.0.patch_embed.proj.weight",
)
#: In the files, never used to find objects: for training alone, follow from the sizes, or a head that nobody reads.
_UNUSED = re.compile(r"label_enc\.weight|bert\.embeddings\.position_ids|bert\.pooler\..*|.*\.relative_position_index")
#: The one box head is stored once per decoder layer and again inside the decoder.
_BOX_HEADS = re.compile(r"(?:transformer\.decoder\.)?bbox_embed\.\d+\.(.*)")

# Not to be read from tensors; the same in both published configurations.
_HEADS = 8
_TEXT_HEAD_WIDTH = 64
_MAX_TEXT_LEN = 256

#: Original name -> name in published transformers folders; later rules see what earlier ones have made.
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^backbone\.0\.", "model.backbone.conv_encoder.model."),
        (r"\.model\.patch_embed\.proj\.", ".model.embeddings.patch_embeddings.projection."),
        (r"\.model\.patch_embed\.norm\.", ".model.embeddings.norm."),
        (r"\.model\.layers\.", ".model.encoder.layers."),
        (r"(\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
        (r"(\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
        (r"(\.blocks\.\d+)\.attn\.proj\.", r"\1.attention.output.dense."),
        (r"(\.blocks\.\d+)\.attn\.", r"\1.attention.self."),
        (r"(\.blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
        (r"(\.blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
        (r"^bert\.", "model.text_backbone."),
        (r"^feat_map\.", "model.text_projection."),
        (r"^input_proj\.", "model.input_proj_vision."),
        (r"^transformer\.tgt_embed\.", "model.query_position_embeddings."),
        (r"^transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
        (r"^transformer\.", "model."),
        (r"^model\.encoder\.text_layers\.(\d+)\.", r"model.encoder.layers.\1.text_enhancer_layer."),
        (r"(text_enhancer_layer)\.norm1\.", r"\1.layer_norm_before."),
        (r"(text_enhancer_layer)\.norm2\.", r"\1.layer_norm_after."),
        (r"^model\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer."),
        (r"fusion_layer\.gamma_v$", "fusion_layer.vision_param"),
        (r"fusion_layer\.gamma_l$", "fusion_layer.text_param"),
        (r"fusion_layer\.(attn\.(?:values_|out_)?|layer_norm_)v(_proj)?\.", r"fusion_layer.\1vision\2."),
        (r"fusion_layer\.(attn\.(?:values_|out_)?|layer_norm_)l(_proj)?\.", r"fusion_layer.\1text\2."),
        (r"^(model\.encoder\.layers\.\d+)\.(self_attn|norm\d|linear\d)", r"\1.deformable_layer.\2"),
        (r"(deformable_layer)\.norm1\.", r"\1.self_attn_layer_norm."),
        (r"(deformable_layer)\.norm2\.", r"\1.final_layer_norm."),
        (r"^(model\.decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
        (r"^(model\.decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
        (r"^(model\.decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
        (r"^(model\.decoder\.layers\.\d+)\.catext_norm\.", r"\1.encoder_attn_text_layer_norm."),
        (r"^(model\.decoder\.layers\.\d+)\.ca_text\.", r"\1.encoder_attn_text."),
        (r"^(model\.decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
        (r"^model\.decoder\.norm\.", "model.decoder.layer_norm."),
        (r"^model\.decoder\.ref_point_head\.", "model.decoder.reference_points_head."),
        (r"\.linear([12])\.", r".fc\1."),
    )
)
_STAGE_NORM = re.compile(r"backbone\.0\.norm(\d)\.(weight|bias)")
_JOINED = re.compile(r"(.*\.)(?:in_proj_|qkv\.)(weight|bias)")


@dataclass(frozen=True, slots=True)
class Sizes:
    """The configuration of a checkpoint, as far as its tensors tell; counts and widths, as the papers name them."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    stages: tuple[int, ...]
    vocabulary: int
    text_width: int
    text_layers: int
    text_heads: int
    text_feedforward: int
    text_positions: int
    width: int
    levels: int
    encoder_layers: int
    decoder_layers: int
    feedforward: int
    attention_heads: int
    encoder_points: int
    decoder_points: int
    queries: int
    max_text_len: int = _MAX_TEXT_LEN


def original_file(weights: Path) -> Path | None:
    """Return the .pth file that is, or alone lies in, ``weights``; None where transformers' config.json is there.

    Raises:
        BackendError: several .pth files.
    """
    if weights.is_file():
        return weights
    if (weights / "config.json").is_file():
        return None
    found = sorted(weights.glob("*.pth"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:3])
        raise BackendError(f"weights {weights}: {len(found)} .pth files ({names}): name one of them")
    return found[0] if found else None


def tokenizer_folder(file: Path) -> Path:
    """Return the folder with the tokenizer of a checkpoint: its own, else the text encoder in the hub's cache.

    Raises:
        BackendError: neither is there.
    """
    if any((file.parent / name).is_file() for name in _TOKENIZER_FILES):
        return file.parent
    for hub_id in (TEXT_ENCODER, TEXT_ENCODER.partition("/")[2]):
        if (snapshot := cached_snapshot(hub_id, needs=_TOKENIZER_FILES)) is not None:
            return snapshot
    raise BackendError(
        f"weights {file}: no tokenizer (vocab.txt or tokenizer.json) beside them: run 'hf download {TEXT_ENCODER} "
        f"vocab.txt tokenizer.json tokenizer_config.json --local-dir {file.parent}' where there is a network"
    )


def image_processor(file: Path) -> Any:
    """Return the image processor: that of preprocessor_config.json beside the checkpoint, else the published one.

    Published: shorter side to 800, longer side to at most 1333 pixels, mean and deviation of ImageNet. Raises
    BackendError where the file cannot be read.
    """
    if (file.parent / "preprocessor_config.json").is_file():
        return load_part(transformers.AutoImageProcessor, file.parent)
    return transformers.GroundingDinoImageProcessor()


def load_original(file: Path, device: torch.device) -> Any:
    """Return the transformers model with the tensors of an original checkpoint, each used exactly once.

    Raises:
        BackendError: another architecture, a pickle with more than tensors, or tensors that do not fit.
    """
    tensors = read_original(file)
    config = _config(original_sizes(tensors, file))
    model = transformers.GroundingDinoForObjectDetection
    return load_pretrained(model, file, device, config=config, tensors=renamed(tensors, file))


def read_original(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint under their own names, without the prefix of multi-GPU training."""
    try:
        loaded = read_checkpoint(file)
    except UntrustedWeightsError as error:
        raise BackendError(
            f"weights {file} hold more than tensors, and nothing of it was run; an original GroundingDINO "
            "checkpoint has tensors alone: fetch it from its publisher"
        ) from error
    tensors = {key.removeprefix("module."): tensor for key, tensor in loaded.tensors.items()}
    absent = [mark for mark in _MARKS if mark not in tensors]
    if absent:
        what = "looks like a SAM checkpoint" if _is_sam(tensors) else f"has no tensor {absent[0]!r}"
        raise BackendError(f"weights {file}: expected an original GroundingDINO checkpoint with Swin, this {what}")
    return tensors


def _is_sam(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(key.startswith(("image_encoder.", "sam_mask_decoder.", "mask_decoder.")) for key in tensors)


def original_sizes(tensors: Mapping[str, torch.Tensor], file: Path) -> Sizes:
    """Return the sizes of the tensors of ``read_original``.

    Heads of attention leave no trace in tensors: 8 in the transformer and 64 channels each in the text encoder, as
    published.

    Raises:
        BackendError: a tensor is missing or has an impossible shape.
    """
    try:
        return _sizes(tensors)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise BackendError(f"weights {file} are no whole GroundingDINO checkpoint (at {error})") from error


def _sizes(tensors: Mapping[str, torch.Tensor]) -> Sizes:
    def shape(name: str) -> tuple[int, ...]:
        return tuple(tensors[name].shape)

    def count(pattern: str) -> int:
        numbers = {int(match[1]) for key in tensors if (match := re.match(pattern, key))}
        if numbers != set(range(len(numbers))) or not numbers:
            raise ValueError(pattern.replace("\\", "").replace("(d+)", "N"))
        return len(numbers)

    layers = range(count(r"backbone\.0\.layers\.(\d+)\."))
    table = "backbone.0.layers.{}.blocks.0.attn.relative_position_bias_table"
    levels, width = shape("transformer.level_embed")
    samples = _HEADS * levels
    text_width = shape("bert.embeddings.word_embeddings.weight")[1]
    return Sizes(
        embed_dim=shape("backbone.0.patch_embed.proj.weight")[0],
        depths=tuple(count(rf"backbone\.0\.layers\.{layer}\.blocks\.(\d+)\.") for layer in layers),
        heads=tuple(shape(table.format(layer))[1] for layer in layers),
        window=(math.isqrt(shape(table.format(0))[0]) + 1) // 2,
        stages=tuple(sorted({int(match[1]) for key in tensors if (match := _STAGE_NORM.fullmatch(key))})),
        vocabulary=shape("bert.embeddings.word_embeddings.weight")[0],
        text_width=text_width,
        text_layers=count(r"bert\.encoder\.layer\.(\d+)\."),
        text_heads=max(1, text_width // _TEXT_HEAD_WIDTH),
        text_feedforward=shape("bert.encoder.layer.0.intermediate.dense.weight")[0],
        text_positions=shape("bert.embeddings.position_embeddings.weight")[0],
        width=width,
        levels=levels,
        encoder_layers=count(r"transformer\.encoder\.layers\.(\d+)\."),
        decoder_layers=count(r"transformer\.decoder\.layers\.(\d+)\."),
        feedforward=shape("transformer.encoder.layers.0.linear1.weight")[0],
        attention_heads=_HEADS,
        encoder_points=shape("transformer.encoder.layers.0.self_attn.attention_weights.weight")[0] // samples,
        decoder_points=shape("transformer.decoder.layers.0.cross_attn.attention_weights.weight")[0] // samples,
        queries=shape("transformer.tgt_embed.weight")[0],
    )


def _config(sizes: Sizes) -> Any:
    return transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=32 * sizes.window,
            embed_dim=sizes.embed_dim,
            depths=list(sizes.depths),
            num_heads=list(sizes.heads),
            window_size=sizes.window,
            out_indices=[stage + 1 for stage in sizes.stages],
        ),
        text_config=transformers.BertConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=sizes.text_heads,
            intermediate_size=sizes.text_feedforward,
            max_position_embeddings=sizes.text_positions,
        ),
        d_model=sizes.width,
        num_feature_levels=sizes.levels,
        encoder_layers=sizes.encoder_layers,
        decoder_layers=sizes.decoder_layers,
        encoder_ffn_dim=sizes.feedforward,
        decoder_ffn_dim=sizes.feedforward,
        encoder_attention_heads=sizes.attention_heads,
        decoder_attention_heads=sizes.attention_heads,
        encoder_n_points=sizes.encoder_points,
        decoder_n_points=sizes.decoder_points,
        num_queries=sizes.queries,
        max_text_len=sizes.max_text_len,
    )


def renamed(tensors: Mapping[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors under the names of a published transformers folder; joined projections are cut in three.

    Raises:
        BackendError: the box heads of the decoder layers differ, which no published checkpoint has.
    """
    result: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if _UNUSED.fullmatch(key):
            continue
        if (head := _BOX_HEADS.fullmatch(key)) is not None:
            first = result.setdefault(f"bbox_embed.0.{head[1]}", tensor)
            if first is not tensor and not torch.equal(first, tensor):
                raise BackendError(f"weights {file}: {key} differs from the box head of another layer: not supported")
        elif (norm := _STAGE_NORM.fullmatch(key)) is not None:
            stage = f"stage{int(norm[1]) + 1}.{norm[2]}"
            result[f"model.backbone.conv_encoder.model.hidden_states_norms.{stage}"] = tensor
        elif (joined := _JOINED.fullmatch(key)) is not None:
            for name, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                result[_renamed(f"{joined[1]}{name}.{joined[2]}")] = part.clone()
        else:
            result[_renamed(key)] = tensor
    return result


def _renamed(key: str) -> str:
    for pattern, replacement in _RULES:
        key = pattern.sub(replacement, key)
    return key

"""Original checkpoints of SAM 2: which of its networks they are of, and the same tensors as transformers names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from ...core.errors import BackendError
from .originals import fill, read_original

_TRUNK = "image_encoder.trunk."
_PATCHES = f"{_TRUNK}patch_embed.proj.weight"
_BLOCK = re.compile(rf"{re.escape(_TRUNK)}blocks\.(\d+)\.norm1\.weight")


@dataclass(frozen=True, slots=True)
class Hiera:
    """The image encoder of a published SAM 2; the sizes that its tensors do not show belong to it by name.

    Attributes:
        letter: of the package's configuration file.
        width: channels of the first stage; each stage has twice those of the one before.
        heads: attention heads of the first stage, doubled likewise.
        blocks: per stage.
        whole: blocks that attend to the whole image.
        windows: side of the attention windows per stage.
        background: side of the coarse position embedding.
    """

    letter: str
    width: int
    heads: int
    blocks: tuple[int, ...]
    whole: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7


HIERAS: Mapping[str, Hiera] = {
    "tiny": Hiera("t", 96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": Hiera("s", 96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": Hiera("b+", 112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "large": Hiera("l", 144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}

#: What the image model has of a checkpoint; the rest remembers frames of a video.
_IMAGE_PARTS = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_CORNERS = "sam_prompt_encoder.point_embeddings"
_RENAMED = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
        (r"\.out_proj\.", ".o_proj."),
        (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
        (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
        # Heads have three layers; those in the middle keep a list of their own.
        (r"(_mlps\.\d+|_head)\.layers\.0\.", r"\1.proj_in."),
        (r"(_mlps\.\d+|_head)\.layers\.2\.", r"\1.proj_out."),
        (r"(_mlps\.\d+|_head)\.layers\.1\.", r"\1.layers.0."),
    )
)


def read_sam2(path: Path) -> tuple[Mapping[str, torch.Tensor], str]:
    """Return the tensors of an original checkpoint and the key of HIERAS that it is of.

    Raises:
        BackendError: no such file, no original checkpoint of SAM 2, or none of its published sizes.
    """
    tensors = read_original(path, "SAM 2", _PATCHES)
    width, blocks = tensors[_PATCHES].shape[0], sum(_BLOCK.fullmatch(key) is not None for key in tensors)
    for name, hiera in HIERAS.items():
        if (hiera.width, sum(hiera.blocks)) == (width, blocks):
            return tensors, name
    known = ", ".join(f"{name} ({hiera.width}, {sum(hiera.blocks)})" for name, hiera in HIERAS.items())
    raise BackendError(
        f"weights {path} are of a SAM 2 with {width} channels and {blocks} blocks in its image encoder: expected one "
        f"of {known}"
    )


def load_original(path: Path, device: torch.device) -> Any:
    """Return transformers' image model with the weights of an original checkpoint. Raises BackendError."""
    tensors, name = read_sam2(path)
    return fill(transformers.Sam2Model(image_config(HIERAS[name])), to_transformers(tensors), path, name).to(device)


def to_transformers(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the image part of an original state dict under the names of transformers' ``Sam2Model``.

    The tensors are the same, but for the four embeddings of points, which become the rows of one.
    """
    renamed = {}
    for key, tensor in tensors.items():
        if key.startswith(_IMAGE_PARTS) and key != _GAUSSIAN and not key.startswith(_CORNERS):
            name = key
            for pattern, replacement in _RENAMED:
                name = pattern.sub(replacement, name)
            renamed[name] = tensor
    corners = [key for key in sorted(tensors) if key.startswith(_CORNERS)]
    if corners:
        renamed["prompt_encoder.point_embed.weight"] = torch.cat([tensors[key] for key in corners])
    for part in ("shared_image_embedding", "prompt_encoder.shared_embedding") if _GAUSSIAN in tensors else ():
        renamed[f"{part}.positional_embedding"] = tensors[_GAUSSIAN]
    return renamed


def image_config(hiera: Hiera) -> Any:
    """Return transformers' configuration of a published SAM 2 for images of 1024 x 1024 pixels."""
    widths = [hiera.width * 2**stage for stage in range(len(hiera.blocks))]
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=hiera.width,
        num_attention_heads=hiera.heads,
        blocks_per_stage=list(hiera.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[hiera.heads * 2**stage for stage in range(len(hiera.blocks))],
        window_size_per_stage=list(hiera.windows),
        global_attention_blocks=list(hiera.whole),
        window_positional_embedding_background_size=[hiera.background, hiera.background],
    )
    vision = transformers.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
    return transformers.Sam2Config(vision_config=vision)

"""Train the bundled SAM 2: box prompts, exact masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import Sam2MaskDecoderConfig, Sam2PromptEncoderConfig

from .loop import train
from .shards import SEGMENTER_SHARDS, SEGMENTER_SIDE, shard_path

BATCH = 4
BOXES = 6
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def build() -> Sam2Model:
    """Return a model with random weights; its masks come at half the resolution of its input."""
    width = [16, 32, 64, 96]
    return Sam2Model(
        Sam2Config(
            vision_config=Sam2VisionConfig(
                backbone_config=Sam2HieraDetConfig(
                    hidden_size=width[0],
                    image_size=[SEGMENTER_SIDE, SEGMENTER_SIDE],
                    patch_kernel_size=[3, 3],
                    patch_stride=[2, 2],
                    patch_padding=[1, 1],
                    blocks_per_stage=[1, 1, 2, 1],
                    embed_dim_per_stage=width,
                    num_attention_heads_per_stage=[1, 2, 4, 6],
                    window_size_per_stage=[8, 4, 8, 6],
                    global_attention_blocks=[3],
                ),
                backbone_channel_list=width[::-1],
                backbone_feature_sizes=[[SEGMENTER_SIDE // stride] * 2 for stride in (2, 4, 8)],
                fpn_hidden_size=64,
            ),
            prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=64, image_size=SEGMENTER_SIDE, patch_size=8),
            mask_decoder_config=Sam2MaskDecoderConfig(
                hidden_size=64,
                mlp_dim=128,
                num_attention_heads=4,
                num_multimask_outputs=1,
                iou_head_hidden_dim=64,
                dynamic_multimask_via_stability=False,
            ),
        )
    )


def batches(
    cache: Path, seed: int, first_step: int, steps: int, jitter: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield pixels (n, 3, s, s), boxes (n, k, 4) in input pixels, and masks (n, k, s / 2, s / 2) in [0, 1]."""
    loaded = {}
    for index in range(SEGMENTER_SHARDS):
        with np.load(shard_path(cache, index), allow_pickle=False) as data:
            loaded[index] = (data["large"], data["ids"])
    for step in range(first_step, steps):
        rng = np.random.default_rng([seed, step])
        pixels, boxes, masks = [], [], []
        while len(pixels) < BATCH:
            pictures, ids = loaded[int(rng.integers(SEGMENTER_SHARDS))]
            which = int(rng.integers(len(pictures)))
            flip = rng.random() < 0.5
            picture, numbered = pictures[which], ids[which]
            if flip:
                picture, numbered = picture[:, ::-1], numbered[:, ::-1]
            count = int(numbered.max())
            chosen = rng.permutation(count)[:BOXES] if count >= BOXES else rng.integers(0, count, BOXES)
            exact = np.stack([numbered == number + 1 for number in chosen])
            gain = float(rng.uniform(0.8, 1.2))
            pixel = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float().div_(255.0)
            pixels.append(((pixel * gain).clamp_(0, 1) - _MEAN) / _STD)
            boxes.append(_loose_boxes(rng, exact, jitter))
            masks.append(
                torch.nn.functional.interpolate(
                    torch.from_numpy(exact)[None].float(),
                    size=(SEGMENTER_SIDE // 2,) * 2,
                    mode="bilinear",
                    antialias=True,
                )[0]
            )
        yield torch.stack(pixels), torch.stack(boxes), torch.stack(masks)


def _loose_boxes(rng: np.random.Generator, masks: np.ndarray, jitter: float) -> Tensor:
    """Return the masks' boxes in input pixels, shifted about as a detector would."""
    height, width = masks.shape[1:]
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
        sides = np.tile(box[2:] - box[:2], 2)
        boxes.append((box + rng.normal(0, jitter, 4) * sides) / (width, height, width, height) * SEGMENTER_SIDE)
    return torch.from_numpy(np.clip(np.stack(boxes), 0, SEGMENTER_SIDE)).float()


def place_loss(logits: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of the first stage per mask: every pixel counts, so the box is what the model learns to heed."""
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    miss = (logits.sigmoid() - masks).abs()
    return 5 * (miss * entropy).sum((-1, -2)) / masks.sum((-1, -2)).clamp(min=16.0)


def outline_loss(logits: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of the second stage per mask: cross-entropy per pixel of the box, inside it twice as heavy."""
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    near = _near_boxes(boxes, masks.shape[-1])
    weighted = entropy * (1 + near)
    return weighted.sum((-1, -2)) / near.sum((-1, -2)).clamp(min=1.0)


def mask_loss(outputs: Any, boxes: Tensor, masks: Tensor, pixel_loss: PixelLoss) -> Tensor:
    """Return pixel loss + dice + the squared error of the model's own IoU estimate."""
    logits = outputs.pred_masks[:, :, 0]
    chance = logits.sigmoid()
    dice = 1 - (2 * (chance * masks).sum((-1, -2)) + 1) / (chance.sum((-1, -2)) + masks.sum((-1, -2)) + 1)
    estimate = (outputs.iou_scores[:, :, 0] - overlap(logits, masks)).square()
    return (pixel_loss(logits, boxes, masks) + dice + estimate).mean()


@torch.no_grad()
def overlap(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the IoU of each mask at the model's resolution."""
    seen, true = logits > 0, masks > 0.5
    return (seen & true).sum((-1, -2)) / (seen | true).sum((-1, -2)).clamp(min=1)


def _near_boxes(boxes: Tensor, side: int) -> Tensor:
    """Return 1.0 where a mask pixel lies in its box, made a tenth larger; (n, k, side, side)."""
    grown = (boxes[..., 2:] - boxes[..., :2]) * 0.1 + 2.0
    low, high = boxes[..., :2] - grown, boxes[..., 2:] + grown
    centres = (torch.arange(side) + 0.5) * (SEGMENTER_SIDE / side)
    x = (centres >= low[..., :1]) & (centres < high[..., :1])
    y = (centres >= low[..., 1:]) & (centres < high[..., 1:])
    return (y[..., :, None] & x[..., None, :]).float()


def run(work: Path, seed: int, share: float) -> None:
    """Train the segmenter; the second stage starts from the first."""
    torch.manual_seed(seed)
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    model = build()
    model.set_attn_implementation("eager")  # many small windows: the fused kernel is slower on a CPU
    for name, images, rate, pixel_loss in STAGES:
        _run_stage(name, int(images * share) // BATCH, rate, pixel_loss, model, work, seed)


def _run_stage(
    name: str, steps: int, rate: float, pixel_loss: PixelLoss, model: Sam2Model, work: Path, seed: int
) -> None:
    recent: list[float] = []

    def loss_of(batch: Any) -> Tensor:
        pixels, boxes, masks = batch
        outputs = model(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
        recent.append(float(overlap(outputs.pred_masks[:, :, 0], masks).mean()))
        return mask_loss(outputs, boxes, masks, pixel_loss)

    train(
        name,
        model,
        [{"params": list(model.parameters()), "lr": rate}],
        lambda first: batches(work / "scenes", seed + len(name), first, steps, _JITTER.get(name, 0.03)),
        loss_of,
        steps,
        work,
        evaluate=lambda: f"training mask IoU {np.mean(recent[-100:]):.3f}",
    )


PixelLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits, boxes and masks in, one loss per mask out."""

STAGES: tuple[tuple[str, int, float, PixelLoss], ...] = (
    ("place", 6_000, 1e-3, place_loss),
    ("outline", 10_000, 1e-3, outline_loss),
    ("polish", 10_000, 6e-4, outline_loss),
    ("loose", 10_400, 7e-4, outline_loss),
)
"""Name, pictures, peak learning rate and pixel loss; each starts from the one before."""

_JITTER = {"loose": 0.07}  # of a box's sides, standard deviation, as far off as the detector's boxes are; else 0.03

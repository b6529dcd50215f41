"""Train the bundled SAM 2: box prompts, exact masks."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import Sam2MaskDecoderConfig, Sam2PromptEncoderConfig

from labeling.demo.objects import NOUNS

from .loop import train
from .shards import SEGMENTER_SHARDS, SEGMENTER_SIDE, shard_path

BATCH = 4
BOXES = 5
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

Numbers = npt.NDArray[np.uint8]
PixelLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits, boxes and masks in, one loss per mask out."""


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


class Lesson(nn.Module):
    """The model, and a head that names each pixel's noun: it teaches the image encoder and is thrown away."""

    def __init__(self, model: Sam2Model) -> None:
        super().__init__()
        self.model = model
        hidden = model.config.mask_decoder_config.hidden_size
        self.nouns = nn.Conv2d(hidden // 8 + hidden // 4 + hidden, 1 + len(NOUNS), 1)

    def noun_loss(self, levels: Sequence[Tensor], nouns: Tensor) -> Tensor:
        """Return the cross-entropy of every pixel's noun, background half as heavy; nouns is (n, side, side)."""
        side = nouns.shape[-1]
        same = [functional.interpolate(level, size=(side, side), mode="bilinear") for level in levels]
        weight = torch.ones(1 + len(NOUNS))
        weight[0] = 0.5
        return functional.cross_entropy(self.nouns(torch.cat(same, 1)), nouns, weight=weight)


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batches(cache: Path, seed: int, first_step: int, steps: int, jitter: float) -> Iterator[Batch]:
    """Yield pixels (n, 3, s, s), boxes (n, k, 4) in input pixels, masks (n, k, s / 2, s / 2), nouns (n, s / 2, s / 2).

    Masks are in [0, 1]; nouns count from 1, 0 is background.
    """
    shards = [_read_shard(shard_path(cache, index)) for index in range(SEGMENTER_SHARDS)]
    for step in range(first_step, steps):
        rng = np.random.default_rng([seed, step])
        examples = []
        for _ in range(BATCH):
            pictures, ids, noun_of = shards[int(rng.integers(len(shards)))]
            which = int(rng.integers(len(pictures)))
            turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
            examples.append(_example(rng, pictures[which][:, turn], ids[which][:, turn], noun_of[which], jitter))
        pixels, boxes, masks, nouns = (torch.stack(part) for part in zip(*examples, strict=True))
        yield pixels, boxes, masks, nouns


def _read_shard(path: Path) -> tuple[Numbers, Numbers, Numbers]:
    """Return pictures, the number of each pixel's object (0 none), and the noun of each number, per scene."""
    with np.load(path, allow_pickle=False) as data:
        things = json.loads(str(data["things"]))
        noun_of = np.zeros((len(things), 256), np.uint8)
        for row, scene in enumerate(things):
            noun_of[row, 1 : len(scene) + 1] = [1 + list(NOUNS).index(noun) for _, noun, _ in scene]
        return data["large"], data["ids"], noun_of


def _example(rng: np.random.Generator, picture: Numbers, ids: Numbers, noun_of: Numbers, jitter: float) -> Batch:
    count = int(ids.max())
    chosen = rng.permutation(count)[:BOXES] if count >= BOXES else rng.integers(0, count, BOXES)
    exact = np.stack([ids == number + 1 for number in chosen])
    pixel = torch.from_numpy(np.array(picture, order="C")).permute(2, 0, 1).float().div_(255.0)
    pixel = ((pixel * float(rng.uniform(0.8, 1.2))).clamp_(0, 1) - _MEAN) / _STD
    side = (SEGMENTER_SIDE // 2,) * 2
    masks = functional.interpolate(torch.from_numpy(exact)[None].float(), size=side, mode="bilinear", antialias=True)
    nouns = functional.interpolate(torch.from_numpy(noun_of[ids])[None, None].float(), size=side, mode="nearest")
    return pixel, _loose_boxes(rng, exact, jitter), masks[0], nouns[0, 0].long()


def _loose_boxes(rng: np.random.Generator, masks: Numbers, jitter: float) -> Tensor:
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
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    miss = (logits.sigmoid() - masks).abs()
    return 5 * (miss * entropy).sum((-1, -2)) / masks.sum((-1, -2)).clamp(min=16.0)


def outline_loss(logits: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of the second stage per mask: cross-entropy per pixel of the box, inside it twice as heavy."""
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
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
    """Train the segmenter; each stage starts from the one before."""
    torch.manual_seed(seed)
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    model = build()
    model.set_attn_implementation("eager")  # many small windows: the fused kernel is slower on a CPU
    lesson = Lesson(model)
    for number, stage in enumerate(STAGES):
        _run_stage(stage, int(stage.images * share) // BATCH, lesson, work, seed + number)


def _run_stage(stage: Stage, steps: int, lesson: Lesson, work: Path, seed: int) -> None:
    recent: deque[tuple[float, float]] = deque(maxlen=200)

    def loss_of(batch: Any) -> Tensor:
        pixels, boxes, masks, nouns = batch
        outputs = lesson.model(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
        noun_loss = lesson.noun_loss(outputs.image_embeddings, nouns)
        recent.append((float(overlap(outputs.pred_masks[:, :, 0], masks).mean()), float(noun_loss.detach())))
        return mask_loss(outputs, boxes, masks, stage.pixel_loss) + stage.noun_weight * noun_loss

    def progress() -> str:
        mask_iou, noun_loss = np.mean(recent, axis=0)
        return f"training mask IoU {mask_iou:.3f} noun loss {noun_loss:.3f}"

    train(
        stage.name,
        lesson,
        [{"params": list(lesson.parameters()), "lr": stage.rate}],
        lambda first: batches(work / "scenes", seed, first, steps, stage.jitter),
        loss_of,
        steps,
        work,
        evaluate=progress,
    )


class Stage(NamedTuple):
    """One stage of the training.

    Attributes:
        name: of the checkpoint.
        images: how many pictures are shown.
        rate: peak learning rate.
        pixel_loss: logits, boxes and masks in, one loss per mask out.
        noun_weight: of the loss of each pixel's noun.
        jitter: how far off boxes are, standard deviation in shares of their sides; the detector's are 0.06 off.
    """

    name: str
    images: int
    rate: float
    pixel_loss: PixelLoss
    noun_weight: float
    jitter: float


STAGES = (
    Stage("place", 6_000, 1e-3, place_loss, 0.0, 0.03),
    Stage("outline", 10_000, 1e-3, outline_loss, 0.0, 0.03),
    Stage("polish", 10_000, 6e-4, outline_loss, 0.0, 0.03),
    Stage("loose", 10_400, 7e-4, outline_loss, 0.0, 0.07),
    Stage("nouns", 28_000, 8e-4, outline_loss, 0.5, 0.06),
    Stage("finish", 8_000, 5e-4, outline_loss, 0.5, 0.06),
)
"""Each starts from the one before."""

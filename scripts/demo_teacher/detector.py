"""Train the bundled GroundingDINO: proposals first, then the decoder on frozen proposals, then both together.

The library's own loss gives the two-stage proposals no signal from scratch, so they get a dense one: every
ground-truth box is assigned to the image tokens near its centre on the levels that fit its size. The decoder starts as
a pass-through of the proposals (cross-attention reads the proposal's own place, all other branches are silent), and
each query is taught the class of the object that its reference box overlaps; duplicates are left to NMS.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou
from transformers import BertConfig, ConvNextConfig, GroundingDinoConfig, GroundingDinoForObjectDetection

from .shards import DETECTOR_WH, shard_path
from .words import PAD, Phrase, draw_caption, spell, vocabulary

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Stage:
    """One phase of the training.

    Attributes:
        name: proposals, decoder or joint.
        images: how many pictures it sees.
        first_rate: peak learning rate of what comes before the decoder; 0 freezes it.
        decoder_rate: peak learning rate of the decoder; 0 leaves it out.
        queries: number of object queries while it runs.
    """

    name: str
    images: int
    first_rate: float
    decoder_rate: float
    queries: int


def build(queries: int) -> GroundingDinoForObjectDetection:
    """Return a model with random weights."""
    return GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=ConvNextConfig(
                hidden_sizes=[32, 64, 128, 256],
                depths=[2, 2, 4, 2],
                layer_scale_init_value=1.0,
                drop_path_rate=0.0,
                out_features=["stage2", "stage3", "stage4"],
            ),
            text_config=BertConfig(
                vocab_size=len(vocabulary()),
                hidden_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=256,
                max_position_embeddings=256,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            num_queries=queries,
            d_model=128,
            num_feature_levels=len(_STRIDES),
            encoder_layers=2,
            encoder_ffn_dim=256,
            encoder_attention_heads=4,
            encoder_n_points=2,
            decoder_layers=2,
            decoder_ffn_dim=256,
            decoder_attention_heads=4,
            decoder_n_points=4,
            dropout=0.0,
            fusion_droppath=0.0,
        )
    )


def start_quietly(model: GroundingDinoForObjectDetection) -> None:
    """Scale the queries down: the contrastive logit is an unscaled product and starts in the tens otherwise."""
    with torch.no_grad():
        model.model.enc_output_norm.weight.fill_(0.1)


def start_as_pass_through(model: GroundingDinoForObjectDetection) -> None:
    """Make the decoder repeat what the proposals say, so that learning starts there and not from noise."""
    inner, decoder = model.model, model.model.decoder
    with torch.no_grad():
        # Loud enough for the layer norms to be well-conditioned, then turned down below the image's features.
        inner.query_position_embeddings.weight.normal_()
        for norm in (decoder.layers[0].self_attn_layer_norm, decoder.layers[0].encoder_attn_text_layer_norm):
            norm.weight.fill_(0.1)
        for index, layer in enumerate(decoder.layers):
            for silent in (layer.self_attn.out_proj, layer.encoder_attn_text.out_proj, layer.fc2):
                silent.weight.zero_()
                silent.bias.zero_()
            cross = layer.encoder_attn
            cross.sampling_offsets.bias.mul_(0.3)
            cross.value_proj.load_state_dict(inner.enc_output.state_dict())
            cross.output_proj.weight.copy_(torch.eye(inner.config.d_model) * (1.0 if index == 0 else 0.0))
            cross.output_proj.bias.zero_()
        decoder.layer_norm.load_state_dict(inner.enc_output_norm.state_dict())
        for head in model.bbox_embed:
            head.layers[-1].weight.zero_()
            head.layers[-1].bias.zero_()
    model.tie_weights()


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures with captions and truth; boxes are cxcywh in [0, 1]."""

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    boxes: list[Tensor]
    targets: list[Tensor]  # (objects, tokens) 1.0 where the token's phrase names the object


def batches(cache: Path, stage: Stage, seed: int, first_step: int, size: int) -> Iterator[Batch]:
    """Yield the batches of a stage from ``first_step`` on; a step's batch depends on the seed and its number only."""
    shards: dict[int, tuple[np.ndarray[Any, Any], list[Any]]] = {}
    for step in range(first_step, stage.images // size):
        rng = np.random.default_rng([seed, len(stage.name), step])
        ready = _count_shards(cache)
        picks = rng.integers(0, ready, size), rng.random(size)
        pictures, captions, objects = [], [], []
        most_absent = 30 if rng.random() < 0.12 else 6  # one length for the batch: padding costs as much as words
        for shard, where in zip(*picks, strict=True):
            if shard not in shards:
                with np.load(shard_path(cache, int(shard)), allow_pickle=False) as data:
                    shards[int(shard)] = (data["pictures"], json.loads(str(data["things"])))
            images, things = shards[int(shard)]
            index = int(where * len(things))
            flip = rng.random() < 0.5
            pictures.append(images[index][:, ::-1] if flip else images[index])
            objects.append([(c, n, (1 - b[2], b[1], 1 - b[0], b[3]) if flip else b) for c, n, b in things[index]])
            captions.append(draw_caption(rng, [(c, n) for c, n, _ in objects[-1]], most_absent))
        gain = torch.from_numpy(rng.uniform(0.8, 1.2, (size, 1, 1, 1)).astype(np.float32))
        yield collate(np.stack(pictures), captions, objects, gain)


def _count_shards(cache: Path) -> int:
    while not (count := len(list(cache.glob("scenes-*.npz")))):
        time.sleep(2.0)
    return count


def collate(
    pictures: np.ndarray[Any, Any], captions: list[list[Phrase]], objects: list[Any], gain: Tensor | float = 1.0
) -> Batch:
    """Turn pictures, captions and objects into tensors."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(255.0)
    pixels = ((pixels * gain).clamp_(0, 1) - _MEAN) / _STD
    spelled = [spell(caption) for caption in captions]
    longest = max(len(ids) for ids, _ in spelled)
    ids = torch.full((len(spelled), longest), PAD)
    boxes, targets = [], []
    for row, ((tokens, spans), caption, things) in enumerate(zip(spelled, captions, objects, strict=True)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        target = torch.zeros(len(things), longest)
        for which, (colour, noun, _) in enumerate(things):
            for phrase, (start, stop) in zip(caption, spans, strict=True):
                if phrase.fits(colour, noun):
                    target[which, start:stop] = 1.0
        targets.append(target)
        xyxy = torch.tensor([box for _, _, box in things], dtype=torch.float32).reshape(-1, 4)
        boxes.append(box_convert(xyxy, "xyxy", "cxcywh"))
    return Batch(pixels, ids, (ids != PAD).long(), boxes, targets)


def _centres() -> tuple[Tensor, Tensor]:
    """Return the token centres (n, 2) in pixels and their strides (n,)."""
    points, strides = [], []
    for stride in _STRIDES:
        columns, rows = DETECTOR_WH[0] // stride, DETECTOR_WH[1] // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        at = torch.stack([(x + 0.5) / columns * DETECTOR_WH[0], (y + 0.5) / rows * DETECTOR_WH[1]], -1)
        points.append(at.reshape(-1, 2))
        strides.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(points), torch.cat(strides)


_POINTS, _POINT_STRIDES = _centres()


def assign(boxes: Tensor) -> Tensor:
    """Return for each image token the object it answers for, or -1. ``boxes`` is (objects, 4) cxcywh in [0, 1]."""
    if not len(boxes):
        return torch.full((len(_POINTS),), -1)
    scale = torch.tensor([*DETECTOR_WH, *DETECTOR_WH], dtype=torch.float32)
    pixel = boxes * scale
    away = (_POINTS[:, None] - pixel[None, :, :2]).abs()
    inside = (away <= pixel[None, :, 2:] / 2).all(-1)
    reach = away.amax(-1) / _POINT_STRIDES[:, None]
    longer = pixel[:, 2:].amax(-1)
    level = (_POINT_STRIDES[:, None] >= longer / 6) & (_POINT_STRIDES[:, None] <= longer.clamp(min=8.0))
    fits = level & ((inside & (reach < 1.5)) | (reach < 0.75))
    area = (pixel[:, 2] * pixel[:, 3])[None].expand(len(_POINTS), -1).masked_fill(~fits, math.inf)
    smallest, which = area.min(1)
    return which.masked_fill(smallest.isinf(), -1)


def focal(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return the summed sigmoid focal loss (alpha 0.25, gamma 2)."""
    chance = logits.sigmoid()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    miss = chance * (1 - targets) + (1 - chance) * targets
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    return (alpha * miss.square() * entropy * weight).sum()


def box_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the summed 5 × L1 + 2 × (1 - GIoU) of paired cxcywh boxes."""
    l1 = (predicted - truth).abs().sum()
    pairs = generalized_box_iou(box_convert(predicted, "cxcywh", "xyxy"), box_convert(truth, "cxcywh", "xyxy")).diag()
    return 5 * l1 + 2 * (1 - pairs).sum()


def dense_loss(outputs: Any, batch: Batch) -> Tensor:
    """Return the loss of the proposals."""
    length = batch.ids.shape[1]
    logits, coords = outputs.enc_outputs_class[..., :length].float(), outputs.enc_outputs_coord_logits.float().sigmoid()
    targets, weights, found, truth = torch.zeros_like(logits), torch.ones_like(logits), [], []
    weights *= batch.mask[:, None, :].float()
    for row, boxes in enumerate(batch.boxes):
        which = assign(boxes)
        hit = which >= 0
        targets[row, hit] = batch.targets[row][which[hit]]
        found.append(coords[row, hit])
        truth.append(boxes[which[hit]])
    logits = logits.masked_fill(batch.mask[:, None, :] == 0, 0.0)
    positives = max(float((targets.sum(-1) > 0).sum()), 1.0)
    predicted = torch.cat(found)
    misplaced = box_loss(predicted, torch.cat(truth)) / max(len(predicted), 1)
    return 2 * focal(logits, targets, weights) / positives + misplaced


def decoder_loss(outputs: Any, model: Any, batch: Batch) -> Tensor:
    """Return the loss of every decoder layer's classes.

    A query answers for the object that its reference box overlaps most. Boxes stay as the proposals made them: a box
    head taught beside this loses recall where objects overlap.
    """
    length = batch.ids.shape[1]
    references, text = outputs.init_reference_points, outputs.encoder_last_hidden_state_text
    targets = references.new_zeros(*references.shape[:2], length)
    weights = batch.mask[:, None, :].float().repeat(1, references.shape[1], 1)
    for row, objects in enumerate(batch.boxes):
        if len(objects):
            overlap = box_iou(box_convert(references[row], "cxcywh", "xyxy"), box_convert(objects, "cxcywh", "xyxy"))
            best, which = overlap.max(1)
            weights[row, (best >= 0.4) & (best < 0.55)] = 0.0
            targets[row, best >= 0.55] = batch.targets[row][which[best >= 0.55]]
    positives = max(float((targets.sum(-1) > 0).sum()), 1.0)
    layers = outputs.intermediate_hidden_states.unbind(1)
    total = torch.zeros(())
    for layer, hidden in enumerate(layers):
        logits = model.class_embed[layer](hidden, text, batch.mask.bool())[..., :length].float()
        total = total + 2 * focal(logits.masked_fill(batch.mask[:, None, :] == 0, 0.0), targets, weights) / positives
    return total / len(layers)

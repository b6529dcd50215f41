"""The detector's stages, one after the other, with a quick score on fresh scenes on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torchvision.ops import batched_nms, box_convert, box_iou

from labeling.demo.objects import NOUNS
from labeling.demo.scenes import all_pairs, render_scene

from . import detector as d
from .loop import train
from .shards import DETECTOR_WH, shrink
from .words import Phrase, spell

QUERIES = 100
BATCH = 16
STAGES = {
    "proposals": d.Stage("proposals", 46_400, 1e-3, 0.0, 1),
    "decoder": d.Stage("decoder", 8_000, 0.0, 2e-4, QUERIES),
    "joint": d.Stage("joint", 14_400, 2e-4, 3e-4, QUERIES),
    "settle": d.Stage("settle", 11_200, 2e-4, 2e-4, QUERIES),
}


def run(work: Path, names: list[str], seed: int, share: float) -> None:
    """Train the named stages; each starts from the one before it."""
    torch.manual_seed(seed)
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    before: Path | None = None
    for name, planned in STAGES.items():
        stage = d.Stage(name, int(planned.images * share), planned.first_rate, planned.decoder_rate, planned.queries)
        checkpoint = work / f"{name}.pt"
        if name in names:
            model = d.build(stage.queries)
            d.start_quietly(model)
            if before is not None:
                kept = torch.load(before, weights_only=True)["model"]
                shapes = model.state_dict()
                model.load_state_dict({k: v for k, v in kept.items() if shapes[k].shape == v.shape}, strict=False)
                if name == "decoder":
                    d.start_as_pass_through(model)
            _run_stage(stage, model, work, seed)
        before = checkpoint


def _run_stage(stage: d.Stage, model: torch.nn.Module, work: Path, seed: int) -> None:
    trained = [(n, p) for n, p in model.named_parameters() if "decoder.bbox_embed" not in n]
    decoder = [(n, p) for n, p in trained if _in_decoder(n)]
    first = [(n, p) for n, p in trained if not _in_decoder(n)]
    groups = []
    for parameters, rate in ((first, stage.first_rate), (decoder, stage.decoder_rate)):
        for _, parameter in parameters:
            parameter.requires_grad_(rate > 0)
        if rate:
            groups.append({"params": [p for _, p in parameters], "lr": rate})

    def loss_of(batch: object) -> torch.Tensor:
        assert isinstance(batch, d.Batch)
        outputs = model(pixel_values=batch.pixels, input_ids=batch.ids, attention_mask=batch.mask)
        loss = torch.zeros(())
        if stage.first_rate:
            loss = loss + d.dense_loss(outputs, batch)
        if stage.decoder_rate:
            loss = loss + d.decoder_loss(outputs, model, batch)
        return loss

    scenes = [render_scene(500_000 + i, pairs=all_pairs()) for i in range(64)]
    train(
        stage.name,
        model,
        groups,
        lambda first_step: d.batches(work / "scenes", stage, seed, first_step, BATCH),
        loss_of,
        stage.images // BATCH,
        work,
        evaluate=lambda: quick_score(model, scenes),
    )


def _in_decoder(name: str) -> bool:
    return name.startswith(("model.decoder.", "model.query_position_embeddings"))


@torch.inference_mode()
def quick_score(model: torch.nn.Module, scenes: list) -> str:
    """Return a rough AP50 over all nouns of proposals and of the decoder; the published figure is made elsewhere."""
    phrases = [Phrase(None, noun) for noun in NOUNS]
    _, spans = spell(phrases)
    rows: dict[str, list] = {"proposals": [], "decoder": []}
    total = 0
    for scene in scenes:
        batch = d.collate(shrink(scene.picture, DETECTOR_WH)[None], [phrases], [[]])
        out = model(pixel_values=batch.pixels, input_ids=batch.ids, attention_mask=batch.mask)
        height, width = scene.picture.shape[:2]
        truth = torch.tensor([t.box_xyxy for t in scene.things])
        nouns = torch.tensor([list(NOUNS).index(t.noun) for t in scene.things])
        total += len(truth)
        for kind, logits, boxes in (
            ("proposals", out.enc_outputs_class[0], out.enc_outputs_coord_logits[0].sigmoid()),
            ("decoder", out.logits[0], out.pred_boxes[0]),
        ):
            chance = logits.sigmoid()
            scores, classes = torch.stack([chance[:, a:b].mean(-1) for a, b in spans], -1).max(-1)
            xyxy = box_convert(boxes, "cxcywh", "xyxy").nan_to_num() * torch.tensor([width, height, width, height])
            keep = batched_nms(xyxy, scores, classes, 0.6)[:50]
            free = torch.ones(len(truth), dtype=torch.bool)
            for i in keep.tolist():
                overlap = box_iou(xyxy[i : i + 1], truth)[0] * free * (nouns == classes[i])
                best = int(overlap.argmax())
                hit = bool(overlap[best] >= 0.5)
                free[best] &= not hit
                rows[kind].append((float(scores[i]), hit))
    return " ".join(f"{kind} AP50 {_average_precision(found, total):.3f}" for kind, found in rows.items())


def _average_precision(found: list[tuple[float, bool]], total: int) -> float:
    hits = np.array([hit for _, hit in sorted(found, key=lambda row: -row[0])], float)
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * hits).sum() / max(total, 1))

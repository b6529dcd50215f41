"""Write the trained models as folders that ``from_pretrained`` reads: fp16 safetensors, tokenizer, image processor."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    PreTrainedModel,
    Sam2ImageProcessor,
    Sam2Processor,
)

from . import detector, segmenter
from .detector_stages import QUERIES
from .shards import DETECTOR_WH, SEGMENTER_SIDE
from .words import vocabulary

TARGET = Path(__file__).resolve().parents[2] / "labeling" / "demo" / "teacher"


def export(work: Path, stage: str = "settle") -> None:
    """Turn the last checkpoints into ``labeling/demo/teacher/{detector,segmenter}``."""
    model = detector.build(QUERIES)
    _save(model, work / f"{stage}.pt", TARGET / "detector")
    tokenizer = BertTokenizer(vocab=vocabulary(), model_max_length=256)
    pictures = GroundingDinoImageProcessor(size={"shortest_edge": min(DETECTOR_WH), "longest_edge": max(DETECTOR_WH)})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(TARGET / "detector")
    last = work / f"{segmenter.STAGES[-1].name}.pt"
    if last.exists():
        lesson = segmenter.Lesson(segmenter.build())
        lesson.load_state_dict(torch.load(last, weights_only=True)["model"])
        lesson.model.half().save_pretrained(TARGET / "segmenter")
        side = {"height": SEGMENTER_SIDE, "width": SEGMENTER_SIDE}
        mask = {"height": SEGMENTER_SIDE // 2, "width": SEGMENTER_SIDE // 2}
        Sam2Processor(Sam2ImageProcessor(size=side, mask_size=mask)).save_pretrained(TARGET / "segmenter")


def _save(model: PreTrainedModel, checkpoint: Path, folder: Path) -> None:
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    model.half().save_pretrained(folder)

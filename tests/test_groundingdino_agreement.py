"""The package groundingdino-py and transformers on one checkpoint in the official Swin-T configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.core.ontology import parse_classes
from labeling.teachers import worker_environment
from tests import tiny_models

pytestmark = [pytest.mark.torch, pytest.mark.slow]

#: Runs over there: the package's own model from its own configuration, its own tokenizer, no code of ours.
ORACLE = """
import sys, numpy, torch, groundingdino
from pathlib import Path
from transformers import BertConfig, BertModel
from groundingdino.models import build_model
from groundingdino.util.slconfig import SLConfig

folder = Path(sys.argv[1])
torch.manual_seed(0)
BertModel(BertConfig()).save_pretrained(folder / "bert")
settings = SLConfig.fromfile(str(Path(groundingdino.__file__).parent / "config" / "GroundingDINO_SwinT_OGC.py"))
settings.text_encoder_type = str(folder / "bert")
model = build_model(settings).eval()
with torch.inference_mode():
    for parameter in model.parameters():
        # Much of it begins as zeros, ones and copies, which would hide a mix-up.
        parameter += torch.randn_like(parameter) * 0.02
    # With equal queries the order of nearly equal proposals, which is chance, changes the order of the boxes alone.
    model.transformer.tgt_embed.weight[:] = model.transformer.tgt_embed.weight[0].clone()
    pixels = torch.from_numpy(numpy.load(folder / "pixels.npy"))
    torch.save({"model": {"module." + name: value for name, value in model.state_dict().items()}}, folder / "swint.pth")
    raw = model(pixels, captions=[sys.argv[2]] * len(pixels))
ids = model.tokenizer([sys.argv[2]])["input_ids"][0]
numpy.savez(folder / "raw.npz", logits=raw["pred_logits"], boxes=raw["pred_boxes"], ids=ids)
"""
CAPTION = "hi-vis vest . red box . traffic light ."
ONTOLOGY = parse_classes("vest: hi-vis vest, box: red box, light: traffic light")


def matched(one: np.ndarray, other: np.ndarray, boxes: int) -> tuple[float, float]:
    """Return the largest difference of boxes and of the rest between (n, boxes + rest) rows in any order."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    rows, columns = linear_sum_assignment(cdist(one, other))
    difference = np.abs(one[rows] - other[columns])
    return float(difference[:, :boxes].max()), float(difference[:, boxes:].max())


def together(boxes: Any, logits: Any, tokens: int) -> np.ndarray:
    return np.concatenate([np.asarray(boxes), np.asarray(logits)[..., :tokens]], axis=-1)


def test_both_give_the_same_boxes_and_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    import transformers as tf

    python = worker_environment.find("groundingdino-py")
    if python is None:
        pytest.skip("the environment groundingdino-py is not there: make groundingdino-env")
    from labeling.teachers.detectors.captions import RawOutput
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector
    from labeling.teachers.detectors.worker import WorkerDetector

    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(image[::-1])
    processor = tf.GroundingDinoImageProcessor(size={"shortest_edge": 256, "longest_edge": 320})
    processor.save_pretrained(tmp_path)
    pixels = processor(images=[image, mirrored], return_tensors="pt")["pixel_values"]
    np.save(tmp_path / "pixels.npy", pixels.numpy())
    tokenizer = tf.BertTokenizer(vocab=tiny_models.vocabulary(30522))
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "bert").mkdir()
    words = tiny_models.vocabulary(30522)
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(sorted(words, key=words.__getitem__)) + "\n")
    subprocess.run([python, "-I", "-c", ORACLE, tmp_path, CAPTION], check=True, capture_output=True)
    raw = np.load(tmp_path / "raw.npz")
    tokens = len(raw["ids"])
    theirs = together(raw["boxes"], raw["logits"], tokens)

    here, there = GroundingDinoDetector(tmp_path / "swint.pth", "cpu"), WorkerDetector(tmp_path / "swint.pth", "cpu")
    (chunk,) = here.chunks(ONTOLOGY)
    assert list(chunk.token_ids) == raw["ids"].tolist()
    with torch.inference_mode():
        (ours,) = here._run(pixels, [chunk])
        resized = torch.from_numpy(np.stack([image, mirrored])).permute(0, 3, 1, 2)
        (worker,) = there._run(resized, [chunk])
    here._encoder.forget()
    found: dict[str, RawOutput] = {"transformers": ours, "worker": worker}
    for name, output in found.items():
        # The box difference is in shares of the image.
        for row, one in enumerate(together(output.boxes, output.logits, tokens)):
            box, logit = matched(one, theirs[row], 4)
            with capsys.disabled():
                print(f"\n{name}, image {row}: boxes within {box:.1e}, logits within {logit:.1e}")  # noqa: T201
            assert box < 1e-4
            assert logit < 1e-3

    own, other = (detector.detect([image], ONTOLOGY, 0.0)[0].detections for detector in (here, there))
    sides = [
        np.concatenate([found.xyxy / [320, 256, 320, 256], found.confidence[:, None]], axis=1) for found in (own, other)
    ]
    box, score = matched(sides[0], sides[1], 4)
    assert len(own) == len(other) == 900
    assert box < 1e-4
    assert score < 1e-4
    assert sorted(own.data["prompt"]) == sorted(other.data["prompt"])
    there.close()

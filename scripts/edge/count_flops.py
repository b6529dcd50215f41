"""Count the work of YOLO students per input size and write export/budget_data/counts.json.

Usage: python scripts/edge/count_flops.py [--out FILE] [MODEL ...]

Needs the extra "student". FLOPs are 2 x multiply-accumulate of convolutions and matrix products, as
torch.utils.flop_counter counts them on meta tensors: no weights, no arithmetic. Elements are what the kernels of an
engine read and write: input, output and weights of every convolution (normalisation and activation run inside it), of
every pooling and of every upsampling; the two products of an attention likewise. Concatenations, residual sums and
the decoding of boxes are taken to be fused. Times the bytes of a number this is the traffic of one image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labeling.teachers.detectors.ultralytics import import_ultralytics

MODELS = (
    *(f"{family}{scale}" for family in ("yolov8", "yolo11") for scale in "nsmlx"),
    *(f"{family}{scale}-seg" for family in ("yolov8", "yolo11") for scale in "nsm"),
)
SIZES = tuple(range(160, 641, 32))
OUT = Path(__file__).resolve().parents[2] / "export" / "budget_data" / "counts.json"
_KERNELS = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.Upsample)


def count(name: str, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Return parameters, kernels and, per size, [FLOPs, elements moved] of one image of the fused network."""
    network = _fused(name)
    moved: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weights = sum(parameter.numel() for parameter in module.parameters())
        moved.append(inputs[0].numel() + output.numel() + weights)

    def note_attention(module: Any, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        _, channels, height, width = inputs[0].shape
        tokens = height * width
        keys, scores = 2 * module.num_heads * module.key_dim * tokens, module.num_heads * tokens**2
        moved.extend((keys + scores, scores + 2 * channels * tokens))

    for module in network.modules():
        if isinstance(module, _KERNELS):
            module.register_forward_hook(note)
        elif type(module).__name__ == "Attention":
            module.register_forward_hook(note_attention)
    strides = network.model[-1].stride
    network.to("meta")
    network.model[-1].stride = strides  # the grid of anchors is laid out in plain numbers
    work = {}
    for size in sizes:
        moved.clear()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, size, size, device="meta"))
        work[str(size)] = [counter.get_total_flops(), sum(moved)]
    return {"parameters": sum(p.numel() for p in network.parameters()), "kernels": len(moved), "work": work}


def _fused(name: str) -> Any:
    """Return the network of a model with 80 classes and random weights, normalisation folded into convolutions."""
    from ultralytics import YOLO

    return YOLO(f"{name}.yaml").model.float().eval().fuse(verbose=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    import_ultralytics()
    counted = {name: count(name) for name in asked.models}
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in counted.items())
    asked.out.write_text(f'{{\n  "classes": 80,\n  "models": {{\n{rows}\n  }}\n}}\n', encoding="utf-8")
    for name, row in counted.items():
        flops, elements = row["work"]["640"]
        print(
            f"{name:12} {row['kernels']:4} kernels  {flops / 1e9:7.2f} GFLOP  {elements / 1e6:6.1f} M elements at 640"
        )


if __name__ == "__main__":
    main()

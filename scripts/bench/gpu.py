"""On a CUDA GPU: full-size GroundingDINO-T and SAM 2.1-T, random weights, against the per-image loop of the demos.

Usage: python scripts/bench/gpu.py [--boxes N] [--rounds N] [--smoke] [--json]

720p pixels in memory go to boxes and masks; decoding files and writing labels are not part of it. Ours: uint8 to the
GPU, prepared there, bf16, in batches, detector and image encoder as they are and compiled; masks stay on the GPU as
booleans of SAM's own 256 x 256. The loop of the Grounded-SAM-2 demos: one image at a time, prepared on the processor,
detector in fp32, SAM in bf16 with all boxes in one call, masks back as full float frames. Weights are random, so both
get the same fixed boxes; the demos' larger SAM is replaced by the same tiny one. Share of peak: counted matrix FLOPs
per image times images/s, by the rate of a large bf16 matrix product measured here. Without CUDA nothing is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rounds import Row, arguments, interleave, measured, publish, ratio, spread

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CLASSES = 20
_SIZE_HW = (720, 1280)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(slots=True)
class Models:
    """Detector and segmenter on a device, and the sizes at which they see an image."""

    detector: Any
    sam: Any
    token_ids: Any
    detector_hw: tuple[int, int]
    sam_side: int
    device: Any


def build(device: Any, *, smoke: bool) -> Models:
    """Return models of random weights in the official configurations, or small ones."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    swin: dict[str, Any] = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
    dino: dict[str, Any] = {}
    hiera: dict[str, Any] = {
        "hidden_size": 96, "num_attention_heads": 1, "blocks_per_stage": [1, 2, 7, 2],
        "embed_dim_per_stage": [96, 192, 384, 768], "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 14, 7], "global_attention_blocks": [5, 7, 9],
    }  # fmt: skip
    if smoke:
        swin |= {"depths": [1, 1, 1, 1]}
        dino |= {"encoder_layers": 2, "decoder_layers": 2, "num_queries": 50}
        hiera |= {"blocks_per_stage": [1, 2, 2, 2], "global_attention_blocks": [2]}
    config = tf.GroundingDinoConfig(
        backbone_config=tf.SwinConfig(image_size=224, out_indices=[2, 3, 4], **swin),
        text_config=tf.BertConfig(num_hidden_layers=1 if smoke else 12),
        **dino,
    )
    detector = tf.GroundingDinoForObjectDetection(config).eval().to(device)
    vision = tf.Sam2VisionConfig(backbone_config=tf.Sam2HieraDetConfig(**hiera))
    sam = tf.Sam2Model(tf.Sam2Config(vision_config=vision)).eval().to(device)
    # "[CLS] word . word . [SEP]", two tokens a phrase and the full stop, as 20 ordinary classes come out.
    phrase = [2158, 4825, 1012]
    token_ids = torch.tensor([[101, *phrase * CLASSES, 102]], device=device)
    return Models(detector, sam, token_ids, (96, 160) if smoke else (750, 1333), 1024, device)


class Ours:
    """Batches of uint8 pixels in, thresholded masks out, everything on the device."""

    def __init__(self, models: Models, boxes: int, *, compiled: bool = False) -> None:
        import torch

        self._models = models
        self._boxes = _fixed_boxes(models, boxes)
        self._detector: Callable[..., Any] = models.detector
        self._encoder: Callable[..., Any] = models.sam.get_image_embeddings
        if compiled:
            self._detector = torch.compile(self._detector, dynamic=False)
            self._encoder = torch.compile(self._encoder, dynamic=False)
        self._mean = torch.tensor(_MEAN, device=models.device)[:, None, None]
        self._std = torch.tensor(_STD, device=models.device)[:, None, None]

    def __call__(self, pixels: Any) -> Any:
        """Return (n, boxes, 1, h, w) bool on the device for (n, 720, 1280, 3) uint8 pixels on the processor."""
        import torch

        models = self._models
        with torch.inference_mode(), torch.autocast(models.device.type, torch.bfloat16):
            seen = pixels.to(models.device, non_blocking=True).permute(0, 3, 1, 2)
            count = len(seen)
            self._detector(
                pixel_values=self._prepared(seen, models.detector_hw), input_ids=models.token_ids.expand(count, -1)
            )
            embeddings = self._encoder(self._prepared(seen, (models.sam_side, models.sam_side)))
            outputs = models.sam(
                image_embeddings=embeddings, input_boxes=self._boxes.expand(count, -1, -1), multimask_output=False
            )
            masks = outputs.pred_masks > 0
        _wait(models.device)
        return masks

    def _prepared(self, seen: Any, size_hw: tuple[int, int]) -> Any:
        from torch.nn.functional import interpolate

        resized = interpolate(seen.float(), size_hw, mode="bilinear", antialias=True, align_corners=False)
        return (resized / 255 - self._mean) / self._std


class DemoLoop:
    """The per-image loop of the Grounded-SAM-2 demos, on the same modules."""

    def __init__(self, models: Models, boxes: int) -> None:
        self._models = models
        self._boxes = _fixed_boxes(models, boxes)

    def __call__(self, images: Sequence[Any]) -> None:
        """Label (720, 1280, 3) uint8 arrays one after the other."""
        import torch
        from torch.nn.functional import interpolate

        models = self._models
        for image in images:
            with torch.inference_mode():
                models.detector(pixel_values=self._prepared(image, models.detector_hw), input_ids=models.token_ids)
                with torch.autocast(models.device.type, torch.bfloat16):
                    side = models.sam_side
                    embeddings = models.sam.get_image_embeddings(self._prepared(image, (side, side)))
                    outputs = models.sam(image_embeddings=embeddings, input_boxes=self._boxes, multimask_output=False)
                full = interpolate(outputs.pred_masks[0].float(), _SIZE_HW, mode="bilinear", align_corners=False)
                (full > 0).float().cpu().numpy()

    def _prepared(self, image: Any, size_hw: tuple[int, int]) -> Any:
        from PIL import Image
        from torchvision.transforms import functional

        resized = Image.fromarray(image).resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
        tensor = functional.normalize(functional.to_tensor(resized), _MEAN, _STD)
        return tensor[None].to(self._models.device)


def bench(device: Any, boxes: int, rounds: int, *, smoke: bool) -> list[Row]:
    """Return the rows."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    models = build(device, smoke=smoke)
    images = np.random.default_rng(0).integers(0, 256, (2 if smoke else 64, *_SIZE_HW, 3), dtype=np.uint8)
    pixels = torch.from_numpy(images)
    if device.type == "cuda":
        pixels = pixels.pin_memory()
    ours = Ours(models, boxes)
    with FlopCounterMode(display=False) as counter:
        ours(pixels[:1])
    flops = counter.get_total_flops()
    peak = _peak_flops(device, 512 if smoke else 8192)
    rows = [
        Row("GFLOP per image, matrix products and convolutions", flops / 1e9),
        Row("TFLOP/s of a large bf16 matrix product", peak / 1e12),
    ]
    best: tuple[float, int, Ours] = (0.0, 1, ours)
    sizes = [size for size in BATCHES if size <= len(pixels)]
    for name, runner in (("as they are", ours), ("compiled", Ours(models, boxes, compiled=True))):
        if runner is not ours:
            if smoke:
                break
            sizes = [best[1]]  # every other size would be compiled anew
        for batch in sizes:
            figure = f"images/s, modules {name}, batch {batch}"
            try:
                paces = _paces(runner, pixels[:batch], rounds)
            except Exception as error:  # out of memory, or a graph that cannot be compiled: the row says it
                rows.append(Row(figure, None, why=" ".join(str(error).split())[:120] or type(error).__name__))
                break
            share = 100 * statistics.median(paces) * flops / peak
            rows.append(measured(figure, spread(paces)))
            rows.append(Row(f"share of peak, modules {name}, batch {batch}, %", share))
            best = max(best, (statistics.median(paces), batch, runner), key=lambda entry: entry[0])
    _, batch, runner = best
    demo = DemoLoop(models, boxes)
    demo(images[:1])
    some = pixels[:batch]
    times = interleave({"demo": lambda: demo(images[:batch]), "ours": lambda: runner(some)}, rounds)
    paces = [batch / seconds for seconds in times["ours"]]
    slow = [batch / seconds for seconds in times["demo"]]
    goal = "" if smoke else ">= 200"
    why = (
        "see the share of peak: transformers gathers in the deformable attention by grid_sample, without a fused kernel"
    )
    rows += [
        measured(f"images/s, best: batch {batch}", spread(paces), goal, "", why),
        measured("images/s, loop of the Grounded-SAM-2 demos", spread(slow)),
        measured("ours ÷ loop of the demos", ratio(times, "demo", "ours")),
    ]
    return rows


def _fixed_boxes(models: Models, boxes: int) -> Any:
    """Return (1, boxes, 4) boxes spread over the image, in pixels of SAM's square."""
    import torch

    first = torch.linspace(0.05, 0.6, boxes)
    corners = torch.stack([first, first, first + 0.3, first + 0.3], dim=1)
    return (corners * models.sam_side)[None].to(models.device)


def _paces(runner: Ours, pixels: Any, rounds: int) -> list[float]:
    for _ in range(2):  # the second one finds compiled code and chosen kernels
        runner(pixels)
    paces = []
    for _ in range(rounds):
        began = time.perf_counter()
        runner(pixels)
        paces.append(len(pixels) / (time.perf_counter() - began))
    return paces


def _peak_flops(device: Any, side: int) -> float:
    """Return what a bf16 matrix product of that side reaches, in FLOP/s, best of ten."""
    import torch

    one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        _wait(device)
        began = time.perf_counter()
        one @ one
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print the figures, or that nothing was measured."""
    parser = arguments(__doc__, boxes=5)
    parser.add_argument("--smoke", action="store_true", help="small models on the processor; the figures mean nothing")
    options = parser.parse_args()
    import torch

    if torch.cuda.is_available() or options.smoke:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rows = bench(device, options.boxes, options.rounds, smoke=options.smoke)
    else:
        rows = [Row("images/s, GroundingDINO-T and SAM 2.1-T", None, goal=">= 200", why="no CUDA device")]
        if not options.json:
            print("not measured: no CUDA device\n")
    publish("gpu", rows, options)


if __name__ == "__main__":
    main()

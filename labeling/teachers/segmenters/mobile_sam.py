"""MobileSAM through ultralytics (AGPL-3.0, extra "student"), from its original checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..detectors.ultralytics import import_ultralytics
from ..device import pick_device
from ..interfaces import RgbImage
from .box_segmenter import BoxSegmenter
from .originals import fill, normalised, read_original

#: Pixels of the canvas per cell of a mask.
_CELL = 4


class MobileSamSegmenter(BoxSegmenter):
    """Segmenter over the original checkpoint of MobileSAM: SAM with the image encoder TinyViT.

    An image keeps its proportions: its longer side fills the canvas of 1024 x 1024 pixels, what is left stays empty.
    Its sides there are multiples of 4 pixels, so that whole cells of the masks cover it.
    """

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the checkpoint. Raises BackendError where it is not one of MobileSAM, InputError for the device."""
        import_ultralytics()
        from ultralytics.models.sam.build import build_mobile_sam

        self._device = pick_device(device)
        tensors = read_original(weights, "MobileSAM", "image_encoder.patch_embed.seq.0.c.weight")
        self._model = fill(build_mobile_sam(), tensors, weights, "MobileSAM").to(self._device)

    def _encode(self, images: Sequence[RgbImage]) -> list[torch.Tensor]:
        side = self._model.image_encoder.img_size
        batch = torch.zeros(len(images), 3, side, side, device=self._device)
        for canvas, image in zip(batch, images, strict=True):
            height, width = self._inside(image.shape[:2])
            canvas[:, :height, :width] = normalised(image, (height, width), self._device)
        return [self._model.image_encoder(batch)]

    def _decode(
        self, levels: list[torch.Tensor], boxes: torch.Tensor, size_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = self._inside(size_hw)
        scaled = boxes * boxes.new_tensor([width / size_hw[1], height / size_hw[0]] * 2)
        sparse, dense = self._model.prompt_encoder(points=None, boxes=scaled, masks=None)
        logits, scores = self._model.mask_decoder(
            image_embeddings=levels[0],
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return logits[:, 0, : height // _CELL, : width // _CELL], scores[:, 0]

    def _inside(self, size_hw: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of an image on the canvas, in pixels."""
        scale = self._model.image_encoder.img_size / max(size_hw)
        height, width = (max(round(side * scale / _CELL), 1) * _CELL for side in size_hw[:2])
        return height, width

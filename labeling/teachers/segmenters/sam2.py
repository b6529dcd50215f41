"""SAM 2 through transformers, from a folder of its own or an original checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ..device import pick_device
from ..interfaces import RgbImage
from ..weights import check_model_folder, load_part, load_pretrained
from .box_segmenter import BoxSegmenter, encode_masks
from .sam2_weights import load_original

__all__ = ["Sam2Segmenter", "TransformersSegmenter", "encode_masks"]


class TransformersSegmenter(BoxSegmenter):
    """Segmenter over a model of transformers that is called as SAM 2 is."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        """Take a loaded model in evaluation mode and its ``Sam2Processor``."""
        self._device = device
        self._model = model
        self._image_processor = processor.image_processor
        self._side = int(processor.target_size)

    def _encode(self, images: Sequence[RgbImage]) -> list[torch.Tensor]:
        inputs = self._image_processor(
            images=list(images), input_data_format="channels_last", device=self._device, return_tensors="pt"
        )
        levels: list[torch.Tensor] = self._model.get_image_embeddings(inputs["pixel_values"])
        return levels

    def _decode(
        self, levels: list[torch.Tensor], boxes: torch.Tensor, size_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = size_hw
        # The processor stretches the image to a square, so the two axes have their own scale.
        scaled = boxes * boxes.new_tensor([self._side / width, self._side / height] * 2)
        outputs = self._model(image_embeddings=levels, input_boxes=scaled[None], multimask_output=False)
        return outputs.pred_masks[0, :, 0], outputs.iou_scores[0, :, 0]


class Sam2Segmenter(TransformersSegmenter):
    """Segmenter over a local folder as ``save_pretrained`` writes it, or over an original checkpoint of SAM 2."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the weights. Raises BackendError where they are of another kind of model, InputError for the device."""
        target = pick_device(device)
        if weights.is_file():
            processor = transformers.Sam2Processor(image_processor=transformers.Sam2ImageProcessor())
            super().__init__(load_original(weights, target), processor, target)
        else:
            # The published folders carry the configuration of the video model, whose image part is the same.
            super().__init__(*load_folder(transformers.Sam2Model, weights, ("sam2", "sam2_video"), target), target)


def load_folder(model_class: Any, folder: Path, model_types: tuple[str, ...], device: torch.device) -> tuple[Any, Any]:
    """Return model and processor of a local folder.

    Raises:
        BackendError: it holds another kind of model, or something in it is corrupt.
    """
    check_model_folder(folder, model_types)
    return load_pretrained(model_class, folder, device), load_part(transformers.Sam2Processor, folder)

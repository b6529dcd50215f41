"""GroundingDINO through transformers: text prompts in, boxes with a class, the winning prompt and features out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers
from torch import nn

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ..device import pick_device
from ..interfaces import Detected, RgbImage
from ..prompts import Chunk
from ..weights import check_model_folder, load_part, load_pretrained
from .captions import CaptionReader, RawOutput
from .original_grounding_dino import image_processor, load_original, original_file, tokenizer_folder

_MODEL_CLASSES = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}


class GroundingDinoDetector:
    """Detector over a local folder as ``save_pretrained`` writes it, or over an original .pth checkpoint.

    One forward per chunk of the prompts and per image size in the batch. A query gives at most one box: that of the
    prompt with the highest score. Deterministic for fixed weights, inputs and device.
    """

    def __init__(self, weights: Path, device: str = "auto", prompts_per_pass: int | None = None) -> None:
        """Load the model.

        Args:
            weights: folder with model, tokenizer and image processor; or a .pth file, or the folder of one, with the
                files of its tokenizer beside it or the text encoder in the hub's cache.
            device: as ``pick_device`` reads it.
            prompts_per_pass: most prompts of a caption; None for as many as fit.

        Raises:
            BackendError: another kind of model, or a part is missing. InputError: no such device.
        """
        self._device = pick_device(device)
        original = original_file(weights)
        if original is not None:
            self._model = load_original(original, self._device)
            parts = tokenizer_folder(original)
            processor = image_processor(original)
        else:
            model_type = check_model_folder(weights, tuple(_MODEL_CLASSES))
            parts = weights
            self._model = load_pretrained(getattr(transformers, _MODEL_CLASSES[model_type]), weights, self._device)
            processor = load_part(transformers.AutoImageProcessor, weights)
        tokenizer = load_part(transformers.AutoTokenizer, parts)
        limit = int(self._model.config.max_text_len)
        self._reader = CaptionReader(processor, tokenizer, parts, limit, prompts_per_pass)
        convolutions = self._model.model.backbone
        self._encoder = _KeptEncoder(convolutions.conv_encoder)
        convolutions.conv_encoder = self._encoder

    def chunks(self, ontology: Ontology) -> tuple[Chunk, ...]:
        """Return the captions that the prompts are packed into; each image takes one forward per caption.

        Raises:
            InputError: see ``pack_prompts``.
        """
        return self._reader.chunks(ontology)

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol."""
        try:
            return self._reader.detect(images, ontology, floor, self._run, device=self._device)
        finally:
            self._encoder.forget()

    def _run(self, pixels: torch.Tensor, chunks: Sequence[Chunk]) -> Iterator[RawOutput]:
        for chunk in chunks:
            token_ids = torch.tensor(chunk.token_ids, device=self._device).expand(len(pixels), -1)
            try:
                outputs = self._model(pixel_values=pixels, input_ids=token_ids)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise BackendError(f"the detector failed on {len(pixels)} image(s): {error}") from error
            yield RawOutput(outputs.logits, outputs.pred_boxes, self._encoder.last_feature_map())


class _KeptEncoder(nn.Module):
    """The model's image encoder, run once per batch although the model asks again for every caption."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self._encoder = encoder
        self._key: torch.Tensor | None = None
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if self._key is not pixels:
            self._kept = self._encoder(pixels, mask)
            self._key = pixels
        return self._kept

    def last_feature_map(self) -> torch.Tensor:
        """(batch, channels, height, width) of the coarsest stage."""
        return self._kept[-1][0]

    def forget(self) -> None:
        self._key = None
        self._kept = []

"""SAM 3 through transformers: text prompts in, boxes with masks out of one model."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ...core.ontology import Ontology
from ..device import pick_device
from ..interfaces import RgbImage
from ..prompts import normalise_prompt, pack_prompts
from ..weights import check_model_folder, load_part, load_pretrained
from .zero_shot import Answer, Look, Pass, PromptDetector, alone, read_texts, room_alone, vocabulary

#: The published folder carries the configuration of the video model, whose detector is this one.
_MODEL_TYPES = ("sam3", "sam3_video")


def load_sam3(weights: Path, device: str = "auto") -> PromptDetector:
    """Return the detector of a local folder as ``save_pretrained`` writes it: model and processor.

    A score is the query's own times that of the prompt being present in the image at all. SAM 3 does not estimate how
    good a mask is, so ``mask_score`` is NaN. Masks are thresholded after upsampling their logits, as in the original
    code. Has run on random weights only: the published ones need a licence that a person accepts.

    Raises:
        BackendError: the folder holds another kind of model. InputError: no such device.
    """
    return PromptDetector(_Sam3(weights, device))


class _Sam3:
    """The model as a PromptedModel; it takes one prompt at a time, so each prompt is a pass."""

    def __init__(self, weights: Path, device: str) -> None:
        check_model_folder(weights, _MODEL_TYPES)
        self._device = pick_device(device)
        self._model = load_pretrained(transformers.Sam3Model, weights, self._device)
        processor = load_part(transformers.Sam3Processor, weights)
        self._image_processor = processor.image_processor
        self._tokenizer = processor.tokenizer
        self._positions = int(self._model.config.text_config.max_position_embeddings)

    def passes(self, ontology: Ontology) -> tuple[Pass, ...]:
        spans = alone(pack_prompts(ontology, vocabulary(self._tokenizer), room_alone(self._positions)))
        passes = []
        for span in spans:
            read = read_texts(self._tokenizer, [normalise_prompt(span.prompt)], self._positions, self._device)
            embedding = self._model.get_text_features(**read).pooler_output
            passes.append(Pass((span,), (embedding, read["attention_mask"])))
        return tuple(passes)

    def canvas_wh(self, image: RgbImage) -> tuple[int, int]:
        """Images are stretched to a square and never padded."""
        return image.shape[1], image.shape[0]

    def pixels(self, image: RgbImage) -> torch.Tensor:
        inputs = self._image_processor(
            images=image, input_data_format="channels_last", device=self._device, return_tensors="pt"
        )
        pixels: torch.Tensor = inputs["pixel_values"]
        return pixels

    def look(self, pixels: torch.Tensor) -> Look:
        features = self._model.get_vision_features(pixels)
        # The last level is made for the tracker; the one before it is what prompts are compared with.
        return Look(features, features.fpn_hidden_states[-2])

    def answer(self, look: Look, one: Pass) -> Answer:
        embedding, mask = one.text
        count = len(look.pooled)
        outputs = self._model(
            vision_embeds=look.features,
            text_embeds=BaseModelOutputWithPooling(pooler_output=embedding.expand(count, -1, -1)),
            attention_mask=mask.expand(count, -1),
        )
        scores = outputs.pred_logits.sigmoid() * outputs.presence_logits.sigmoid()
        return Answer(scores[..., None], outputs.pred_boxes, outputs.pred_masks)

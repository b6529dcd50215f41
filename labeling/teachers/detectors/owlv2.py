"""OWLv2 through transformers: each prompt a text query, each patch of the image a box."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from ...core.ontology import Ontology
from ..device import pick_device
from ..interfaces import RgbImage
from ..prompts import normalise_prompt, pack_prompts
from ..weights import check_model_folder, load_part, load_pretrained
from .zero_shot import Answer, Look, Pass, PromptDetector, alone, read_texts, room_alone, vocabulary


def load_owlv2(weights: Path, device: str = "auto") -> PromptDetector:
    """Return the detector of a local folder as ``save_pretrained`` writes it: model, tokenizer and image processor.

    Prompts are read as they are, without a template such as "a photo of a": write it into the prompt where it helps.

    Raises:
        BackendError: the folder holds another kind of model. InputError: no such device.
    """
    return PromptDetector(_Owlv2(weights, device))


class _Owlv2:
    """The model as a PromptedModel; all prompts share one pass, in which none changes the scores of another."""

    def __init__(self, weights: Path, device: str) -> None:
        check_model_folder(weights, ("owlv2",))
        self._device = pick_device(device)
        self._model = load_pretrained(transformers.Owlv2ForObjectDetection, weights, self._device)
        self._image_processor = load_part(transformers.AutoImageProcessor, weights)
        self._tokenizer = load_part(transformers.AutoTokenizer, weights)
        self._positions = int(self._model.config.text_config.max_position_embeddings)

    def passes(self, ontology: Ontology) -> tuple[Pass, ...]:
        spans = alone(pack_prompts(ontology, vocabulary(self._tokenizer), room_alone(self._positions)))
        texts = [normalise_prompt(span.prompt) for span in spans]
        read = read_texts(self._tokenizer, texts, self._positions, self._device)
        embeddings = self._model.owlv2.get_text_features(**read).pooler_output
        return (Pass(spans, embeddings / torch.linalg.norm(embeddings, dim=-1, keepdim=True)),)

    def canvas_wh(self, image: RgbImage) -> tuple[int, int]:
        """Images are padded to a square."""
        side = max(image.shape[:2])
        return side, side

    def pixels(self, image: RgbImage) -> torch.Tensor:
        inputs = self._image_processor(
            images=image, input_data_format="channels_last", device=self._device, return_tensors="pt"
        )
        pixels: torch.Tensor = inputs["pixel_values"]
        return pixels

    def look(self, pixels: torch.Tensor) -> Look:
        feature_map, _ = self._model.image_embedder(pixel_values=pixels)
        return Look(feature_map, feature_map.permute(0, 3, 1, 2))

    def answer(self, look: Look, one: Pass) -> Answer:
        patches = look.features.flatten(1, 2)
        logits, _ = self._model.class_predictor(patches, one.text.expand(len(patches), -1, -1))
        centre, size = self._model.box_predictor(patches, look.features).split(2, dim=-1)
        return Answer(logits.sigmoid(), torch.cat([centre - size / 2, centre + size / 2], dim=-1))

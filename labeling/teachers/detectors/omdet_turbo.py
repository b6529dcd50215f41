"""OmDet-Turbo through transformers: prompts are read one by one and once more together, as the task."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
import transformers

from ...core.errors import MissingExtraError
from ...core.ontology import Ontology
from ..device import pick_device
from ..interfaces import RgbImage
from ..prompts import Chunk, normalise_prompt, pack_prompts
from ..weights import check_model_folder, load_part, load_pretrained
from .zero_shot import Answer, Look, Pass, PromptDetector, read_texts, vocabulary

_TASK = "detect"


def load_omdet_turbo(weights: Path, device: str = "auto", prompts_per_pass: int | None = None) -> PromptDetector:
    """Return the detector of a local folder as ``save_pretrained`` writes it: model, tokenizer and image processor.

    The task names all prompts of a pass ("detect box, cone."), at most ``prompts_per_pass``; what does not fit into
    the text encoder (77 tokens for the published weights) goes into further passes, where the library would cut it off.

    Raises:
        BackendError: the folder holds another kind of model. InputError: no such device.
        MissingExtraError: its backbone is one of the library timm, as that of the published weights.
    """
    return PromptDetector(_OmDetTurbo(weights, device, prompts_per_pass))


class _OmDetTurbo:
    """The model as a PromptedModel."""

    def __init__(self, weights: Path, device: str, prompts_per_pass: int | None) -> None:
        check_model_folder(weights, ("omdet-turbo",))
        _check_backbone(weights)
        self._device = pick_device(device)
        self._model = load_pretrained(transformers.OmDetTurboForObjectDetection, weights, self._device)
        self._image_processor = load_part(transformers.AutoImageProcessor, weights)
        self._tokenizer = load_part(transformers.AutoTokenizer, weights)
        self._prompts_per_pass = prompts_per_pass
        self._positions = int(self._model.config.text_config.max_position_embeddings)

    def passes(self, ontology: Ontology) -> tuple[Pass, ...]:
        words = vocabulary(self._tokenizer)
        # The commas and the full stop of the task are the separators that packing counts.
        limit = self._positions - len(words.encode([_TASK])[0])
        chunks = pack_prompts(ontology, words, limit, self._prompts_per_pass)
        return tuple(Pass(chunk.spans, self._read(chunk)) for chunk in chunks)

    def _read(self, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        texts = [normalise_prompt(span.prompt) for span in chunk.spans]
        prompts = read_texts(self._tokenizer, texts, self._positions, self._device)
        task = read_texts(self._tokenizer, [f"{_TASK} {', '.join(texts)}."], self._positions, self._device)
        embeddings: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._model.get_language_embedding(
            prompts["input_ids"], prompts["attention_mask"], task["input_ids"], task["attention_mask"],
            torch.tensor([len(texts)], device=self._device),
        )  # fmt: skip
        return embeddings

    def canvas_wh(self, image: RgbImage) -> tuple[int, int]:
        """Images are resized and never padded."""
        return image.shape[1], image.shape[0]

    def pixels(self, image: RgbImage) -> torch.Tensor:
        inputs = self._image_processor(
            images=image, input_data_format="channels_last", do_pad=False, device=self._device, return_tensors="pt"
        )
        pixels: torch.Tensor = inputs["pixel_values"]
        return pixels

    def look(self, pixels: torch.Tensor) -> Look:
        levels = self._model.vision_backbone(pixels)
        return Look(self._model.encoder(levels, return_dict=True).extracted_states, levels[-1])

    def answer(self, look: Look, one: Pass) -> Answer:
        classes, task, mask = one.text
        count = len(look.pooled)
        outputs = self._model.decoder(
            look.features,
            classes.expand(-1, count, -1),
            task.expand(-1, count, -1),
            mask.expand(count, -1),
            return_dict=True,
        )
        centre, size = outputs.decoder_coords[-1].split(2, dim=-1)
        boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
        return Answer(outputs.decoder_classes[-1].sigmoid(), boxes)


def _check_backbone(weights: Path) -> None:
    """The published weights have a backbone of timm."""
    settings = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    backbone = settings.get("backbone_config") or {"model_type": "timm_backbone"}
    if backbone.get("model_type") == "timm_backbone" and importlib.util.find_spec("timm") is None:
        raise MissingExtraError("timm", "timm")

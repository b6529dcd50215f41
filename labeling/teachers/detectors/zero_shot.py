"""What detectors share that read every prompt as a text of its own: prompts to texts, model answers to boxes."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import supervision as sv
import torch

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ...core.records import Rle
from ..features import pool_boxes
from ..interfaces import Detected, RgbImage
from ..prompts import Chunk, Span, Vocabulary
from ..segmenters.box_segmenter import encode_masks

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """Prompts that one forward answers together.

    Attributes:
        spans: the prompts and their classes, in the order of the model's scores.
        text: what the model's text encoder makes of them.
    """

    spans: tuple[Span, ...]
    text: Any


@dataclass(frozen=True, slots=True)
class Look:
    """What the image encoder makes of a batch, shared by all passes.

    Attributes:
        features: what the model needs to answer a pass.
        pooled: (batch, channels, height, width) feature map that covers the canvas edge to edge.
    """

    features: Any
    pooled: torch.Tensor


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about a batch and one pass.

    Attributes:
        scores: (batch, queries, prompts) in [0, 1].
        boxes: (batch, queries, 4) xyxy as shares of the canvas.
        masks: (batch, queries, height, width) logits that cover the image edge to edge; None where it draws none.
    """

    scores: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor | None = None


class PromptedModel(Protocol):
    """What differs between the models."""

    def passes(self, ontology: Ontology) -> tuple[Pass, ...]:
        """Return the prompts as texts the model has read. Raises InputError as ``pack_prompts`` does."""
        ...

    def canvas_wh(self, image: RgbImage) -> tuple[int, int]:
        """Return the size in pixels, the image's own or padded on the right and below, that boxes are shares of."""
        ...

    def pixels(self, image: RgbImage) -> torch.Tensor:
        """Return (1, 3, height, width) as the image encoder wants it."""
        ...

    def look(self, pixels: torch.Tensor) -> Look:
        """Run the image encoder over (batch, 3, height, width)."""
        ...

    def answer(self, look: Look, one: Pass) -> Answer:
        """Return scores and boxes for the prompts of a pass."""
        ...


@dataclass(slots=True)
class _Found:
    """What has been found in one image so far."""

    spans: list[Span] = field(default_factory=list)
    scores: list[torch.Tensor] = field(default_factory=list)
    boxes: list[torch.Tensor] = field(default_factory=list)
    rles: list[Rle | None] | None = None
    dropped: Counter[str] = field(default_factory=Counter)


class PromptDetector:
    """Detector over a model that takes prompts as texts.

    The image encoder runs once per image, the rest once per pass. A query gives at most one box per pass: that of the
    prompt with the highest score. Deterministic for fixed weights, inputs and device.
    """

    def __init__(self, model: PromptedModel) -> None:
        """Wrap a loaded model."""
        self._model = model
        self._plan: tuple[Ontology, tuple[Pass, ...]] | None = None

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol."""
        with torch.inference_mode():
            passes = self._passes(ontology)
            # Each image is resized alone and shares a batch only with images of its size: none is padded for others.
            # torch reads no array that runs backwards, as image[..., ::-1].
            pixels = [self._model.pixels(np.ascontiguousarray(image)) for image in images]
            groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
            for row, one in enumerate(pixels):
                groups[tuple(one.shape)].append(row)
            results: dict[int, Detected] = {}
            for rows in groups.values():
                batch = torch.cat([pixels[row] for row in rows])
                found = self._forward(batch, [images[row] for row in rows], passes, floor)
                results.update(zip(rows, found, strict=True))
        return [results[row] for row in range(len(images))]

    def _passes(self, ontology: Ontology) -> tuple[Pass, ...]:
        if self._plan is None or self._plan[0] != ontology:
            self._plan = (ontology, self._model.passes(ontology))
            _log.info("%d prompts in %d pass(es)", len(ontology.prompts), len(self._plan[1]))
        return self._plan[1]

    def _forward(
        self, batch: torch.Tensor, images: Sequence[RgbImage], passes: Sequence[Pass], floor: float
    ) -> list[Detected]:
        found = [_Found() for _ in images]
        try:
            look = self._model.look(batch)
            for one in passes:
                answer = self._model.answer(look, one)
                scores, winners = answer.scores.float().max(dim=-1)
                # supervision refuses numbers that are not finite, so they are counted here and not by the filters.
                finite = scores.isfinite() & answer.boxes.isfinite().all(dim=-1)
                keep = finite & (scores >= floor)
                for row, image in enumerate(images):
                    found[row].dropped["not_finite"] += int((~finite[row]).sum())
                    found[row].spans += [one.spans[index] for index in winners[row][keep[row]].tolist()]
                    found[row].scores.append(scores[row][keep[row]])
                    found[row].boxes.append(answer.boxes[row][keep[row]].float())
                    if answer.masks is not None:
                        rles = encode_masks(answer.masks[row][keep[row]], (image.shape[0], image.shape[1]))
                        found[row].rles = (found[row].rles or []) + rles
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BackendError(f"the detector failed on {len(batch)} image(s): {error}") from error
        return [
            _detected(one, image, self._model.canvas_wh(image), feature_map)
            for one, image, feature_map in zip(found, images, look.pooled, strict=True)
        ]


def _detected(found: _Found, image: RgbImage, canvas_wh: tuple[int, int], feature_map: torch.Tensor) -> Detected:
    height, width = image.shape[:2]
    boxes = torch.cat(found.boxes)
    whole = boxes.new_tensor([[0.0, 0.0, width / canvas_wh[0], height / canvas_wh[1]]])
    features = pool_boxes(feature_map, torch.cat([whole, boxes]))
    data: dict[str, Any] = {"prompt": _objects([span.prompt for span in found.spans]), "feature": features[1:]}
    if found.rles is not None:
        data["rle"] = _objects(found.rles)
        data["mask_score"] = np.full(len(boxes), np.nan, dtype=np.float32)
    detections = sv.Detections(
        xyxy=boxes.cpu().numpy().astype(np.float32) * np.array([*canvas_wh, *canvas_wh], dtype=np.float32),
        confidence=torch.cat(found.scores).cpu().numpy().astype(np.float32),
        class_id=np.array([span.class_id for span in found.spans], dtype=int),
        data=data,
    )
    return Detected(detections, features[0], +found.dropped)


def _objects(values: Sequence[object]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def vocabulary(tokenizer: Any) -> Vocabulary:
    """Return what packing has to know of a CLIP tokenizer, which reads pieces of words and so knows every word."""

    def encode(prompts: Sequence[str]) -> list[list[int]]:
        token_ids: list[list[int]] = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        return token_ids

    return Vocabulary(
        encode=encode,
        opening=tokenizer.bos_token_id,
        separator=tokenizer.eos_token_id,
        closing=tokenizer.eos_token_id,
        unknown=tokenizer.unk_token_id,
        reserved=frozenset(tokenizer.all_special_ids),
        words=(),
    )


def alone(chunks: Sequence[Chunk]) -> tuple[Span, ...]:
    """Return the prompts of packed captions one by one, in an order that does not depend on that of the classes."""
    return tuple(span for chunk in chunks for span in chunk.spans)


def room_alone(positions: int) -> int:
    """Return the limit of ``pack_prompts`` at which a prompt alone fills a text encoder of so many positions.

    Packing counts two special tokens and a separator behind each prompt; a prompt alone has no separator.
    """
    return positions + 1


def read_texts(
    tokenizer: Any, texts: Sequence[str], positions: int, device: torch.device
) -> Mapping[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask``, (texts, positions), of texts that are known to fit."""
    encoded = tokenizer(list(texts), padding="max_length", max_length=positions, return_tensors="pt")
    return {name: encoded[name].to(device) for name in ("input_ids", "attention_mask")}

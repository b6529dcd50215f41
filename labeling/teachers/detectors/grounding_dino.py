"""GroundingDINO through transformers: text prompts in, boxes with a class, the winning prompt and features out."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv
import torch
import transformers
from torch import nn

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ..device import pick_device
from ..features import pool_boxes, pool_image
from ..interfaces import Detected, RgbImage
from ..prompts import Chunk, Vocabulary, pack_prompts
from ..weights import check_model_folder, load_part, load_pretrained

_MODEL_CLASSES = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}
#: Ids that transformers' GroundingDINO has built in; with any other layout it reads phrases wrongly and says nothing.
_SPECIAL_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012}
#: Beyond this ratio of sides an image is padded: it would give fewer image tokens than the model has queries.
_MAX_ASPECT = 8

_log = logging.getLogger(__name__)


class GroundingDinoDetector:
    """Detector over a local folder as ``save_pretrained`` writes it: model, tokenizer and image processor.

    One forward per chunk of the prompts and per image size in the batch. A query gives at most one box: that of the
    prompt with the highest score. Deterministic for fixed weights, inputs and device.
    """

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the folder. Raises BackendError where it holds another kind of model, InputError for the device."""
        model_type = check_model_folder(weights, tuple(_MODEL_CLASSES))
        self._device = pick_device(device)
        self._model = load_pretrained(getattr(transformers, _MODEL_CLASSES[model_type]), weights, self._device)
        self._image_processor = load_part(transformers.AutoImageProcessor, weights)
        self._vocabulary = _vocabulary(load_part(transformers.AutoTokenizer, weights), weights)
        self._limit = int(self._model.config.max_text_len)
        convolutions = self._model.model.backbone
        self._encoder = _KeptEncoder(convolutions.conv_encoder)
        convolutions.conv_encoder = self._encoder
        self._plan: tuple[Ontology, tuple[Chunk, ...]] | None = None

    def chunks(self, ontology: Ontology) -> tuple[Chunk, ...]:
        """Return the captions that the prompts are packed into; each image takes one forward per caption.

        Raises:
            InputError: see ``pack_prompts``.
        """
        if self._plan is None or self._plan[0] != ontology:
            self._plan = (ontology, pack_prompts(ontology, self._vocabulary, self._limit))
            _log.info("%d prompts in %d caption(s)", len(ontology.prompts), len(self._plan[1]))
        return self._plan[1]

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol."""
        chunks = self.chunks(ontology)
        if not images:
            return []
        results: dict[int, Detected] = {}
        try:
            with torch.inference_mode():
                for rows, pixels in self._preprocess(images):
                    canvases = [_canvas_wh(images[row]) for row in rows]
                    results.update(zip(rows, self._forward(pixels, chunks, canvases, floor), strict=True))
        finally:
            self._encoder.forget()
        return [results[row] for row in range(len(images))]

    def _preprocess(self, images: Sequence[RgbImage]) -> list[tuple[list[int], torch.Tensor]]:
        """Return groups of images that have one size once resized, so that none is padded to fit its neighbours."""
        inputs = self._image_processor(
            images=[_padded(image) for image in images],
            input_data_format="channels_last",
            do_pad=True,
            device=self._device,
            return_tensors="pt",
        )
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row, mask in enumerate(inputs["pixel_mask"]):
            groups[int(mask[:, 0].sum()), int(mask[0].sum())].append(row)
        pixels = inputs["pixel_values"]
        return [(rows, pixels[rows][..., :height, :width]) for (height, width), rows in groups.items()]

    def _forward(
        self, pixels: torch.Tensor, chunks: Sequence[Chunk], canvases: Sequence[tuple[int, int]], floor: float
    ) -> list[Detected]:
        parts: list[list[sv.Detections]] = [[] for _ in canvases]
        dropped: list[Counter[str]] = [Counter() for _ in canvases]
        for chunk in chunks:
            token_ids = torch.tensor(chunk.token_ids, device=self._device).expand(len(pixels), -1)
            try:
                outputs = self._model(pixel_values=pixels, input_ids=token_ids)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise BackendError(f"the detector failed on {len(pixels)} image(s): {error}") from error
            probabilities = outputs.logits.float().sigmoid()
            positive_map = torch.from_numpy(chunk.positive_map(probabilities.shape[-1])).to(self._device)
            scores, winners = (probabilities @ positive_map).max(dim=-1)
            feature_maps = self._encoder.last_feature_map()
            for row, canvas in enumerate(canvases):
                # supervision refuses numbers that are not finite, so they are counted here and not by the filters.
                finite = scores[row].isfinite() & outputs.pred_boxes[row].isfinite().all(dim=-1)
                dropped[row]["not_finite"] += int((~finite).sum())
                keep = finite & (scores[row] >= floor)
                parts[row].append(
                    _detections(
                        scores[row][keep], winners[row][keep], outputs.pred_boxes[row][keep], chunk, canvas,
                        feature_maps[row],
                    )
                )  # fmt: skip
        features = [pool_image(feature_map) for feature_map in self._encoder.last_feature_map()]
        return [
            Detected(_concatenated(part), feature, +drops)
            for part, feature, drops in zip(parts, features, dropped, strict=True)
        ]


def _detections(
    scores: torch.Tensor,
    winners: torch.Tensor,
    boxes: torch.Tensor,
    chunk: Chunk,
    canvas_wh: tuple[int, int],
    feature_map: torch.Tensor,
) -> sv.Detections:
    """Return the boxes of one image and caption; ``boxes`` are cxcywh as shares of the canvas."""
    spans = [chunk.spans[index] for index in winners.tolist()]
    shares = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
    prompts = np.empty(len(spans), dtype=object)
    prompts[:] = [span.prompt for span in spans]
    return sv.Detections(
        xyxy=shares.cpu().numpy().astype(np.float32) * np.array([*canvas_wh, *canvas_wh], dtype=np.float32),
        confidence=scores.cpu().numpy().astype(np.float32),
        class_id=np.array([span.class_id for span in spans], dtype=int),
        data={"prompt": prompts, "feature": pool_boxes(feature_map, shares)},
    )


def _concatenated(parts: Sequence[sv.Detections]) -> sv.Detections:
    """Return the boxes of all captions; unlike ``sv.Detections.merge`` it keeps the columns where there is no box."""
    return sv.Detections(
        xyxy=np.concatenate([part.xyxy for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        class_id=np.concatenate([part.class_id for part in parts]),
        data={key: np.concatenate([part.data[key] for part in parts]) for key in parts[0].data},
    )


def _canvas_wh(image: RgbImage) -> tuple[int, int]:
    height, width = image.shape[:2]
    return max(width, -(-height // _MAX_ASPECT)), max(height, -(-width // _MAX_ASPECT))


def _padded(image: RgbImage) -> npt.NDArray[np.uint8]:
    """Return the image, padded with black on the right or below where one side is far longer than the other."""
    height, width = image.shape[:2]
    canvas_width, canvas_height = _canvas_wh(image)
    if (canvas_width, canvas_height) == (width, height):
        return image
    return np.pad(image, ((0, canvas_height - height), (0, canvas_width - width), (0, 0)))


def _vocabulary(tokenizer: Any, folder: Path) -> Vocabulary:
    for token, expected in _SPECIAL_IDS.items():
        found = tokenizer.convert_tokens_to_ids(token)
        if found != expected:
            raise BackendError(f"weights {folder}: the tokenizer has {token!r} at id {found}, expected {expected}")

    def encode(prompts: Sequence[str]) -> list[list[int]]:
        token_ids: list[list[int]] = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        return token_ids

    return Vocabulary(
        encode=encode,
        opening=_SPECIAL_IDS["[CLS]"],
        separator=_SPECIAL_IDS["."],
        closing=_SPECIAL_IDS["[SEP]"],
        unknown=_SPECIAL_IDS["[UNK]"],
        reserved=frozenset(tokenizer.all_special_ids),
        words=[word for word in tokenizer.get_vocab() if word.isalpha()],
    )


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

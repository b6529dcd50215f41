"""What every route to a GroundingDINO shares: images to canvases, prompts to captions, raw outputs to boxes."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv
import torch

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ..features import pool_boxes, pool_image
from ..interfaces import Detected, RgbImage
from ..prompts import Chunk, Vocabulary, pack_prompts

#: Ids that GroundingDINO has built in; with any other layout it reads phrases wrongly and says nothing.
_SPECIAL_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012}
#: Beyond this ratio of sides an image is padded: it would give fewer image tokens than the model has queries.
_MAX_ASPECT = 8
#: No side may be shorter than this once resized: the coarsest level of the image encoder has one cell for so many.
_CELL_PX = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What a model says about a batch and one caption.

    Attributes:
        logits: (n, queries, tokens or more) float; minus infinity beyond the caption.
        boxes: (n, queries, 4) float, cxcywh as shares of the canvas.
        feature_maps: (n, channels, height, width) float, the image encoder's coarsest stage.
    """

    logits: torch.Tensor
    boxes: torch.Tensor
    feature_maps: torch.Tensor


Run = Callable[[torch.Tensor, Sequence[Chunk]], Iterator[RawOutput]]
"""(n, 3, height, width) pixels and captions in, one raw output per caption out."""


class CaptionReader:
    """Prompts packed into captions, images of one size grouped, and raw outputs decoded.

    A query gives at most one box: that of the prompt with the highest score.
    """

    def __init__(
        self, image_processor: Any, tokenizer: Any, folder: Path, limit: int, prompts_per_pass: int | None = None
    ) -> None:
        """Args as transformers loads them from ``folder``; ``limit`` is the most tokens of a caption.

        Raises:
            BackendError: the tokenizer has another vocabulary than GroundingDINO needs.
        """
        self._image_processor = image_processor
        self._aspect = _max_aspect(image_processor)
        self._vocabulary = _vocabulary(tokenizer, folder)
        self._limit = limit
        self._prompts_per_pass = prompts_per_pass
        self._plan: tuple[Ontology, tuple[Chunk, ...]] | None = None

    def chunks(self, ontology: Ontology) -> tuple[Chunk, ...]:
        """Return the captions of the prompts. Raises InputError, see ``pack_prompts``."""
        if self._plan is None or self._plan[0] != ontology:
            chunks = pack_prompts(ontology, self._vocabulary, self._limit, self._prompts_per_pass)
            self._plan = (ontology, chunks)
            _log.info("%d prompts in %d caption(s)", len(ontology.prompts), len(chunks))
        return self._plan[1]

    def detect(
        self,
        images: Sequence[RgbImage],
        ontology: Ontology,
        floor: float,
        run: Run,
        *,
        device: torch.device | None = None,
        normalised: bool = True,
    ) -> list[Detected]:
        """Return one result per image, in order.

        Args:
            images: upright RGB.
            ontology: classes and prompts.
            floor: smallest score of a box.
            run: the model.
            device: where pixels are prepared.
            normalised: hand the model float pixels less mean by deviation, else uint8.
        """
        chunks = self.chunks(ontology)
        if not images:
            return []
        results: dict[int, Detected] = {}
        with torch.inference_mode():
            for rows, pixels in self._groups(images, device, normalised):
                canvases = [_canvas_wh(images[row], self._aspect) for row in rows]
                results.update(zip(rows, _decoded(run(pixels, chunks), chunks, canvases, floor), strict=True))
        return [results[row] for row in range(len(images))]

    def _groups(
        self, images: Sequence[RgbImage], device: torch.device | None, normalised: bool
    ) -> list[tuple[list[int], torch.Tensor]]:
        """Return groups of images that have one size once resized, so that none is padded to fit its neighbours."""
        inputs = self._image_processor(
            images=[_padded(image, self._aspect) for image in images],
            input_data_format="channels_last",
            do_pad=True,
            do_rescale=normalised,
            do_normalize=normalised,
            device=device,
            return_tensors="pt",
        )
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row, mask in enumerate(inputs["pixel_mask"]):
            groups[int(mask[:, 0].sum()), int(mask[0].sum())].append(row)
        pixels = inputs["pixel_values"]
        return [(rows, pixels[rows][..., :height, :width]) for (height, width), rows in groups.items()]


def _decoded(
    outputs: Iterator[RawOutput], chunks: Sequence[Chunk], canvases: Sequence[tuple[int, int]], floor: float
) -> list[Detected]:
    parts: list[list[sv.Detections]] = [[] for _ in canvases]
    dropped: list[Counter[str]] = [Counter() for _ in canvases]
    features: list[npt.NDArray[np.float16]] = []
    for chunk, output in zip(chunks, outputs, strict=True):
        probabilities = output.logits.float().sigmoid()
        positive_map = torch.from_numpy(chunk.positive_map(probabilities.shape[-1])).to(probabilities.device)
        scores, winners = (probabilities @ positive_map).max(dim=-1)
        features = features or [pool_image(feature_map) for feature_map in output.feature_maps]
        for row, canvas in enumerate(canvases):
            # supervision refuses numbers that are not finite, so they are counted here and not by the filters.
            finite = scores[row].isfinite() & output.boxes[row].isfinite().all(dim=-1)
            dropped[row]["not_finite"] += int((~finite).sum())
            keep = finite & (scores[row] >= floor)
            parts[row].append(
                _detections(
                    scores[row][keep], winners[row][keep], output.boxes[row][keep], chunk, canvas,
                    output.feature_maps[row],
                )
            )  # fmt: skip
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


def _max_aspect(image_processor: Any) -> int:
    """Return the largest ratio of sides that is not padded; the small size of the bundled model allows less."""
    longest = getattr(image_processor.size, "longest_edge", None)
    return _MAX_ASPECT if longest is None else max(1, min(_MAX_ASPECT, longest // _CELL_PX))


def _canvas_wh(image: RgbImage, aspect: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    return max(width, -(-height // aspect)), max(height, -(-width // aspect))


def _padded(image: RgbImage, aspect: int) -> npt.NDArray[np.uint8]:
    """Return the image, padded with black on the right or below where one side is far longer than the other."""
    height, width = image.shape[:2]
    canvas_width, canvas_height = _canvas_wh(image, aspect)
    if (canvas_width, canvas_height) == (width, height):
        return np.ascontiguousarray(image)  # torch reads no array that runs backwards, as image[..., ::-1]
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

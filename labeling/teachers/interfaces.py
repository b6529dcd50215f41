"""What a detector and a segmenter promise: plain images in, plain results out, one result per image, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..core.ontology import Ontology
from ..core.records import Rle

if TYPE_CHECKING:
    import supervision as sv

RgbImage = npt.NDArray[np.uint8]
"""(height, width, 3) uint8, RGB, upright."""


@dataclass(frozen=True, slots=True)
class Detected:
    """What a detector saw in one image.

    Attributes:
        detections: ``xyxy`` (n, 4) float32 absolute pixels of the upright image, ``confidence`` (n,) float32 in
            [0, 1], ``class_id`` (n,) int positions in the ontology, ``data["prompt"]`` (n,) object array of the prompt
            that won each box, and, where the detector has them, ``data["feature"]`` (n, d) float16 pooled features,
            ``data["rle"]`` (n,) object array of masks or None with ``data["mask_score"]`` (n,) float32, and, of an
            ensemble, ``data["sources"]`` (n,) object array of tuples of (model, score).
        image_feature: (d,) float16 pooled features of the image encoder, or None.
        dropped: how many raw boxes the detector itself could not use, by reason.
    """

    detections: sv.Detections
    image_feature: npt.NDArray[np.float16] | None = None
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Segmented:
    """Masks of one image, in the order of its boxes.

    Attributes:
        rles: one run-length encoding of the whole image per box; None where the mask came out empty.
        scores: (n,) float32, the segmenter's own estimate of each mask in [0, 1].
        image_feature: (d,) float16 pooled features of the image encoder, or None.
    """

    rles: tuple[Rle | None, ...]
    scores: npt.NDArray[np.float32]
    image_feature: npt.NDArray[np.float16] | None = None


class Detector(Protocol):
    """Images and an ontology in, boxes out.

    A detector returns every box whose score reaches ``floor`` and leaves per-class thresholds and NMS to the filters.
    Results do not depend on the order of the classes, nor (within rounding) on which images share a batch.
    """

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return one result per image, in order. Raises BackendError; lets torch.OutOfMemoryError through."""
        ...


class Segmenter(Protocol):
    """Images and boxes in, masks out."""

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        """Return one result per image, in order; an image without boxes costs nothing and gets no masks."""
        ...


class EmbeddingSegmenter(Segmenter, Protocol):
    """A segmenter whose look at the image can be kept while boxes change."""

    def embed(self, image: RgbImage) -> Any:
        """Return what the image encoder makes of one image."""
        ...

    def segment_embedded(
        self, embedding: Any, boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]
    ) -> Segmented:
        """Return the masks of the boxes, the same as ``segment`` gives for the image."""
        ...

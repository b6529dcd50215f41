"""What all segmenters share: one look at each image, boxes in chunks, run-length encoded masks and scores out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from ...core.errors import BackendError
from ...core.records import Rle
from ..features import pool_image
from ..interfaces import RgbImage, Segmented
from .logit_masks import axis, encode_logits

#: Boxes per decoder call: more cost memory and gain no speed.
_BOXES_PER_CALL = 64


class BoxSegmenter(ABC):
    """Segmenter over a network with an image encoder and a decoder that answers boxes.

    The image encoder runs once per image, batched over the images that have boxes; the decoder gets all boxes of an
    image in chunks of 64. Masks leave the device as the decoder's small logits.
    """

    _device: torch.device

    @abstractmethod
    def _encode(self, images: Sequence[RgbImage]) -> list[torch.Tensor]:
        """Return the levels of the image encoder, (images, channels, height, width) each, the coarsest last."""

    @abstractmethod
    def _decode(
        self, levels: list[torch.Tensor], boxes: torch.Tensor, size_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the masks of one image.

        Args:
            levels: of the image encoder, each with a batch of one.
            boxes: (n, 4) float32 xyxy in pixels of the image.
            size_hw: height and width of the image in pixels.

        Returns:
            (n, height, width) mask logits that cover the image edge to edge, and (n,) scores.
        """

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        """Return one mask per box; see the Segmenter protocol. Boxes are absolute pixels inside their image."""
        results = [_nothing() for _ in images]
        rows = [row for row, boxes in enumerate(boxes_xyxy) if len(boxes)]
        if not rows:
            return results
        with torch.inference_mode():
            levels = self._encoded([images[row] for row in rows])
            for place, row in enumerate(rows):
                one = [level[place : place + 1] for level in levels]
                results[row] = self._decoded(one, boxes_xyxy[row], images[row].shape[:2])
        return results

    def embed(self, image: RgbImage) -> list[torch.Tensor]:
        """Return the levels of the image encoder, each with a batch of one."""
        with torch.inference_mode():
            return self._encoded([image])

    def segment_embedded(
        self, embedding: list[torch.Tensor], boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]
    ) -> Segmented:
        """Return one mask per box of the image that ``embed`` has seen."""
        if not len(boxes_xyxy):
            return _nothing()
        with torch.inference_mode():
            return self._decoded(embedding, boxes_xyxy, size_hw)

    def _encoded(self, images: Sequence[RgbImage]) -> list[torch.Tensor]:
        with _failures(f"{len(images)} image(s)"):
            # torch reads no array that runs backwards, as image[..., ::-1].
            return self._encode([np.ascontiguousarray(image) for image in images])

    def _decoded(
        self, levels: list[torch.Tensor], boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]
    ) -> Segmented:
        height, width = size_hw
        boxes = torch.from_numpy(np.asarray(boxes_xyxy, dtype=np.float32)).to(self._device)
        rles: list[Rle | None] = []
        scores = []
        for start in range(0, len(boxes), _BOXES_PER_CALL):
            chunk = boxes[start : start + _BOXES_PER_CALL]
            with _failures(f"{len(chunk)} box(es)"):
                logits, estimates = self._decode(levels, chunk, (height, width))
                rles += encode_masks(logits, (height, width))
                scores.append(estimates.float().nan_to_num(nan=0.0).clamp(0.0, 1.0))
        return Segmented(tuple(rles), torch.cat(scores).cpu().numpy(), pool_image(levels[-1][0]))


def encode_masks(logits: torch.Tensor, size_hw: tuple[int, int], *, islands: bool = False) -> list[Rle | None]:
    """Return the masks of one image, upsampled to its size, thresholded at 0 and encoded; None where empty.

    The same pixels as upsampling every mask to the full frame (bilinear, ``align_corners=False``).

    Args:
        logits: (n, height, width) low-resolution mask logits that cover the image edge to edge.
        size_hw: height and width of the upright image in pixels.
        islands: keep parts of a mask that are smaller than 1 % of its area too.
    """
    y_axis, x_axis = (axis(cells, size) for cells, size in zip(logits.shape[1:], size_hw, strict=True))
    return [encode_logits(mask, y_axis, x_axis, islands=islands) for mask in logits.float().cpu().numpy()]


def _nothing() -> Segmented:
    return Segmented((), np.zeros(0, dtype=np.float32))


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turn what the network raises into BackendError, but for memory that ran out: the caller can ask for less."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise BackendError(f"the segmenter failed on {what}: {error}") from error

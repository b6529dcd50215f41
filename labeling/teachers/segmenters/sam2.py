"""SAM 2 through transformers: images and boxes in, run-length encoded masks and scores out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers

from ...core.errors import BackendError
from ...core.records import Rle
from ..device import pick_device
from ..features import pool_image
from ..interfaces import RgbImage, Segmented
from ..weights import check_model_folder, load_part, load_pretrained
from .logit_masks import axis, encode_logits

#: The published SAM 2 folders carry the configuration of the video model, whose image part is the same.
_MODEL_TYPES = ("sam2", "sam2_video")
#: Boxes per decoder call: more cost memory and gain no speed.
_BOXES_PER_CALL = 64


class Sam2Segmenter:
    """Segmenter over a local folder as ``save_pretrained`` writes it: model and processor.

    The image encoder runs once per image, batched over the images that have boxes; the decoder gets all boxes of an
    image in chunks of 64. Masks leave the device as the decoder's small logits.
    """

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the folder. Raises BackendError where it holds another kind of model, InputError for the device."""
        check_model_folder(weights, _MODEL_TYPES)
        self._device = pick_device(device)
        self._model = load_pretrained(transformers.Sam2Model, weights, self._device)
        processor = load_part(transformers.Sam2Processor, weights)
        self._image_processor = processor.image_processor
        self._side = int(processor.target_size)

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        """Return one mask per box; see the Segmenter protocol. Boxes are absolute pixels inside their image."""
        results = [Segmented((), np.zeros(0, dtype=np.float32)) for _ in images]
        rows = [row for row, boxes in enumerate(boxes_xyxy) if len(boxes)]
        if not rows:
            return results
        with torch.inference_mode():
            embeddings = self._encode([images[row] for row in rows])
            for place, row in enumerate(rows):
                one = [level[place : place + 1] for level in embeddings]
                results[row] = self._decode(one, boxes_xyxy[row], images[row].shape[:2])
        return results

    def embed(self, image: RgbImage) -> list[torch.Tensor]:
        """Return the levels of the image encoder, each with a batch of one."""
        with torch.inference_mode():
            return self._encode([image])

    def segment_embedded(
        self, embedding: list[torch.Tensor], boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]
    ) -> Segmented:
        """Return one mask per box of the image that ``embed`` has seen."""
        if not len(boxes_xyxy):
            return Segmented((), np.zeros(0, dtype=np.float32))
        with torch.inference_mode():
            return self._decode(embedding, boxes_xyxy, size_hw)

    def _encode(self, images: Sequence[RgbImage]) -> list[torch.Tensor]:
        inputs = self._image_processor(
            images=list(images), input_data_format="channels_last", device=self._device, return_tensors="pt"
        )
        try:
            levels: list[torch.Tensor] = self._model.get_image_embeddings(inputs["pixel_values"])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BackendError(f"the segmenter failed on {len(images)} image(s): {error}") from error
        return levels

    def _decode(
        self, embeddings: list[torch.Tensor], boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]
    ) -> Segmented:
        height, width = size_hw
        # The processor stretches the image to a square, so the two axes have their own scale.
        scale = np.array([self._side / width, self._side / height] * 2, dtype=np.float32)
        boxes = torch.from_numpy(np.asarray(boxes_xyxy, dtype=np.float32) * scale).to(self._device)
        rles: list[Rle | None] = []
        scores = []
        for start in range(0, len(boxes), _BOXES_PER_CALL):
            chunk = boxes[start : start + _BOXES_PER_CALL]
            outputs = self._model(image_embeddings=embeddings, input_boxes=chunk[None], multimask_output=False)
            rles += encode_masks(outputs.pred_masks[0, :, 0], (height, width))
            scores.append(outputs.iou_scores[0, :, 0].float().nan_to_num(nan=0.0).clamp(0.0, 1.0))
        return Segmented(tuple(rles), torch.cat(scores).cpu().numpy(), pool_image(embeddings[-1][0]))


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

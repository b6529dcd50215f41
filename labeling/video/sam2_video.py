"""SAM 2's video model through transformers: boxes on one frame in, a mask of each object on every further frame out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from ..core.errors import BackendError
from ..core.records import Rle
from ..teachers.device import pick_device
from ..teachers.interfaces import RgbImage
from ..teachers.segmenters.sam2 import encode_masks
from ..teachers.weights import load_part, load_pretrained

#: Labels of the two corners of a box among the points of a prompt.
_CORNERS = (2, 3)


@dataclass(frozen=True, slots=True)
class Sight:
    """One object on one frame: its mask, None where it is lost, and the model's belief that it is there, in [0, 1]."""

    rle: Rle | None
    presence: float


class Sam2VideoTracker:
    """The video model of a folder with memory modules. What it holds does not grow with the length of a video."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the folder; see ``propagating.check_video_weights`` for what it must be."""
        self._device = pick_device(device)
        self._model = load_pretrained(transformers.Sam2VideoModel, weights, self._device)
        processor = load_part(transformers.Sam2Processor, weights)
        self._image_processor = processor.image_processor
        self._side = int(processor.target_size)
        config = self._model.config
        self._remembered = max(int(config.num_maskmem), int(config.max_object_pointers_in_encoder)) + 1

    def follow(self, frames: Iterable[RgbImage], boxes_xyxy: npt.NDArray[np.float32]) -> Iterator[list[Sight]]:
        """Yield what is seen of each object on each frame, the first one too.

        Args:
            frames: of one size, in the order in which the objects are followed; backwards in time is as good.
            boxes_xyxy: (n, 4) absolute pixels on the first frame, n at least 1.

        Raises:
            BackendError: the model failed.
        """
        session = Sam2VideoInferenceSession(
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=torch.float32,
        )
        for number, frame in enumerate(frames):
            if not number:
                self._prompt(session, boxes_xyxy, frame.shape[:2])
            yield self._step(session, frame, number)

    @torch.inference_mode()
    def _prompt(
        self, session: Sam2VideoInferenceSession, boxes_xyxy: npt.NDArray[np.float32], size_hw: Sequence[int]
    ) -> None:
        height, width = size_hw
        session.video_height, session.video_width = height, width
        scale = np.array([self._side / width, self._side / height] * 2, dtype=np.float32)
        for number, box in enumerate(np.asarray(boxes_xyxy, dtype=np.float32) * scale):
            corners = torch.from_numpy(box.reshape(1, 1, 2, 2))
            labels = torch.tensor([[_CORNERS]], dtype=torch.int32)
            index = session.obj_id_to_idx(number)
            session.add_point_inputs(index, 0, {"point_coords": corners, "point_labels": labels})
        session.obj_with_new_inputs = list(range(len(boxes_xyxy)))

    @torch.inference_mode()
    def _step(self, session: Sam2VideoInferenceSession, frame: RgbImage, number: int) -> list[Sight]:
        pixels = self._image_processor(
            images=[frame], input_data_format="channels_last", device=self._device, return_tensors="pt"
        )["pixel_values"]
        try:
            seen = self._model(inference_session=session, frame=pixels, frame_idx=number)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BackendError(f"the video model failed on a frame: {error}") from error
        self._forget(session, number)
        height, width = frame.shape[:2]
        masks = encode_masks(seen.pred_masks[:, 0], (height, width))
        there = seen.object_score_logits.float().flatten().sigmoid().nan_to_num(nan=0.0).tolist()
        return [Sight(mask if presence >= 0.5 else None, presence) for mask, presence in zip(masks, there, strict=True)]

    def _forget(self, session: Sam2VideoInferenceSession, number: int) -> None:
        """Drop the pixels of this frame, and memories older than the model looks at."""
        session.processed_frames.pop(number, None)
        for outputs in session.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(number - self._remembered, None)
        for tracked in session.frames_tracked_per_obj.values():
            tracked.pop(number - self._remembered, None)

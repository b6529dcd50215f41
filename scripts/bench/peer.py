"""The peer of the labelling bench: autodistill's own `label()` loop, driving the bundled modules as its plugins do."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv
import torch
import transformers
from photos import cache

PACKAGE = "autodistill==0.1.29"
NOTE = (
    f"peer: label() of {PACKAGE}, installed without its dependencies; its undeclared import of roboflow is stubbed. "
    "As in its plugins each class is a full detector pass of its own on an image prepared again, a box scores what its "
    "best token scores, and each box is a decoder call of its own. Not as in them, and to its advantage: double boxes "
    "are suppressed before SAM, and an image without boxes skips SAM."
)
_NMS_IOU = 0.5
_TEXT_THRESHOLD = 0.25


def install() -> None:
    """Put the package, without what it depends on, into the cache and on the import path.

    Asks the package registry the first time. Raises RuntimeError where it cannot be had.
    """
    folder = cache("peer")
    if not (folder / "autodistill").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{PACKAGE} cannot be installed: {done.stderr.strip()[-300:]}")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    # Imported without being declared; only the upload uses it.
    sys.modules.setdefault("roboflow", ModuleType("roboflow"))


class GroundedSam:
    """`predict` of autodistill-grounding-dino followed by that of autodistill-grounded-sam-2, over transformers."""

    def __init__(self, prompts: Sequence[str], detector: Path, segmenter: Path, score: float) -> None:
        """Load the two folders.

        Args:
            prompts: one per class.
            detector: folder of a GroundingDINO.
            segmenter: folder of a SAM 2.
            score: smallest score of a box.
        """
        self.prompts = tuple(prompts)
        self.score = score
        self._processor = transformers.AutoProcessor.from_pretrained(detector)
        self._detector = transformers.GroundingDinoForObjectDetection.from_pretrained(
            detector, dtype=torch.float32
        ).eval()
        self._sam_processor = transformers.Sam2Processor.from_pretrained(segmenter)
        self._sam = transformers.Sam2Model.from_pretrained(segmenter, dtype=torch.float32).eval()

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> sv.Detections:
        """Return the boxes and full-frame masks of one image."""
        with torch.inference_mode():
            found = [self._detect(rgb, prompt, class_id) for class_id, prompt in enumerate(self.prompts)]
            boxes = sv.Detections(
                xyxy=np.concatenate([part.xyxy for part in found]),
                confidence=np.concatenate([part.confidence for part in found]),
                class_id=np.concatenate([part.class_id for part in found]),
            ).with_nms(_NMS_IOU)
            if len(boxes):
                boxes.mask = np.stack(self._segment(rgb, boxes.xyxy))
        return boxes

    def _detect(self, rgb: npt.NDArray[np.uint8], prompt: str, class_id: int) -> sv.Detections:
        inputs = self._processor(images=rgb, text=f"{prompt} .", input_data_format="channels_last", return_tensors="pt")
        outputs = self._detector(**inputs)
        (found,) = self._processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=self.score, text_threshold=_TEXT_THRESHOLD,
            target_sizes=[rgb.shape[:2]],
        )  # fmt: skip
        scores = found["scores"].numpy()
        return sv.Detections(found["boxes"].numpy().reshape(-1, 4), None, scores, np.full(len(scores), class_id))

    def _segment(self, rgb: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> list[npt.NDArray[np.bool_]]:
        inputs = self._sam_processor(images=rgb, input_data_format="channels_last", return_tensors="pt")
        embeddings = self._sam.get_image_embeddings(inputs["pixel_values"])
        masks = []
        for box in boxes:
            one = self._sam_processor(
                input_boxes=[[box.tolist()]], original_sizes=inputs["original_sizes"], return_tensors="pt"
            )
            outputs = self._sam(image_embeddings=embeddings, input_boxes=one["input_boxes"], multimask_output=False)
            (mask,) = self._sam_processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
            masks.append(mask[0, 0].numpy().astype(bool))
        return masks


def label(predict: GroundedSam, photos: Path, out: Path) -> dict[str, sv.Detections]:
    """Run autodistill's ``label()`` over a folder of JPEGs; return its detections by file name.

    Args:
        predict: the model.
        photos: the folder.
        out: new folder for the YOLO dataset that it writes.
    """
    detection: Any = importlib.import_module("autodistill.detection")
    helpers: Any = importlib.import_module("autodistill.helpers")

    class Model(detection.DetectionBaseModel):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.ontology = detection.CaptionOntology({prompt: prompt for prompt in predict.prompts})

        def predict(self, input: Any) -> sv.Detections:
            bgr = helpers.load_image(input, return_format="cv2")
            return predict(np.ascontiguousarray(bgr[..., ::-1]))

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        dataset = Model().label(str(photos), extension=".jpg", output_folder=str(out))
    return {Path(path).name: detections for path, detections in dataset.annotations.items()}


if __name__ == "__main__":
    install()

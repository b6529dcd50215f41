"""EdgeTAM through transformers: SAM 2 with an image encoder for small devices, taken from timm."""

from __future__ import annotations

from pathlib import Path

import transformers

from ..device import pick_device
from .sam2 import TransformersSegmenter, load_folder


class EdgeTamSegmenter(TransformersSegmenter):
    """Segmenter over a local folder as ``save_pretrained`` writes it: model and processor, for images or for video."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the folder.

        Raises:
            BackendError: it holds another kind of model. InputError: no such device.
            ModuleNotFoundError: timm, which has the image encoder, is not installed.
        """
        if not transformers.utils.is_timm_available():
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        target = pick_device(device)
        types = ("edgetam", "edgetam_video")
        super().__init__(*load_folder(transformers.EdgeTamModel, weights, types, target), target)

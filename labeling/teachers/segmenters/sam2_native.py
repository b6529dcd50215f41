"""SAM 2 through the package ``sam2`` (extra "sam2"), from its original checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..device import pick_device
from ..interfaces import RgbImage
from .box_segmenter import BoxSegmenter
from .originals import fill, normalised
from .sam2_weights import HIERAS, read_sam2

#: Labels of the prompt encoder for the upper left and the lower right corner of a box.
_CORNERS = (2, 3)
#: Only SAM 2.1 has it.
_SINCE_2_1 = "no_obj_embed_spatial"


class Sam2NativeSegmenter(BoxSegmenter):
    """Segmenter over one original checkpoint of SAM 2 or 2.1, as ``SAM2ImagePredictor`` uses it for boxes."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load the checkpoint. Raises BackendError where it is no original one of SAM 2, InputError for the device."""
        self._device = pick_device(device)
        tensors, size = read_sam2(weights)
        version = "2.1" if _SINCE_2_1 in tensors else "2"
        model = _network(f"configs/sam{version}/sam{version}_hiera_{HIERAS[size].letter}.yaml")
        self._model = fill(model, tensors, weights, f"SAM {version} {size}").to(self._device)

    def _encode(self, images: Sequence[RgbImage]) -> list[torch.Tensor]:
        side = self._model.image_size
        batch = torch.stack([normalised(image, (side, side), self._device) for image in images])
        levels: list[torch.Tensor] = self._model.forward_image(batch)["backbone_fpn"][-self._model.num_feature_levels :]
        if self._model.directly_add_no_mem_embed:
            levels[-1] = levels[-1] + self._model.no_mem_embed.reshape(1, -1, 1, 1)
        return levels

    def _decode(
        self, levels: list[torch.Tensor], boxes: torch.Tensor, size_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = size_hw
        corners = boxes.reshape(-1, 2, 2) / boxes.new_tensor([width, height]) * self._model.image_size
        labels = torch.tensor(_CORNERS, dtype=torch.int32, device=self._device).expand(len(boxes), 2)
        prompts = self._model.sam_prompt_encoder
        sparse, dense = prompts(points=(corners, labels), boxes=None, masks=None)
        logits, scores, _, _ = self._model.sam_mask_decoder(
            image_embeddings=levels[-1],
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=len(boxes) > 1,
            high_res_features=levels[:-1],
        )
        return logits[:, 0], scores[:, 0]


def _network(config: str) -> Any:
    """Return a network of the package with random weights, by the name of a configuration that it brings."""
    with _own_hydra():
        from sam2.build_sam import build_sam2

        return build_sam2(config, ckpt_path=None, device="cpu")


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Lend Hydra's one global state to ``sam2``, which takes it when it is imported; the caller may use Hydra too."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    try:
        import sam2  # noqa: F401

        state.clear()
        initialize_config_module("sam2", version_base="1.2")
        yield
    finally:
        state.hydra = before

"""Original checkpoints of segmenters: read without running code from them, and pictures as they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2 import functional

from ...core.errors import BackendError
from ..interfaces import RgbImage
from ..weights import UntrustedWeightsError, read_checkpoint

#: Of ImageNet, as shares of the full brightness.
_MEAN = (0.485, 0.456, 0.406)
_SPREAD = (0.229, 0.224, 0.225)


def read_original(path: Path, kind: str, landmark: str) -> Mapping[str, torch.Tensor]:
    """Return the tensors of an original checkpoint.

    Args:
        path: file.
        kind: of model, for messages, such as "SAM 2".
        landmark: name of a tensor that every checkpoint of this kind has.

    Raises:
        BackendError: no file, no checkpoint, more than tensors in it, or the tensors of another kind of model.
    """
    if path.is_dir():
        raise BackendError(f"weights {path} are a folder: expected the file of an original checkpoint of {kind}")
    try:
        tensors = read_checkpoint(path).tensors
    except UntrustedWeightsError as error:
        raise BackendError(
            f"weights {path} hold more than tensors: a pickled Python module, which is not loaded; expected an "
            f"original checkpoint of {kind}, which holds tensors alone"
        ) from error
    if landmark not in tensors:
        raise BackendError(
            f"weights {path} are no original checkpoint of {kind}: expected a tensor {landmark!r} among theirs, "
            f"the first of which is {next(iter(tensors))!r}"
        )
    return tensors


def fill(model: Any, tensors: Mapping[str, torch.Tensor], path: Path, name: str) -> Any:
    """Return the model in evaluation mode with exactly these tensors.

    Raises:
        BackendError: a name or a shape is another one than the model's.
    """
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    found = {key: tensor.shape for key, tensor in tensors.items()}
    odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if odd:
        here, there = (tuple(shapes[odd[0]]) if odd[0] in shapes else "absent" for shapes in (found, wanted))
        raise BackendError(
            f"weights {path} do not fit {name}: {len(odd)} tensors differ, the first is {odd[0]} ({here} in the file, "
            f"{there} in the model)"
        )
    model.load_state_dict(dict(tensors), strict=True)
    return model.eval()


def normalised(image: RgbImage, size_hw: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Return an image as (3, height, width) float32, resized with anti-aliasing and normalised as in ImageNet."""
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1).float() / 255
    resized = functional.resize(pixels, list(size_hw), antialias=True)
    normal: torch.Tensor = functional.normalize(resized, list(_MEAN), list(_SPREAD))
    return normal

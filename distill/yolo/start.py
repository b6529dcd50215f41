"""Weights that a training of ultralytics starts from: read without running code, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.core.errors import InputError
from labeling.image_files import display
from labeling.teachers.weights import Checkpoint, UntrustedWeightsError, read_checkpoint

from ..students import TrainSettings


def read_start(start: Path) -> Checkpoint:
    """Read weights to start from.

    A checkpoint that ultralytics wrote is a pickled module. Whoever trusts it converts it once::

        from safetensors.torch import save_file
        from ultralytics import YOLO
        model = YOLO("best.pt").model.float()
        save_file({key: one.clone() for key, one in model.state_dict().items()}, "best.safetensors")

    Raises:
        InputError: a pickled module.
        BackendError: anything else that cannot be read.
    """
    try:
        return read_checkpoint(start)
    except UntrustedWeightsError as error:
        raise InputError(
            f"--start {display(start)}: holds a pickled Python module, which can run any code when it is loaded: save "
            "its state dict with safetensors.torch.save_file and give that file"
        ) from error


def begins(model: Any, start: Any, settings: TrainSettings) -> str:
    """Say what a training begins from, and how much of it there is."""
    if start is None or settings.start is None:
        return "starts from random weights"
    own, given = model.state_dict(), start.state_dict()
    fit = sum(key in own and own[key].shape == one.shape for key, one in given.items())
    return f"starts from {display(settings.start)}: {fit} of its {len(given)} tensors fit"

"""Which device a model runs on."""

from __future__ import annotations

import torch

from ..core.errors import InputError


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        reason = reason if len(reason) <= 60 else f"{reason[:57]}..."
        raise InputError(f"device {name!r} cannot be used here ({reason}): use auto, cpu or cuda") from error
    return device

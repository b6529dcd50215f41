"""What it looks like when a device or the machine runs out of memory, and how to get some back. Imports no torch."""

from __future__ import annotations

import gc
import sys


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether a device or the machine ran out of memory, from an error or what caused it."""
    torch = sys.modules.get("torch")
    while error is not None:
        if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
            return True
        # torch has no class of its own for the CPU.
        if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
            return True
        error = error.__cause__
    return False


def release_memory() -> None:
    """Give back what nothing holds any more; call it where the error and its traceback are gone."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()

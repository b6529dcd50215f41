"""Embeddings of prompts from a file, for detectors whose text encoder is another model."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import InputError


def read_embeddings(path: Path, prompts: Sequence[str], width: int) -> npt.NDArray[np.float32]:
    """Return one embedding per prompt as (n, width) float32 of length 1.

    The file is a .safetensors with one float vector per prompt, named as the prompt is written: what the model's own
    ``get_text_pe([prompt])`` returns where its text encoder is. Tensors of other names are left aside.

    Args:
        path: the file.
        prompts: the names that are wanted, in order.
        width: numbers of a vector that the model reads.

    Raises:
        InputError: no such file, no safetensors file, a prompt that it lacks, or a vector of another width, not finite
            or zero.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"embeddings {path}: no such file; expected a .safetensors with one vector per prompt")
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            absent = next((prompt for prompt in prompts if prompt not in names), None)
            if absent is not None:
                raise _missing(path, absent, names)
            return np.stack([_unit(path, prompt, file.get_tensor(prompt), width) for prompt in prompts])
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a type that numpy does not have
        raise InputError(
            f"embeddings {path} are no safetensors file of plain floats ({error}): write it again"
        ) from error


def _missing(path: Path, prompt: str, names: Collection[str]) -> InputError:
    near = difflib.get_close_matches(prompt, names, n=1, cutoff=0.0)
    nearest = f", the nearest is {near[0]!r}" if near else ""
    return InputError(
        f"embeddings {path} have no vector for the prompt {prompt!r} among their {len(names)}{nearest}: "
        "add it under the prompt as it is written, or change the prompt"
    )


def _unit(path: Path, prompt: str, vector: npt.NDArray[Any], width: int) -> npt.NDArray[np.float32]:
    if vector.size != width or max(vector.shape, default=0) != width or vector.dtype.kind != "f":
        raise InputError(
            f"embeddings {path}: the vector of {prompt!r} has shape {vector.shape} and type {vector.dtype}, "
            f"this model reads {width} floats: embed the prompts with the text encoder of this model"
        )
    flat = vector.reshape(width).astype(np.float64)
    length = np.linalg.norm(flat)
    if not np.isfinite(length) or length == 0:
        raise InputError(f"embeddings {path}: the vector of {prompt!r} is zero or not finite: embed the prompt again")
    unit: npt.NDArray[np.float32] = (flat / length).astype(np.float32)
    return unit

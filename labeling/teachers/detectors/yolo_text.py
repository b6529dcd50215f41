"""Prompts for YOLO-World and YOLOE: their text encoders where those lie on this machine, and embeddings set."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ...core.errors import BackendError

_ENCODER_FILES = {"clip": "clip/ViT-B-32.pt", "mobileclip": "mobileclip_blt.ts", "mobileclip2": "mobileclip2_b.ts"}


def embed_prompts(model: Any, prompts: Sequence[str]) -> torch.Tensor:
    """Return (1, n, d) embeddings of prompts by the model's own text encoder, which is never fetched.

    Has not run with the published encoders.

    Raises:
        BackendError: its package or its file is not on this machine, or it failed.
    """
    kind = str(getattr(model, "text_model", "clip:")).partition(":")[0]
    file = _encoder_file(kind)
    # With its package installed, but no file, the library would reach for the network.
    if find_spec("clip") is not None and not file.is_file():
        raise _without_encoder("its file is not here", file)
    try:
        embeddings: torch.Tensor = model.get_text_pe(list(prompts))
    except Exception as error:  # the encoder is a package of its own, which raises whatever its parts raise
        first = (str(error).splitlines() or [""])[0]
        raise _without_encoder(f"{type(error).__name__}: {first}", file) from error
    return embeddings


def set_prompts(model: Any, prompts: Sequence[str], embeddings: torch.Tensor) -> None:
    """Make a model find what (1, n, d) embeddings stand for, one class each, in the order of the prompts.

    Raises:
        BackendError: a YOLOE whose vocabulary was baked in.
    """
    if not hasattr(model, "get_cls_pe"):
        model.txt_feats = embeddings
        model.model[-1].nc = len(prompts)
    elif hasattr(model.model[-1], "lrpc") or model.model[-1].is_fused:
        raise BackendError(
            "this YOLOE has its vocabulary baked in and reads no prompts: use the checkpoint for prompts (without -pf)"
        )
    else:
        model.set_classes(list(prompts), embeddings)


def _encoder_file(kind: str) -> Path:
    from ultralytics.utils import WEIGHTS_DIR

    return Path(WEIGHTS_DIR) / _ENCODER_FILES.get(kind, _ENCODER_FILES["clip"])


def _without_encoder(why: str, file: Path) -> BackendError:
    return BackendError(
        f"the text encoder of this open-vocabulary checkpoint could not be loaded ({why}): give the embeddings of the "
        f"prompts with --embeddings FILE, or install the package clip and put the encoder at {file}, or use --detector "
        "grounding-dino"
    )

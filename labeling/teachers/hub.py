"""Weights of the model hub: found in its cache on disk, or fetched into it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import MissingExtraError


def cached_snapshot(hub_id: str, needs: Sequence[str] = ("*.safetensors",)) -> Path | None:
    """Return the folder of the cache that holds the main revision of ``ORG/NAME``, or None.

    Reads the layout on disk instead of asking the hub's library, whose import would cost more than the look.

    Args:
        hub_id: of the model.
        needs: patterns of names; a file that matches one of them has to be there.
    """
    repository = _cache() / ("models--" + hub_id.replace("/", "--"))
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    snapshot = repository / "snapshots" / revision
    # An interrupted download leaves the revision behind without its weights.
    return snapshot if any(file.is_file() for pattern in needs for file in snapshot.glob(pattern)) else None


def _cache() -> Path:
    """Return the folder that the hub's own library and ``hf download`` use."""
    base = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    home = os.environ.get("HF_HOME", os.path.join(base, "huggingface"))
    return Path(os.path.expandvars(os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub")))).expanduser()


def fetch(hub_id: str) -> Path | None:
    """Download configuration and safetensors of ``ORG/NAME`` into the cache; None where that is not possible.

    Never tried where HF_HUB_OFFLINE is set.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return None
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface_hub", "teacher") from error
    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except Exception:  # no network, no such repository, no permission: the caller says what to do
        return None

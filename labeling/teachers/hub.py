"""Weights of the model hub: found in its cache on disk, or fetched into it."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import MissingExtraError


def cached_snapshot(hub_id: str) -> Path | None:
    """Return the folder of the cache that holds the main revision of ``ORG/NAME``, or None.

    Reads the layout on disk instead of asking the hub's library, whose import would cost more than the look.
    """
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    repository = cache / ("models--" + hub_id.replace("/", "--"))
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    snapshot = repository / "snapshots" / revision
    # An interrupted download leaves the revision behind without its weights.
    return snapshot if any(snapshot.glob("*.safetensors")) else None


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

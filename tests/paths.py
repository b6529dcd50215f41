"""Where tests find things: the repository, and the shared material beside it that only some machines have."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def shared(*parts: str) -> Path:
    """Return a path below the shared material, or skip the test with the reason that it is not there."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{Path('../shared', *parts)} is not on this machine")
    return path

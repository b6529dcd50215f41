"""Which Label Studio this machine has, where it is looked for, and whether it is Label Studio that answers there."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

DEFAULT_PORT = 8080
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
INSTALL = "make studio-env"

_LONGEST = 100_000


def program(root: Path) -> Path | None:
    """Return Label Studio's command: on the path, beside this python, or in an environment of its own in the tree.

    Args:
        root: the source tree.
    """
    found = shutil.which("label-studio")
    places = [Path(sys.executable).with_name("label-studio"), root / ".venv-studio" / "bin" / "label-studio"]
    return Path(found) if found else next((place for place in places if place.is_file()), None)


def is_label_studio(url: SplitResult, timeout: float) -> bool:
    """Say whether it is Label Studio that answers. Raises OSError or HTTPException where nothing does."""
    said = ask(url, "health", timeout)
    return isinstance(said, dict) and said.get("status") == "UP"


def ask(url: SplitResult, path: str, timeout: float) -> Any:
    """Return the JSON below an address, None where something else came. Raises OSError or HTTPException."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", f"{url.path.rstrip('/')}/{path}")
        answer = connection.getresponse()
        text = answer.read(_LONGEST)
    with contextlib.suppress(ValueError):
        return json.loads(text) if answer.status == 200 else None
    return None

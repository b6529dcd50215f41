"""FiftyOne with a database of the test session's own, in a temporary folder; set before FiftyOne is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def configured(folder: Path) -> Any:
    """Return the module ``fiftyone``, whose database, datasets and settings lie in the folder; skip without it."""
    settings = {
        "DATABASE_DIR": folder / "db",
        "DEFAULT_DATASET_DIR": folder / "datasets",
        "DATASET_ZOO_DIR": folder / "zoo",
        "MODEL_ZOO_DIR": folder / "models",
        "PLUGINS_DIR": folder / "plugins",
        "CONFIG_PATH": folder / "config.json",
        "DATABASE_VALIDATION": "false",
        "DO_NOT_TRACK": "true",
        "SHOW_PROGRESS_BARS": "false",
        "LOGGING_LEVEL": "WARNING",
    }
    os.environ.update({f"FIFTYONE_{name}": str(value) for name, value in settings.items()})
    fiftyone = pytest.importorskip("fiftyone", reason="FiftyOne is not installed: extra curate")
    fiftyone.list_datasets()  # starts mongod
    return fiftyone

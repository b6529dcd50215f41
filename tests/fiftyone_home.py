"""FiftyOne with a database of the test session's own, in a temporary folder; set before FiftyOne is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distill import mongod
from labeling.health_servers import INSTALL_MONGOD, mongod_program


@contextmanager
def configured(folder: Path) -> Iterator[Any]:
    """Yield the module ``fiftyone``, whose database, datasets and settings lie in the folder; skip without it.

    The mongod is started here: FiftyOne by itself would take any that runs, also that of a test beside this one.
    """
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
    program = mongod_program()
    if program is None:
        pytest.skip(f"mongod is not installed: {INSTALL_MONGOD}")
    with mongod.used(folder):
        fiftyone.config.database_uri = mongod.ensure(folder, program).uri
        fiftyone.list_datasets()
        yield fiftyone

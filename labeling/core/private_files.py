"""Small JSON files that only their owner may read, whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from .errors import InputError, StateError

Model = TypeVar("Model", bound=BaseModel)


def write_private(path: Path, data: Mapping[str, object]) -> None:
    """Replace a file by one of mode 0600; nobody else can read it at any moment. Raises InputError."""
    try:
        # mkstemp, which is behind it, makes the file with mode 0600.
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                json.dump(data, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file.name)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}: check the folder and its space") from error


def read_private(path: Path, model: type[Model], mend: str) -> Model | None:
    """Return what a file holds, None where there is none.

    Args:
        path: a file that ``write_private`` wrote.
        model: what it has to hold.
        mend: what to do about a file that is damaged, for the message.

    Raises:
        StateError: others may read the file, or it is damaged; no value of it is in the message.
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                mend = f"chmod 600 {shlex.quote(str(path))}"
                raise StateError(f"{path}: others may open it (mode {mode:o}), expected mode 600: {mend}")
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}: check whose file it is") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        # Of pydantic's message only the place: the rest would show values.
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        what = f"{place} is missing or wrong" if place else "is no JSON"
        raise StateError(f"{path}: is damaged ({what}): {mend}") from None

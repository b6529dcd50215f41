"""JSON label files: finding the one that is meant, and reading it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError


def the_json_file(path: Path, names: Sequence[str], what: str) -> Path:
    """Return the file itself, or the JSON file in a folder that is meant.

    Args:
        path: file or folder.
        names: taken first where the folder has one of them.
        what: for messages, such as "a COCO file".

    Raises:
        InputError: there is none, or several and none of the names.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"--in {path}: expected {what} or a folder with one, found nothing")
    for name in names:
        if (path / name).is_file():
            return path / name
    found = sorted({*path.glob("*.json"), *path.glob("annotations/*.json")})
    if len(found) == 1:
        return found[0]
    listed = f"{len(found)} JSON files: name one of them, such as {found[0].name}" if found else "no JSON file"
    raise InputError(f"--in {path}: expected {what}, found {listed}")


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. Raises InputError with the line."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, found byte 0x{error.object[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from error

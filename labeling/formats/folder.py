"""The folder that an export is written to: whole or not at all, and nobody else's files are touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..core.errors import InputError

OWN_FILES = ".labelstill-files"
"""Lists what an earlier export of several files wrote, so that --force removes that and nothing else."""

_STAGING = ".labelstill-partial"

_MARK = b"labelstill"
"""Stands in the first bytes of an export of one file, which needs no list."""

_MARK_WITHIN = 200


@contextmanager
def export_folder(out: Path, index: str, *, force: bool) -> Iterator[Path]:
    """Give a fresh folder to write into, and move what is in it to ``out`` when the block ends without an error.

    A new ``out`` appears by one rename. In a folder that exists already files are replaced one by one and ``index``
    comes last, so a reader that finds the index finds everything.

    Args:
        out: where the export shall lie; parents are made.
        index: the file that readers open first, relative to ``out``.
        force: allow a folder with something in it. Files of an earlier export that the new one does not have are
            removed; files that no export wrote stay, and one in the way of the new export ends it.

    Raises:
        InputError: ``out`` is a file, is not empty without ``force``, has files of others in the way, or cannot be
            written.
    """
    out = Path(os.path.abspath(out))
    try:
        staging = _staging_for(out, force)
        try:
            yield staging
            _publish(staging, out, index)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise InputError(
            f"--out {out}: cannot be written: {error.strerror or error}{where}; free the space or name another folder"
        ) from error


def _staging_for(out: Path, force: bool) -> Path:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; name a folder")
    if out.is_dir():
        held = [entry for entry in out.iterdir() if entry.name != _STAGING]
        if held and not force:
            raise InputError(
                f"--out {out}: is not empty ({held[0].name} and {len(held) - 1} more); "
                "name a new folder, or add --force to replace an earlier export"
            )
        staging = out / _STAGING
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = out.with_name(f".{out.name}{_STAGING}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    return staging


def _publish(staging: Path, out: Path, index: str) -> None:
    names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
    several = len(names) > 1
    if several:
        (staging / OWN_FILES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if staging.parent != out:
        staging.rename(out)
        return
    earlier = _own_files(out)
    _refuse_to_replace(out, [name for name in names if name not in earlier])
    if several:
        (out / index).unlink(missing_ok=True)
        # Both lists, so that a run that is killed here leaves nothing that a later one would not know as its own.
        (out / OWN_FILES).write_text("".join(f"{name}\n" for name in sorted({*earlier, *names})), encoding="utf-8")
        for name in earlier.difference(names):
            (out / name).unlink(missing_ok=True)
        names = [name for name in names if name != index] + [OWN_FILES, index]
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, out / name)


def _refuse_to_replace(out: Path, names: list[str]) -> None:
    """Raise InputError where a file that no export wrote has one of these names: it may be a photo."""
    theirs = [name for name in names if os.path.lexists(out / name) and not _is_marked(out / name)]
    if theirs:
        raise InputError(
            f"--out {out}: {theirs[0]} and {len(theirs) - 1} more there are no files of an earlier export and are not "
            "replaced: name another folder"
        )


def _is_marked(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK in file.read(_MARK_WITHIN)


def _own_files(out: Path) -> set[str]:
    try:
        listed = (out / OWN_FILES).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    root = out.resolve()
    return {
        name
        for name in listed
        if name and ".." not in PurePosixPath(name).parts and (root / name).parent.resolve().is_relative_to(root)
    }

"""Licences that a person has to accept before a model is used: which, who did, and when."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import RootModel

from ..core.errors import InputError
from ..core.private_files import read_private, write_private
from ..core.strict import StrictModel
from .catalogue import DETECTORS, SEGMENTERS, Backend
from .hub import cached_snapshot


class Acceptance(StrictModel):
    """That somebody accepted the licence of a model.

    Attributes:
        licence: its name at that time.
        when: ISO 8601, UTC.
        by: name of the user of this machine.
    """

    licence: str
    when: str
    by: str


class _Acceptances(RootModel[dict[str, Acceptance]]):
    pass


def licences_path() -> Path:
    """Return the file of all acceptances of this user: $XDG_CONFIG_HOME/labelstill/licences.json."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".config") / "labelstill" / "licences.json"


def accepted() -> Mapping[str, Acceptance]:
    """Return backend -> acceptance. Raises StateError where the file is damaged, InputError where it is unreadable."""
    found = read_private(licences_path(), _Acceptances, "remove it and accept the licences again")
    return {} if found is None else found.root


def accept(name: str) -> Acceptance:
    """Note that the user of this machine accepts the licence of a backend.

    Raises:
        InputError: no such backend, none whose licence has to be accepted, or the file cannot be written.
    """
    licence = licence_to_accept(name)
    made = Acceptance(licence=licence, when=datetime.now(UTC).isoformat(timespec="seconds"), by=_user())
    path = licences_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror}: check the folder above it") from error
    write_private(path, {key: value.model_dump() for key, value in {**accepted(), name: made}.items()})
    return made


def licence_to_accept(name: str) -> str:
    """Return the licence of a backend that has to be accepted. Raises InputError where there is none."""
    asking = {key: row.accept for table in (DETECTORS, SEGMENTERS) for key, row in table.items() if row.accept}
    if name not in asking:
        raise InputError(f"{name!r} needs no licence to be accepted; expected one of: {', '.join(asking)}")
    return asking[name]


def needs_acceptance(name: str, backend: Backend) -> bool:
    """Say whether the licence of a backend has to be accepted and was not; one of another name does not count."""
    if backend.accept is None:
        return False
    made = accepted().get(name)
    return made is None or made.licence != backend.accept


def where_to_read(backend: Backend) -> str:
    """Return in words where the text of a licence lies: a file where the weights are here, else the model card."""
    weights = backend.default_weights or ""
    folder = cached_snapshot(weights)
    files = sorted(folder.glob("LICENSE*")) if folder is not None else []
    return f"its text: {files[0]}" if files else f"its text: the file LICENSE and the model card of {weights}"


def require_accepted(name: str, backend: Backend) -> None:
    """Raise InputError where the licence of a backend has to be accepted first and was not."""
    if needs_acceptance(name, backend):
        raise InputError(
            f"{name} is under the {backend.accept}, which you have to read and accept first "
            f"({where_to_read(backend)}): labelstill teachers accept {name}"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())

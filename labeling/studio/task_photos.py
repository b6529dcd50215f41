"""The photo of a task that Label Studio asks about: from where labels.db knows it, or as Label Studio shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ..core.errors import InputError
from ..core.store import Store
from ..core.store_studio import StudioLedger, Target
from ..formats.labelstudio import IMAGE_CONTROL, KEY
from ..images import LoadedImage, decode, load
from . import replies

if TYPE_CHECKING:
    from .client import StudioClient

_PICTURES = ("/data/", "/tasks/", "/storage-data/")
"""Below these Label Studio hands out pictures; with our token it would hand out much else elsewhere."""


class TaskPhotos:
    """Photos by the ``data`` of their tasks. Methods belong to the thread of the store.

    A file is read only where labels.db names it and it holds the same bytes; an address, only on the same server.
    """

    def __init__(self, store: Store, client: StudioClient, target: Target, gate: Mapping[str, Any]) -> None:
        """Take an open labels.db, its server, its project there, and the settings of ``images.load``."""
        self._store = store
        self._client = client
        self._target = target
        self._gate = gate

    def load(self, data: Mapping[str, Any]) -> LoadedImage:
        """Return the photo of a task.

        Raises:
            InputError: the task names no picture of this server, or it cannot be read. ServerError: nor fetched.
        """
        address = self._address(data)
        sha256 = data.get(KEY)
        for path in self._files(sha256):
            with contextlib.suppress(InputError):
                loaded = load(path, **self._gate)
                if loaded.sha256 == sha256:
                    return loaded
        return decode(self._client.fetch(address), **self._gate)

    def is_blind(self, data: Mapping[str, Any]) -> bool:
        """Say whether people are to label the photo without help, so that the teacher can be measured."""
        sha256 = data.get(KEY)
        return isinstance(sha256, str) and StudioLedger(self._store).is_blind(self._target, _text(sha256))

    def _files(self, sha256: object) -> tuple[Path, ...]:
        return self._store.files_of(_text(sha256)) if isinstance(sha256, str) else ()

    def _address(self, data: Mapping[str, Any]) -> str:
        address = data.get(IMAGE_CONTROL)
        if not isinstance(address, str) or not address:
            raise InputError(f"expected the picture's address in data.{IMAGE_CONTROL} of the task, there is none")
        place = httpx.URL(f"{self._client.url}/")
        try:
            target = place.join(address)
            inside = target.path.startswith(place.path) or address.startswith("/")
            path = f"/{target.path.removeprefix(place.path).lstrip('/')}"
        except (httpx.InvalidURL, ValueError):
            raise InputError(f"data.{IMAGE_CONTROL}: {replies.shown(address)!r} is no address of a picture") from None
        same = (target.scheme, target.host, target.port) == (place.scheme, place.host, place.port)
        if not (same and inside and path.startswith(_PICTURES) and not target.userinfo):
            raise InputError(
                f"data.{IMAGE_CONTROL}: expected a picture that {self._client.url} hands out, got "
                f"{replies.shown(_without_query(address))!r}: upload it there"
            )
        return address


def _text(value: str) -> str:
    """Return what SQLite takes: half a surrogate pair is no text there, and no key of ours."""
    return value.encode("utf-8", "backslashreplace").decode()


def _without_query(address: str) -> str:
    """A signed address opens the picture for everybody."""
    return address.partition("?")[0]

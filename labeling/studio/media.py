"""Where Label Studio shows each picture: files in a folder that it serves, or uploads to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..core.errors import InputError, ServerError
from ..core.store import Store
from ..core.store_rows import to_json
from ..core.store_studio import Target
from ..project import Project
from .copies import Copies, Copy, Refused

if TYPE_CHECKING:
    from .client import StudioClient

MAX_UPLOAD_FILES = 100
MAX_UPLOAD_BYTES = 20_000_000
"""Of the pictures in one request; a larger one travels alone."""


class Media:
    """The pictures of one project, for one project of Label Studio. Methods belong to the thread of the store.

    A picture is copied, or uploaded, once; it is a function of the bytes of its photo.
    """

    def __init__(self, project: Project, store: Store, client: StudioClient, target: Target) -> None:
        self._copies = Copies(project, store)
        self._store = store
        self._client = client
        self._target = target
        self._sha256_of: dict[str, str] = {}

    def address(self, sha256: str) -> str:
        """Return the address of one image for ``data.image``; see ``addresses``.

        Raises:
            InputError: the photo is gone, holds another picture now, or cannot be read any more.
        """
        found, refused = self.addresses([sha256])
        if refused:
            raise InputError(refused[sha256])
        return found[sha256]

    def addresses(self, sha256s: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Hand over the pictures that Label Studio does not have yet, and return where it shows them.

        Returns:
            The address of each image by sha256; and the reason, for those whose photo is gone or another one now.
            Both in the order that was given.

        Raises:
            ServerError: an upload was refused, or nobody knows whether it arrived; a later call sends it again.
            StateError: a link stands in place of a folder of copies.
            InputError: a copy cannot be written.
        """
        wanted = list(dict.fromkeys(sha256s))
        found, refused = (self._upload if self._target.media == "upload" else self._serve)(wanted)
        self._sha256_of.update({address: sha256 for sha256, address in found.items()})
        return _ordered(wanted, found), _ordered(wanted, refused)

    def check(self, address: str) -> None:
        """Fetch one picture as the annotator's browser does, and compare it with its copy.

        Args:
            address: one that this object gave.

        Raises:
            ServerError: it cannot be fetched, or something else comes; the message says what to do.
            InputError: the photo is gone by now, and with it what to compare with.
        """
        expected = self._bytes(self._sha256_of[address])
        shown = f"{self._client.url}{address}"
        try:
            came = self._client.fetch(address)
        except ServerError as error:
            raise ServerError(f"people could not see the pictures ({error}): {self._advice()}") from error
        if came != expected:
            what = "a web page" if came.lstrip()[:1] == b"<" else f"another file of {len(came)} bytes"
            raise ServerError(f"{shown}: expected the picture, got {what}: {self._advice()}")

    def _advice(self) -> str:
        if self._target.media == "upload":
            return f"may this user open project {self._target.project_id} of {self._client.url}?"
        folder = self._copies.folder
        return (
            f"project {self._target.project_id} needs a local storage for {folder}, on a server that was started with "
            f"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.parent}; "
            "or send the pictures: labelstill push --upload"
        )

    def _bytes(self, sha256: str) -> bytes:
        local = self._target.media == "local"
        (copy,) = (self._copies.in_folder if local else self._copies.in_memory)([sha256])
        if isinstance(copy, Refused):
            raise InputError(copy.reason)
        return self._copies.path(copy).read_bytes() if local else copy.data

    # Files in the folder

    def _serve(self, sha256s: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        found, refused = {}, {}
        for copy in self._copies.in_folder(sha256s):
            if isinstance(copy, Refused):
                refused[copy.sha256] = copy.reason
            else:
                path = self._copies.path(copy).relative_to(self._copies.folder.parent)
                found[copy.sha256] = f"/data/local-files/?d={quote(path.as_posix())}"
        return found, refused

    # Uploads

    def _upload(self, sha256s: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        found, refused = self._uploaded(), {}
        group: list[Copy] = []
        for copy in self._copies.in_memory([sha256 for sha256 in sha256s if sha256 not in found]):
            if isinstance(copy, Refused):
                refused[copy.sha256] = copy.reason
                continue
            if group and (len(group) == MAX_UPLOAD_FILES or _size([*group, copy]) > MAX_UPLOAD_BYTES):
                found.update(self._send(group))
                group = []
            group.append(copy)
        if group:
            found.update(self._send(group))
        return found, refused

    def _send(self, group: Sequence[Copy]) -> Mapping[str, str]:
        files = [(copy.name, copy.data) for copy in group]
        addresses = self._client.upload_images(self._target.project_id, files)
        sent = {copy.sha256: address for copy, address in zip(group, addresses, strict=True)}
        # Remembered per request, so that a push that ends here does not send them a second time.
        self._store.remember(f"{self._key}{group[0].sha256}", to_json(sent))
        return sent

    def _uploaded(self) -> dict[str, str]:
        rows = self._store.rows("SELECT value FROM meta WHERE substr(key, 1, length(?1)) = ?1", self._key)
        return {sha256: address for (value,) in rows for sha256, address in json.loads(value).items()}

    @property
    def _key(self) -> str:
        return f"studio uploads {self._target.id} "


def _ordered(keys: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
    return {key: values[key] for key in keys if key in values}


def _size(group: Sequence[Copy]) -> int:
    return sum(len(copy.data) for copy in group)

"""Pictures that Label Studio holds: uploaded, and fetched as the browser of an annotator gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import httpx

from ..core.errors import ServerError
from . import replies
from .replies import InDoubt
from .shapes import Shape, has, rows
from .wire import Wire

FILES_AT_ONCE = 50
BYTES_AT_ONCE = 20_000_000
_REDIRECTS = 5

_UPLOADED = Shape("the ids of the new files", has("file_upload_ids"))
_FILES = Shape("a list of files", rows("id", "file"))


def upload(wire: Wire, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
    """Return the addresses of uploaded files in their order. Raises InDoubt, ServerError."""
    return [address for batch in _batches(files) for address in _upload(wire, project_id, batch)]


def _upload(wire: Wire, project_id: int, files: Sequence[tuple[str, bytes]]) -> Iterator[str]:
    path = f"/api/projects/{project_id}/import"
    # Of several files in one field the server would see the last one only.
    fields = [(f"file-{number}", file) for number, file in enumerate(files)]
    said = wire.json("POST", path, _UPLOADED, params={"commit_to_project": "false"}, files=fields)
    ids = said["file_upload_ids"]
    params = {"ids": json.dumps(ids)}
    stored = wire.json("GET", f"/api/projects/{project_id}/file-uploads", _FILES, params=params)
    places = {row["id"]: row["file"] for row in stored}
    if len(ids) != len(files) or not places.keys() >= set(ids):
        raise InDoubt(f"{wire.url}{path}: expected {len(files)} new files, got {len(places)}: upload them again")
    yield from (f"/data/{places[number]}" for number in ids)


def _batches(files: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Cut into requests that the server takes: it refuses more than 100 files at once."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for file in files:
        if batch and (len(batch) == FILES_AT_ONCE or size + len(file[1]) > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += len(file[1])
    if batch:
        yield batch


def fetch(wire: Wire, address: str, max_bytes: int) -> bytes:
    """Return a picture that this server holds itself. Raises ServerError."""
    place = httpx.URL(wire.url)
    if address.startswith("/") and not (place.path != "/" and address.startswith(f"{place.path}/")):
        address = f"{wire.url}{address}"
    target = _joined(place, address)
    for _ in range(_REDIRECTS):
        if (target.scheme, target.host, target.port) != (place.scheme, place.host, place.port):
            where = replies.shown(f"{target.scheme}://{target.host}")
            raise ServerError(f"{where}: expected a picture of {wire.url}, not of another server")
        reply = wire.get(str(target), max_bytes)
        if reply.status_code == 404:
            raise ServerError(
                f"{replies.shown(str(target))}: {wire.url} does not hand out this picture (404): check that the "
                "project has a storage for its folder, and that the file is there"
            )
        if not reply.is_redirect:
            if replies.is_page(reply):
                raise replies.page(wire.url, reply)
            return reply.content
        target = _joined(target, reply.headers.get("location", ""))
    raise ServerError(f"{wire.url}: sends from one address to the next without an end: see its log")


def _joined(base: httpx.URL, address: str) -> httpx.URL:
    try:
        return base.join(address)
    except (httpx.InvalidURL, ValueError):
        raise ServerError(f"{base}: {replies.shown(address)} is no address of a picture") from None

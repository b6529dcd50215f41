"""What a reply of a server, or its failing, means: one sentence with the address and what to do next."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..core.errors import ServerError

_LONGEST_DETAIL = 300
_CORRECT = "correct LABEL_STUDIO_URL"


class InDoubt(ServerError):
    """A request that writes may or may not have been carried out."""


class TooLong(ServerError):
    """The address of a request was too long for the server or for a proxy before it."""


def unreachable(url: str, error: httpx.RequestError, timeout_s: float) -> ServerError:
    """Return why no reply came, in a sentence."""
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return ServerError(f"{url}: there is no host {urlsplit(url).hostname}: {_CORRECT}")
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = shown(getattr(cause, "verify_message", str(cause)))
            return ServerError(
                f"{url}: its certificate is not trusted ({reason}): use the address that stands in it, "
                "or name the file of your authority in SSL_CERT_FILE"
            )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return ServerError(f"{url}: no TLS connection can be made: {_CORRECT}; a server without TLS has http://")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return ServerError(f"{url}: nothing listens there: start Label Studio (labelstill studio up), or {_CORRECT}")
    if isinstance(error, httpx.TimeoutException):
        return ServerError(f"{url}: no answer within {timeout_s:g} s: see whether the server is busy, and try again")
    if isinstance(error, httpx.ConnectError):
        return ServerError(f"{url}: cannot be reached ({shown(str(error))}): start Label Studio, or {_CORRECT}")
    return ServerError(f"{url}: the connection broke ({shown(str(error))}): see whether the server runs, and try again")


def is_final(error: httpx.RequestError) -> bool:
    """Say whether the next attempt would fail like this one."""
    return isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError) or any(
        isinstance(cause, ssl.SSLError) for cause in _causes(error)
    )


def refused(url: str, reply: httpx.Response) -> ServerError:
    """Return what a reply other than 2xx and 401 means."""
    status, where = reply.status_code, f"{url}{_path(url, reply)}"
    if reply.is_redirect:
        target = urlsplit(str(reply.url.join(reply.headers.get("location", ""))))
        return ServerError(
            f"{where}: sends on to {target.scheme}://{target.netloc.rpartition('@')[2]}: "
            "set LABEL_STUDIO_URL to the address where Label Studio itself answers"
        )
    if status in (414, 431):
        return TooLong(f"{where}: the address of the request is too long for the server ({status})")
    if status == 413:
        return ServerError(
            f"{where}: {reply.request.headers.get('content-length', '?')} bytes are too many (413): "
            "raise the limit of the proxy before Label Studio"
        )
    if status == 429:
        wait = wait_s(reply, time.time())
        when = "later" if wait is None else f"in {wait:.0f} s"
        return ServerError(f"{where}: the server has had too many requests (429): try again {when}")
    if status == 403:
        return ServerError(f"{where}: the owner of the token may not do this (403{_detail(reply)}): use another token")
    if status == 404:
        gone = "it was deleted, or the owner of the token may not see it"
        gone = f"{_CORRECT}, which may lack a sub-path, unless {gone}" if is_page(reply) else gone
        return ServerError(f"{where}: is not there (404{_detail(reply)}): {gone}")
    if status >= 500:
        return ServerError(f"{where}: the server failed ({status}{_detail(reply)}): see its log")
    return ServerError(f"{where}: the server refused it ({status}{_detail(reply)})")


def page(url: str, reply: httpx.Response) -> ServerError:
    """Return what a page for people means where data was expected."""
    where = f"{url}{_path(url, reply)}"
    return ServerError(
        f"{where}: expected JSON, got a web page ({reply.status_code}): check that LABEL_STUDIO_URL is the address of "
        "Label Studio with its sub-path, and that no login page of a proxy stands before it"
    )


def other_shape(url: str, reply: httpx.Response | str, expected: str) -> ServerError:
    """Return what JSON of another shape means."""
    where = reply if isinstance(reply, str) else _path(url, reply)
    return ServerError(
        f"{url}{where}: expected {expected}, got something else: check that LABEL_STUDIO_URL is the address of a "
        "Label Studio, and its version with labelstill doctor"
    )


def is_page(reply: httpx.Response) -> bool:
    """Say whether a reply is a page for people."""
    return "html" in reply.headers.get("content-type", "").lower()


def detail(reply: httpx.Response) -> str:
    """Return what the server says about an error, in one printable line, empty where it says nothing."""
    try:
        said = reply.json()
    except ValueError:
        return ""
    if not isinstance(said, dict):
        return ""
    errors = said.get("validation_errors")
    return shown("; ".join(_texts(errors)) if errors else str(said.get("detail") or ""))


def shown(text: str) -> str:
    """Return a foreign text in one line, without what a terminal would obey."""
    line = "".join(c if c.isprintable() else " " for c in text).strip()
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}…"


def wait_s(reply: httpx.Response, now: float) -> float | None:
    """Return how long the server asks to wait, None where it does not say so.

    Args:
        reply: its Retry-After holds seconds or a date, which is compared with the server's own Date where it has one.
        now: seconds since 1970, for a server that has none.
    """
    asked = reply.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked[:9])
    until, since = (_seconds(text) for text in (asked, reply.headers.get("date", "")))
    return None if until is None else max(0.0, until - (now if since is None else since))


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _path(url: str, reply: httpx.Response) -> str:
    """Return the path below the server's address; what is asked for behind it may be long."""
    return str(reply.request.url.copy_with(query=None)).removeprefix(url)


def _detail(reply: httpx.Response) -> str:
    said = detail(reply)
    return f": {said}" if said else ""


def _texts(errors: Any) -> Iterator[str]:
    """Return every text of an error that may be a list, a mapping of field names to lists, and so on."""
    if isinstance(errors, dict):
        for name, value in errors.items():
            for text in _texts(value):
                yield text if name == "non_field_errors" else f"{name}: {text}"
    elif isinstance(errors, list):
        for value in errors:
            yield from _texts(value)
    else:
        yield str(errors)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

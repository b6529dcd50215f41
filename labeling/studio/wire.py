"""One request to Label Studio: sent, repeated where that does no harm, and judged."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..core.errors import InputError, ServerError
from . import failures, replies
from .auth import NotExchanged, authorisation, hide
from .failures import Failure
from .replies import InDoubt
from .shapes import Shape

_CONNECT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0
_ENCODING = ("content-encoding", "content-length", "transfer-encoding")
_SETTING = "LABEL_STUDIO_URL"
_SENT_ON = (301, 302, 303, 307, 308)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Files = Sequence[tuple[str, tuple[str, bytes]]]


class Wire:
    """Sends requests to one server and to no other.

    Reading is repeated on connections that fail or break, on 408, 429, 502, 503 and 504, and so is what may be written
    twice (PATCH, DELETE). What may be written only once is repeated where the server says that it did not carry it out
    (429) and where access could not be bought, so that nothing was sent.

    Args:
        url: http or https, a host, maybe a sub-path.
        token: of either kind.
        transport: sends for httpx; the network by default.
        timeout_s: waiting for one reply, or for the next piece of its body.
        patience_s: repeating one request, and receiving one body; at least one attempt is made.
        clock: seconds that only grow.
        sleep: waits for seconds.

    Raises:
        InputError: the address or the token is none.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None,
        timeout_s: float,
        patience_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self.url = _address(url)
        self._auth = authorisation(self.url, token, clock)
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._clock, self._sleep = clock, sleep
        self._met = False
        self.date: str | None = None
        """What the server's clock said with its last reply, as the header ``Date`` has it."""
        self._http = httpx.Client(
            transport=transport,
            # With its session cookie the server would take us for a browser.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"User-Agent": "labelstill", "Accept": "application/json, */*;q=0.5"},
            # A proxy of the environment does not know this machine's own addresses.
            trust_env=urlsplit(self.url).hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(
        self,
        method: str,
        path: str,
        shape: Shape,
        *,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        files: Files | None = None,
        repeat: bool | None = None,
        absent: bool = False,
        open_to_all: bool = False,
    ) -> Any:
        """Return the JSON of a reply.

        Args:
            method: GET, POST, PATCH or DELETE.
            path: below the server's address.
            shape: what the JSON has to be.
            params: of the query.
            body: sent as JSON.
            files: sent as a form: (field, (name, content)) each.
            repeat: it may be carried out twice; by default everything but POST may.
            absent: return None for 404 and 204.
            open_to_all: the token is not needed and not sent.

        Raises:
            ServerError: the server cannot be reached, or refuses.
            InDoubt: it writes, and may or may not have been carried out.
            InputError: the body is no JSON, which knows neither NaN nor half a surrogate pair.
        """
        writes = method != "GET"
        repeat = method != "POST" if repeat is None else repeat
        content, headers = (None, {}) if body is None else (encoded(body), {"Content-Type": "application/json"})
        reply = self._send(
            method,
            f"{self.url}{path}",
            repeat=repeat,
            passes=(404,) if absent else (),
            auth=None if open_to_all else self._auth,
            params=params,
            content=content,
            files=files,
            headers=headers,
        )
        if reply.status_code == 404 and replies.is_page(reply):
            raise replies.refused(self.url, reply)  # nothing of Label Studio's has answered
        if absent and reply.status_code in (404, 204):
            return None
        with suppress(ValueError):
            value = _value(reply)
            if shape.holds(value):
                return value
        wrong = replies.page(self.url, reply) if replies.is_page(reply) else None
        wrong = wrong or replies.other_shape(self.url, reply, shape.name)
        raise _in_doubt(wrong) if writes else wrong

    def get(self, url: str, max_bytes: int) -> httpx.Response:
        """Return a reply that is no JSON: a file, 404, or one that sends on to another address. Raises ServerError."""
        return self._send("GET", url, repeat=True, passes=(*_SENT_ON, 404), max_bytes=max_bytes, auth=self._auth)

    def wait(self, seconds: float) -> None:
        """Wait between two questions about work in the background."""
        self._sleep(seconds)

    def _send(
        self,
        method: str,
        url: str,
        *,
        repeat: bool,
        passes: Sequence[int],
        auth: httpx.Auth | None,
        max_bytes: int | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Return a reply with its body read, whose status is 2xx or ``passes``. Errors as above."""
        began, attempt, doubt = self._clock(), 0, False
        while True:
            left_s = max(1.0, began + self._patience_s - self._clock())
            timeout_s = min(self._timeout_s, left_s) if attempt and repeat else self._timeout_s
            result = self._attempt(self._http.build_request(method, url, **request), auth, timeout_s, max_bytes)
            if isinstance(result, httpx.Response):
                if result.is_success or result.status_code in passes:
                    return result
                result = failures.reply(self.url, result, auth)
            doubt = doubt or (result.sent and method != "GET")
            pause_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0)
            pause_s = max(pause_s, result.wait_s)
            again = result.again and (repeat or result.harmless)
            if not again or self._clock() + pause_s > began + self._patience_s:
                error = type(result.error)(hide(str(result.error), self._auth))
                raise _in_doubt(error) if doubt and (result.again or result.sent) else error
            self._sleep(pause_s)
            attempt += 1

    def _attempt(
        self, request: httpx.Request, auth: httpx.Auth | None, timeout_s: float, max_bytes: int | None
    ) -> httpx.Response | Failure:
        request.extensions["timeout"] = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)).as_dict()
        try:
            with closing(self._http.send(request, auth=auth, stream=True)) as reply:
                self._met = True
                self.date = reply.headers.get("date", self.date)
                return self._read(reply, max_bytes)
        except NotExchanged as error:
            self._met = True
            return failures.no_access(self.url, error.reply, self._auth)
        except httpx.RequestError as error:
            failure = failures.no_reply(self.url, request, error, timeout_s, met=self._met)
            self._met = self._met or failure.sent
            return failure

    def _read(self, reply: httpx.Response, max_bytes: int | None) -> httpx.Response:
        """Return a reply with its body read; a server that sends it drop by drop is cut off."""
        began, pieces, size = self._clock(), [], 0
        for piece in reply.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if max_bytes is not None and size > max_bytes:
                where = reply.url.copy_with(query=None)
                raise ServerError(f"{where}: has more than {max_bytes:,} bytes: expected a smaller file")
            if self._clock() - began > self._patience_s:
                raise httpx.ReadTimeout("the body did not end", request=reply.request)
        # The pieces are decoded already, and a response would decode its content once more.
        headers = [(name, value) for name, value in reply.headers.multi_items() if name not in _ENCODING]
        return httpx.Response(reply.status_code, headers=headers, content=b"".join(pieces), request=reply.request)


def _value(reply: httpx.Response) -> Any:
    """Return the JSON of a reply; half a surrogate pair, which nothing here could store, becomes a question mark."""
    value = reply.json()
    if _SURROGATE.search(reply.content):
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _in_doubt(error: ServerError) -> InDoubt:
    return InDoubt(f"{error} (it may or may not have been carried out)")


def encoded(body: object) -> bytes:
    """Return compact JSON, as every request carries it; bytes are JSON already. Raises InputError."""
    if isinstance(body, bytes):
        return body
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise InputError(f"what is sent to Label Studio has to be JSON in UTF-8: {replies.shown(str(error))}") from None


def _address(url: str) -> str:
    """Return an address without a slash at its end. Raises InputError, without the password that may stand in it."""
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and not (parts.query or parts.fragment) and httpx.URL(url.strip()).host != ""
    except (ValueError, httpx.InvalidURL):
        good = False
    if not good:
        raise InputError(f"{_SETTING} is no address: expected http://HOST:PORT or https://HOST/PATH, without ? and #")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"{_SETTING} holds a login: leave it out, the token is enough")
    return url.strip().rstrip("/")

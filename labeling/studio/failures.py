"""What an attempt that came to nothing means: may it be repeated, and may the server have acted on it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from ..core.errors import ServerError
from . import replies
from .auth import is_exchange, refusal

BUSY = frozenset({408, 502, 503, 504})
"""Nobody knows whether the request was carried out; it may be the other time."""

LATER = 429
"""The request was not carried out; it may be later."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that came to nothing.

    Attributes:
        error: what to say about it.
        again: another attempt may help.
        sent: the server may have carried it out.
        harmless: the server has surely not carried it out, and may do so later.
        wait_s: so long the server asks to wait.
    """

    error: ServerError
    again: bool = False
    sent: bool = False
    harmless: bool = False
    wait_s: float = 0.0


def no_reply(url: str, request: httpx.Request, error: httpx.RequestError, timeout_s: float, *, met: bool) -> Failure:
    """Judge a request that got no reply.

    Args:
        url: of the server.
        request: the one that was meant; ``error`` may be about the exchange of the token before it.
        error: what httpx says.
        timeout_s: so long was waited.
        met: the server has answered something before. Where nothing ever answered, the address is wrong or the server
            is down, and waiting for a connection helps nobody.
    """
    text, final = replies.unreachable(url, error, timeout_s), replies.is_final(error)
    if is_exchange(error.request) and not is_exchange(request):
        return Failure(text, again=met and not final, harmless=True)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Failure(text, again=met and not final)
    return Failure(text, again=not final, sent=not final)


def reply(url: str, response: httpx.Response, auth: httpx.Auth | None) -> Failure:
    """Judge a reply that is no success."""
    status, error = response.status_code, replies.refused(url, response)
    if status == 401 and auth is not None:
        return Failure(refusal(url, auth, exchanged=True, detail=replies.detail(response)))
    if status == LATER:
        return Failure(error, again=True, harmless=True, wait_s=_wait_s(response))
    if status in BUSY:
        return Failure(error, again=True, sent=True, wait_s=_wait_s(response))
    return Failure(error, sent=status >= 500)


def no_access(url: str, response: httpx.Response, auth: httpx.Auth) -> Failure:
    """Judge a reply to the exchange of the token, which says that the request that wanted access was not sent."""
    status = response.status_code
    if status in (400, 401, 403):
        return Failure(refusal(url, auth, exchanged=False, detail=replies.detail(response)))
    if response.is_success and replies.is_page(response):
        return Failure(replies.page(url, response))
    if response.is_success:
        return Failure(replies.other_shape(url, response, "an access token"))
    again = status in BUSY or status == LATER
    return Failure(replies.refused(url, response), again=again, harmless=True, wait_s=_wait_s(response))


def _wait_s(response: httpx.Response) -> float:
    return replies.wait_s(response, time.time()) or 0.0

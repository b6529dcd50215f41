"""How a token opens Label Studio: a personal one buys access for minutes, a legacy one goes along as it is."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Generator
from typing import Any

import httpx

from ..core.errors import InputError, ServerError

WHERE_TOKENS_ARE = "create a personal access token under Account & Settings and set LABEL_STUDIO_API_KEY to it"

_REFRESH = "/api/token/refresh/"
_TELLS = 8
"""So many characters at its begin tell a token."""

_EARLY_S = 30.0
_EARLY_SHARE = 0.2
_LIFE_S = 240.0


class NotExchanged(Exception):
    """The server has not given access, so that the request that wanted it was not sent.

    Attributes:
        reply: what came instead, read.
    """

    def __init__(self, reply: httpx.Response) -> None:
        super().__init__("not exchanged")
        self.reply = reply


class LegacyToken(httpx.Auth):
    """40 hexadecimal digits that never change."""

    def __init__(self, token: str) -> None:
        self.secrets = {token}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the token along."""
        (token,) = self.secrets
        request.headers["Authorization"] = f"Token {token}"
        yield request


class PersonalToken(httpx.Auth):
    """A token that is exchanged for access, ahead of its end and once more when the server refuses it.

    Args:
        url: of the server.
        token: the personal access token.
        clock: seconds that only grow. The life of an access token is told by its own two times, not by the time of
            this machine, which may be another one than the server's.
    """

    def __init__(self, url: str, token: str, clock: Callable[[], float]) -> None:
        self._exchange_url = f"{url}{_REFRESH}"
        self._token = token
        self._clock = clock
        self.secrets = {token}
        self._access = ""
        self._good_until = float("-inf")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send access along. A refused request was not carried out and is sent a second time, never a third.

        Raises:
            NotExchanged: the server gives no access.
        """
        if self._clock() >= self._good_until:
            yield from self._exchange()
        request.headers["Authorization"] = f"Bearer {self._access}"
        reply = yield request
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            yield from self._exchange()
            request.headers["Authorization"] = f"Bearer {self._access}"
            yield request

    def _exchange(self) -> Generator[httpx.Request, httpx.Response, None]:
        reply = yield httpx.Request("POST", self._exchange_url, json={"refresh": self._token})
        reply.read()
        access = _access(reply)
        if access is None:
            raise NotExchanged(reply)
        life_s = _life_s(access)
        self._access = access
        self.secrets = {self._token, access}
        self._good_until = self._clock() + life_s - min(_EARLY_S, _EARLY_SHARE * life_s)


def is_exchange(request: httpx.Request) -> bool:
    """Say whether a request only buys access for another one."""
    return request.method == "POST" and request.url.path.endswith(_REFRESH)


def authorisation(url: str, token: str, clock: Callable[[], float]) -> LegacyToken | PersonalToken:
    """Return what opens the server for a token of either kind.

    Raises:
        InputError: it is neither; the token is not in the message.
    """
    token = token.strip()
    if re.fullmatch(r"[0-9a-fA-F]{40}", token):
        return LegacyToken(token)
    claims = _claims(token)
    if claims is None:
        raise InputError(
            f"the token for {url} has {len(token)} characters: expected a personal access token (three parts with "
            f"dots between them) or a legacy token (40 hexadecimal digits): {WHERE_TOKENS_ARE}"
        )
    kind = claims.get("token_type")
    if kind != "refresh":
        what = "an access token, which lives for minutes" if kind == "access" else "no token of Label Studio"
        raise InputError(f"the token for {url} is {what}: {WHERE_TOKENS_ARE}")
    return PersonalToken(url, token, clock)


def hide(text: str, auth: LegacyToken | PersonalToken) -> str:
    """Return a text of a server without the token, which it may repeat."""
    for secret in auth.secrets:
        # What a server says at length was cut off before, maybe amid the token.
        text = re.sub(rf"{re.escape(secret[:_TELLS])}[\w.-]*", "[token]", text)
    return text


def refusal(url: str, auth: httpx.Auth, *, exchanged: bool, detail: str) -> ServerError:
    """Return what a final 401 means.

    Args:
        url: of the server.
        auth: what was sent along.
        exchanged: a personal token had been taken before.
        detail: what the server says.
    """
    if isinstance(auth, LegacyToken):
        if "legacy" in detail.lower():
            return ServerError(f"{url}: this server has legacy tokens off: {WHERE_TOKENS_ARE}")
        return ServerError(f"{url}: does not know this legacy token: {WHERE_TOKENS_ARE}")
    if exchanged:
        return ServerError(
            f"{url}: takes the personal access token, then refuses the access that it gave for it: "
            "check that no proxy in between removes the Authorization header"
        )
    return ServerError(f"{url}: the personal access token is revoked, expired or of another server: {WHERE_TOKENS_ARE}")


def _access(reply: httpx.Response) -> str | None:
    try:
        access = reply.json()["access"] if reply.status_code == httpx.codes.OK else None
    except (ValueError, KeyError, TypeError):
        return None
    return access if isinstance(access, str) and access.isascii() and access.isprintable() else None


def _claims(token: str) -> dict[str, Any] | None:
    """Return what a JWT says of itself, None where it is none. Nothing is verified: that is the server's part."""
    parts = token.split(".")
    if len(parts) != 3 or not re.fullmatch(r"[\w.-]+", token, re.ASCII):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _life_s(access: str) -> float:
    claims = _claims(access) or {}
    begins, ends = claims.get("iat"), claims.get("exp")
    if isinstance(begins, int | float) and isinstance(ends, int | float):
        return ends - begins
    return _LIFE_S

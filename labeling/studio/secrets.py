"""What opens a Label Studio: the secrets of the project's own server, or the two variables that name another one."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import Field

from ..core.errors import InputError, StateError
from ..core.private_files import read_private, write_private
from ..core.strict import StrictModel
from ..project import Project
from .folder import secrets_path
from .server import running

EMAIL = "labelstill@localhost"
URL_VARIABLE = "LABEL_STUDIO_URL"
TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"


class Secrets(StrictModel):
    """What studio/secrets.json holds; password, token and key are in no repr.

    Attributes:
        url: where the server was when it started last; empty before its first start is finished.
        email: the login.
        password: of that login.
        token: personal access token; empty before the first start is finished.
        secret_key: signs sessions and tokens of the server.
    """

    url: str = ""
    email: str
    password: str = Field(repr=False, min_length=1)
    token: str = Field(default="", repr=False)
    secret_key: str = Field(repr=False, min_length=1)

    @classmethod
    def new(cls) -> Secrets:
        """Return random secrets for a server that was never started."""
        return cls(email=EMAIL, password=secrets.token_urlsafe(15), secret_key=secrets.token_urlsafe(48))

    @classmethod
    def read(cls, project: Project) -> Secrets | None:
        """Return the secrets of a project, None where it has none.

        Raises:
            StateError: others may read the file, or it is damaged.
            InputError: it cannot be read.
        """
        mend = "put it back, or remove it and run labelstill studio up, which makes new ones"
        return read_private(secrets_path(project), cls, mend)

    def write(self, project: Project) -> None:
        """Replace studio/secrets.json, which only its owner can read at any moment. Raises InputError."""
        write_private(secrets_path(project), self.model_dump())

    @property
    def port(self) -> int | None:
        """Where the server listened the last time: the links that people keep name it."""
        return urlsplit(self.url).port

    def environment(self) -> Mapping[str, str]:
        """Return what the server has to know of them."""
        return {
            "LABEL_STUDIO_USERNAME": self.email,
            "LABEL_STUDIO_PASSWORD": self.password,
            "SECRET_KEY": self.secret_key,
        }


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a Label Studio.

    Attributes:
        url: without a slash at its end.
        token: personal access token, or a legacy one of another server.
        local: it is the project's own server.
    """

    url: str
    token: str = field(repr=False)
    local: bool


def named_server() -> tuple[str, str] | None:
    """Return address and token that the environment names, None where it names neither.

    Raises:
        InputError: one of the two is missing, or the address is none or holds a login.
    """
    url, token = (os.environ.get(name, "").strip() for name in (URL_VARIABLE, TOKEN_VARIABLE))
    if not url and not token:
        return None
    if not url or not token:
        there, missing = (TOKEN_VARIABLE, URL_VARIABLE) if token else (URL_VARIABLE, TOKEN_VARIABLE)
        raise InputError(f"{there} is set and {missing} is not: set both, or neither to use labelstill studio up")
    if not _is_address(url):
        raise InputError(f"{URL_VARIABLE} is no address: expected http://HOST:PORT or https://HOST/PATH")
    if "@" in urlsplit(url).netloc:
        raise InputError(f"{URL_VARIABLE} holds a login: leave it out, the token is enough")
    return url.rstrip("/"), token


def connection(project: Project) -> Connection:
    """Return the server that the environment names, else the project's own one.

    Raises:
        InputError: of the two variables one is missing, or the address is none.
        StateError: no server is known, or the project's own one does not run.
    """
    if named := named_server():
        return Connection(*named, local=False)
    known = Secrets.read(project)
    up = f"labelstill studio up --project {shlex.quote(str(project.root))}"
    if known is None:
        raise StateError(f"no Label Studio is known: {up}, or set {URL_VARIABLE} and {TOKEN_VARIABLE}")
    server = running(project)
    if server is None:
        raise StateError(f"{project.root}: its Label Studio does not run: {up}")
    if not known.token:
        raise StateError(f"{project.root}: the start of its Label Studio was not finished: {up}")
    return Connection(server.url, known.token, local=True)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False

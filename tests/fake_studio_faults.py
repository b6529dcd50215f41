"""What can go wrong between a client and the fake Label Studio: a script of faults, each for one request or for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fake_studio import FakeStudio

LOGIN_PAGE = '<!doctype html>\n<html lang="en"><head><title>Label Studio</title></head><body>Log in</body></html>'


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        method: of the requests that count.
        path: pattern that their path has to hold; the query string counts as part of it.
        nth: which one of them is hit, from 1; 0 hits every one.
        status: answered instead of the true status; 0 answers nothing at all.
        body: answered instead of the true body.
        headers: added to the answer.
        commits: the request is carried out first.
        commits_after: it is carried out so many requests later instead.
        cut: the connection is cut "before" the answer or "inside" its body; "down" also takes the server down.
        stall: the second half of the body comes once this returns.
        act: called before anything else.
    """

    method: str
    path: str
    nth: int = 1
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    commits: bool = True
    commits_after: int = 0
    cut: str = ""
    stall: Callable[[], object] | None = None
    act: Callable[[FakeStudio], object] | None = None
    seen: int = 0

    def hits(self, method: str, target: str) -> bool:
        """Count a request; say whether it is the one."""
        if method != self.method or not re.search(self.path, target):
            return False
        self.seen += 1
        return self.nth in (0, self.seen)


def refused(method: str, path: str, status: int, nth: int = 1, **headers: str) -> Fault:
    """Answer with a status, and carry nothing out: 429 or 503 with ``Retry_After="2"``, 500, 401 and so on."""
    detail = '{"detail": "refused by the script"}'
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(method, path, nth, status=status, body=detail, headers=named, commits=False)


def lost_answer(method: str, path: str, nth: int = 1, status: int = 504) -> Fault:
    """Carry it out; a proxy has given up meanwhile."""
    return Fault(method, path, nth, status=status, body="<html><h1>504 Gateway Time-out</h1></html>")


def late(method: str, path: str, after: int, nth: int = 1) -> Fault:
    """Answer 504 now, and carry it out when so many more requests have come."""
    return Fault(method, path, nth, status=504, body="<html>504</html>", commits=False, commits_after=after)


def cut_before(method: str, path: str, nth: int = 1) -> Fault:
    """Drop the connection without carrying anything out."""
    return Fault(method, path, nth, commits=False, cut="before")


def cut_after(method: str, path: str, nth: int = 1) -> Fault:
    """Carry it out and drop the connection."""
    return Fault(method, path, nth, cut="before")


def cut_body(method: str, path: str, nth: int = 1) -> Fault:
    """Carry it out and drop the connection in the middle of the answer."""
    return Fault(method, path, nth, cut="inside")


def killed(method: str, path: str, nth: int = 1) -> Fault:
    """Carry it out, drop the connection and refuse all others until ``revive``."""
    return Fault(method, path, nth, cut="down")


def login_page(method: str, path: str, nth: int = 1) -> Fault:
    """Answer 200 with a page for people, as a proxy that wants a login does."""
    headers = {"Content-Type": "text/html; charset=utf-8"}
    return Fault(method, path, nth, status=200, body=LOGIN_PAGE, headers=headers, commits=False)


def slow_body(method: str, path: str, until: Callable[[], object], nth: int = 1) -> Fault:
    """Carry it out; the second half of the answer waits until ``until`` returns."""
    return Fault(method, path, nth, stall=until)


def meanwhile(method: str, path: str, act: Callable[[FakeStudio], object], nth: int = 1) -> Fault:
    """Let somebody else do something just before this request, such as deleting tasks between two pages."""
    return Fault(method, path, nth, act=act)

"""The app of FiftyOne in a browser: on a free port of this machine alone, open until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from labeling.core.errors import InputError, ServerError
from labeling.image_files import display

from .mongod_keeper import end, end_with_parent

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 5151

_PORTS_TRIED = 100
_STARTS = 3
_STARTS_WITHIN_S = 120.0
_POLL_S = 0.2
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class App:
    """An app that runs; ``url`` opens the dataset, ``server`` is the process that serves it."""

    url: str
    port: int
    server: subprocess.Popen[bytes]

    def wait(self, alive: Callable[[], None] = lambda: None) -> NoReturn:
        """Wait until Ctrl-C, which is the caller's to catch, or until something is wrong.

        Args:
            alive: called once a second; raises what ends the wait.

        Raises:
            ServerError: the app has ended by itself.
        """
        while True:
            alive()
            if self.server.poll() is not None:
                raise ServerError("the app of FiftyOne has ended by itself: run the same command again")
            time.sleep(_LOOK_EVERY_S)


@contextlib.contextmanager
def open_app(
    fiftyone: Any, dataset_name: str, port: int = DEFAULT_PORT, *, view: str | None = None, browser: bool = False
) -> Iterator[App]:
    """Open the app on a dataset and yield it; it ends with the block.

    Args:
        fiftyone: the module, from ``fiftyone_server.database``.
        dataset_name: an existing dataset.
        port: the first one to try; a taken one makes way for the next.
        view: the name of the saved view that it opens on; None shows everything.
        browser: also open it in the browser of this machine.

    Raises:
        ServerError: it does not start.
        InputError: no port is free.
    """
    server, found, log = _started(fiftyone, port, Path(fiftyone.config.database_dir).parent)
    try:
        opens_on = f"?view={quote(fiftyone.core.utils.to_slug(view))}" if view else ""
        app = App(f"http://{ADDRESS}:{found}/datasets/{quote(dataset_name)}{opens_on}", found, server)
        if browser:
            webbrowser.open(app.url)
        yield app
    finally:
        end(server)
        log.unlink(missing_ok=True)


def _started(fiftyone: Any, port: int, folder: Path) -> tuple[subprocess.Popen[bytes], int, Path]:
    """Start the server of the app as FiftyOne does, but with its words in a file and without a session in this process.

    Another program may take the port between the look and the start; then the next one is tried.
    """
    log = folder / "app.log"
    for _ in range(_STARTS):
        port = free_port(port)
        log = folder / f"app-{port}.log"
        with log.open("wb") as said:
            server = subprocess.Popen(
                [sys.executable, "main.py", "--port", str(port), "--address", ADDRESS],
                cwd=fiftyone.constants.SERVER_DIR, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=end_with_parent,
            )  # fmt: skip
        try:
            if _comes_up(server, port):
                return server, port, log
        except BaseException:
            end(server)
            raise
        end(server)
        port += 1
    raise ServerError(f"the app of FiftyOne did not start in {_STARTS} tries: see {display(log)}")


def _comes_up(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until this very process takes connections at the port; another app there would show another database."""
    import psutil

    until = time.monotonic() + _STARTS_WITHIN_S
    while server.poll() is None and time.monotonic() < until:
        with contextlib.suppress(psutil.Error):
            open_here = psutil.Process(server.pid).net_connections(kind="tcp")
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in open_here):
                return True
        time.sleep(_POLL_S)
    return False


def free_port(first: int) -> int:
    """Return the first port from this one on that nobody listens at. Raises InputError."""
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        # Without SO_REUSEADDR on the probe a port in TIME_WAIT would look taken; the app itself sets it.
        with contextlib.suppress(OSError), socket.create_server((ADDRESS, port)):
            return port
    raise InputError(f"no port from {first} on is free: name another with --port")

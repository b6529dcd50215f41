"""The app of FiftyOne in a browser: on a free port of this machine alone, open until Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

from labeling.core.errors import InputError, ServerError

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 5151

_PORTS_TRIED = 100
_STARTS = 3
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class App:
    """An app that runs; ``url`` opens the dataset."""

    url: str
    port: int

    def wait(self, alive: Callable[[], None] = lambda: None) -> NoReturn:
        """Wait until Ctrl-C, which is the caller's to catch, or until something is wrong.

        Args:
            alive: called once a second; raises what ends the wait.

        Raises:
            ServerError: the app has ended by itself.
        """
        while True:
            alive()
            if not _listens(self.port):
                raise ServerError("the app of FiftyOne has ended by itself: run the same command again")
            time.sleep(_LOOK_EVERY_S)


@contextlib.contextmanager
def open_app(fiftyone: Any, dataset_name: str, port: int = DEFAULT_PORT, *, browser: bool = False) -> Iterator[App]:
    """Open the app on a dataset and yield it; it ends with the block.

    Args:
        fiftyone: the module, from ``fiftyone_server.database``.
        dataset_name: an existing dataset.
        port: the first one to try; a taken one makes way for the next.
        browser: also open it in the browser of this machine.

    Raises:
        ServerError: it does not start.
        InputError: no port is free.
    """
    service, found = _started(fiftyone, port)
    try:
        app = App(f"http://{ADDRESS}:{found}/datasets/{quote(dataset_name)}", found)
        if browser:
            webbrowser.open(app.url)
        yield app
    finally:
        service.stop()


def _started(fiftyone: Any, port: int) -> tuple[Any, int]:
    """Start the server of the app; its session would add a thread that prints to the terminal, and nothing we need."""
    services = importlib.import_module("fiftyone.core.service")
    for _ in range(_STARTS):
        port = free_port(port)
        # Another program may take the port between the look and the start; then the next one is tried.
        with contextlib.suppress(services.ServiceListenTimeout):
            service = services.ServerService(port, address=ADDRESS, do_not_track=True)
            if service.child is not None:  # else it has found another app there, which shows another database
                return service, port
        port += 1
    raise ServerError(f"the app of FiftyOne did not start in {_STARTS} tries; LABELSTILL_DEBUG=1 shows more")


def free_port(first: int) -> int:
    """Return the first port from this one on that nobody listens at. Raises InputError."""
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        # Without SO_REUSEADDR on the probe a port in TIME_WAIT would look taken; the app itself sets it.
        with contextlib.suppress(OSError), socket.create_server((ADDRESS, port)):
            return port
    raise InputError(f"no port from {first} on is free: name another with --port")


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((ADDRESS, port), timeout=5):
            return True
    except OSError:
        return False

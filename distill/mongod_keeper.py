"""Keep one mongod running while anybody uses it; a program of the standard library alone, so that it starts at once.

Whoever uses the database holds a shared lock on one file. The system lets go of the locks of a process that dies, so
the last user takes mongod along, however that user ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_LOOK_EVERY_S = 0.3
_END_WITHIN_S = 30.0
_PR_SET_PDEATHSIG = 1
_SYSTEM = ctypes.CDLL(None)  # loaded here: between fork and exec as little as possible may happen


def end_with_parent() -> None:
    """Have the system end this process with the one that started it, however that ends; to be run before exec."""
    if sys.platform == "linux":
        _SYSTEM.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def keep(users: Path, log: Path, command: Sequence[str]) -> int:
    """Run mongod until nobody holds the file of its users; return its exit code.

    Args:
        users: an existing file; its users hold it by a shared lock.
        log: written anew, what mongod says.
        command: the program and its arguments.
    """
    with users.open("rb") as held, log.open("wb") as said:
        mongod = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, preexec_fn=end_with_parent
        )
        while mongod.poll() is None:
            time.sleep(_LOOK_EVERY_S)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end(mongod)
        return mongod.returncode


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, make it end after 30 s, and wait until it has."""
    process.terminate()
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))

"""One process of this machine, told from a later one that got its number."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_TERM_WITHIN_S = 10.0
_KILL_WITHIN_S = 5.0
_POLL_S = 0.05


def birth(pid: int) -> str | None:
    """Return what no other process has that ever gets this number, None where none lives."""
    try:
        # The name in brackets may hold anything, hence from the last bracket on: state, …, start in ticks since boot.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # A zombie has ended, only its parent has not asked yet; while it has other threads, its port is not free.
    state, threads, start = fields[0], int(fields[17]), fields[19]
    return None if state in "ZX" and threads <= 1 else f"{boot}/{start}"


def end(pid: int, born: str) -> bool:
    """Ask a process to end, make it end after 10 s; return whether it has. Nobody else's process is touched."""
    for sign, within in ((signal.SIGTERM, _TERM_WITHIN_S), (signal.SIGKILL, _KILL_WITHIN_S)):
        if birth(pid) != born:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        until = time.monotonic() + within
        while birth(pid) == born and time.monotonic() < until:
            time.sleep(_POLL_S)
    return birth(pid) != born

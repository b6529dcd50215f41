"""A process run to its end: what it said, and the processor time that it took."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence


def run_to_end(command: Sequence[str], settings: Mapping[str, str] | None = None) -> tuple[str, float]:
    """Return what a command printed and its processor seconds; ``settings`` go on top of the environment.

    Raises SystemExit with what it printed where it failed.
    """
    environment = os.environ | dict(settings or {})
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{said}")
    return said, used.ru_utime + used.ru_stime

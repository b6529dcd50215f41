"""This end of a worker's pipes: starts the process, waits no longer than allowed, says why it ended."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ...core.errors import BackendError
from .protocol import PROTOCOL, ProtocolError, encode, receive

PROGRAM = Path(__file__).with_name("program.py")
#: Importing torch and transformers takes most of it: 8 s, or minutes on a busy machine with a cold disk.
START_WITHIN_S = 300.0
_TAIL_LINES = 30
_CHUNK = 1 << 20


class WorkerEndedError(BackendError):
    """The process over there has ended or was ended, and with it what it was asked."""


class Worker:
    """One worker process, from start to end."""

    def __init__(self, python: Path, *, program: Path = PROGRAM, within_s: float = START_WITHIN_S) -> None:
        """Start ``program`` with another environment's interpreter and hear its greeting.

        Raises:
            WorkerEndedError: it did not start within ``within_s`` seconds. BackendError: it speaks another protocol.
        """
        self._process = subprocess.Popen(
            # -I: neither this folder nor PYTHONPATH nor the user's own packages get in.
            [python, "-I", program, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._listener = threading.Thread(target=_listen, args=(self._process, self._tail), daemon=True)
        self._listener.start()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        self.close = weakref.finalize(self, _end, self._process)
        self.busy = True
        (greeting,) = (header for header, _ in self._answers(1, within_s))
        if greeting.get("protocol") != PROTOCOL:
            self.close()
            raise BackendError(f"the worker speaks protocol {greeting.get('protocol')}, expected {PROTOCOL}")
        self.versions: dict[str, str] = greeting["versions"]

    busy: bool
    """Whether answers are still to come: of a request that was broken off, they would be taken for the next one's."""

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(
        self,
        request: dict[str, Any],
        arrays: Sequence[npt.NDArray[Any]] = (),
        *,
        answers: int = 1,
        within_s: float,
    ) -> Iterator[tuple[dict[str, Any], list[npt.NDArray[Any]]]]:
        """Send one request and yield its answers as they come; after an error there are no more.

        Raises:
            WorkerEndedError: the process ended, or did not answer within ``within_s`` seconds and was ended.
        """
        deadline = time.monotonic() + within_s
        self.busy = True
        for piece in encode(request, arrays):
            self._write(memoryview(piece), deadline, within_s)
        yield from self._answers(answers, within_s)

    def _answers(self, count: int, within_s: float) -> Iterator[tuple[dict[str, Any], list[npt.NDArray[Any]]]]:
        deadline = time.monotonic() + within_s
        for left in reversed(range(count)):
            try:
                frame = receive(lambda length: self._read(length, deadline, within_s))
            except ProtocolError as error:
                raise self._ended(f"sent what is no answer ({error})") from error
            if frame is None:
                raise self._ended("ended")
            self.busy = left > 0 and "error" not in frame[0]
            yield frame
            if "error" in frame[0]:
                return

    def _write(self, data: memoryview, deadline: float, within_s: float) -> None:
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        while data:
            self._wait(pipe, select.POLLOUT, deadline, within_s)
            try:
                data = data[os.write(pipe, data[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended("ended") from None

    def _read(self, length: int, deadline: float, within_s: float) -> bytes:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        data = bytearray()
        while len(data) < length:
            self._wait(pipe, select.POLLIN, deadline, within_s)
            piece = os.read(pipe, min(_CHUNK, length - len(data)))
            if not piece:
                break
            data += piece
        return bytes(data)

    def _wait(self, pipe: int, event: int, deadline: float, within_s: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise self._ended(f"did not answer within {within_s:.0f} s and was ended")

    def _ended(self, what: str) -> WorkerEndedError:
        """End the process and return the error that says how it went, with its last words."""
        self._process.poll()
        if self._process.returncode is None and what == "ended":
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipes close a moment before it ends
                self._process.wait(5)
        code = self._process.returncode
        self.close()
        self._listener.join(1)
        how = "" if code is None else f" by signal {-code}" if code < 0 else f" with exit status {code}"
        words = " | ".join(line for line in list(self._tail)[-3:])[-600:]
        return WorkerEndedError(f"the worker process {what}{how}" + (f"; its last words: {words}" if words else ""))


def _listen(process: subprocess.Popen[bytes], tail: collections.deque[str]) -> None:
    """Keep the last lines of what the process says; without a reader it would stop at a full pipe."""
    assert process.stderr is not None
    with contextlib.suppress(OSError, ValueError), open(process.stderr.fileno(), "rb", closefd=False) as lines:
        # A line without an end is cut: the pieces count as lines.
        while line := lines.readline(1000):
            if text := line.decode(errors="replace").strip():
                tail.append(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its input, which ends an idle worker, and make a busy one end."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

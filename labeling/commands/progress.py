"""What a long run shows while it works, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic
from types import FrameType

from ..label_run import Summary

#: In a log, a line at most this often, in seconds.
_LOG_EVERY_S = 10.0

Shown = Callable[[Summary], None]


class StopRequest(Event):
    """Set by the first SIGINT or SIGTERM; ``exit_code`` is 128 + signal number."""

    exit_code = 0


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request to stop after the batch at hand; a second one ends the process at once."""
    stop = StopRequest()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(stop.exit_code)  # what was committed is safe, as after a power cut
        stop.exit_code = 128 + number
        stop.set()
        # Not by print: the signal may have come in the middle of one.
        os.write(2, b"\nstopping after this batch; press Ctrl-C again to stop at once\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def show_progress(total: int, *, quiet: bool) -> Iterator[Shown]:
    """Yield what to call with the counts so far: a bar on a terminal, a line now and then in a log, or nothing."""
    if quiet:
        yield lambda summary: None
    elif sys.stderr.isatty():
        with _bar(total) as shown:
            yield shown
    else:
        yield _log(total)


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("labelling"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("labelling", total=total, rate="")
        yield lambda summary: progress.update(task, completed=summary.files, rate=_rate(summary))


def _log(total: int) -> Shown:
    last = monotonic()

    def shown(summary: Summary) -> None:
        nonlocal last
        if monotonic() - last >= _LOG_EVERY_S or summary.files == total:
            last = monotonic()
            left = (total - summary.files) * summary.seconds / summary.files
            print(f"{summary.files}/{total} files, {_rate(summary)}, {left:.0f} s left", file=sys.stderr)

    return shown


def _rate(summary: Summary) -> str:
    return f"{summary.files / max(summary.seconds, 1e-9):.1f} images/s"

"""What a long run shows while it works, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a run is and how fast, in words.

    Attributes:
        total: files of this run.
        before: photos that were done before this run; they count as done and not as speed.
    """

    total: int
    before: int = 0

    def counts(self, summary: Summary) -> str:
        """Return ``done/all``, what was done before included."""
        return f"{self.before + summary.files:,}/{self.before + self.total:,}"

    def rate(self, summary: Summary) -> str:
        """Return the mean speed of this run, nothing before the first file."""
        if not summary.files or summary.seconds <= 0:
            return ""
        per_second = summary.files / summary.seconds
        if per_second < 0.1:
            return f"{1 / per_second:.0f} s per image"
        return f"{per_second:.{0 if per_second >= 100 else 1 if per_second >= 1 else 2}f} images/s"

    def left(self, summary: Summary) -> str:
        """Return the time that is left at the mean speed so far, nothing before the first file."""
        if not summary.files or summary.files >= self.total:
            return ""
        return f"{duration((self.total - summary.files) * summary.seconds / summary.files)} left"


def duration(seconds: float) -> str:
    """Return a duration with the precision that matters: ``8 s``, ``2 min 05 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextlib.contextmanager
def show_progress(total: int, *, quiet: bool, before: int = 0) -> Iterator[Shown]:
    """Yield what to call with the counts so far: a bar on a terminal, a line now and then in a log, or nothing.

    Args:
        total: files of this run; with none there is nothing to show.
        quiet: show nothing.
        before: photos that were done before this run.
    """
    pace = Pace(total, before)
    if quiet or not total:
        yield lambda summary: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(pace) as shown:
            yield shown
    else:
        yield _log(pace)


@contextlib.contextmanager
def _bar(pace: Pace) -> Iterator[Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("labelling"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        said = f"{pace.counts(Summary())}  starting"
        task = progress.add_task("labelling", total=pace.before + pace.total, completed=pace.before, said=said)

        def shown(summary: Summary) -> None:
            said = "  ".join(filter(None, (pace.counts(summary), pace.rate(summary), pace.left(summary))))
            progress.update(task, completed=pace.before + summary.files, said=said)

        yield shown


def _log(pace: Pace) -> Shown:
    done_before = f", {pace.before:,} are done" if pace.before else ""
    print(f"labelling {pace.total:,} files{done_before}", file=sys.stderr, flush=True)
    last = monotonic()

    def shown(summary: Summary) -> None:
        nonlocal last
        if monotonic() - last >= _LOG_EVERY_S or summary.files >= pace.total:
            last = monotonic()
            said = filter(None, (f"{pace.counts(summary)} files", pace.rate(summary), pace.left(summary)))
            print(", ".join(said), file=sys.stderr, flush=True)

    return shown

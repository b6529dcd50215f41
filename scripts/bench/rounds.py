"""What every bench shares: peer and ours by turns in one process, ratios with their spread, a table, the machine."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from export.device import cpu_name

CACHE = Path(os.environ.get("LABELSTILL_BENCH_CACHE", Path(__file__).resolve().parents[2] / ".bench"))
"""What benches make once and use again: drawn photos, the peer's package."""

ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        figure: what was measured, unit included.
        value: the figure, the median over the rounds where there are rounds; None says "not measured".
        spread: smallest and largest value over the rounds, or None for what does not vary.
        goal: ">= 5" or "<= 0.5"; "" for a figure that is only reported.
        floor: the same; what is worse is a failure and not only a miss.
        why: the reason that stands in the table where the goal was missed, or where nothing was measured.
    """

    figure: str
    value: float | None
    spread: tuple[float, float] | None = None
    goal: str = ""
    floor: str = ""
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "figure": self.figure,
            "value": _rounded(self.value),
            "spread": None if self.spread is None else [_rounded(edge) for edge in self.spread],
            "goal": self.goal,
            "floor": self.floor,
            "goal_reached": holds(self.value, self.goal),
            "floor_reached": holds(self.value, self.floor),
            "why": self.why if self.value is None or holds(self.value, self.goal) is False else "",
        }


def interleave(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the wall seconds of each step, one per round; the order is turned round after every round.

    Args:
        steps: name -> what is timed; their results are thrown away.
        rounds: how often each step runs.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        order = list(steps.items())
        for name, step in order if number % 2 == 0 else reversed(order):
            gc.collect()  # nobody pays for the rubbish of the step before
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
    return times


def ratio(times: Mapping[str, Sequence[float]], peer: str, ours: str) -> tuple[float, float, float]:
    """Return how many times longer ``peer`` took than ``ours``: median, smallest and largest over the rounds."""
    return spread([slow / fast for slow, fast in zip(times[peer], times[ours], strict=True)])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, smallest and largest of the values."""
    return statistics.median(values), min(values), max(values)


def measured(figure: str, values: tuple[float, float, float], goal: str = "", floor: str = "", why: str = "") -> Row:
    """Return the row of a figure that ``ratio`` or ``spread`` gave."""
    return Row(figure, values[0], values[1:], goal, floor, why)


def holds(value: float | None, bound: str) -> bool | None:
    """Say whether a value is within ">= 5" or "<= 5"; None where there is no bound or no value."""
    if value is None or not bound:
        return None
    sign, _, edge = bound.partition(" ")
    return value >= float(edge) if sign == ">=" else value <= float(edge)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table; a missed goal is named, with its reason."""
    lines = ["| figure | measured | min–max | goal | floor | |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = "not measured" if row.value is None else _shown(row.value)
        edges = "" if row.spread is None else "–".join(_shown(edge) for edge in row.spread)
        lines.append(f"| {row.figure} | {value} | {edges} | {row.goal} | {row.floor} | {_verdict(row)} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the figures ran on: processor, cores this process may use, memory, Python, torch and its threads."""
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }
    try:
        facts["torch"] = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return facts
    import torch

    facts["torch_threads"] = torch.get_num_threads()
    facts["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return facts


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB.

    From /proc and not from getrusage, which hands a process the peak of the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def arguments(doc: str | None, *, rounds: int = ROUNDS, **sizes: int) -> argparse.ArgumentParser:
    """Return the command line that all benches share: ``--rounds``, ``--json``, and one option per size.

    Args:
        doc: the docstring of the script.
        rounds: default of ``--rounds``.
        sizes: option name -> default, for whole numbers.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def publish(name: str, rows: Sequence[Row], options: argparse.Namespace, notes: Sequence[str] = ()) -> None:
    """Print the figures of a bench as a table, or as one JSON object with ``--json``.

    Args:
        name: of the bench.
        rows: the figures.
        options: of ``arguments``; they are printed too.
        notes: what the reader has to know, one sentence each.
    """
    asked = {key: value for key, value in vars(options).items() if key != "json"}
    facts = machine()
    if options.json:
        print(
            json.dumps(
                {
                    "bench": name,
                    "options": asked,
                    "machine": facts,
                    "rows": [row.as_dict() for row in rows],
                    "notes": list(notes),
                }
            )
        )
        return
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in {**asked, **facts}.items())}\n")
    print(table(rows))
    print("".join(f"\n{note}" for note in notes), flush=True)


def _verdict(row: Row) -> str:
    if row.value is None:
        return row.why
    if holds(row.value, row.goal) is not False:
        return ""
    what = "below the floor" if holds(row.value, row.floor) is False else "missed"
    return f"{what}: {row.why or 'no reason known'}"


def _shown(value: float) -> str:
    return str(_rounded(value))


def _rounded(value: float | None) -> float | None:
    """Return the value with four significant digits; whole numbers stay as they are."""
    if value is None or isinstance(value, int):
        return value
    short = float(f"{value:.4g}")
    return int(short) if abs(short) >= 1000 else short

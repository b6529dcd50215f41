"""Whether the world of a device has drifted: its logs against the first stretch of them, or against other logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from labeling.core.errors import InputError
from labeling.image_files import display

from .monitoring.drift import RATES, Verdict, judge
from .monitoring.log import Damage, Header, LoggedFrame, read_headers
from .monitoring.reference import Reference, learn
from .monitoring.remembered import load, save
from .monitoring.stretch import stretches
from .monitoring.tape import Tape
from .monitoring.windows import Window, Windows

WINDOW = 1000
"""Frames per window unless another length is asked for."""

_LEARNING = 500

State = Literal["quiet", "drift", "learned", "too small", "too short"]


@dataclass(frozen=True, slots=True, eq=False)
class Monitored:
    """What the logs say.

    Attributes:
        state: drift; quiet; learned (all frames are within the reference); too small (the reference, for the rate that
            was asked for); too short (the frames after the reference fill no window).
        headers: of the logs.
        reference: what they were compared with.
        kept_at: file in which the reference rests; None where it does not.
        fresh: whether the reference was learned just now.
        needed: frames of the log that a reference needs for these windows.
        window: frames of the log per window.
        windows: that were judged.
        verdict: None where nothing could be judged.
        false_alarms: chance of a false alarm in the whole call.
        frames: of the logs, those of the reference left out.
        skipped: frames of these logs that the reference holds.
        left_over: frames of the log after the last window.
        damage: lines that could not be used.
        remarks: what else a reader has to know, in sentences.
    """

    state: State
    headers: tuple[Header, ...]
    reference: Reference
    kept_at: Path | None
    fresh: bool
    needed: int
    window: int
    windows: tuple[Window, ...]
    verdict: Verdict | None
    false_alarms: float
    frames: int
    skipped: int
    left_over: int
    damage: Damage
    remarks: tuple[str, ...]


def monitor(
    logs: Sequence[Path],
    *,
    memory: Path | None = None,
    reference: Path | None = None,
    window: int = WINDOW,
    false_alarms: float = 0.01,
    first: int | None = None,
    look: Callable[[Header, LoggedFrame], None] = lambda header, frame: None,
) -> Monitored:
    """Compare the logs of one model with a reference, window by window, in memory that does not grow with the logs.

    Without a reference the first frames become it: as many as the windows need, which depends on how long frames
    remember each other. It rests in ``memory``, and later calls compare with it.

    Args:
        logs: files, in any order.
        memory: folder in which the reference of each model rests; None keeps none.
        reference: a log, or a folder of logs, that becomes the reference in place of what rests there.
        window: frames per window at least; longer where frames are too much alike for so short a window.
        false_alarms: chance that without drift any statistic of any window raises an alarm; within RATES. Of a slow
            reference it is approximate.
        first: so many first frames become the reference; what comes and goes in them is usual, however slowly.
        look: called with every frame of the logs.

    Raises:
        InputError: no usable log, logs of several models, or a number out of its range.
        StateError: the reference that rests there cannot be read.
    """
    low, high = RATES
    if not low <= false_alarms <= high:
        raise InputError(f"--false-alarms is {false_alarms:g}: expected a chance from {low:g} to {high:g}")
    if window < 1 or (first is not None and first < 1):
        raise InputError("--window and --first: expected a number of frames from 1")
    headers = read_headers(logs)
    model = one_model(headers)
    kept_at = memory / f"{(model.model or 'unnamed')[:16]}.npz" if memory is not None else None
    known = load(kept_at) if kept_at is not None and reference is None and first is None else None
    remarks: list[str] = []
    fresh = known is None
    if reference is not None:
        known = _learned_from(reference, window, remarks)
    tape = Tape(headers, known.taken if known else None, look)
    frames = iter(tape)
    if known is None:
        some = frames if first is None else islice(frames, first)
        known = _learned(tape, some, headers, window, all_of_it=first is not None)
    if known.names != model.names:
        raise InputError(
            f"{display(model.path)}: its classes are not those of the reference: learn a new one with --reference LOG"
        )
    remarks += _differences(known, headers)
    if fresh and kept_at is not None and known.enough(window):
        save(known, kept_at)
    windows = Windows(known, known.window(window))
    for part in stretches(frames):
        windows.add(part)
    state: State = "quiet"
    verdict = None
    if not known.enough(window):
        state = "too small"
    elif not windows.frames:
        state = "learned"
    elif not windows.found:
        state = "too short"
    else:
        verdict = judge(known, windows.found, false_alarms)
        state = "drift" if verdict.drifts else "quiet"
    return Monitored(
        state=state,
        headers=tuple(headers),
        reference=known,
        kept_at=kept_at if known.enough(window) or not fresh else None,
        fresh=fresh,
        needed=known.needed(window),
        window=windows.size * known.stride,
        windows=tuple(windows.found),
        verdict=verdict,
        false_alarms=false_alarms,
        frames=windows.frames,
        skipped=tape.skipped,
        left_over=windows.left_over * known.stride,
        damage=tape.damage,
        remarks=tuple(remarks),
    )


def one_model(headers: Sequence[Header]) -> Header:
    """Return the header that speaks for all. Raises InputError: logs of several models, or none at all."""
    if not headers:
        raise InputError("expected at least one log of the runtime")
    first = headers[0]
    for other in headers[1:]:
        if (other.model, other.names) != (first.model, first.names):
            raise InputError(
                f"{display(first.path)} and {display(other.path)}: are of different models or classes: "
                "name the logs of one model, or compare the two with --shadow"
            )
    return first


def _learned(
    tape: Tape,
    frames: Iterator[LoggedFrame],
    headers: Sequence[Header],
    window: int,
    *,
    all_of_it: bool,
) -> Reference:
    model = headers[0]
    found = learn(
        stretches(frames, _LEARNING),
        tape.read,
        model=model.model,
        names=model.names,
        window=window,
        all_of_it=all_of_it,
    )
    if found is None:
        raise InputError(f"{display(model.path)}: no frame can be read: a reference needs some")
    from_these = [header for header in headers if tape.read[header.key]]
    return replace(found, precisions=_each("precision", from_these), devices=_each("device", from_these))


def _learned_from(path: Path, window: int, remarks: list[str]) -> Reference:
    headers = read_headers([path])
    one_model(headers)
    tape = Tape(headers)
    found = _learned(tape, iter(tape), headers, window, all_of_it=True)
    if tape.damage.first:
        remarks.append(f"{tape.damage.reasons.total()} lines of the reference could not be used: {tape.damage.first}.")
    return found


def _differences(reference: Reference, headers: Sequence[Header]) -> list[str]:
    """Say in what the logs differ from the reference besides the world."""
    said = []
    if reference.model != headers[0].model:
        said.append("The reference was logged by another model: what changed may be the model, not the world.")
    for what, then, now in (
        ("at precision", reference.precisions, _each("precision", headers)),
        ("on device", reference.devices, _each("device", headers)),
    ):
        if then and set(now) - set(then):
            said.append(
                f"The reference was logged {what} {', '.join(then)}, the logs {what} {', '.join(now)}: "
                "numbers may differ by that."
            )
    return said


def _each(name: str, headers: Sequence[Header]) -> tuple[str, ...]:
    return tuple(sorted({getattr(header, name) for header in headers} - {""}))

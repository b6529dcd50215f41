"""What the monitor says, in sentences and rows: figures in, plain text out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from labeling.report_words import counted
from labeling.tables import table

from .bins import NUMERIC, STATISTICS
from .drift import Drift
from .log import Damage
from .shadow import ClassRow, Shadow

if TYPE_CHECKING:
    from ..monitor import Monitored

TITLES = {
    "light": "light",
    "blur": "sharpness",
    "look": "look of the frames",
    "objects": "objects per frame",
    "sureness": "sureness",
    "classes": "mix of the classes",
    "scores": "scores",
}
"""What each statistic is called."""

_LARGE = 0.25
_DAY = 86_400.0
_SLOW = 1 / 600
"""Share of a reference that frames remember each other for, from which on there are fewer blocks than it needs."""
_UNITS = {
    "light": "mean grey {:.2f}",
    "blur": "sharpness {:.2f}",
    "look": "distance to the usual frame {:.2f}",
    "objects": "{:.2f} objects per frame",
    "sureness": "sureness {:.2f}",
    "scores": "mean score {:.2f}",
}


def headline(found: Monitored) -> str:
    """Return the one sentence that sums it up."""
    if found.verdict is not None and found.verdict.drifts:
        names = [TITLES[one.statistic] for one in found.verdict.drifts]
        return f"The world of this device has drifted: {', '.join(names)}."
    windows = counted(len(found.windows), "window")
    return {
        "quiet": f"Nothing has drifted in {windows} of {found.window:,} frames.",
        "learned": (
            f"The first {_frames(found)} are the reference now; there is nothing after them to compare."
            if found.fresh
            else "These logs hold nothing after the frames of the reference, so there is nothing to compare."
        ),
        "too small": (
            f"{_frames(found)} are too few for a reference: it needs {found.needed:,} to keep false alarms at "
            f"{found.false_alarms:.3g} of all calls. {_what_to_do(found)}"
        ),
        "too short": (
            f"The frames after the reference fill no window: {found.frames:,} of {found.window:,}. Log for longer."
        ),
    }[found.state]


def lines(found: Monitored) -> list[str]:
    """Return what people read, the headline first."""
    said = [headline(found)]
    if found.verdict is not None:
        said += [f"  {drift_said(one, len(found.windows))}" for one in found.verdict.drifts]
        said += table(("index", "alarm at", "before", "last"), _rows(found))
        rate, usual = f"at most {found.false_alarms:.3g}", "nothing has drifted"
        if found.reference.slow:
            rate, usual = f"about {found.false_alarms:.3g}", "all that changes comes and goes as in the reference"
        said.append(
            f"{rate} of such calls raise an alarm where {usual}: "
            f"{counted(len(STATISTICS), 'statistic')} in {counted(len(found.windows), 'window')} together"
        )
    said += [f"note: {remark}" for remark in notes(found)]
    return said


def drift_said(one: Drift, windows: int) -> str:
    """Say what has changed, since when, by how much and how sure that is."""
    size = "much" if one.index >= _LARGE else "a little"
    end = "" if one.still else ", and the last window looks as before"
    changed = ""
    if one.classes:
        changed = ": " + ", ".join(f"{share.name} {share.before:.1%} to {share.now:.1%}" for share in one.classes)
    elif one.before is not None and one.now is not None:
        unit = _UNITS[one.statistic]
        changed = f": {unit.format(one.before)} before, {unit.format(one.now).rsplit(' ', 1)[-1]} now"
        if one.statistic == "objects":
            changed = f": {one.before:.2f} before, {one.now:.2f} now"
    return (
        f"{TITLES[one.statistic]} changed {size}{changed} (index {one.index:.2f}); first seen in the window that began "
        f"{moment(one.since)} UTC, {one.windows} of {counted(windows, 'window')}{end}; {_sure(one.chance)}"
    )


def notes(found: Monitored) -> list[str]:
    """Return what a reader has to know besides."""
    said = [*found.remarks]
    reference = found.reference
    what = "the reference, learned now" if found.fresh else "the reference, as it was learned before"
    if found.fresh and found.state == "too small":
        what = "what was looked at as a reference, and not kept"
    spaced = "" if reference.stride == 1 else f", every {reference.stride}th frame of them"
    said.append(
        f"{what}: {_frames(found)}{spaced}, {moment(reference.since)} to {moment(reference.until)} UTC; "
        f"as much is known from it as from {reference.frames / reference.memory:,.0f} independent frames"
    )
    if reference.slow:
        said.append(
            "something in the reference comes and goes slowly, as day and night do: that is taken as usual, windows "
            f"are even parts of the reference ({found.window:,} frames), and the rate of false alarms is "
            "approximate, since nobody knows how one such cycle differs from the next"
        )
    elif found.state != "too small" and reference.until - reference.since < _DAY:
        said.append(
            f"the reference covers {_span(reference.until - reference.since)}: what changes more slowly, as day and "
            "night do, counts as drift, and the rate of false alarms holds for faster changes alone; --first N takes "
            "the first N frames, let them cover whole days"
        )
    if found.skipped:
        said.append(f"{counted(found.skipped, 'frame')} of these logs belong to the reference")
    if found.left_over and found.windows:
        said.append(f"the last {counted(found.left_over, 'frame')} fill no window yet")
    return said + damage_said(found.damage)


def damage_said(damage: Damage) -> list[str]:
    """Say which lines could not be used."""
    if not damage.first:
        return []
    kinds = ", ".join(f"{count:,} {reason}" for reason, count in sorted(damage.reasons.items()))
    return [f"{counted(damage.reasons.total(), 'line')} could not be used ({kinds}), the first: {damage.first}"]


def shadow_lines(found: Shadow) -> list[str]:
    """Return what people read about two students, the verdict first."""
    rows = [(row.name, _cells(row)) for row in (*found.classes, found.overall)]
    said = [f"{found.verdict} {counted(found.frames, 'frame')}."]
    said += table(("both", "first only", "second only", "agreement", "95 %", "second - first", "95 %"), rows)
    said.append("agreement is no proof of being right; the difference counts objects per 100 frames")
    if found.alone:
        said.append(f"note: {counted(found.alone, 'frame')} have no partner in the other log")
    return said + [f"note: {remark}" for remark in damage_said(found.damage)]


def moment(seconds: float) -> str:
    """Return unix seconds as people read them, UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def _what_to_do(found: Monitored) -> str:
    text = "Log for longer, or allow shorter windows (--window)."
    if found.reference.memory > _SLOW * found.reference.frames:
        text = "Log for longer; where something comes and goes, as day and night do, name whole cycles with --first N."
    return text


def _span(seconds: float) -> str:
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(round(seconds / length), unit)
    return counted(max(0, round(seconds)), "second")


def _frames(found: Monitored) -> str:
    return counted(found.reference.frames * found.reference.stride, "frame")


def _sure(chance: float) -> str:
    if chance >= 0.001:
        return f"without drift, {chance:.2g} of such calls would show this"
    return "without drift, fewer than 1 in 1,000 such calls would show this"


def _rows(found: Monitored) -> Sequence[tuple[str, Sequence[str]]]:
    assert found.verdict is not None
    largest = {name: max(row[name] for row in found.verdict.rows) for name in STATISTICS}
    rows = []
    for name in STATISTICS:
        before = now = "-"
        if name in NUMERIC:
            place = NUMERIC.index(name)
            before, now = (_number(means[place]) for means in (found.reference.means, found.windows[-1].means))
        rows.append((TITLES[name], (f"{largest[name]:.3f}", f"{found.verdict.limits[name]:.3f}", before, now)))
    return rows


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"


def _cells(row: ClassRow) -> list[str]:
    return [
        f"{row.both:,}",
        f"{row.only_first:,}",
        f"{row.only_second:,}",
        "-" if row.agreement is None else f"{row.agreement:.1%}",
        "-" if row.agreement_within is None else "{:.1%} to {:.1%}".format(*row.agreement_within),
        f"{row.more:+.1f}",
        "-" if row.more_within is None else "{:+.1f} to {:+.1f}".format(*row.more_within),
    ]

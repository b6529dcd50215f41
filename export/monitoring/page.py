"""The page of the monitor: the verdict, what drifted, and every statistic over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.html import page

from .bins import STATISTICS
from .words import TITLES, drift_said, headline, moment, notes

if TYPE_CHECKING:
    from ..monitor import Monitored

_WH = (640.0, 96.0)
_LEFT, _TOP, _BOTTOM = 34.0, 8.0, 90.0
"""Where the axis stands, its top and its zero."""

_LOWEST_TOP = 0.3
"""An axis ends no lower, so that chance does not look like drift."""


def render(project: str, found: Monitored) -> str:
    """Return the page as one HTML text that needs no network."""
    return page(
        Path(__file__).with_name("monitor.html.j2"),
        project=project,
        state=found.state,
        headline=headline(found),
        model=found.reference.model[:16],
        device=", ".join(sorted({header.device for header in found.headers if header.device})),
        rate=f"{found.false_alarms:.3g}",
        window=found.window,
        drifts=[drift_said(one, len(found.windows)) for one in found.verdict.drifts] if found.verdict else [],
        plots=_plots(found),
        notes=notes(found),
        frame=_WH,
        left=_LEFT,
    )


def _plots(found: Monitored) -> list[dict[str, Any]]:
    if found.verdict is None:
        return []
    step = (_WH[0] - _LEFT) / len(found.windows)
    plots = []
    for name in STATISTICS:
        limit = found.verdict.limits[name]
        values = [row[name] for row in found.verdict.rows]
        top = max(_LOWEST_TOP, 1.1 * max(values), 1.1 * limit)
        ys = [round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1) for value in values]
        bars = [
            {
                "x": round(_LEFT + place * step, 1),
                "y": ys[place],
                "width": round(max(1.0, step - 1), 1),
                "height": round(_BOTTOM - ys[place], 1),
                "over": value >= limit,
                "title": f"{moment(window.since)} UTC: {value:.3f}",
            }
            for place, (value, window) in enumerate(zip(values, found.windows, strict=True))
        ]
        plots.append(
            {
                "title": TITLES[name],
                "bars": bars,
                "limit_y": round(_BOTTOM - (_BOTTOM - _TOP) * limit / top, 1),
                "ticks": [(_TOP, f"{top:.2g}"), ((_TOP + _BOTTOM) / 2, f"{top / 2:.2g}"), (_BOTTOM, "0")],
                "limit": f"{limit:.2f}",
                "most": f"{max(values):.2f}",
                "since": moment(found.windows[0].since),
                "until": moment(found.windows[-1].until),
            }
        )
    return plots

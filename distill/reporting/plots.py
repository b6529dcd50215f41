"""Curves of a student's report, drawn twice, for light and for dark pages; no text in them comes from a project."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from labeling.core.errors import MissingExtraError
from labeling.report_words import counted

from ..curation.plots import Ink, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = npt.NDArray[Any]

_SIZE = (480, 340)
_PX_PER_INCH = 100
_SHARPNESS = 2
_FONT_PT = 9.4
_MOST_POINTS = 400

_LIGHT = Ink("#5b6472", "#e2e6ec", "#eef2f7", "#1f6feb", "#b45309")
_DARK = Ink("#97a1b0", "#2a303a", "#12161c", "#6aa8ff", "#f2b35b")


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One curve of precision over recall.

    Attributes:
        recall, precision: (n,) in [0, 1].
        colour: ``#rrggbb``; None is one of the many that stay in the background.
    """

    recall: Numbers
    precision: Numbers
    colour: str | None


def precision_recall(lines: Sequence[Line], alt: str) -> Plot | None:
    """Return precision over recall, curves without a colour behind the others; None without any point."""
    drawn = sorted((one for one in lines if len(one.recall)), key=lambda one: one.colour is not None)
    if not drawn:
        return None

    def paint(axes: Axes, ink: Ink) -> None:
        for one in drawn:
            recall, precision = _thinned(one.recall, one.precision)
            width, alpha = (1.8, 1.0) if one.colour else (0.8, 0.4)
            axes.plot(recall, precision, color=one.colour or ink.text, linewidth=width, alpha=alpha)
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.02)
        _words(axes, ink, "recall: share of the objects that are found", "precision")

    return _drawn(paint, alt)


def calibration(scores: Numbers, right: Numbers, counts: Numbers, alt: str) -> Plot | None:
    """Return how often boxes of a score are right; None where there are none.

    Args:
        scores: (bins,) mean score of the boxes in each bin.
        right: (bins,) share of them that are right.
        counts: (bins,) how many there are.
        alt: what it shows, in words.
    """
    used = np.asarray(counts) > 0
    if not used.any():
        return None
    x, y, n = (np.asarray(values, dtype=np.float64)[used] for values in (scores, right, counts))

    def paint(axes: Axes, ink: Ink) -> None:
        axes.plot([0, 1], [0, 1], color=ink.text, linewidth=1.2, dashes=(4, 3))
        axes.plot(x, y, color=ink.fill, linewidth=1.6)
        axes.scatter(x, y, s=18 + 160 * n / n.max(), color=ink.fill, linewidths=0, zorder=3)
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.03)
        _words(axes, ink, "score that the student gives", "share of boxes that are right")

    return _drawn(paint, alt)


def costs(thresholds: Numbers, cost: Numbers, chosen: float) -> Plot | None:
    """Return what misses and false alarms cost at each threshold, with the one that was chosen; None below two.

    Args:
        thresholds: (n,) scores.
        cost: (n,) per image, in units of one false alarm; what is not finite is left out.
        chosen: score.
    """
    x, y = np.asarray(thresholds, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 2:
        return None
    x, y = _thinned(x[np.argsort(x, kind="stable")], y[np.argsort(x, kind="stable")])

    def paint(axes: Axes, ink: Ink) -> None:
        axes.plot(x, y, color=ink.fill, linewidth=2)
        axes.axvline(chosen, color=ink.mark, linewidth=1.4, dashes=(4, 3))
        right = chosen > 0.5
        axes.annotate(
            f"chosen: {chosen:.2f}", (chosen, 1), xycoords=("data", "axes fraction"), va="top", color=ink.mark,
            xytext=(-6 if right else 6, -2), textcoords="offset points", ha="right" if right else "left",
            fontsize=_FONT_PT,
        )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(float(y.max()) * 1.12, 1e-6))
        _words(axes, ink, "threshold: boxes of a lower score are not shown", "cost per image")

    best = float(y[int(np.argmin(np.abs(x - chosen)))])
    return _drawn(paint, f"Cost of errors by threshold; {chosen:.2f} was chosen, where it is {best:.3g} per image.")


def learning(
    images: Sequence[int],
    ap50: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    ahead: Sequence[tuple[float, float]] = (),
) -> Plot | None:
    """Return AP50 by training images, with intervals; None without a point.

    Args:
        images: n training sizes, each at least 1.
        ap50: n values in [0, 1].
        low, high: n ends of their intervals.
        ahead: images and AP50 of the trend, dashed.
    """
    if not images:
        return None
    order = np.argsort(np.asarray(images), kind="stable")
    x, y, below, above = (np.asarray(values, dtype=np.float64)[order] for values in (images, ap50, low, high))

    def paint(axes: Axes, ink: Ink) -> None:
        from matplotlib.ticker import NullLocator, StrMethodFormatter

        if ahead:
            axes.plot(*zip(*ahead, strict=True), color=ink.mark, linewidth=1.6, dashes=(4, 3))
        axes.vlines(x, below, above, color=ink.fill, linewidth=2, alpha=0.5)
        axes.plot(x, y, color=ink.fill, linewidth=2, marker="o", markersize=6)
        axes.set_xscale("log")
        axes.set_xticks([*x, *([ahead[-1][0]] if ahead else [])])
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        floor = float(min(below.min(), y.min()))
        axes.set_ylim(max(0.0, floor - 0.05), 1.0 if floor > 0.2 else None)
        _words(axes, ink, "training images", "AP50", ticks=False)

    said = ", ".join(f"{counted(int(number), 'image')}: {value:.2f}" for number, value in zip(x, y, strict=True))
    return _drawn(paint, f"AP50 by number of training images. {said}.")


def _thinned(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Return at most so many points as can be told apart."""
    if len(x) <= _MOST_POINTS:
        return x, y
    rows = np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int)
    return x[rows], y[rows]


def _words(axes: Axes, ink: Ink, x: str, y: str, *, ticks: bool = True) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x, color=ink.text, fontsize=_FONT_PT)
    axes.set_ylabel(y, color=ink.text, fontsize=_FONT_PT)
    axes.grid(axis="both" if ticks else "y", color=ink.line, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if ticks:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))


def _drawn(paint: Callable[[Axes, Ink], None], alt: str) -> Plot:
    return Plot(_png(paint, _LIGHT), _png(paint, _DARK), *_SIZE, alt)


def _png(paint: Callable[[Axes, Ink], None], ink: Ink) -> str:
    """Draw one figure. It belongs to nobody but this call: pyplot, which keeps figures for ever, is not used."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "student") from None
    inches = (_SIZE[0] / _PX_PER_INCH, _SIZE[1] / _PX_PER_INCH)
    figure = Figure(inches, dpi=_SHARPNESS * _PX_PER_INCH, layout="constrained", facecolor="none")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for name, side in axes.spines.items():
        side.set_visible(name == "bottom")
        side.set_color(ink.line)
    axes.tick_params(which="both", length=0, pad=6, colors=ink.text, labelsize=_FONT_PT)
    paint(axes, ink)
    canvas.draw()  # type: ignore[no-untyped-call]
    data = BytesIO()
    # A palette makes the file a quarter as large, and nobody sees a difference.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    picture = picture.quantize(128, Image.Quantize.FASTOCTREE)
    picture.save(data, format="png", optimize=True)
    figure.clear()
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")

"""Plots of a set of labels, drawn twice, for light and for dark pages; no text in them comes from a project."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labeling.core.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = npt.NDArray[Any]

_PX_PER_INCH = 100
_SHARPNESS = 2
_FONT_PT = 9.4
_BINS = 40


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot.

    Attributes:
        light, dark: PNG as data URIs with a transparent ground, at twice the size, for either kind of page.
        width, height: CSS pixels.
        alt: what it shows, in words.
    """

    light: str
    dark: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True, slots=True)
class Ink:
    """Colours of one kind of page, as ``#rrggbb``: blue and orange stay apart for everybody."""

    text: str
    line: str
    card: str
    fill: str
    mark: str


_LIGHT = Ink("#5b6472", "#e2e6ec", "#eef2f7", "#1f6feb", "#b45309")
_DARK = Ink("#97a1b0", "#2a303a", "#12161c", "#6aa8ff", "#f2b35b")


def histogram(
    values: Numbers,
    what: str,
    alt: str,
    *,
    kinds: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    log: bool = False,
    noun: str = "images",
) -> Plot | None:
    """Return how values are distributed; None where there are none.

    Args:
        values: (n,) numbers; those that are not finite, and with ``log`` those not above 0, are left out.
        what: name of the value and its unit, under the axis.
        alt: what it shows, in words.
        kinds: word to (n,) which values it names; they stand out.
        log: powers of ten have equal widths.
        noun: what is counted.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    used = np.isfinite(numbers) & ((numbers > 0) | (not log))
    known = numbers[used]
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    edges = np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)
    counts, _ = np.histogram(np.clip(known, low, high), edges)
    parts = {word: np.histogram(numbers[used & of], edges)[0] for word, of in (kinds or {}).items()}

    def paint(axes: Axes, ink: Ink) -> None:
        from matplotlib.ticker import StrMethodFormatter

        axes.bar(edges[:-1], counts, np.diff(edges) * 0.9, align="edge", color=ink.fill, linewidth=0)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.set_xlim(low, high)
        axes.set_ylim(0, counts.max() * 1.15)
        for word, part in parts.items():
            if part.any():
                axes.bar(edges[:-1], part, np.diff(edges) * 0.9, align="edge", color=ink.mark, linewidth=0)
                left = np.average(np.arange(_BINS), weights=part) < _BINS / 2
                at = int(np.flatnonzero(part)[0 if left else -1])
                axes.annotate(
                    f"{word}: {part.sum():,}", (edges[at + (not left)], counts[part > 0].max()), xytext=(0, 4),
                    textcoords="offset points", color=ink.mark, fontsize=_FONT_PT, ha="left" if left else "right",
                )  # fmt: skip
        _words(axes, ink, what, noun)

    return _drawn(paint, (520, 260), alt)


def curve(thresholds: Sequence[float] | Numbers, pairs_above: Sequence[int] | Numbers, chosen: float) -> Plot | None:
    """Return how many pairs are called near duplicates at each threshold, with the one that was chosen.

    Args:
        thresholds: (n,) similarities, ascending or not.
        pairs_above: (n,) pairs at or above each.
        chosen: similarity.
    """
    x, y = np.asarray(thresholds, dtype=np.float64), np.asarray(pairs_above, dtype=np.float64)
    if len(x) < 2 or not y.any():
        return None
    x, y = x[np.argsort(x)], y[np.argsort(x)]
    at = int(y[min(int(np.searchsorted(x, chosen)), len(y) - 1)])

    def paint(axes: Axes, ink: Ink) -> None:
        base = 0.5 if y.max() > 50 else 0
        axes.fill_between(x, y, base, color=ink.fill, alpha=0.12, linewidth=0, step="mid")
        axes.step(x, y, color=ink.fill, linewidth=2, where="mid")
        axes.set_yscale("log" if y.max() > 50 else "linear")
        axes.set_ylim(base, y.max() * (2 if y.max() > 50 else 1.1))
        axes.set_xlim(x.min(), x.max())
        axes.axvline(chosen, color=ink.mark, linewidth=1.4, dashes=(4, 3))
        right = chosen > (x.min() + x.max()) / 2
        axes.annotate(
            f"threshold {chosen:.3f}", (chosen, 1), xycoords=("data", "axes fraction"), va="top", color=ink.mark,
            xytext=(-6 if right else 6, -2), textcoords="offset points", ha="right" if right else "left",
            fontsize=_FONT_PT,
        )  # fmt: skip
        _words(axes, ink, "similarity of two images", "pairs at least this similar")

    alt = f"Pairs of images by similarity: {at:,} pairs are at least {chosen:.3f} alike, the threshold that was chosen."
    return _drawn(paint, (620, 300), alt)


def heat(positions: Numbers) -> Plot | None:
    """Return where in the image the centres of boxes lie; None without any.

    Args:
        positions: (rows, columns) counts, the first row at the top.
    """
    counts = np.asarray(positions, dtype=np.float64)
    if not counts.sum():
        return None
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    down = ("top", "middle", "bottom")[min(3 * int(row) // counts.shape[0], 2)]
    across = ("left", "centre", "right")[min(3 * int(column) // counts.shape[1], 2)]

    def paint(axes: Axes, ink: Ink) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        colours = LinearSegmentedColormap.from_list("boxes", [ink.card, ink.fill])
        extent = (0, 100, 75, 0)
        axes.imshow(counts, cmap=colours, vmin=0, extent=extent, interpolation="nearest", aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_color(ink.line)
            side.set_visible(True)

    alt = f"Heat map of the centres of all boxes in the image; most lie in the {down} {across}."
    return _drawn(paint, (347, 260), alt)


def hours(counts: Mapping[int, int]) -> Plot | None:
    """Return how many images were taken in each hour of the day; None where no time is known.

    Args:
        counts: hour, 0 to 23, to images.
    """
    tall = np.array([counts.get(hour, 0) for hour in range(24)])
    if not tall.sum():
        return None

    def paint(axes: Axes, ink: Ink) -> None:
        axes.bar(np.arange(24) + 0.5, tall, 0.9, color=ink.fill, linewidth=0)
        axes.set_xlim(0, 24)
        axes.set_xticks(range(0, 25, 3), [f"{hour}:00" for hour in range(0, 25, 3)])
        _words(axes, ink, "hour of the day", "images")

    known = ", ".join(f"{hour}:00: {number:,}" for hour, number in enumerate(tall) if number)
    return _drawn(paint, (520, 260), f"Images by hour of the day. {known}.")


def _words(axes: Axes, ink: Ink, x: str, y: str) -> None:
    """Name the axes and take away what says nothing."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlabel(x, color=ink.text, fontsize=_FONT_PT)
    axes.set_ylabel(y, color=ink.text, fontsize=_FONT_PT)
    axes.grid(axis="y", color=ink.line, linewidth=0.8)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _drawn(paint: Callable[[Axes, Ink], None], size: tuple[int, int], alt: str) -> Plot:
    return Plot(_png(paint, size, _LIGHT), _png(paint, size, _DARK), *size, alt)


def _png(paint: Callable[[Axes, Ink], None], size: tuple[int, int], ink: Ink) -> str:
    """Draw one figure. It belongs to nobody but this call: pyplot, which keeps figures for ever, is not used."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "curate") from None
    figure = Figure((size[0] / _PX_PER_INCH, size[1] / _PX_PER_INCH), dpi=_PX_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for name, side in axes.spines.items():
        side.set_visible(name == "bottom")
        side.set_color(ink.line)
    axes.tick_params(which="both", length=0, colors=ink.text, labelsize=_FONT_PT)
    paint(axes, ink)
    data = BytesIO()
    figure.savefig(
        data, format="png", dpi=_PX_PER_INCH * _SHARPNESS, transparent=True, facecolor="none",
        metadata={"Software": None},
    )  # fmt: skip
    figure.clear()
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")
